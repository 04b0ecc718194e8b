r"""Response of the membrane to its synapse.

With ``tau_mem dv/dt = -v + i`` and ``tau_syn di/dt = -i`` a unit of synaptic current at time 0
leaves the membrane, a time t later, at

    K(t) = a t exp(-min(a, b) t) phi(|b - a| t),     phi(x) = (1 - exp(-x)) / x,
    a = 1 / tau_mem,   b = 1 / tau_syn

This form holds for every ratio of the two time constants, equal ones included, without
cancellation; near equal ones it is computed from its even form, which is smooth there. Source:
Wunderlich & Pehle, *Event-based backpropagation can compute exact gradients for spiking neural
networks*, 2021 (their difference of exponentials, rewritten).
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from flax_snn.typing import Scalar


def namespace(*values: Any) -> ModuleType:
    """Returns ``jax.numpy`` if any value is a JAX array, else ``numpy`` (float64 for numbers)."""
    return jnp if any(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(values)) else np


def membrane_kernel(t: Scalar, tau_mem: Scalar, tau_syn: Scalar) -> Scalar:
    """Membrane potential at time ``t`` after a unit of synaptic current, ``K(t)``.

    Differentiable in all arguments, also at ``tau_mem == tau_syn``.

    >>> round(float(membrane_kernel(1e-3, 20e-3, 5e-3)), 6)
    0.044166

    Args:
      t: time in seconds, ``>= 0``; a number or an array.
      tau_mem: membrane time constant in seconds.
      tau_syn: synaptic time constant in seconds.

    Returns:
      ``K(t)``, without unit; in float64 where all arguments are numbers.
    """
    xp = namespace(t, tau_mem, tau_syn)
    a, b = 1.0 / tau_mem, 1.0 / tau_syn
    x = (b - a) * t
    near = xp.abs(x) < 0.5
    # |x| and min(a, b) have no derivative at a == b: K = a t exp(-(a + b) t / 2) sinh(x/2) / (x/2).
    even = xp.exp(-0.5 * (a + b) * t) * sinhc(xp.where(near, 0.5 * x, 0.0))
    far = xp.where(near, 1.0, xp.abs(x))
    return a * t * xp.where(near, even, xp.exp(-xp.minimum(a, b) * t) * -xp.expm1(-far) / far)


def sinhc(x: Scalar) -> Scalar:
    """Returns ``sinh(x) / x`` for ``|x| <= 1/4``, to the last digit of float64."""
    y = x * x
    rest = 1.0 + y / 72.0 * (1.0 + y / 110.0)
    return 1.0 + y / 6.0 * (1.0 + y / 20.0 * (1.0 + y / 42.0 * rest))
