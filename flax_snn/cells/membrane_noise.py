"""Membrane noise of a cell: standard normal numbers of the RNG stream ``noise``."""

from __future__ import annotations

from typing import Any

import jax

from flax_snn.typing import Array


def membrane_noise(cell: Any, v: Array) -> Array | None:
    """Returns the noise of a step in the shape of the membrane, or None for a cell without noise.

    Args:
      cell: a `NeuronCell`.
      v: membrane potential, for its shape and dtype.

    Raises:
      ValueError: the RNG stream ``noise`` is missing.
    """
    if not cell.dynamics.noisy or cell.deterministic or cell.is_initializing():
        return None
    if not cell.has_rng("noise"):
        raise ValueError(
            f"{type(cell).__name__}: membrane noise of {type(cell.dynamics).__name__} needs the RNG"
            " stream 'noise': pass rngs={'noise': key} to apply (snn.RNN lifts it; nn.RNN needs"
            " split_rngs={'params': False, 'noise': True}), or switch the noise off with"
            " deterministic=True"
        )
    return jax.random.normal(cell.make_rng("noise"), v.shape, v.dtype)
