"""``--init-from``: the weights of another run, to begin with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import numpy as np

from train.errors import ConfigError
from train.store.read import best_checkpoint
from train.tasks import Task


def weights_of(path: Path, task: Task, like: Any) -> Any:
    """Returns the parameters of another run, to begin with.

    Args:
      path: a run directory, whose best checkpoint is meant, or a checkpoint.
      task: the task of the run that is to begin; that of the other one may be another.
      like: parameters of the same form.

    Raises:
      CheckpointError: there is no such checkpoint, or it is damaged.
      ConfigError: the other run has other layers.
    """
    checkpoint = best_checkpoint(path)
    found = checkpoint.parameters()
    renaming = task.older_parameters(checkpoint.settings_version)
    if renaming is not None:
        found = renaming.new(found)
    forms = [jax.tree.map(lambda x: tuple(x.shape), tree) for tree in (like, found)]
    if forms[0] != forms[1]:
        raise ConfigError(
            f"--init-from {path}: expected parameters {forms[0]}, got {forms[1]}; give the flags of"
            " that run that say what its layers are"
        )
    return jax.tree.map(lambda x, y: np.asarray(y, x.dtype), like, found)
