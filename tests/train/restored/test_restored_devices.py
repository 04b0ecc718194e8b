"""A network evaluated over virtual devices gives the numbers of one device.

The devices have to be asked for before JAX starts: a process of its own evaluates on one device and
on several, in one call of this file.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.train.run.several import ROOT, Processes, environment
from train.errors import ConfigError
from train.evaluate import main as evaluate
from train.restored.run import restore

REFERENCE = ROOT / "checkpoints" / "randman_reference"
BATCHES = [(2, 1), (3, 1), (4, 1)]
"""Devices, and those of them that share a layer; 3 do not divide a batch."""


def evaluated(run: Path, meshes: list[tuple[int, int]]) -> list[dict[str, Any]]:
    """Evaluates a run on one device and over each mesh, in a process with four devices."""
    words = [f"{devices}x{model}" for devices, model in [(1, 1), *meshes]]
    line = [sys.executable, "-m", "tests.train.restored.test_restored_devices", str(run), *words]
    done = subprocess.run(
        line, cwd=ROOT, env=environment(4), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found: list[dict[str, Any]] = json.loads(done.stdout.splitlines()[-1])
    return found


def assert_same_numbers(run: Path, meshes: list[tuple[int, int]]) -> None:
    one, *others = evaluated(run, meshes)
    assert one["used"] == 1 and len(others) == len(meshes)
    for found, (devices, model) in zip(others, meshes, strict=True):
        assert (found["used"], found["parts"]) == (devices, devices // model)
        # Whole numbers are the same; sums of floats are taken in another order.
        for name in ("samples", "predictions", "points"):
            assert found[name] == one[name], name
        assert len(found["predictions"]) == found["samples"] > 0
        for name in ("loss", "activity"):
            np.testing.assert_allclose(found[name], one[name], rtol=2e-6, err_msg=name)


@pytest.mark.slow
def test_the_reference_is_evaluated_over_devices_as_on_one() -> None:
    assert_same_numbers(REFERENCE, [*BATCHES, (4, 2)])


@pytest.mark.slow
@pytest.mark.parametrize("crossbar", [[], ["--crossbar", "pcm"]])
def test_padding_counts_for_nothing(
    train: Callable[..., int], tmp_path: Path, crossbar: list[str]
) -> None:
    # Batches of 7: padding in each of them, and in the last one of the 8 samples anyway. Chips are
    # the same ones, and their noise too.
    assert train(tmp_path, "--batch-size", "7", *crossbar) == 0
    assert_same_numbers(tmp_path, BATCHES)


@pytest.mark.slow
def test_networks_in_continuous_time(train_yin_yang: Callable[..., int], tmp_path: Path) -> None:
    assert train_yin_yang(tmp_path) == 0
    assert_same_numbers(tmp_path, BATCHES)


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 2])
def test_a_run_of_many_devices_and_processes_is_restored_on_one(
    train: Callable[..., int], tiny_flags: list[str], tmp_path: Path, processes: int
) -> None:
    run = tmp_path / "run"
    flags = [*tiny_flags, "--hidden", "64", "--workdir", str(run), "--devices", "4"]
    spread = ["--model-devices", "2"] if processes == 1 else ["--heartbeat", "400"]
    command = ["train.randman", *flags, *spread]
    if processes == 1:
        line = [sys.executable, "-m", *command]
        assert subprocess.run(line, cwd=ROOT, env=environment(4), check=False).returncode == 0
    else:
        with Processes(tmp_path, command, processes, 4 // processes) as started:
            assert started.codes() == [0] * processes, started.text(0)
    result = json.loads((run / "result.json").read_text())
    restored = restore(run)
    assert restored.devices is None
    sums = restored.evaluate(restored.data("test")).sums
    assert float(sums.points / sums.samples) == result["test_accuracy"]
    assert float(sums.loss / sums.samples) == pytest.approx(result["test_loss"], rel=2e-6)
    for layer, spikes in zip(result["test_rates_hz"], sums.activity, strict=True):
        rate = float(spikes.mean() / sums.samples) / 5e-3
        assert rate == pytest.approx(result["test_rates_hz"][layer], rel=2e-6)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--devices", "1000"], "--devices 1000: expected at most the "),
        (["--devices", "-1"], "--devices: expected at least 1, got -1"),
        (["--devices", "3", "--model-devices", "2"], "--devices 3: expected a multiple of 2"),
        (["--devices", "2", "--crossbar", "pcm"], "--crossbar runs the network in another way"),
        (["--devices", "2", "--diagnose"], "--diagnose runs the network in another way"),
        (["--model-devices", "2", "--nir", "net.nir"], "--nir runs the network in another way"),
    ],
)
def test_devices_that_cannot_be_used_are_refused(
    capsys: pytest.CaptureFixture[str], flags: list[str], words: str
) -> None:
    assert evaluate(["--checkpoint", str(REFERENCE), *flags]) == 2
    shown = capsys.readouterr().err
    assert words in shown and len(shown.splitlines()) == 1


def test_restore_refuses_devices_that_are_not_there() -> None:
    with pytest.raises(ConfigError, match="--devices 1000: expected at most"):
        restore(REFERENCE, devices=1000)


def main(run: str, *meshes: str) -> None:
    """Evaluates a run over meshes of so many devices x model devices; prints what it found."""
    import jax

    found = []
    for mesh in meshes:
        devices, model = map(int, mesh.split("x"))
        restored = restore(run, devices=devices, model_devices=model)
        scored = restored.evaluate(restored.data("test"))
        sums = scored.sums
        used = {d for leaf in jax.tree.leaves(restored.params) for d in leaf.devices()}
        found.append(
            {
                "used": len(used),
                "parts": 1 if restored.devices is None else restored.devices.data,
                "samples": int(sums.samples),
                "points": float(sums.points),
                "loss": float(sums.loss),
                "activity": [float(x) for layer in sums.activity for x in np.asarray(layer)],
                "predictions": np.asarray(scored.predictions).tolist(),
            }
        )
    print(json.dumps(found))


if __name__ == "__main__":
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    main(*sys.argv[1:])
