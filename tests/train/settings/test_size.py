"""Runs that cannot fit or end are refused before anything is built, and said in numbers."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

import train
from train import evaluate
from train.errors import BAD_INPUT, CheckpointError, ConfigError, InputError
from train.settings import NetworkConfig, RunOptions, TrainingConfig, size
from train.settings.numbers import check_numbers
from train.settings.size import RunSize, bytes_in_words, check_size, days_in_words, memory
from train.tasks import TASKS, find_task
from train.tasks.randman import Randman, RandmanConfig, RandmanData
from train.tasks.yin_yang.task import YinYang

RUN = Path(__file__).resolve().parents[3] / "checkpoints" / "randman_reference"


def sizes(**fields: Any) -> RunSize:
    """Sizes of a small run, some of them changed."""
    small = RunSize(
        samples=1000,
        sample_bytes=2000,
        steps=100,
        inputs=20,
        neurons=(128, 10),
        weights=20_000,
        batch_size=250,
        epochs=30,
        moments=2,
    )
    return dataclasses.replace(small, **fields)


def test_parts_are_what_arrays_of_these_shapes_take() -> None:
    needs = sizes().memory()
    samples = np.zeros((1000, 100, 20), np.uint8)
    activity = np.zeros((250, 100, 20 + 128 + 10), np.float32)
    weights = np.zeros((4, 20_000), np.float32)  # with gradient and two moments
    assert list(needs.values()) == [samples.nbytes, activity.nbytes, weights.nbytes]
    inputs = np.zeros((250, 100, 20), np.float32)
    assert list(sizes().memory(training=False).values())[1:] == [inputs.nbytes, 80_000]
    assert next(iter(sizes().memory(streamed=True).values())) == samples.nbytes // 5


@pytest.mark.parametrize("flags", [{}, {"hidden": (7, 5)}, {"population": 3, "recurrent": False}])
@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_weights_are_those_of_the_network(flags: dict[str, Any], optimizer: Any) -> None:
    network = NetworkConfig(learn_tau=False, **flags)
    training = TrainingConfig(optimizer=optimizer, batch_size=8)
    data = RandmanData(samples_per_class=10)
    task, settings = Randman(), RandmanConfig(data=data, network=network, training=training)
    found = task.size(settings)
    assert found is not None and found.samples == 100
    made = jax.eval_shape(task.build(settings).init, jax.random.key(0))
    matrices = [leaf for leaf in jax.tree.leaves(made) if leaf.ndim == 2]
    assert found.weights == sum(leaf.size for leaf in matrices)
    part = task.load(settings, RunOptions()).train
    assert found.sample_bytes * len(part.labels) == part.inputs.nbytes
    assert found.moments == {"adamw": 2, "sgd": 1}[optimizer]


def test_points_have_the_weights_of_their_network() -> None:
    settings = YinYang.settings()
    made = jax.eval_shape(YinYang().build(settings).init, jax.random.key(0))
    # Without the bias unit, which is one more input.
    assert 0 <= sum(x.size for x in jax.tree.leaves(made)) - YinYang().size(settings).weights <= 120


def test_settings_as_they_come_pass() -> None:
    for name in TASKS:
        task = find_task(name)
        settings = task.settings()
        check_numbers(settings)
        if name != "spikes":  # whose sizes follow from a file
            check_size(task.size(settings))


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "samples": ({"samples": 10**12}, "at least 2 PB for 1000000000000 samples of 100 steps"),
    "steps": ({"steps": 10**9}, "1.58e+05 GB|158 TB for a batch of 250 of them, 1000000000 steps"),
    "neurons": ({"neurons": (10**9, 10)}, "TB for a batch of 250"),
    "weights": ({"weights": 10**18}, "1.6e[+]04 PB for 1000000000000000000 weights"),
    "batch": ({"batch_size": 10**12}, "PB for a batch of 1000000000000 of them"),
    "digits": ({"steps": 10**400}, "inf PB for a batch"),
    "layers": ({"neurons": (1,) * 5001}, "at most 500 layers, .*, got 5000"),
    "epochs": ({"epochs": 10**15}, "takes at least .* years, even at 1e[+]14 multiplications"),
    "time": ({"steps": 10**7, "batch_size": 1, "epochs": 10**4}, "days, even at"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_is_refused_with_its_numbers(name: str) -> None:
    fields, words = REFUSED[name]
    with pytest.raises(ConfigError, match=words) as caught:
        check_size(sizes(**fields))
    assert "--no-size-limit" in str(caught.value)
    check_size(sizes(**fields), limit=False)
    check_size(None)


def test_the_limit_is_the_memory_that_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    total = sum(sizes().memory().values())
    monkeypatch.setattr(size, "memory", lambda: total)
    check_size(sizes())
    monkeypatch.setattr(size, "memory", lambda: total - 1)
    with pytest.raises(ConfigError, match=r"15.8 MB for a batch .* 17.8? MB|this machine has"):
        check_size(sizes())
    check_size(sizes(), training=False)  # evaluation remembers no activity


def test_memory_is_no_more_than_the_machine_has() -> None:
    pages = Path("/proc/meminfo").read_text().split("MemTotal:")[1].split()[0]
    assert 0 < memory() <= 1024 * int(pages)


def test_words() -> None:
    assert [bytes_in_words(x) for x in (5e5, 2e9, 3e12, 4e15)] == ["0.5 MB", "2 GB", "3 TB", "4 PB"]
    assert days_in_words(86400.0 * 100) == "100 days"
    assert days_in_words(86400.0 * 36525) == "100 years"


# Settings, by flags and from files.

FLAGS = {
    "--steps 1000000000": "memory left",
    "--steps 1" + "0" * 30: "--steps: expected a whole number of at most 63 bits, got one of 100",
    "--hidden 1000000000": "PB for 1000000006000000000 weights",
    "--hidden " + "1 " * 5000: "expected at most 500 layers",
    "--batch-size 1000000000000 --samples-per-class 1000000000000": "memory left",
    "--dt 1e-320": "--dt: expected a time from 1e-12 to 1e[+]09 seconds, got 9.99989e-321",
    "--tau-mem 1e300": "--tau-mem: expected a time from 1e-12",
    "--population 1000000000000": "memory left",
    "--epochs 1000000000000000000": "takes at least",
    "--dim 1000000000": "TB for manifolds of --dim 1000000000 for 2 classes",
    "--readout-gain 1e300": "--readout-gain: expected 0 or a number of a size from 1e-37 to 3e",
    "--weight-decay 1e-300": "--weight-decay: expected 0 or a number .* float32, got 1e-300",
    "--learning-rate nan": "--learning-rate: expected a finite number, got nan",
}


@pytest.mark.parametrize("flags", FLAGS)
def test_flags_beyond_all_bounds_end_with_one_message(
    flags: str,
    train: Callable[..., int],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    began = time.monotonic()
    assert train(tmp_path / "run", *flags.split()) == BAD_INPUT
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and not (tmp_path / "run").exists()
    assert re.search(FLAGS[flags], said), said
    assert time.monotonic() - began < 30.0


def test_every_task_refuses_what_is_too_large(capsys: pytest.CaptureFixture[str]) -> None:
    for name in TASKS:
        task = find_task(name)
        settings = task.settings()
        network = dataclasses.replace(settings.network, hidden=(10**9, 10**9))
        settings = dataclasses.replace(settings, network=network)
        with pytest.raises(ConfigError, match="memory left"):
            check_size(task.size(settings))


CONFIGS: dict[str, tuple[tuple[str, str], Any, str]] = {
    "steps": (("data", "steps"), 10**9, "memory left"),
    "hidden": (("network", "hidden"), [10**9], "memory left"),
    "layers": (("network", "hidden"), [1] * 5000, "at most 500 layers"),
    "dt": (("data", "dt"), 1e-320, "a time from 1e-12"),
    "batch": (("training", "batch_size"), 10**18, "memory left|training samples"),
    "units": (("data", "units"), 2**62, "memory left"),
}


@pytest.mark.parametrize("name", CONFIGS)
def test_a_checkpoint_that_names_such_sizes_is_not_built(name: str, tmp_path: Path) -> None:
    (part, field), value, words = CONFIGS[name]
    run = Path(shutil.copytree(RUN, tmp_path / "run"))
    path = run / "checkpoints" / "30" / "meta" / "metadata"
    meta = json.loads(path.read_text())
    meta["settings"]["config"][part][field] = value
    path.write_text(json.dumps(meta))
    (run / "config.json").write_text(json.dumps(meta["settings"]))
    began = time.monotonic()
    with pytest.raises(InputError, match=words):
        train_restore(run)
    assert time.monotonic() - began < 30.0
    assert evaluate.main(["--checkpoint", str(run)]) == BAD_INPUT


def train_restore(run: Path) -> Any:
    return train.restore(run)


def test_numbers_that_nothing_can_compute_with() -> None:
    with pytest.raises(ConfigError, match="--hidden: expected a whole number of at most 63 bits"):
        check_numbers(RandmanConfig(network=NetworkConfig(hidden=(3, -(2**70)))))
    with pytest.raises(ConfigError, match="--tau-syn: expected a time from"):
        check_numbers(RandmanConfig(network=NetworkConfig(tau_syn=1e-13)))
    check_numbers(RandmanConfig(network=NetworkConfig(tau_syn=0.0)))
    assert sys.float_info.max > 1e300 and issubclass(CheckpointError, InputError)
