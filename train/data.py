"""Data of a run: three parts, rasters kept as uint8, and the order of samples in each epoch."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from flax_snn.datasets import Randman, RandmanSettings, randman
from flax_snn.typing import Int, Num
from train.config import RandmanData
from train.errors import ConfigError

Labels = Literal["labels", "x"]


class Part(NamedTuple):
    """Samples that belong together.

    Attributes:
      inputs: samples ``(S, ...)``: spike counts per step and unit, uint8 ``(S, T, F)``, one byte a
        slot until a batch is used; or points, float32 ``(S, F)``.
      labels: class of each sample, int32 ``(S,)``, or values to predict, float32 ``(S, D)``.

    Arrays of NumPy as they are made, of JAX once they are on the device.
    """

    inputs: Any
    labels: Any


class Dataset(NamedTuple):
    """Disjoint parts of one data set.

    Attributes:
      train: a `Part`, or, where samples are streamed, anything with ``len`` whose items are
        ``{"inputs": ..., "label": ...}``.
      validation: always in memory.
      test: always in memory.
    """

    train: Any
    validation: Part
    test: Part


def load_randman(config: RandmanData, labels: Labels = "labels") -> Dataset:
    """Generate the Randman data set; the same settings give the same arrays.

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
    """Prepare the Randman data set on disk, unless it is there, and open it through TFDS.

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
        """Return the number of samples."""
        return len(self._source)

    def __getitem__(self, row: int) -> dict[str, np.ndarray]:
        return {name: values[0] for name, values in self.batch(np.array([row])).items()}

    def batch(self, rows: Int[np.ndarray, "B"]) -> dict[str, np.ndarray]:
        """Read several samples, stacked along a new first axis."""
        part = _part(self._source.read(rows), self._labels)
        return {"inputs": part.inputs, "label": part.labels}


def randman_settings(config: RandmanData) -> RandmanSettings:
    """Return the generator's own settings.

    Raises:
      ValueError: a field is outside its range.
    """
    fields = dataclasses.asdict(config)
    seed = fields.pop("data_seed")
    fixed: dict[str, Any] = {"offset_frac": 0.0, "spikes_per_unit": 1, "f_max": 1000, "prec": 1e-3}
    return RandmanSettings(**fields, **fixed, seed=seed, use_bias=False, beta=0.0)


def epoch_order(seed: int, epoch: int, samples: int, batch_size: int) -> Int[np.ndarray, "K B"]:
    """Return the order of samples in one epoch; it depends on nothing but the arguments.

    The samples are permuted anew in each epoch and cut into K whole batches. What is left over of
    the permutation, fewer than one batch, sits out this epoch.

    Args:
      seed: seed of the run.
      epoch: number of the epoch, from 1.
      samples: number of samples.
      batch_size: samples per batch B.

    Returns:
      Rows of samples, int32 ``(K, B)``.
    """
    batches = samples // batch_size
    order = np.random.default_rng([seed, epoch]).permutation(samples).astype(np.int32)
    return order[: batches * batch_size].reshape(batches, batch_size)


def first_batch(train: Any, seed: int, batch_size: int) -> Num[np.ndarray, "B ..."]:
    """Return the inputs of the first batch of a run.

    Args:
      train: the training samples, as `Dataset` holds them.
      seed: seed of the run.
      batch_size: samples per batch B.
    """
    samples = len(train.labels) if isinstance(train, Part) else len(train)
    rows = epoch_order(seed, 1, samples, batch_size)[0]
    if isinstance(train, Part):
        return np.asarray(train.inputs)[rows]
    return np.stack([train[int(row)]["inputs"] for row in rows])


def padded_order(samples: int, batch_size: int) -> Int[np.ndarray, "K B"]:
    """Return all samples in order, as whole batches, for evaluation.

    Args:
      samples: number of samples.
      batch_size: samples per batch B.

    Returns:
      Rows of samples, int32 ``(K, B)``; -1 where the last batch has no sample.
    """
    batches = -(-samples // batch_size)
    order = np.full(batches * batch_size, -1, np.int32)
    order[:samples] = np.arange(samples)
    return order.reshape(batches, batch_size)


def _part(samples: Randman, labels: Labels) -> Part:
    if labels == "labels":
        return Part(samples.raster(np.uint8), samples.labels)
    return Part(samples.raster(np.uint8), samples.x.astype(np.float32))
