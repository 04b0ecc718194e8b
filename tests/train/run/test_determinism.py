"""The same seed gives the same bits: in another process, and however samples are read."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from same_run import assert_same_run, last_state, records

ROOT = Path(__file__).resolve().parents[3]


def train(workdir: Path, flags: list[str], *more: str) -> Path:
    """Trains in a process of its own; returns the run directory."""
    command = [sys.executable, "-m", "train.randman", *flags, "--workdir", str(workdir), *more]
    # Another order of sets and dicts by hash must not show either.
    env = os.environ | {"JAX_PLATFORMS": "cpu", "PYTHONHASHSEED": str(len(workdir.name))}
    found = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True)
    assert found.returncode == 0, found.stderr[-2000:]
    return workdir


@pytest.mark.slow
def test_another_process_gives_the_same_bits(tiny_run, tiny_flags, tmp_path):
    assert_same_run(tiny_run, train(tmp_path / "other", tiny_flags))


@pytest.mark.slow
def test_another_seed_gives_other_bits(tiny_run, train_seed_one):
    assert records(tiny_run)[0] != records(train_seed_one)[0]
    (arrays, _), (others, _) = last_state(tiny_run), last_state(train_seed_one)
    assert any((a != b).any() for a, b in zip(arrays, others, strict=True))


@pytest.fixture(scope="module")
def train_seed_one(tmp_path_factory, tiny_flags):
    from conftest import command

    from train.tasks.randman import Randman

    workdir = tmp_path_factory.mktemp("seeds") / "one"
    assert command(Randman(), tiny_flags)(workdir, "--seed", "1") == 0
    return workdir


@pytest.mark.slow
def test_samples_that_threads_read_ahead_give_the_same_bits(tiny_flags, tmp_path):
    """Streamed by grain, whose threads read ahead, in two processes and in another chunk size."""
    streamed = ("--feed", "streamed", "--epochs", "4")
    runs = [
        train(tmp_path / name, tiny_flags, *streamed, "--chunk", "3") for name in ("a", "other")
    ]
    assert_same_run(*runs)
