"""Randman: classes told apart by spike times alone, or the place of a sample on its manifold."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np

from flax_snn.datasets import Randman as RandmanSamples
from flax_snn.datasets import RandmanSettings, randman
from flax_snn.typing import Int
from train.data.parts import Dataset, Part
from train.errors import ConfigError
from train.model.objectives import squared_error
from train.settings import CrossbarConfig, NetworkConfig, RunOptions, TrainingConfig, added
from train.settings.size import RunSize
from train.tasks.raster import RasterTask, Shape

Labels = Literal["labels", "x"]


@dataclasses.dataclass(frozen=True)
class RandmanData:
    """The Randman data set; see ``flax_snn.datasets.randman``."""

    classes: int = 10
    """Number of classes, each a manifold of its own."""
    units: int = 20
    """Input units, each of which spikes once per sample."""
    dim: int = 1
    """Dimension of the manifolds; larger is harder."""
    alpha: float = 1.0
    """Smoothness of the manifolds; smaller is rougher and harder."""
    variant: Literal["paper", "numpy", "torch"] = "numpy"
    """Which published formula makes the manifolds."""
    steps: int = 100
    """Time steps of a sample."""
    dt: float = 2e-3
    """Length of a time step in seconds."""
    step_frac: float = 0.5
    """Fraction of the steps in which inputs spike; the rest is silent."""
    samples_per_class: int = 1000
    """Samples of each class: 80 % train, 10 % validation, 10 % test."""
    data_seed: int = 0
    """Seed of the data set: manifolds, samples and split."""


@dataclasses.dataclass(frozen=True)
class RandmanConfig:
    """Everything that decides the result of ``python -m train.randman``."""

    data: RandmanData = RandmanData()
    network: NetworkConfig = NetworkConfig()
    training: TrainingConfig = TrainingConfig()
    crossbar: CrossbarConfig = added(3, CrossbarConfig())


@dataclasses.dataclass(frozen=True)
class RandmanRegressionConfig:
    """Everything that decides the result of ``python -m train.randman_regression``."""

    data: RandmanData = RandmanData(classes=1, samples_per_class=5000)
    network: NetworkConfig = NetworkConfig(readout="mean")
    training: TrainingConfig = TrainingConfig()
    crossbar: CrossbarConfig = added(3, CrossbarConfig())


class Randman(RasterTask):
    """Train a spiking network on Randman: ten classes told apart by spike times alone.

        python -m train.randman

    128 recurrent LIF neurons, spiking output neurons, cross-entropy of the spike counts, 30
    epochs: 100 % test accuracy, in about a minute on 2 CPU cores; 8 epochs give 99.8 %. With leaky
    integrators, read at their maximum over time, in place of the spiking output neurons:

        python -m train.randman --readout max

    99.96 %. All seeds, with machine and date: benchmarks/results/randman.json.
    """

    settings: ClassVar[type[Any]] = RandmanConfig
    on_disk = True
    labels: ClassVar[Labels] = "labels"
    least_classes: ClassVar[int] = 2

    def check(self, settings: Any) -> None:
        """Refuses settings that the generator would refuse, or that cannot be split."""
        check_randman(settings.data, self.least_classes)
        super().check(settings)

    def train_samples(self, settings: Any) -> int:
        """Returns 80 % of all samples."""
        return int(settings.data.classes * settings.data.samples_per_class * 8 // 10)

    def size(self, settings: Any) -> RunSize | None:
        """Returns the sizes of a run, and those of the manifolds that the samples lie on."""
        size, data = super().size(settings), settings.data
        if size is None:
            return None
        # Float64: the coordinates of all samples, and three numbers for each term of a manifold.
        terms = 3 * randman_settings(data).cutoff * data.units
        numbers = data.dim * (data.classes * data.samples_per_class + terms)
        what = f"manifolds of --dim {data.dim} for {data.classes} classes"
        return dataclasses.replace(size, generated=((what, 8 * numbers),))

    def load(self, settings: Any, options: RunOptions) -> Dataset:
        """Generates the data set, or opens it through TFDS."""
        if options.data == "tfds":
            return open_randman(settings.data, options.data_dir, self.labels)
        return load_randman(settings.data, self.labels)

    def shape(self, settings: Any) -> Shape:
        """Returns the sizes; an input spikes once a sample."""
        data = settings.data
        rate = 1.0 / (data.steps * data.dt)
        return Shape(data.steps, data.units, data.classes, data.dt, rate)


class RandmanRegression(Randman):
    """Train a spiking network to tell where on its manifold a Randman sample lies.

        python -m train.randman_regression

    The coordinates of a sample, uniform on [0, 1], are predicted by leaky integrators, one for
    each, read as their mean over time. The loss is the mean squared error. The score is R2, the
    share of the variance of a uniform coordinate, 1/12, that is explained.
    """

    settings = RandmanRegressionConfig
    labels = "x"
    least_classes = 1
    quantity = "coordinate on the manifold"

    def shape(self, settings: Any) -> Shape:
        """Returns the sizes, with one output per coordinate."""
        dim = settings.data.dim
        return super().shape(settings)._replace(outputs=dim, values=squared_error.make(dim))


def load_randman(config: RandmanData, labels: Labels = "labels") -> Dataset:
    """Generates the Randman data set; the same settings give the same arrays.

    Args:
      config: settings of the data set.
      labels: what is to be predicted: the class (``labels``), or the coordinates on the manifold
        (``x``).

    Returns:
      Train, validation and test part, 80/10/10 % of each class.

    Raises:
      ConfigError: settings that the generator refuses, or that give a unit without variation.
    """
    settings = dataclasses.asdict(config)
    seed = settings.pop("data_seed")
    try:
        split = randman(**settings, seed=seed).split()
        return Dataset(*(_part(samples, labels) for samples in split))
    except ValueError as error:
        raise ConfigError(f"data set: {error}") from error


def open_randman(config: RandmanData, data_dir: Path | None, labels: Labels = "labels") -> Dataset:
    """Prepares the Randman data set on disk, unless it is there, and opens it through TFDS.

    Args:
      config: settings of the data set.
      data_dir: where prepared data are kept.
      labels: as in `load_randman`.

    Returns:
      The samples of `load_randman`; those of the train part are read when they are asked for.

    Raises:
      ConfigError: as `load_randman`; the packages of the extra `data` are missing; what lies in
        the folder is not this data set.
    """
    try:
        from flax_snn.datasets.tfds_randman import RandmanSource, prepare_randman

        builder = prepare_randman(randman_settings(config), data_dir)
        parts = [RandmanSource(builder, part) for part in ("train", "validation", "test")]
        scored = [_part(source.read(), labels) for source in parts[1:]]
        return Dataset(Labelled(parts[0], labels), *scored)
    except (ImportError, ValueError, OSError) as error:
        raise ConfigError(f"data set: {error}") from error


class Labelled:
    """Samples that are read when they are asked for, with what is to be predicted as ``label``.

    Args:
      source: a ``RandmanSource``.
      labels: as in `load_randman`.
    """

    def __init__(self, source: Any, labels: Labels):
        self._source, self._labels = source, labels

    def __len__(self) -> int:
        """Returns the number of samples."""
        return len(self._source)

    def __getitem__(self, row: int) -> dict[str, np.ndarray]:
        return {name: values[0] for name, values in self.batch(np.array([row])).items()}

    def batch(self, rows: Int[np.ndarray, "B"]) -> dict[str, np.ndarray]:
        """Reads several samples, stacked along a new first axis."""
        part = _part(self._source.read(rows), self._labels)
        return {"inputs": part.inputs, "label": part.labels}


def randman_settings(config: RandmanData) -> RandmanSettings:
    """Returns the generator's own settings.

    Raises:
      ValueError: a field is outside its range.
    """
    fields = dataclasses.asdict(config)
    seed = fields.pop("data_seed")
    fixed: dict[str, Any] = {"offset_frac": 0.0, "spikes_per_unit": 1, "f_max": 1000, "prec": 1e-3}
    return RandmanSettings(**fields, **fixed, seed=seed, use_bias=False, beta=0.0)


def check_randman(data: RandmanData, least_classes: int) -> None:
    """Refuses settings of the data set that the generator would refuse, or that cannot be split.

    Args:
      data: the settings.
      least_classes: fewest classes of the task.

    Raises:
      ConfigError: the message names the flag and the remedy.
    """
    # The generator's own checks, before it has drawn anything.
    try:
        randman_settings(data)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"data set: {error}") from error
    if data.classes < least_classes:
        raise ConfigError(f"--classes: expected at least {least_classes}, got {data.classes}")
    if data.samples_per_class % 10:
        raise ConfigError(
            "--samples-per-class: expected a multiple of 10, so that 80/10/10 % are whole numbers"
            f" of samples, got {data.samples_per_class}"
        )


def _part(samples: RandmanSamples, labels: Labels) -> Part:
    if labels == "labels":
        return Part(samples.raster(np.uint8), samples.labels)
    return Part(samples.raster(np.uint8), samples.x.astype(np.float32))
