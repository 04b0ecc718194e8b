"""The first spike of every neuron of a layer at once, by prefix sums over the sorted inputs.

Before its first spike a neuron is linear: its state behind each input is a sum over the inputs so
far. With ``flow(h)`` the free evolution over a time h, pieces of the input add up by

    (t1, v1, i1) + (t2, v2, i2) = (t2, flow(t2 - t1)(v1, i1) + (v2, i2))

which is associative, so that all sums take one parallel prefix scan; every exponent is negative,
for windows of any length and any ratio of the time constants. The first spike lies behind the
first input after which the existence test of `flax_snn.event.crossing` holds; only there the
crossing is computed.

Source: the causal sets of Göltz et al., *Fast and energy-efficient neuromorphic deep learning with
first-spike times*, 2021; Blelloch, *Prefix sums and their applications*, 1990.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp

from flax_snn.event.arrivals import Arrivals
from flax_snn.event.crossing import crosses, delay_until
from flax_snn.event.flow import current_after, membrane_after
from flax_snn.event.physics import Physics
from flax_snn.typing import Array, Float


class Prefixes(NamedTuple):
    """States behind each arrival, and how long they last; no neuron spikes.

    Attributes:
      time: arrival times in seconds, finite; ``(B, M, 1)`` or ``(B, M, N)``.
      lasts: time until the next arrival or the end; 0 behind what is no arrival.
      v: potential above rest, ``(B, M, N)``.
      i: synaptic current in units of potential, ``(B, M, N)``.
    """

    time: Array
    lasts: Array
    v: Array
    i: Array


def prefixes(
    numbers: Physics,
    time: Float[Array, "B M _"],
    jumps: Float[Array, "B M N"],
    duration: float,
) -> Prefixes:
    """Return the states behind each arrival of neurons that do not spike.

    Args:
      numbers: the neurons.
      time: arrival times in seconds, sorted, ``+inf`` for none; ``(B, M, 1)`` or ``(B, M, N)``.
      jumps: weights in units of potential, 0 for none.
      duration: end of the simulation in seconds, may be infinite.
    """
    rows = jax.tree.map(lambda x: x[None, None, :], numbers)
    real = jnp.isfinite(time)
    last = jnp.max(jnp.where(real, time, 0.0), axis=1, keepdims=True)
    following = jnp.pad(time[:, 1:], ((0, 0), (0, 1), (0, 0)), constant_values=jnp.inf)
    time = jnp.where(real, time, last)
    lasts = jnp.where(real, jnp.minimum(following, duration) - time, 0.0)

    def add(first: tuple[Array, ...], second: tuple[Array, ...]) -> tuple[Array, ...]:
        (t1, v1, i1), (t2, v2, i2) = first, second
        h = t2 - t1
        return t2, membrane_after(v1, i1, h, rows) + v2, current_after(i1, h, rows) + i2

    _, v, i = jax.lax.associative_scan(add, (time, jnp.zeros_like(jumps), jumps), axis=1)
    return Prefixes(time, lasts, v, i)


@functools.partial(jax.jit, static_argnames="duration")
def first_crossings(numbers: Physics, arrivals: Arrivals, duration: float) -> Float[Array, "B N"]:
    """Return the time of the first spike of each neuron in seconds, ``+inf`` where silent.

    Args:
      numbers: the neurons, at rest below their threshold.
      arrivals: what reaches them.
      duration: end of the simulation in seconds, may be infinite.
    """
    rows = numbers.lanes()
    jumps = arrivals.weights() * rows.gain[None]
    behind = prefixes(numbers, arrivals.time[:, :-1], jumps, duration)
    lasts = jnp.broadcast_to(behind.lasts, behind.v.shape)
    found = crosses(behind.v, behind.i, lasts, jax.tree.map(lambda x: x[None], rows))
    at = jnp.argmax(found, axis=1, keepdims=True)

    def chosen(x: Array) -> Array:
        return jnp.take_along_axis(jnp.broadcast_to(x, found.shape), at, axis=1)[:, 0]

    exists = jnp.any(found, axis=1)
    delay = delay_until(exists, chosen(behind.v), chosen(behind.i), chosen(lasts), rows)
    return jnp.where(exists, chosen(behind.time) + delay, jnp.inf)
