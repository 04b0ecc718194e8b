"""Batches over virtual devices: the update of one device, and nothing exchanged but gradients.

The devices are virtual ones of the CPU, which a process has to ask for before JAX starts: what is
compared is computed by ``benchmarks.robustness.devices`` in a process of its own.
"""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import jax
import numpy as np
import pytest
from jax.sharding import AbstractMesh

from benchmarks.robustness.devices import CASES, exchanged, ring
from tests.train.run.several import ROOT, environment
from train.errors import ConfigError
from train.run.devices import NARROW, Devices, check_batch, check_several, find_devices
from train.settings import RunOptions

ROWS = [
    f"{case} {devices // model} x {model}"
    for case, (_, _, meshes) in CASES.items()
    for devices, model in meshes
]


def found_by(case: str) -> dict[str, Any]:
    program = [sys.executable, "-m", "benchmarks.robustness.devices", "updates", case]
    done = subprocess.run(
        program, cwd=ROOT, env=environment(8), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


@pytest.fixture(scope="module")
def found() -> dict[str, dict[str, Any]]:
    """What was found of each case that a test has asked for."""
    return {}


@pytest.mark.slow
@pytest.mark.parametrize("row", ROWS)
def test_an_update_is_that_of_one_device(found: dict[str, Any], row: str) -> None:
    case = row.split()[0]
    if case not in found:
        found[case] = found_by(case)
    here = found[case][row]
    # float32, with as many summands in another order.
    assert here["loss_difference"] < 1e-6
    assert here["gradient_difference"] < 1e-6
    if here["model_devices"] == 1:
        assert set(here["exchanged"]) <= {"all-reduce"}
        # The gradient, and beside it what an epoch reports: numbers of spikes, loss, score.
        reported = here["bytes_sent_measured"] - here["bytes_sent_derived"]
        assert 0 <= reported < 0.1 * here["bytes_sent_derived"] + 100


def test_what_is_exchanged_is_read_from_the_program() -> None:
    text = """
  %a = (f32[8,4]{1,0}, /*index=1*/s32[]) all-reduce(%x, %y), channel_id=1
  %b = bf16[2,3]{1,0} all-gather-start(%z), dimensions={0}
  %c = f32[5]{0} add(%p, %q)
"""
    assert exchanged(text) == {"all-reduce": [132], "all-gather": [12]}
    assert [ring(n, 800) for n in (1, 2, 8)] == [0, 800, 1400]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (RunOptions(devices=1000), "--devices 1000: expected at most the . devices .*, got 1000"),
        (RunOptions(devices=-1), "--devices: expected at least 1, got -1"),
        (RunOptions(model_devices=0), "--model-devices: expected at least 1, got 0"),
        (RunOptions(devices=3, model_devices=2), "--devices 3: expected a multiple of 2"),
    ],
)
def test_devices_that_are_not_there_are_refused(options: RunOptions, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        find_devices(options)


def mesh_of(data: int, model: int = 1) -> Devices:
    """Devices that need not be there, for what asks for numbers only."""
    mesh: Any = AbstractMesh((data, model), ("data", "model"))
    return Devices(mesh)


def test_a_batch_that_cannot_be_cut_is_refused_with_both_numbers() -> None:
    check_batch(24, mesh_of(8))
    words = "--batch-size 250: expected a multiple of the 8 devices .*; take 248 or 256"
    with pytest.raises(ConfigError, match=words):
        check_batch(250, mesh_of(8))
    with pytest.raises(ConfigError, match="--batch-size 3: .* take 8$"):
        check_batch(3, mesh_of(8))


@pytest.mark.parametrize(
    ("shape", "spec"),
    [
        ((), ()),
        ((2,), (None,)),
        ((4 * NARROW,), ("model",)),
        ((3, 4 * NARROW), (None, "model")),
        ((4 * NARROW, 10), ("model", None)),
        ((4 * NARROW, 8 * NARROW), (None, "model")),
        ((5, 5, 2, 4 * NARROW), (None, None, None, "model")),
        ((5, 5, 4 * NARROW, 2), (None, None, "model", None)),
    ],
)
def test_wide_layers_are_spread_by_their_neurons(shape: Any, spec: Any) -> None:
    wide = jax.ShapeDtypeStruct((4 * NARROW,), np.float32)
    placed = mesh_of(2, 4).of_state([jax.ShapeDtypeStruct(shape, np.float32), wide])
    assert tuple(placed[0].spec) == spec


def test_layers_that_cannot_be_spread_are_refused() -> None:
    narrow = [jax.ShapeDtypeStruct((3, NARROW), np.float32)]
    with pytest.raises(ConfigError, match=f"a layer of at least {4 * NARROW} neurons"):
        mesh_of(1, 4).of_state(narrow)
    uneven = [jax.ShapeDtypeStruct((3, 4 * NARROW + 2), np.float32)]
    with pytest.raises(ConfigError, match="4 equal parts, got 130 neurons; take 128 or 132"):
        mesh_of(1, 4).of_state(uneven)


@pytest.mark.parametrize(
    ("options", "together", "words"),
    [
        (RunOptions(processes=2), 0, "leave --processes and --cluster out"),
        (RunOptions(cluster=True), 1, "leave --processes and --cluster out"),
        (RunOptions(devices=2), 2, "--together 2: .* --devices 2 run one after the other"),
    ],
)
def test_several_runs_do_not_share_devices(options: Any, together: int, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        check_several(options, together)


def test_flags_of_many_devices_are_refused_before_anything_is_written(
    train: Any, tmp_path: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    for flags, words in (
        (["--devices", "999"], "--devices 999: expected at most"),
        (["--processes", "2"], "--coordinator: expected HOST:PORT"),
        (["--processes", "2", "--coordinator", "here"], "got 'here'"),
        (["--processes", "2", "--coordinator", "a:1", "--process", "2"], "from 0 to 1"),
        (["--coordinator", "127.0.0.1:80"], "add --processes N --process K"),
        (["--cluster", "--processes", "2"], "--cluster takes"),
        (["--heartbeat", "1"], "--heartbeat: expected at least 5 seconds, got 1"),
    ):
        assert train(tmp_path / "run", *flags) == 2
        assert words in capsys.readouterr().err
        assert not (tmp_path / "run").exists()
