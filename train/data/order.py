"""The order of samples in each epoch, which follows from the seed and the epoch alone."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

from flax_snn.typing import Int
from train.data.parts import Part


def epoch_order(seed: int, epoch: int, samples: int, batch_size: int) -> Int[np.ndarray, "K B"]:
    """Returns the order of samples in one epoch; it depends on nothing but the arguments.

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


def first_batch(train: Any, seed: int, batch_size: int) -> Part:
    """Returns the first batch of a run, in the host's memory.

    Args:
      train: the training samples, as `Dataset` has them.
      seed: seed of the run.
      batch_size: samples per batch B.
    """
    samples = len(train.labels) if isinstance(train, Part) else len(train)
    rows = epoch_order(seed, 1, samples, batch_size)[0]
    if isinstance(train, Part):
        return jax.tree.map(np.asarray, train).take(rows)
    read = [train[int(row)] for row in rows]
    fields = jax.tree.map(lambda *arrays: np.stack(arrays), *read)
    return Part(fields["inputs"], fields["label"], fields.get("length"))


def padded_order(samples: int, batch_size: int) -> Int[np.ndarray, "K B"]:
    """Returns all samples in order, as whole batches, for evaluation.

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
