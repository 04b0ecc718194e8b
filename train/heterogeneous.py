"""Neurons with time constants of their own, from the first update on.

Heterogeneous time constants let one layer see fast and slow features of its input (Perez-Nieves et
al., Neural heterogeneity promotes robust learning, Nature Communications 12, 2021).
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from flax_snn.typing import Array, PRNGKey


def spread_time_constants(cell: dict[str, Any], key: PRNGKey, spread: float) -> dict[str, Any]:
    """Multiply the learned time constants of a cell by log-normal factors, and mend its weights.

    With time constants ``tau_mem, tau_syn`` the exact membrane answers white input with a variance
    proportional to ``tau_syn^2 / (tau_mem + tau_syn)``. The weights of each neuron are scaled such
    that its membrane keeps the variance that it had.

    Args:
      cell: parameters of a cell with ``log_tau_mem`` and ``log_tau_syn``, ``(N,)`` each, and
        kernels ``(..., N)``; returned as it is without them.
      key: random key.
      spread: standard deviation of the logarithm of the factors.

    Returns:
      Parameters of the cell.
    """
    if "log_tau_mem" not in cell:
        return cell
    after = dict(cell)
    names = ("log_tau_mem", "log_tau_syn")
    for name, k in zip(names, jax.random.split(key), strict=True):
        after[name] = cell[name] + spread * jax.random.normal(k, cell[name].shape, cell[name].dtype)
    scale_N = jnp.sqrt(_variance(*(cell[n] for n in names)) / _variance(*(after[n] for n in names)))
    for name in ("kernel", "recurrent_kernel"):
        if name in cell:
            after[name] = cell[name] * scale_N
    return after


def _variance(log_tau_mem: Array, log_tau_syn: Array) -> Array:
    tau_mem, tau_syn = jnp.exp(log_tau_mem), jnp.exp(log_tau_syn)
    return tau_syn**2 / (tau_mem + tau_syn)
