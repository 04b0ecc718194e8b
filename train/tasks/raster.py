"""Tasks whose samples are spikes in time steps: what they share."""

from __future__ import annotations

import abc
import dataclasses
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import flax.linen as nn
import jax
import numpy as np

from train.errors import ConfigError
from train.model import Model
from train.model.build import build_network
from train.model.encoders import Encoder, Rasters
from train.model.objectives import Objective
from train.model.own import with_own_network
from train.settings import CrossbarConfig, NetworkConfig, TrainingConfig
from train.settings.checks import check_crossbar, check_network, check_training, number, whole
from train.settings.size import RunSize, raster_size
from train.settings.units import check_step, short_memory
from train.tasks.task import Results, Task


@dataclasses.dataclass(frozen=True)
class RasterSettings:
    """Settings that a task on rasters needs; one of your own may add a dataclass of data."""

    network: NetworkConfig = NetworkConfig()
    training: TrainingConfig = TrainingConfig()
    crossbar: CrossbarConfig = CrossbarConfig()


class Shape(NamedTuple):
    """Sizes of a task on rasters.

    Attributes:
      steps: time steps T of a sample.
      units: input units F.
      outputs: classes, or values to predict.
      dt: length of a step in seconds.
      input_rate: mean firing rate of an input in Hz, which `--init fluctuation` goes by.
      values: the objective of a task that predicts values; ``None`` for classes.
    """

    steps: int
    units: int
    outputs: int
    dt: float
    input_rate: float = 20.0
    values: Objective | None = None


class RasterTask(Task):
    """A task whose samples are rasters ``(T, F)``, with the network of the app."""

    settings: ClassVar[type[Any]] = RasterSettings

    @abc.abstractmethod
    def shape(self, settings: Any) -> Shape:
        """Returns the sizes of the data, without reading them."""

    def encoder(self, settings: Any) -> Encoder:
        """Returns what makes rasters of stored samples, which are spike counts by default."""
        shape = self.shape(settings)
        return Rasters(shape.steps, shape.units, shape.dt)

    def check(self, settings: Any) -> None:
        """Refuses settings of network, crossbars and training that cannot work."""
        network, shape = settings.network, self.shape(settings)
        _check_shape(shape)
        check_network(network, shape.values is not None)
        # The decays of the tutorial are given, whatever the step.
        if network.neuron != "tutorial":
            check_step(shape.dt, network.tau_mem, network.tau_syn)
        check_crossbar(settings.crossbar)
        check_training(settings.training, self.train_samples(settings))

    def size(self, settings: Any) -> RunSize | None:
        """Returns the sizes of the data and of the network."""
        shape, train = self.shape(settings), self.train_samples(settings)
        leaves = jax.tree.leaves(self.encoder(settings).sample)
        size = raster_size(
            settings.network,
            settings.training,
            samples=self.samples(settings) if train is None else train * 10 // 8,
            sample_bytes=sum(math.prod(x.shape) * np.dtype(x.dtype).itemsize for x in leaves),
            steps=shape.steps,
            inputs=shape.units,
            outputs=shape.outputs,
        )
        if type(self).network is RasterTask.network:
            return size
        # Of a network of one's own only the data and the output are known.
        return dataclasses.replace(size, neurons=(shape.outputs,), weights=0)

    def samples(self, settings: Any) -> int:
        """Returns the number of samples of all parts, where `train_samples` does not say it.

        0, the default: it is not known before they are read.
        """
        del settings
        return 0

    def remarks(self, settings: Any) -> Iterator[str]:
        """Yields times that are unusual, and time constants shorter than a step."""
        yield from super().remarks(settings)
        network = settings.network
        if network.neuron != "tutorial":
            yield from short_memory(self.shape(settings).dt, network.tau_mem, network.tau_syn)

    def build(self, settings: Any) -> Model:
        """Builds the network."""
        shape = self.shape(settings)
        model = build_network(
            settings.network,
            self.encoder(settings),
            steps=shape.steps,
            outputs=shape.outputs,
            dt=shape.dt,
            input_rate=shape.input_rate,
            values=shape.values,
            crossbar=settings.crossbar,
        )
        network = self.network(settings)
        return model if network is None else with_own_network(model, network)

    def network(self, settings: Any) -> nn.Module | None:
        """Returns a Linen module of your own for the network; ``None``: as the settings say.

        It maps rasters ``(B, T, F)`` in float32 to what ``--readout`` reads: spikes or membranes
        ``(B, T, C)`` of one output for each class or value.
        """
        del settings
        return None

    def draw(self, results: Results) -> list[Path]:
        """Draws learning curves, a sample, firing rates and predictions."""
        from train.tasks.raster_pictures import draw_raster_pictures

        return draw_raster_pictures(results, self.quantity)

    quantity: ClassVar[str] = "value"
    """What a task predicts that does not tell classes apart, for the pictures."""


def _check_shape(shape: Any) -> None:
    """Refuses what is no `Shape`, or sizes that cannot be."""
    if not isinstance(shape, Shape):
        raise ConfigError(
            f"shape: expected Shape(steps=..., units=..., outputs=..., dt=...), got {shape!r:.80}"
        )
    for name in ("steps", "units", "outputs"):
        whole(f"shape: {name}", getattr(shape, name), 1)
    if shape.values is None and shape.outputs < 2:
        raise ConfigError(
            "shape: expected at least two classes as outputs, or values=squared_error.make(...) for"
            f" values to predict, got {shape.outputs}"
        )
    if shape.values is not None and not isinstance(shape.values, Objective):
        raise ConfigError(f"shape: values: expected an Objective, got {shape.values!r:.80}")
    number("shape: dt", shape.dt, "> 0", "seconds")
    number("shape: input_rate", shape.input_rate, "> 0", "Hz")
