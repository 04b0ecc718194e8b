"""A trained network, rebuilt from a checkpoint alone: model, parameters, data."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import jax
import numpy as np

from train.checkpoint import find_checkpoint, open_checkpoint
from train.config import NO_CROSSBAR, RunOptions
from train.config_json import from_json, task_of
from train.data import Dataset, Part, padded_order
from train.errors import CheckpointError, ConfigError
from train.model import Model
from train.state import Evaluation, create_state, evaluate
from train.task import Task, find_task


@dataclasses.dataclass(frozen=True)
class Trained:
    """What a checkpoint holds, ready to be used.

    Attributes:
      task: the task.
      config: its settings.
      model: the network.
      params: its parameters.
      epoch: the epoch after which they were saved.
      path: the checkpoint.
    """

    task: Task
    config: Any
    model: Model
    params: Any
    epoch: int
    path: Path

    def load_data(self) -> Dataset:
        """Make the data that the network was trained on, in memory."""
        return self.task.load(self.config, RunOptions())

    def evaluate(self, part: Part) -> Evaluation:
        """Score a part of the data; predictions come without padding, ``(S, ...)``."""
        samples = len(part.labels)
        order = padded_order(samples, self.config.training.batch_size)
        scored = jax.jit(lambda *a: evaluate(self.model, *a))(self.params, *part, order)
        shape = self.model.objective.label_shape
        predictions = np.asarray(scored.predictions).reshape(-1, *shape)[:samples]
        return scored._replace(predictions=predictions)


def load_trained(path: Path, method: str | None = None) -> Trained:
    """Rebuild the network of a checkpoint.

    Args:
      path: a run directory, whose best checkpoint is meant, or a checkpoint.
      method: run the network by this method instead of the one that it was trained by.

    Returns:
      The network.

    Raises:
      CheckpointError: missing, damaged, or of another model, version or task.
      ConfigError: the task has no methods, or the network cannot be run by this one.
    """
    checkpoint = open_checkpoint(find_checkpoint(path))
    task, config = _settings(checkpoint.path, checkpoint.meta["settings"])
    if method is not None:
        config = _with_method(task, config, method)
    model = task.build(config)
    abstract = jax.eval_shape(
        lambda seed: create_state(model, config.training, 1, seed), np.uint32(0)
    )
    params = checkpoint.restore(abstract).params
    return Trained(task, config, model, params, checkpoint.meta["epoch"], checkpoint.path)


def _with_method(task: Task, config: Any, method: str) -> Any:
    """Return settings with another method, and without what bounds spikes under its own."""
    if not hasattr(config.network, "method"):
        raise ConfigError(
            f"--method {method}: networks of the task {task.name} are run in one way only; leave"
            " it out"
        )
    if method == config.network.method:
        return config
    network = dataclasses.replace(config.network, method=method, max_spikes=0)
    config = dataclasses.replace(config, network=network)
    if method != "surrogate":  # crossbars multiply in time steps; the weights are the same
        config = dataclasses.replace(config, crossbar=NO_CROSSBAR)
    task.check(config)
    return config


def _settings(path: Path, stored: Any) -> tuple[Task, Any]:
    """Return task and settings of a checkpoint."""
    try:
        task = find_task(task_of(stored))
        config = from_json(task.config, stored)
        task.check(config)
    except ConfigError as error:
        raise CheckpointError(f"{path}: {error}") from error
    return task, config
