"""Tasks whose samples are spikes in time steps: what they share."""

from __future__ import annotations

import abc
import dataclasses
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from train.model import Model
from train.model.build import build_network
from train.model.encoders import Encoder, Rasters
from train.model.objectives import Objective
from train.settings import CrossbarConfig, NetworkConfig, TrainingConfig
from train.settings.checks import check_crossbar, check_network, check_training
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
        check_network(settings.network, self.shape(settings).values is not None)
        check_crossbar(settings.crossbar)
        check_training(settings.training, self.train_samples(settings))

    def build(self, settings: Any) -> Model:
        """Builds the network."""
        shape = self.shape(settings)
        return build_network(
            settings.network,
            self.encoder(settings),
            steps=shape.steps,
            outputs=shape.outputs,
            dt=shape.dt,
            input_rate=shape.input_rate,
            values=shape.values,
            crossbar=settings.crossbar,
        )

    def draw(self, results: Results) -> list[Path]:
        """Draws learning curves, a sample, firing rates and predictions."""
        from train.tasks.raster_pictures import draw_raster_pictures

        return draw_raster_pictures(results, self.quantity)

    quantity: ClassVar[str] = "value"
    """What a task predicts that does not tell classes apart, for the pictures."""
