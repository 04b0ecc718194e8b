"""A run of the app that takes seconds: two classes, four units, eight neurons."""

from collections.abc import Callable
from pathlib import Path

import jax
import pytest

from train.cli import run_command
from train.randman import TASK

FLAGS = (
    "--classes 2 --units 4 --alpha 3 --steps 20 --dt 5e-3 --samples-per-class 40 --hidden 8"
    " --batch-size 16 --epochs 2 --no-cache --quiet"
).split()


@pytest.fixture(scope="session")
def train() -> Callable[..., int]:
    """Train in this process: ``train(workdir, *flags)`` returns the exit code."""

    def run(workdir: Path, *flags: str) -> int:
        # The optimiser multiplies arrays of different dtypes.
        with jax.numpy_dtype_promotion("standard"):
            return run_command(TASK, [*FLAGS, "--workdir", str(workdir), *flags])

    return run


@pytest.fixture(scope="session")
def tiny_run(train: Callable[..., int], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Directory of a finished run, for tests that do not change it."""
    workdir = tmp_path_factory.mktemp("runs") / "tiny"
    assert train(workdir) == 0
    return workdir
