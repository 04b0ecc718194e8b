"""The exact flow of a neuron between two events.

    i(t) = i exp(-t / tau_syn)
    v(t) = v exp(-t / tau_mem) + i K(t)          K: `flax_snn.dynamics.membrane_kernel`

for any ratio of the time constants. Source: Wunderlich & Pehle, *Event-based backpropagation can
compute exact gradients for spiking neural networks*, 2021.
"""

from __future__ import annotations

import jax.numpy as jnp

from flax_snn.dynamics.kernel import membrane_kernel
from flax_snn.event.physics import Physics
from flax_snn.typing import Array


def current_after(i: Array, t: Array, numbers: Physics) -> Array:
    """Return the synaptic current a time ``t >= 0`` later."""
    return i * jnp.exp(-t / numbers.tau_syn)


def membrane_after(v: Array, i: Array, t: Array, numbers: Physics) -> Array:
    """Return the potential above rest a time ``t >= 0`` later."""
    return v * jnp.exp(-t / numbers.tau_mem) + i * kernel(t, numbers)


def kernel(t: Array, numbers: Physics) -> Array:
    """Return the potential a time ``t >= 0`` after a unit of synaptic current."""
    response: Array = membrane_kernel(t, numbers.tau_mem, numbers.tau_syn)
    return response
