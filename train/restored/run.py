"""A trained network, rebuilt from a checkpoint alone: model, parameters, data."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np

from train.data.order import padded_order
from train.data.parts import Dataset, Part
from train.errors import CheckpointError, ConfigError
from train.model import Model
from train.model.encoders import Rasters, SpikeLists
from train.run.devices import Devices, find_devices
from train.run.record import share
from train.run.step import Evaluation, create_state, evaluate
from train.settings import RunOptions
from train.settings.numbers import check_numbers
from train.settings.size import check_size
from train.store.layout import CHECKPOINTS
from train.store.read import best_checkpoint
from train.store.same_run import check_same_run, warn_of_damage
from train.store.settings_json import from_json, task_of
from train.tasks import Task, find_task


@dataclasses.dataclass(frozen=True)
class Restored:
    """What a checkpoint holds, ready to be used.

    Attributes:
      task: the task.
      settings: its settings.
      model: the network with the meaning of its input and output.
      params: its parameters.
      epoch: the epoch after which they were saved.
      path: the checkpoint.
      devices: over which batches of an evaluation are spread; ``None``: one device.
    """

    task: Task
    settings: Any
    model: Model
    params: Any
    epoch: int
    path: Path
    devices: Devices | None = None

    @property
    def network(self) -> Any:
        """The Linen module, such as ``snn.RNN`` over a `snn.Chain`, for its `variables`."""
        return self.model.runner.network

    @property
    def variables(self) -> dict[str, Any]:
        """The variables of the Linen module: ``params``, and constants where it has some."""
        return {"params": self.params, **getattr(self.model.runner, "constants", {})}

    def data(self, part: Literal["train", "validation", "test"] = "test") -> Part:
        """Returns a part of the data that the network was trained on: inputs, labels, lengths."""
        found: Part = getattr(self.load_data(), part)
        return found

    def accuracy(self, part: Literal["train", "validation", "test"] = "test") -> float:
        """Returns the share of samples of a part that are classified correctly.

        Raises:
          ConfigError: a network that predicts values, whose score is `score`.
        """
        if self.model.objective.score != "accuracy":
            raise ConfigError(
                f"the score of the task {self.task.name} is {self.model.objective.score}, not"
                " accuracy; ask for run.score(...)"
            )
        return self.score(part)

    def score(self, part: Literal["train", "validation", "test"] = "test") -> float:
        """Returns the score of the task on a part of the data, of which more is better."""
        sums = self.evaluate(self.data(part)).sums
        return share(sums.points, sums.samples)

    def apply(self, inputs: Any, lengths: Any = None) -> Any:
        """Runs the network on samples.

        Args:
          inputs: samples with a leading axis B, as the task has them: rasters ``(B, T, F)``, ...;
            rasters are taken too where the task has lists of spikes.
          lengths: steps of each sample that are not padding, integers ``(B,)``; ``None`` for all.

        Returns:
          What the readout gives: logits ``(B, C)``, values ``(B, D)``, or first spikes.
        """
        inputs = jax.tree.map(jax.numpy.asarray, inputs)
        model, encode = self.model, self.model.encode
        if isinstance(encode, SpikeLists) and not isinstance(inputs, dict):
            rasters = Rasters(encode.steps, encode.features, encode.dt)
            model = dataclasses.replace(model, encode=rasters)
        _check_inputs(inputs, model)
        found = jax.jit(model.apply)(self.params, inputs, jax.random.key(0), lengths)
        return found.z

    def load_data(self) -> Dataset:
        """Makes the data that the network was trained on, in memory."""
        return self.task.dataset(self.settings, RunOptions())

    def evaluate(self, part: Part) -> Evaluation:
        """Scores a part of the data; predictions come without padding, ``(S, ...)``."""
        order: Any = padded_order(len(part.labels), self.settings.training.batch_size)
        real = order >= 0
        if self.devices is not None:
            # The batches are those of one device, each with padding for equal parts of it.
            missing = -order.shape[1] % self.devices.data
            order = np.pad(order, ((0, 0), (0, missing)), constant_values=-1)
            real = order >= 0
            part = self.devices.place(part)
            order = self.devices.place(order, self.devices.batch(1))
        scored = jax.jit(lambda *a: evaluate(self.model, *a))(self.params, part, order)
        return scored._replace(predictions=np.asarray(scored.predictions)[real])


def restore(
    path: str | os.PathLike[str],
    method: str | None = None,
    *,
    size_limit: bool = True,
    devices: int = 1,
    model_devices: int = 1,
) -> Restored:
    """Rebuilds the network of a checkpoint.

    A checkpoint has whole arrays, whatever number of devices and processes have trained and saved
    it. Here one process reads them, and they lie on one device unless it is asked for more.

    >>> import train
    >>> run = train.restore("checkpoints/randman_reference")
    >>> round(run.accuracy("test"), 2)
    1.0

    Args:
      path: a run directory, whose best checkpoint is meant, or a checkpoint.
      method: run the network by this method instead of the one that it was trained by.
      size_limit: whether a network that needs more memory than this machine has left is refused.
      devices: devices over which its evaluation is spread.
      model_devices: devices among them over which the neurons of wide layers are spread.

    Returns:
      The network, with its settings, its parameters and its data.

    Raises:
      CheckpointError: missing, damaged, or of another model, version or task. Of a run, the next
        best checkpoint is used in the place of one that is damaged, with a `RunWarning`.
      RunDirectoryError: the settings beside the checkpoints are those of another run.
      ConfigError: the task has no methods, or the network cannot be run by this one; or more
        devices than there are, or a network that cannot be spread over them.
    """
    run = Path(path)
    checkpoint = best_checkpoint(run)
    task, settings = _settings(checkpoint.path, checkpoint.meta["settings"])
    if (run / CHECKPOINTS).is_dir():
        check_same_run(run, task.settings, checkpoint)
        warn_of_damage(run)
    if method is not None:
        settings = task.with_method(settings, method)
    check_size(task.size(settings), limit=size_limit, training=False)
    spread = None
    if devices != 1 or model_devices != 1:
        spread = find_devices(RunOptions(devices=devices, model_devices=model_devices))
    model = task.build(settings)
    abstract = jax.eval_shape(
        lambda seed: create_state(model, settings.training, 1, seed), np.uint32(0)
    )
    if spread is not None:
        model = model.over(spread.mesh)
        abstract = _placed(abstract, spread)
    renaming = task.older_parameters(checkpoint.settings_version)
    params = checkpoint.restore(abstract, renaming).params
    epoch = checkpoint.meta["epoch"]
    return Restored(task, settings, model, params, epoch, checkpoint.path, spread)


def _placed(abstract: Any, devices: Devices) -> Any:
    """Returns the shapes of a state with the place of each array."""
    places = devices.of_state(abstract)
    if devices.model == 1:
        places = jax.tree.map(lambda _: places, abstract)
    return jax.tree.map(
        lambda x, place: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=place), abstract, places
    )


def _check_inputs(inputs: Any, model: Model) -> None:
    wanted: Any = jax.tree.structure(model.encode.sample)
    leaves = zip(jax.tree.leaves(inputs), jax.tree.leaves(model.encode.sample), strict=False)
    if jax.tree.structure(inputs) != wanted or any(a.shape[1:] != b.shape for a, b in leaves):
        found = jax.tree.map(lambda x: x.shape, inputs)
        expected = jax.tree.map(lambda x: ("B", *x.shape), model.encode.sample)
        raise ValueError(f"inputs: expected samples of shape {expected}, got {found}")


def _settings(path: Path, stored: Any) -> tuple[Task, Any]:
    """Returns task and settings of a checkpoint."""
    try:
        task: Task = find_task(task_of(stored))
        settings = from_json(task.settings, stored)
        check_numbers(settings)
        task.check(settings)
    except ConfigError as error:
        raise CheckpointError(f"{path}: {error}") from error
    return task, settings
