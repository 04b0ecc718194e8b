"""The exact flow of a neuron between two events.

    i(t) = i exp(-t / tau_syn)
    v(t) = v exp(-t / tau_mem) + i K(t)          K: `flax_snn.dynamics.membrane_kernel`

for any ratio of the time constants. Source: Wunderlich & Pehle, *Event-based backpropagation can
compute exact gradients for spiking neural networks*, 2021.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from flax_snn.dynamics.kernel import membrane_kernel, sinhc
from flax_snn.event.physics import Physics
from flax_snn.typing import Array


def current_after(i: Array, t: Array, numbers: Physics) -> Array:
    """Returns the synaptic current a time ``t >= 0`` later."""
    return i * jnp.exp(-t / numbers.tau_syn)


def membrane_after(v: Array, i: Array, t: Array, numbers: Physics) -> Array:
    """Returns the potential above rest a time ``t >= 0`` later."""
    return v * jnp.exp(-t / numbers.tau_mem) + i * kernel(t, numbers)


def kernel(t: Array, numbers: Physics) -> Array:
    """Returns the potential a time ``t >= 0`` after a unit of synaptic current."""
    response: Array = _kernel(t, numbers.tau_mem, numbers.tau_syn)
    return response


@jax.custom_jvp
def _kernel(t: Array, tau_mem: Array, tau_syn: Array) -> Array:
    """`membrane_kernel`, from the two decays that a flow needs anyway, in half the time.

    Where the decays E and F are close, ``sqrt(E F) = exp(-(a + b) t / 2)`` in the even form;
    elsewhere their difference, which is at least 0.39 of the larger one.
    """
    a = 1.0 / tau_mem
    x = t / tau_syn - t / tau_mem
    decay_mem, decay_syn = jnp.exp(-t / tau_mem), jnp.exp(-t / tau_syn)
    near = jnp.abs(x) < 0.5
    even = jnp.sqrt(decay_mem * decay_syn) * sinhc(jnp.where(near, 0.5 * x, 0.0))
    return a * t * jnp.where(near, even, (decay_mem - decay_syn) / jnp.where(near, 1.0, x))


@_kernel.defjvp
def _kernel_jvp(primals: tuple[Array, ...], tangents: tuple[Array, ...]) -> tuple[Array, Array]:
    """``dK/dt = (exp(-t / tau_syn) - K) / tau_mem``; time constants as in `membrane_kernel`."""
    t, tau_mem, tau_syn = primals
    k = _kernel(t, tau_mem, tau_syn)
    along = (jnp.exp(-t / tau_syn) - k) / tau_mem * tangents[0]
    _, across = jax.jvp(
        lambda tau_mem, tau_syn: membrane_kernel(t, tau_mem, tau_syn), primals[1:], tangents[1:]
    )
    return k, along + across
