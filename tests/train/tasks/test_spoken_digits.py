"""Spoken digits: the split, the spikes of a recording, augmentation, and runs on a few sounds."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import wave
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import train as app
from train.command_line import run_command
from train.data.digest import digest_of
from train.errors import ConfigError
from train.settings import RunOptions
from train.tasks.raster import Shape
from train.tasks.recorded.augmentation import (
    AugmentationConfig,
    AugmentedRasters,
    drop_band,
    move_channels,
    warp,
)
from train.tasks.recorded.network import PUBLISHED_JUMP, RecordedNetwork, network_of, readout_name
from train.tasks.recorded.prepared import read_prepared
from train.tasks.spoken_digits.settings import SpokenDigitsConfig
from train.tasks.spoken_digits.task import SpokenDigitsTask

RATE = 8000
SPEAKERS = ("ann", "bob")
INDICES = range(4, 8)  # 4 for the test, 5 and 6 for validation, 7 to train


def sound(digit: int, speaker: int, index: int) -> np.ndarray:
    """Returns a tone whose height says the digit, of a length of its own."""
    length = 700 + 80 * index + 7 * speaker
    time = np.arange(length) / RATE
    loudness = np.linspace(0.02, 1.0, length) if speaker else 1.0
    return (8000 * loudness * np.sin(2 * np.pi * (300 + 300 * digit) * time)).astype(np.int16)


def write(path: Path, samples: np.ndarray) -> None:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes(samples.tobytes())


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of the layout of the data set: 10 digits, 2 speakers, 4 recordings each."""
    folder = tmp_path_factory.mktemp("recordings")
    for digit in range(10):
        for k, speaker in enumerate(SPEAKERS):
            for index in INDICES:
                write(folder / f"{digit}_{speaker}_{index}.wav", sound(digit, k, index))
    return folder


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of their own for the tests, shared by all of them."""
    folder = tmp_path_factory.getbasetemp() / "data_cache"
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder))
    monkeypatch.delenv("FLAX_SNN_DATA_DIR", raising=False)
    return folder


def settings_of(**data: Any) -> SpokenDigitsConfig:
    found = SpokenDigitsConfig()
    data = {"channels": 8, "steps": 18, "validation": 2} | data
    return dataclasses.replace(found, data=dataclasses.replace(found.data, **data))


def load(folder: Path, **data: Any) -> tuple[Any, Any]:
    """Returns settings and data, as a run has them."""
    task, options = SpokenDigitsTask(), RunOptions(data_dir=folder)
    settings = task.with_data(settings_of(**data), options)
    return settings, task.load(settings, options)


def crossings(samples: np.ndarray, channels: int, dt: float) -> np.ndarray:
    """Level crossings in float64, one frame and one channel after the other."""
    size, hop = 200, round(dt * RATE)
    mel = [2595 * math.log10(1 + f / 700) for f in (60, 0.975 * RATE / 2)]
    edges = [700 * (10 ** (m / 2595) - 1) for m in np.linspace(*mel, channels + 2)]
    x = np.concatenate([np.zeros(size // 2), samples / 2**15, np.zeros(size)])
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(size) / (size - 1))
    energies = []
    for start in range(0, len(samples) + 1, hop):
        power = np.abs(np.fft.rfft(x[start : start + size] * window, 512)) ** 2
        frequency = np.arange(257) * RATE / 512
        energies.append(
            [
                math.log(power @ np.interp(frequency, edges[c : c + 3], [0, 1, 0]) + 1e-10)
                for c in range(channels)
            ]
        )
    z = np.maximum(np.array(energies) - np.max(energies), -8.0) + 8.0
    found = np.zeros((len(z), 2 * channels), int)
    for c in range(channels):
        at = 0
        for t in range(len(z)):
            while z[t, c] >= 0.5 * (at + 1):
                at, found[t, c] = at + 1, found[t, c] + 1
            while z[t, c] <= 0.5 * (at - 1):
                at, found[t, channels + c] = at - 1, found[t, channels + c] + 1
    return found


def test_samples_are_the_level_crossings_of_the_recordings(recordings: Path) -> None:
    _, data = load(recordings)
    labels, spikes = np.asarray(data.test.labels), np.asarray(data.test.inputs)
    assert labels.tolist() == [digit for digit in range(10) for _ in SPEAKERS]
    for row, (digit, speaker) in enumerate((d, s) for d in range(10) for s in range(2)):
        expected = crossings(sound(digit, speaker, 4).astype(float), 8, 10e-3)
        assert data.test.lengths[row] == len(expected)
        assert not spikes[row, len(expected) :].any()
        # Energies in float32 may fall on the other side of a level: by one crossing, rarely.
        off = np.abs(spikes[row, : len(expected)].astype(int) - expected)
        assert off.max() <= 1 and off.sum() <= 2
    assert spikes.sum() > 500


def test_official_split_and_validation_from_the_training_part(recordings: Path) -> None:
    _, data = load(recordings)
    assert [len(part.labels) for part in data] == [20, 40, 20]
    # Recordings are told apart by their lengths: the index and the speaker of each.
    steps = {i: {len(sound(0, s, i)) // 80 + 1 for s in range(2)} for i in INDICES}
    assert set(data.test.lengths.tolist()) == steps[4]
    assert set(data.validation.lengths.tolist()) == steps[5] | steps[6]
    assert set(data.train.lengths.tolist()) == steps[7]


def test_a_speaker_left_out_is_heard_in_the_test_only(recordings: Path) -> None:
    _, everyone = load(recordings)
    _, data = load(recordings, leave_out="bob")
    assert [len(part.labels) for part in data] == [10, 20, 40]
    bob = {np.asarray(x).tobytes() for x in data.test.inputs}
    for part in (data.train, data.validation):
        assert not bob & {np.asarray(x).tobytes() for x in part.inputs}
    assert {np.asarray(x).tobytes() for x in everyone.test.inputs} & bob
    with pytest.raises(ConfigError, match="--leave-out: expected one of the speakers ann, bob"):
        load(recordings, leave_out="carl")


def test_prepared_once_and_read_without_the_folder(
    recordings: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings, first = load(recordings)
    monkeypatch.setattr(SpokenDigitsTask, "prepare", lambda *a: pytest.fail("prepared again"))
    again = SpokenDigitsTask().load(settings, RunOptions())
    jax.tree.map(np.testing.assert_array_equal, first, again)


def test_a_damaged_prepared_file_is_made_again(recordings: Path) -> None:
    settings, first = load(recordings, channels=5)
    path = SpokenDigitsTask()._path(settings)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    assert read_prepared(path) is None
    with pytest.raises(ConfigError, match="expected the folder of the data"):
        SpokenDigitsTask().load(settings, RunOptions())
    _, again = load(recordings, channels=5)
    jax.tree.map(np.testing.assert_array_equal, first, again)
    assert [p.suffix for p in path.parent.iterdir()].count(".part") == 0


def test_other_recordings_than_those_of_the_run_are_refused(
    recordings: Path, tmp_path: Path
) -> None:
    settings, _ = load(recordings)
    for path in recordings.iterdir():
        os.link(path, tmp_path / path.name)
    assert digest_of(list(tmp_path.iterdir()), "--data-dir", names=True) == settings.data.digest
    (tmp_path / "3_ann_7.wav").unlink()
    with pytest.raises(ConfigError, match="other files than when the run began"):
        SpokenDigitsTask().with_data(settings, RunOptions(data_dir=tmp_path))


def test_folders_that_cannot_be_used(tmp_path: Path) -> None:
    task, settings = SpokenDigitsTask(), settings_of()
    with pytest.raises(ConfigError, match="FLAX_SNN_DATA_DIR.*free-spoken-digit-dataset"):
        task.with_data(settings, RunOptions())
    with pytest.raises(ConfigError, match="no such folder.*free-spoken-digit-dataset"):
        task.with_data(settings, RunOptions(data_dir=tmp_path / "none"))
    with pytest.raises(ConfigError, match="recordings"):
        task.with_data(settings, RunOptions(data_dir=tmp_path))
    write(tmp_path / "0_ann_0.wav", sound(0, 0, 0))
    (tmp_path / "0_ann_1.wav").write_bytes(b"RIFF, not quite")
    with pytest.raises(ConfigError, match="0_ann_1.wav"):
        load(tmp_path)
    write(tmp_path / "0_ann_1.wav", np.zeros(0, np.int16))
    with pytest.raises(ConfigError, match="0_ann_1.wav"):
        load(tmp_path)
    write(tmp_path / "0_ann_1.wav", sound(0, 0, 1))
    with pytest.raises(ConfigError, match="no recordings are left for training"):
        load(tmp_path)


@pytest.mark.parametrize(
    ("part", "field", "value", "message"),
    [
        ("data", "level", 0.0, "--level"),
        ("data", "level", 0.01, "from 1 to 255 levels"),
        ("data", "steps", 0, "--steps"),
        ("data", "validation", 0, "--validation"),
        ("network", "dropout", 1.0, "--dropout"),
        ("network", "max_delay", 1e-3, "--max-delay: expected from one step"),
        ("network", "tau_adapt", -1.0, "--tau-adapt"),
        ("augmentation", "stretch", 1.0, "--stretch"),
        ("augmentation", "band_drop", 8, "--band-drop: expected fewer than the 8 channels"),
    ],
)
def test_settings_that_cannot_work(part: str, field: str, value: Any, message: str) -> None:
    settings = settings_of()
    changed = dataclasses.replace(getattr(settings, part), **{field: value})
    with pytest.raises(ConfigError, match=message):
        SpokenDigitsTask().check(dataclasses.replace(settings, **{part: changed}))


def test_warp_moves_and_stretches_counts() -> None:
    spikes = np.random.default_rng(0).poisson(0.5, (6, 20, 3)).astype(np.uint8)
    key = jax.random.key(3)
    found = np.asarray(warp(jnp.asarray(spikes), key, 4.0, 0.2))
    first, second = jax.random.split(key)
    factor = np.asarray(jax.random.uniform(first, (6, 1), minval=0.8, maxval=1.2))
    later = np.asarray(jax.random.uniform(second, (6, 1), minval=-4 / 3, maxval=4.0))
    expected = np.zeros((6, 20, 3))
    for b, t, n in np.ndindex(6, 20, 3):
        at = math.floor(np.float32(factor[b, 0] * np.float32(t + 0.5)) + later[b, 0])
        if 0 <= at < 20:
            expected[b, at, n] += spikes[b, t, n]
    np.testing.assert_array_equal(found, expected)
    assert (expected != spikes).any() and 0 < expected.sum() <= spikes.sum()
    np.testing.assert_array_equal(warp(jnp.asarray(spikes), key, 0.0, 0.0), spikes)


def test_channels_move_together_and_bands_fall_silent() -> None:
    spikes = np.arange(1, 5 * 2 * 2 * 6 + 1, dtype=np.int32).reshape(5, 2, 2, 6)
    moved = np.asarray(move_channels(jnp.asarray(spikes), jax.random.key(0), 2.0))
    for before, after in zip(spikes, moved, strict=True):
        shifts = [
            by
            for by in range(-6, 7)
            if all(
                (after[..., c] == (before[..., c - by] if 0 <= c - by < 6 else 0)).all()
                for c in range(6)
            )
        ]
        assert shifts, "each sample is moved by one number of channels"
    silent = np.asarray(drop_band(jnp.asarray(spikes), jax.random.key(1), 3)) == 0
    for each in silent:
        channels = np.flatnonzero(each.any(axis=(0, 1)))
        assert len(channels) <= 3 and each[..., channels].all()
        assert (np.diff(channels) == 1).all()
    assert silent.any()


def test_augmentation_changes_training_only_and_nothing_when_it_is_off() -> None:
    spikes = jnp.asarray(np.random.default_rng(0).poisson(0.5, (4, 20, 8)).astype(np.uint8))
    config = AugmentationConfig(0.03, 0.1, 1.0, 2, 0.1)
    on = AugmentedRasters(20, 8, 1e-2, groups=2, config=config)
    off = AugmentedRasters(20, 8, 1e-2, groups=2)
    key = jax.random.key(0)
    np.testing.assert_array_equal(off.augment(spikes, key, 0.0), spikes)
    np.testing.assert_array_equal(on(spikes), spikes)
    augment = jax.jit(lambda spikes, key: on.augment(spikes, key, 0.0))
    changed = augment(spikes, key)
    assert (np.asarray(changed) != np.asarray(spikes)).any()
    np.testing.assert_array_equal(changed, augment(spikes, key))


def test_the_jump_of_the_adaptation_is_the_published_one() -> None:
    shape = Shape(10, 4, 3, dt=4e-3)
    config = RecordedNetwork(neuron="adlif", tau_mem=60e-3, tau_adapt=720e-3)
    neuron = network_of(config, shape, training=False).cell.cells[0].dynamics
    assert neuron.q == pytest.approx(120.0)  # 15 and 180 steps are those of Baronig et al.
    other = dataclasses.replace(config, tau_adapt=200e-3)
    c = network_of(other, shape, training=False).cell.cells[0].dynamics.coefficients()
    assert float((1 - c.beta) * c.q) == pytest.approx(PUBLISHED_JUMP, rel=1e-5)


SPREAD = {"max_delay": 30e-3, "recurrent": False}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("neuron", "more"),
    [
        ("lif", SPREAD),
        *(pytest.param(n, {}, marks=pytest.mark.slow) for n in ("lif", "alif", "adlif")),
        *(pytest.param(n, SPREAD, marks=pytest.mark.slow) for n in ("alif", "adlif")),
    ],
)
def test_dropout_and_spread_delays_act_in_training_only(neuron: str, more: Any) -> None:
    settings = settings_of()
    network = dataclasses.replace(
        settings.network, hidden=(6, 5), neuron=neuron, dropout=0.5, input_gain=20.0, **more
    )
    settings = dataclasses.replace(settings, network=network)
    SpokenDigitsTask().check(settings)
    model = SpokenDigitsTask().build(settings)
    params = model.init(jax.random.key(0))
    last = readout_name(network)
    assert params["cell"][last]["kernel"].shape == (5, 10)
    inputs = np.random.default_rng(0).poisson(0.3, (3, 18, 16)).astype(np.uint8)
    keys = [jax.random.key(k) for k in range(2)]
    score = jax.jit(lambda params, key: model.apply(params, inputs, key).z)
    scored = [np.asarray(score(params, key)) for key in keys]
    np.testing.assert_array_equal(*scored)
    fit = jax.jit(lambda p, k: model.apply(p, inputs, k, None, settings.training).z)
    trained = [np.asarray(fit(params, key)) for key in keys]
    assert (trained[0] != trained[1]).any()
    without = dataclasses.replace(network, dropout=0.0)
    plain = SpokenDigitsTask().build(dataclasses.replace(settings, network=without))
    # The cells of a network without dropout have other numbers, in the same order.
    names, there = sorted(plain.init(keys[0])["cell"]), sorted(params["cell"])
    cells = {name: params["cell"][other] for name, other in zip(names, there, strict=True)}
    found, rounded = jax.jit(
        lambda params, key: (
            plain.apply(params, inputs, key, None, settings.training).z,
            plain.apply(params, inputs, key).z,
        )
    )({"cell": cells}, keys[0])
    np.testing.assert_allclose(rounded, scored[0], rtol=1e-5, atol=1e-6)
    assert np.allclose(found, rounded, rtol=1e-5, atol=1e-6) == (not more)


FLAGS = (
    "--channels 8 --steps 18 --validation 2 --hidden 12 --batch-size 10 --epochs 2 --band-drop 2"
    " --quiet"
).split()


def run(workdir: Path, *flags: str) -> int:
    """Runs the command in this process."""
    # The optimiser multiplies arrays of different dtypes.
    with jax.numpy_dtype_promotion("standard"):
        return run_command(SpokenDigitsTask(), [*flags, "--workdir", str(workdir)])


@pytest.mark.slow
def test_a_run_is_trained_and_evaluated_without_its_folder(
    recordings: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = [*FLAGS, "--neuron", "adlif", "--init", "lsuv"]
    assert run(tmp_path / "run", *flags, "--data-dir", str(recordings)) == 0
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert (tmp_path / "run" / "plots" / "sample.png").exists()
    restored = app.restore(tmp_path / "run")
    assert restored.accuracy("test") == pytest.approx(result["test_accuracy"])
    assert restored.settings.data.digest
    assert str(recordings) not in (tmp_path / "run" / "config.json").read_text()
    # It goes on without the folder, and refuses other recordings.
    resume = ["--resume", "--no-plots", "--quiet", "--epochs"]
    assert run(tmp_path / "run", *resume, "3") == 0
    other = tmp_path / "other"
    other.mkdir()
    write(other / "0_ann_0.wav", sound(0, 0, 0))
    capsys.readouterr()
    assert run(tmp_path / "run", *resume, "4", "--data-dir", str(other)) == 2
    assert "other files than when the run began" in capsys.readouterr().err


def test_data_dir_is_refused_where_nothing_is_read(tmp_path: Path, train: Any) -> None:
    assert train(tmp_path / "run", "--data-dir", str(tmp_path)) == 2
