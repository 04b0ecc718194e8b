"""Shuffled batches of any pytree of arrays that lies in memory.

    order = numpy.random.default_rng([seed, epoch]).permutation(S)

One indexing of every array for a batch, instead of the sample by sample of a data pipeline such as
grain: 5000 small samples take less than a millisecond, not a fifth of a second. Data that have to
be read from disk want such a pipeline.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import jax
import numpy as np

from flax_snn import checks
from flax_snn.typing import Int


def batches(
    data: Any,
    batch_size: int,
    *,
    seed: int,
    epoch: int = 1,
    shuffle: bool = True,
    drop_last: bool = True,
) -> Iterator[Any]:
    """Yields the batches of one epoch; what is in them follows from the arguments alone.

    Args:
      data: arrays of NumPy or JAX with samples on their first axis, S in all of them, in any
        pytree: a tuple, a dict, a `Points`.
      batch_size: samples per batch B, at most S.
      seed: seed of the order of samples.
      epoch: number of the epoch, from 1, the default; each has its own order.
      shuffle: False leaves the samples in their order, whatever seed and epoch.
      drop_last: leave out the last S mod B samples of the order, as by default, so that all
        batches have one shape; False yields them as a smaller batch.

    Returns:
      An iterator of pytrees like `data` whose arrays have B, at the end perhaps fewer, samples.

    Raises:
      TypeError: a leaf of the pytree is not an array.
      ValueError: no leaves or no samples, leaves of unequal length, a batch_size that is not a
        whole number from 1 to S, a seed or epoch below 0 or 1, a flag that is not a bool.

    Example:
      >>> import numpy as np
      >>> from flax_snn.datasets import batches
      >>> data = {"x": np.arange(10.0).reshape(5, 2), "label": np.arange(5)}
      >>> for batch in batches(data, 2, seed=0):
      ...     print(batch["x"].shape, batch["label"])
      (2, 2) [1 4]
      (2, 2) [3 0]
    """
    checks.whole_number("seed", seed, 0)
    checks.whole_number("epoch", epoch)
    checks.whole_number("batch_size", batch_size)
    checks.boolean("shuffle", shuffle)
    checks.boolean("drop_last", drop_last)
    samples = _sample_count(data)
    if batch_size > samples:
        raise ValueError(
            f"batch_size: expected at most the {samples} samples, got {batch_size}; lower it"
        )
    order = np.arange(samples)
    if shuffle:
        order = np.random.default_rng([seed, epoch]).permutation(samples)
    used = samples - samples % batch_size if drop_last else samples
    return _batches(data, order[:used], batch_size)


def _batches(data: Any, order: Int[np.ndarray, "S"], batch_size: int) -> Iterator[Any]:
    # Apart from `batches`, whose errors would else wait for the first batch.
    for first in range(0, len(order), batch_size):
        rows = order[first : first + batch_size]
        yield jax.tree.map(lambda leaf, rows=rows: leaf[rows], data)


def _sample_count(data: Any) -> int:
    leaves = jax.tree_util.tree_leaves_with_path(data)
    for path, leaf in leaves:
        if not isinstance(leaf, (np.ndarray, jax.Array)):
            raise TypeError(
                f"expected arrays of NumPy or JAX, got {type(leaf).__name__} at"
                f" data{jax.tree_util.keystr(path)}; convert it, or leave it out"
            )
    shapes = {f"data{jax.tree_util.keystr(path)}": leaf.shape for path, leaf in leaves}
    if not shapes or any(shape[:1] in ((), (0,)) for shape in shapes.values()):
        raise ValueError(
            f"expected arrays (S, ...) of at least one sample, got {shapes}; give each leaf a"
            " sample axis in front"
        )
    if len({shape[0] for shape in shapes.values()}) > 1:
        raise ValueError(
            f"expected as many samples in every array, got {shapes}; put the sample axis in front"
        )
    return next(iter(shapes.values()))[0]
