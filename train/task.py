"""What a task is: settings, data and a network; everything else of the app serves all tasks."""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from train.errors import CheckpointError

if TYPE_CHECKING:
    from train.config import RunOptions
    from train.data import Dataset
    from train.model import Model

TASKS = {
    "randman": "train.randman",
    "randman_regression": "train.randman_regression",
    "yin_yang": "train.yin_yang",
}
"""Module of each task, which holds it as ``TASK``."""


@dataclasses.dataclass(frozen=True)
class Task:
    """A task of the app.

    Attributes:
      name: as in ``python -m train.<name>``; stored with every checkpoint.
      description: what ``--help`` says about it.
      config: dataclass of its settings, with a field ``training``.
      check: refuses settings that cannot work with a `ConfigError`, before anything is done.
      load: makes the data, from settings and options of the run.
      build: builds the network.
      train_samples: number of training samples, known before the data are.
      on_disk: whether its data can be prepared on disk and streamed through TFDS.
    """

    name: str
    description: str
    config: type[Any]
    check: Callable[[Any], None]
    load: Callable[[Any, RunOptions], Dataset]
    build: Callable[[Any], Model]
    train_samples: Callable[[Any], int]
    on_disk: bool = True

    @property
    def module(self) -> str:
        """Module that runs the task: ``python -m <module>``."""
        return TASKS[self.name]


def find_task(name: str) -> Task:
    """Return the task of a name, as stored in a checkpoint.

    Raises:
      CheckpointError: no task of this release has the name.
    """
    if name not in TASKS:
        raise CheckpointError(
            f"the checkpoint is of task {name!r}, this release knows {', '.join(TASKS)}; evaluate"
            " it with the release of flax_snn that wrote it"
        )
    task: Task = importlib.import_module(TASKS[name]).TASK
    return task
