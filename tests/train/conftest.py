"""Runs of the app that take seconds: a handful of samples, units and neurons."""

import shutil
from collections.abc import Callable
from pathlib import Path

import jax
import pytest

from train.command_line import run_command
from train.tasks.randman import Randman, RandmanRegression
from train.tasks.task import Task
from train.tasks.yin_yang.task import YinYang

FLAGS: list[str] = (
    "--classes 2 --units 4 --alpha 3 --steps 20 --dt 5e-3 --samples-per-class 40 --hidden 8"
    " --batch-size 16 --epochs 2 --no-plots --quiet"
).split()

YIN_YANG_FLAGS: list[str] = (
    "--train-samples 60 --test-samples 30 --hidden 6 --batch-size 20 --epochs 2 --input-mean 3"
    " --readout-mean 3 --budget 5 --no-plots --quiet"
).split()


@pytest.fixture(scope="session")
def tiny_flags(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Flags of the tiny run; what it compiles is kept for the whole session."""
    return [*FLAGS, "--cache-dir", str(tmp_path_factory.getbasetemp() / "xla")]


def command(task: Task, flags: list[str]) -> Callable[..., int]:
    """Train in this process: ``train(workdir, *flags)`` returns the exit code."""

    def run(workdir: Path | None, *more: str) -> int:
        where = [] if workdir is None else ["--workdir", str(workdir)]
        # The optimiser multiplies arrays of different dtypes.
        with jax.numpy_dtype_promotion("standard"):
            return run_command(task, [*flags, *where, *more])

    return run


@pytest.fixture(scope="session")
def train(tiny_flags: list[str]) -> Callable[..., int]:
    """``python -m train.randman`` on the tiny data set."""
    return command(Randman(), tiny_flags)


@pytest.fixture(scope="session")
def train_regression(tiny_flags: list[str]) -> Callable[..., int]:
    """``python -m train.randman_regression`` on the tiny data set."""
    return command(RandmanRegression(), [*tiny_flags, "--classes", "1"])


@pytest.fixture(scope="session")
def train_yin_yang(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., int]:
    """``python -m train.yin_yang`` on 60 points."""
    cache = ["--cache-dir", str(tmp_path_factory.getbasetemp() / "xla")]
    return command(YinYang(), [*YIN_YANG_FLAGS, *cache])


@pytest.fixture(scope="session")
def tiny_run(train: Callable[..., int], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Directory of a finished run, for tests that do not change it."""
    workdir = tmp_path_factory.mktemp("runs") / "tiny"
    assert train(workdir) == 0
    return workdir


@pytest.fixture
def copy_of_run(tiny_run: Path, tmp_path: Path) -> Path:
    """A copy of the tiny run, for tests that change it: copying costs less than training."""
    return Path(shutil.copytree(tiny_run, tmp_path / "copy"))


@pytest.fixture
def stopped_run(copy_of_run: Path) -> Path:
    """A copy of the tiny run as if it had been stopped after its last epoch, before its result."""
    (copy_of_run / "result.json").unlink()
    return copy_of_run
