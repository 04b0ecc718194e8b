"""Arrays that are spread over devices, in the memory of the host."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


def on_host(tree: Any) -> Any:
    """Returns a tree of arrays as NumPy arrays, without any exchange between processes.

    Args:
      tree: arrays of which each process has all parts on its devices, such as the state of a run.

    Returns:
      The same tree; random keys stay as they are.

    Raises:
      ValueError: an array of which this process has only a part, such as a batch of samples.
    """
    return jax.tree.map(_array, tree)


def _array(leaf: Any) -> Any:
    if not isinstance(leaf, jax.Array) or jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        return leaf
    if leaf.is_fully_addressable or leaf.is_fully_replicated:
        return np.asarray(leaf)
    whole = np.empty(leaf.shape, leaf.dtype)
    filled = np.zeros(leaf.shape, bool)
    for shard in leaf.addressable_shards:
        whole[shard.index] = np.asarray(shard.data)
        filled[shard.index] = True
    if not filled.all():
        raise ValueError(
            f"expected an array of which this process has all parts, got one of shape {leaf.shape}"
            f" spread as {leaf.sharding}; ask for a mesh whose model axis lies within a process"
        )
    return whole
