"""Spikes from a file: every form of file gives the samples that NumPy makes of the same spikes."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from train.errors import ConfigError
from train.settings import RunOptions, TrainingConfig
from train.tasks import Dataset
from train.tasks.spikes.settings import SpikesConfig, SpikesData
from train.tasks.spikes.task import Spikes

SAMPLES, STEPS, UNITS, CLASSES = 60, 12, 7, 3

DENSE = ("raster", "counts_int64", "events", "steps", "seconds", "float16_seconds", "mixed_order")


def spikes(per_sample: int = 25) -> tuple[np.ndarray, np.ndarray]:
    """Returns events (E, 3) of distinct samples, steps and units, and labels."""
    rng = np.random.default_rng(0)
    slots = [rng.choice(STEPS * UNITS, per_sample, replace=False) for _ in range(SAMPLES)]
    flat = np.concatenate([np.sort(each) for each in slots])
    sample = np.repeat(np.arange(SAMPLES), per_sample)
    events = np.stack([sample, flat // UNITS, flat % UNITS], axis=1)
    return events, np.random.default_rng(5).permutation(np.arange(SAMPLES) % CLASSES)


def raster_of(events: np.ndarray) -> np.ndarray:
    """Returns the raster of events, spike by spike."""
    raster = np.zeros((SAMPLES, STEPS, UNITS), np.uint8)
    for sample, step, unit in events.tolist():
        raster[sample, step, unit] += 1
    return raster


def arrays(form: str, events: np.ndarray) -> dict[str, np.ndarray]:
    """Returns the spikes as a file of some form has them."""
    sample, step, unit = events.T
    if form in ("raster", "counts_int64"):
        return {"raster": raster_of(events).astype(form == "counts_int64" and np.int64 or np.uint8)}
    if form == "events":
        return {"events": events}
    if form == "mixed_order":
        return {"events": np.random.default_rng(1).permutation(events).astype(np.int16)}
    if form == "steps":
        return {"sample": sample, "step": step.astype(np.float32), "unit": unit.astype(np.uint8)}
    # In the middle of a step, and on its first grid point, which float32 cannot say exactly.
    time = (step + 0.5) * 1e-3 if form == "float16_seconds" else step * 1e-3
    dtype = np.float16 if form == "float16_seconds" else np.float32
    return {"sample": sample, "time": time.astype(dtype), "unit": unit}


def settings_of(path: Path, **fields: Any) -> SpikesConfig:
    """Returns settings of a run that fits the few samples here."""
    training = TrainingConfig(batch_size=8)
    return SpikesConfig(SpikesData(file=str(path), **fields), training=training)


def read(path: Path, **fields: Any) -> tuple[SpikesData, Dataset]:
    """Returns completed settings and data of a file, as a run reads them."""
    task = Spikes()
    settings = task.complete(settings_of(path, **fields))
    if settings.data.predict == "values":
        network = dataclasses.replace(settings.network, readout="mean")
        settings = dataclasses.replace(settings, network=network)
    task.check(settings)
    # Once with what `complete` has read, and once from the file, as an evaluation reads it.
    first, again = (each.load(settings, RunOptions()) for each in (task, Spikes()))
    jax.tree.map(np.testing.assert_array_equal, first, again)
    return settings.data, first


def rasters(data: SpikesData, found: Dataset) -> list[np.ndarray]:
    """Returns the rasters of the parts, as the network gets them."""
    encode = Spikes().encoder(SpikesConfig(data))
    return [np.asarray(encode(jax.tree.map(np.asarray, part.inputs))) for part in found]


@pytest.fixture(scope="module")
def split(tmp_path_factory: pytest.TempPathFactory) -> list[np.ndarray]:
    """Rows of the samples of each part, found by a mark that each sample has for itself."""
    path = tmp_path_factory.mktemp("split") / "marked.npz"
    marks = np.zeros((SAMPLES, STEPS, UNITS))
    marks[:, 0, 0] = np.arange(SAMPLES) + 1.0
    np.savez(path, raster=marks, labels=spikes()[1])
    _, found = read(path)
    return [np.asarray(part.inputs)[:, 0, 0].astype(int) - 1 for part in found]


@pytest.mark.parametrize("form", DENSE)
def test_forms_of_a_file_give_the_same_samples(
    form: str, tmp_path: Path, split: list[np.ndarray]
) -> None:
    events, labels = spikes()
    np.savez(tmp_path / "a.npz", **arrays(form, events), labels=labels)
    data, found = read(tmp_path / "a.npz")
    assert (data.steps, data.units, data.outputs, data.capacity) == (STEPS, UNITS, CLASSES, 0)
    # 25 spikes of a sample on 7 inputs in 12 ms.
    assert data.input_rate == pytest.approx(25 / 7 / 12e-3)
    for part, rows in zip(found, split, strict=True):
        np.testing.assert_array_equal(part.inputs, raster_of(events)[rows])
        np.testing.assert_array_equal(part.labels, labels[rows])
        assert part.inputs.dtype == np.uint8 and part.labels.dtype == np.int32


@pytest.mark.parametrize("form", ["raster", "events", "seconds", "mixed_order"])
def test_rare_spikes_are_kept_as_lists_and_give_the_same_rasters(
    form: str, tmp_path: Path, split: list[np.ndarray]
) -> None:
    events, labels = spikes(per_sample=4)
    # A second spike in a slot, and a sample with fewer of them.
    events = np.concatenate([events[:-1], events[:2]])
    np.savez(tmp_path / "a.npz", **arrays(form, events), labels=labels)
    data, found = read(tmp_path / "a.npz", steps=STEPS, units=UNITS)
    assert data.capacity == 6
    for part, rows, raster in zip(found, split, rasters(data, found), strict=True):
        assert part.inputs["step"].dtype == np.uint16
        np.testing.assert_array_equal(raster, raster_of(events)[rows])


def test_the_split_is_whole_disjoint_and_even_over_classes(split: list[np.ndarray]) -> None:
    assert [len(rows) for rows in split] == [42, 6, 12]
    assert sorted(np.concatenate(split).tolist()) == list(range(SAMPLES))
    labels = spikes()[1]
    for rows, each in zip(split, (14, 2, 4), strict=True):
        assert np.bincount(labels[rows], minlength=CLASSES).tolist() == [each] * CLASSES


def test_a_split_of_the_file_is_kept(tmp_path: Path) -> None:
    events, labels = spikes()
    part = np.array(["train", "test", "validation", "train"] * 15)
    np.savez(tmp_path / "a.npz", events=events, labels=labels, part=part)
    _, found = read(tmp_path / "a.npz")
    for name in ("train", "validation", "test"):
        np.testing.assert_array_equal(getattr(found, name).labels, labels[part == name])


def test_a_folder_has_its_parts_in_files(tmp_path: Path) -> None:
    events, labels = spikes()
    raster = raster_of(events)
    for name, rows in (("my_train", slice(0, 40)), ("my_test", slice(40, 60))):
        np.savez(tmp_path / f"{name}.npz", raster=raster[rows], labels=labels[rows])
    _, found = read(tmp_path)
    np.testing.assert_array_equal(found.test.inputs, raster[40:])
    # A tenth of the file for training is for validation.
    assert [len(part.labels) for part in found] == [36, 4, 20]
    np.savez(tmp_path / "valid.npz", raster=raster[:10], labels=labels[:10])
    _, found = read(tmp_path)
    assert [len(part.labels) for part in found] == [40, 10, 20]
    np.testing.assert_array_equal(found.validation.inputs, raster[:10])


def test_hdf5_of_the_heidelberg_layout(tmp_path: Path, split: list[np.ndarray]) -> None:
    h5py = pytest.importorskip("h5py")
    events, labels = spikes()
    with h5py.File(tmp_path / "a.h5", "w") as file:
        for name, column, dtype in (("times", 1, np.float16), ("units", 2, np.uint16)):
            kind = h5py.vlen_dtype(np.dtype(dtype))
            made = file.create_dataset(f"spikes/{name}", (SAMPLES,), dtype=kind)
            for k in range(SAMPLES):
                values = events[events[:, 0] == k][:, column]
                made[k] = (values + 0.5) * 1e-3 if name == "times" else values
        file["labels"] = labels
    data, found = read(tmp_path / "a.h5")
    # The layout has 700 units, whether they spike or not.
    assert (data.units, data.capacity) == (700, 25)
    for raster, rows in zip(rasters(data, found), split, strict=True):
        np.testing.assert_array_equal(raster[:, :, :UNITS], raster_of(events)[rows])
        assert not raster[:, :, UNITS:].any()
    assert read(tmp_path / "a.h5", units=UNITS)[0].units == UNITS


@pytest.mark.parametrize("form", ["raster", "events"])
def test_neighbouring_units_are_pooled(form: str, tmp_path: Path, split: list[np.ndarray]) -> None:
    events, labels = spikes()
    np.savez(tmp_path / "a.npz", **arrays(form, events), labels=labels)
    data, found = read(tmp_path / "a.npz", pool=3)
    raster = raster_of(events)
    pooled = np.stack([raster[:, :, k : k + 3].sum(axis=2) for k in (0, 3, 6)], axis=2)
    assert Spikes().shape(SpikesConfig(data)).units == 3
    for part, rows in zip(found, split, strict=True):
        np.testing.assert_array_equal(part.inputs, pooled[rows])


def test_late_spikes_are_dropped_only_when_asked_for(
    tmp_path: Path, split: list[np.ndarray]
) -> None:
    events, labels = spikes()
    np.savez(tmp_path / "a.npz", events=events, labels=labels)
    late = int((events[:, 1] >= 9).sum())
    with pytest.raises(ConfigError, match=f"{late} of 1500 spikes come at or after step 9.*--late"):
        read(tmp_path / "a.npz", steps=9)
    _, found = read(tmp_path / "a.npz", steps=9, late="drop")
    np.testing.assert_array_equal(found.test.inputs, raster_of(events)[split[2], :9])


@pytest.mark.parametrize("form", ["raster", "events"])
def test_lengths_of_the_file_and_of_the_spikes(
    form: str, tmp_path: Path, split: list[np.ndarray]
) -> None:
    events, labels = spikes(per_sample=24)
    events = events[events[:, 0] != 5]  # a sample without spikes
    lengths = np.random.default_rng(2).integers(1, STEPS + 1, SAMPLES)
    fields = arrays(form, events)
    np.savez(tmp_path / "a.npz", **fields, labels=labels, lengths=lengths.astype(np.uint8))
    _, found = read(tmp_path / "a.npz")
    np.testing.assert_array_equal(found.train.lengths, lengths[split[0]])
    assert found.train.lengths.dtype == np.int32
    assert read(tmp_path / "a.npz", lengths="none")[1].train.lengths is None
    _, found = read(tmp_path / "a.npz", lengths="last_spike")
    raster = raster_of(events)
    for part, rows in zip(found, split, strict=True):
        last = [
            max([k + 1 for k in range(STEPS) if raster[row, k].any()], default=1) for row in rows
        ]
        np.testing.assert_array_equal(part.lengths, last)


def test_values_to_predict(tmp_path: Path) -> None:
    events, _ = spikes()
    values = np.random.default_rng(3).normal(size=(SAMPLES, 2)) * (1.0, 5.0)
    np.savez(tmp_path / "a.npz", events=events, labels=values)
    data, found = read(tmp_path / "a.npz")
    assert (data.predict, data.outputs) == ("values", 2)
    assert found.train.labels.shape == (42, 2) and found.train.labels.dtype == np.float32
    # R2 of the means is 0: the mean loss over the training samples is their variance.
    objective = Spikes().shape(SpikesConfig(data)).values
    assert objective is not None
    means = np.broadcast_to(found.train.labels.mean(axis=0), (42, 2))
    points = objective.points(jnp.asarray(means), jnp.asarray(found.train.labels))
    assert float(points.mean()) == pytest.approx(0.0, abs=1e-5)
    # Whole numbers may be values too, and classes may be whole numbers in floating point.
    np.savez(tmp_path / "b.npz", events=events, labels=np.arange(SAMPLES))
    assert read(tmp_path / "b.npz", predict="values")[0].outputs == 1
    np.savez(tmp_path / "c.npz", events=events, labels=np.arange(SAMPLES) % 4.0)
    data, found = read(tmp_path / "c.npz", predict="classes")
    assert data.outputs == 4 and found.test.labels.dtype == np.int32


def test_analog_rasters_stay_as_they_are(tmp_path: Path, split: list[np.ndarray]) -> None:
    raster = np.random.default_rng(4).normal(size=(SAMPLES, STEPS, UNITS))
    np.savez(tmp_path / "a.npz", raster=raster, labels=spikes()[1])
    data, found = read(tmp_path / "a.npz")
    assert data.analog and not data.capacity
    np.testing.assert_array_equal(found.test.inputs, raster[split[2]].astype(np.float32))
    _, found = read(tmp_path / "a.npz", pool=4)
    wanted = np.stack([raster[:, :, :4].sum(axis=2), raster[:, :, 4:].sum(axis=2)], axis=2)
    np.testing.assert_allclose(found.test.inputs, wanted[split[2]], rtol=1e-5, atol=1e-5)


def test_another_file_of_the_same_name_is_noticed(tmp_path: Path) -> None:
    events, labels = spikes()
    path = tmp_path / "a.npz"
    np.savez(path, events=events, labels=labels)
    task = Spikes()
    settings = task.complete(settings_of(path))
    np.savez(path, events=events, labels=labels[::-1])
    for use in (task.complete, lambda settings: Spikes().load(settings, RunOptions())):
        with pytest.raises(ConfigError, match="other contents than when the run began"):
            use(settings)


def test_what_was_read_is_said_before_training(tmp_path: Path) -> None:
    events, labels = spikes()
    sample, step, unit = events.T
    path = tmp_path / "ms.npz"
    np.savez(path, sample=sample, time=step.astype(float), unit=unit, labels=labels)
    task = Spikes()
    settings = task.complete(settings_of(path, pool=2))
    said = list(task.remarks(settings))
    assert "42 train, 6 validation, 12 test samples; 11001 steps of 1 ms, 4 inputs of 7" in said[1]
    assert "whole numbers only, up to 11" in said[0] and "milliseconds" in said[0]
