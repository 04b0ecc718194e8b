"""Memory of a model: its parameters and other constants, and the state of its neurons."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from flax_snn import checks
from flax_snn.initializers.recording import NeuronLayer

_STATES = ("params", "intermediates", "membrane")
"""Collections that are no buffers of a model: parameters, traces, states of neurons."""


def footprint(variables: Mapping[str, Any]) -> int:
    """Memory of the parameters and other constants of a model in bytes; zeros count in full.

    States of neurons are left out, since they grow with the batch; `workload` says their size.

    >>> import flax_snn as snn, jax
    >>> layer = snn.RNN(snn.LIFCell(16))
    >>> footprint(layer.init(jax.random.key(0), jax.numpy.ones((1, 5, 10))))
    640

    Args:
      variables: the variables of the model, ``{"params": ...}``.

    Raises:
      TypeError: no mapping with the parameters.
    """
    if not isinstance(variables, Mapping):
        what = "the variables of a model, {'params': ...}"
        raise TypeError(checks.error_text("variables", what, type(variables).__name__))
    counted = {name: tree for name, tree in variables.items() if name not in _STATES[1:]}
    return sum(size_of(leaf) * _itemsize(leaf) for leaf in jax.tree.leaves(nn.unbox(counted)))


def state_bytes(layer: NeuronLayer) -> int:
    """Returns the size of the state of one sample in bytes."""
    axes = layer.cell.feature_axes
    shape = (1, *layer.current.shape[layer.current.ndim - axes :])
    state = jax.eval_shape(lambda: layer.cell.initialize_carry(None, shape))
    return sum(size_of(leaf) * _itemsize(leaf) for leaf in jax.tree.leaves(state))


def size_of(leaf: Any) -> int:
    """Returns the number of entries of an array."""
    return int(np.prod(np.shape(leaf), dtype=np.int64))


def _itemsize(leaf: Any) -> int:
    return int(jnp.dtype(jnp.result_type(leaf)).itemsize)
