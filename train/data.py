"""Data of a run: rasters kept as uint8, three parts, and the order of samples in each epoch."""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import numpy as np

from flax_snn.datasets import Randman, randman
from flax_snn.typing import Int
from train.config import RandmanData
from train.errors import ConfigError


class Part(NamedTuple):
    """Samples that belong together.

    Attributes:
      inputs: spike counts per step and unit, uint8 ``(S, T, F)``: one byte a slot until a batch is
        used.
      labels: class of each sample, int32 ``(S,)``.

    Arrays of NumPy as they are made, of JAX once they are on the device.
    """

    inputs: Any
    labels: Any


class Dataset(NamedTuple):
    """Disjoint parts of one data set."""

    train: Part
    validation: Part
    test: Part


def load_randman(config: RandmanData) -> Dataset:
    """Generate the Randman data set; the same settings give the same arrays.

    Args:
      config: settings of the data set.

    Returns:
      Train, validation and test part, 80/10/10 % of each class.

    Raises:
      ConfigError: settings that the generator refuses, or that give a unit without variation.
    """
    settings = dataclasses.asdict(config)
    seed = settings.pop("data_seed")
    try:
        split = randman(**settings, seed=seed).split()
        return Dataset(*(_part(samples) for samples in split))
    except ValueError as error:
        raise ConfigError(f"data set: {error}") from error


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


def _part(samples: Randman) -> Part:
    return Part(samples.raster(np.uint8), samples.labels)
