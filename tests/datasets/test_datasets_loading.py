"""Batches of events through grain: what they hold does not depend on workers, and they resume."""

import json
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from flax_snn import datasets
from flax_snn.datasets import Augment, event_loader, sample_generator

GOLDEN = Path(__file__).parents[1] / "golden" / "datasets"
GRID = {"dt": 0.02, "steps": 50, "outside": "drop"}
AUGMENT = Augment(shift=10, time_jitter=0.01, drop=0.2)


@pytest.fixture(scope="module")
def source() -> datasets.SpikeFile:
    return datasets.SpikeFile(GOLDEN / "shd_tiny.h5")


def same(one: Any, other: Any) -> None:
    assert jax.tree.structure(one) == jax.tree.structure(other)
    jax.tree.map(np.testing.assert_array_equal, one, other)


def test_an_epoch_has_the_order_of_batches_in_memory(source: datasets.SpikeFile) -> None:
    loader = event_loader(source, 6, **GRID, seed=4, epoch=2, epochs=2)
    rows = [batch["row"] for batch in loader]
    expected = [
        batch
        for epoch in (2, 3)
        for batch in datasets.batches(np.arange(20), 6, seed=4, epoch=epoch)
    ]
    np.testing.assert_array_equal(rows, expected)


def test_a_batch_holds_its_samples(source: datasets.SpikeFile) -> None:
    for batch in event_loader(source, 6, **GRID, seed=0):
        np.testing.assert_array_equal(batch["label"], source.labels[batch["row"]])
        rasters = [datasets.raster(source[int(k)].data, **GRID) for k in batch["row"]]
        np.testing.assert_array_equal(batch["inputs"].raster(), rasters)


def test_a_sample_is_changed_by_seed_epoch_and_row_alone(source: datasets.SpikeFile) -> None:
    for size in (3, 7):
        for batch in event_loader(source, size, **GRID, seed=9, epoch=5, augment=AUGMENT):
            rasters = [
                datasets.raster(AUGMENT(source[row].data, sample_generator(9, 5, row)), **GRID)
                for row in batch["row"].tolist()
            ]
            np.testing.assert_array_equal(batch["inputs"].raster(), rasters)


def test_blended_samples_are_of_one_class(source: datasets.SpikeFile) -> None:
    source = datasets.InMemory([s.data for s in source], labels=[k % 2 for k in range(20)])
    plain, mixed = (
        list(event_loader(source, 20, **GRID, seed=1, blend=blend, shuffle=False))[0]
        for blend in (0.0, 1.0)
    )
    np.testing.assert_array_equal(plain["label"], mixed["label"])
    found = mixed["inputs"].raster()
    assert (found != plain["inputs"].raster()).any(axis=(1, 2)).sum() > 15
    for row in range(20):
        generator = sample_generator(1, 1, row)
        generator.random()
        partner = int(generator.choice(np.arange(row % 2, 20, 2)))
        blended = datasets.blend(source[row].data, source[partner].data, generator)
        np.testing.assert_array_equal(found[row], datasets.raster(blended, **GRID))


def test_an_iterator_goes_on_where_its_state_was_stored(source: datasets.SpikeFile) -> None:
    def loader() -> Any:
        return event_loader(source, 6, **GRID, seed=4, epochs=3, augment=AUGMENT)

    whole = list(loader())
    assert len(whole) == 9
    for stop in (1, 4):
        iterator = iter(loader())
        for _ in range(stop):
            next(iterator)
        state = json.loads(json.dumps(iterator.get_state()))
        resumed = iter(loader())
        resumed.set_state(state)
        for one, other in zip(resumed, whole[stop:], strict=True):
            same(one, other)


@pytest.mark.slow
def test_workers_change_nothing_but_the_speed(source: datasets.SpikeFile) -> None:
    def batches(workers: int) -> Any:
        options = {"seed": 4, "epochs": 2, "augment": AUGMENT, "blend": 0.5}
        return iter(event_loader(source, 6, **GRID, **options, workers=workers))

    alone = list(batches(0))
    shared = batches(2)
    for k, expected in enumerate(alone):
        if k == 3:
            state = shared.get_state()
        same(next(shared), expected)
    resumed = batches(2)
    resumed.set_state(state)
    for one, other in zip(resumed, alone[3:], strict=True):
        same(one, other)


def test_prepared_data_are_loaded_alike(source: datasets.SpikeFile, tmp_path: Path) -> None:
    row = datasets.Recorded("tiny", ("train",), lambda folder, part: source)
    prepared = datasets.prepare(row, tmp_path, data_dir=tmp_path)["train"]
    for one, other in zip(
        event_loader(prepared, 5, **GRID, seed=0),
        event_loader(source, 5, **GRID, seed=0),
        strict=True,
    ):
        same(one, other)


def test_the_last_batch_may_be_smaller(source: datasets.SpikeFile) -> None:
    sizes = [
        len(batch["row"]) for batch in event_loader(source, 6, **GRID, seed=0, drop_last=False)
    ]
    assert sizes == [6, 6, 6, 2]


def test_bad_input_is_refused(source: datasets.SpikeFile) -> None:
    with pytest.raises(ValueError, match="batch_size: expected at most 20"):
        event_loader(source, 21, **GRID, seed=0)
    with pytest.raises(ValueError, match=r"blend: .*\[0, 1\]"):
        event_loader(source, 2, **GRID, seed=0, blend=1.5)
    with pytest.raises(ValueError, match="epochs: expected 1 with drop_last=False"):
        event_loader(source, 2, **GRID, seed=0, epochs=2, drop_last=False)
    with pytest.raises(ValueError, match=r"^sample \d+, event \d+: expected a time in"):
        list(event_loader(source, 20, dt=0.02, steps=5, seed=0))
    sounds = datasets.InMemory([np.zeros(3)] * 2, labels=[0, 0])
    with pytest.raises(TypeError, match="sample 0: expected Events, got .*Mapped"):
        list(event_loader(sounds, 2, **GRID, seed=0, shuffle=False))
