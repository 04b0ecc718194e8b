r"""The next spike from a state, for any ratio of the time constants.

Above rest a membrane is a sum of two exponentials: it has at most one stationary point, where
``v = i``. With the threshold ``theta`` above rest, a crossing from below needs ``i > theta``, so it
comes before ``t_i = tau_syn log(i / theta)``, and until then ``v - theta`` changes its sign at most
once. Hence the test, exact and without the maximum:

    a spike within h   <=>   i > theta  and  v(min(h, t_i)) > theta

Equality, a membrane that only touches the threshold, is no spike: its gradient would be infinite.
The root is found by Halley's steps, whose second derivative costs no exponential,
``tau_mem v'' = -i / tau_syn - v'``. They start at the crossing of the parabola that has the
membrane's own maximum and curvature, which carries the square root of a near miss:

    t_0 = t_max - sqrt(2 tau_mem tau_syn (v_max - theta) / v_max)

On its way up the membrane is concave, so that t_0 is left of the crossing.

A neuron that rests at or above its threshold (`next_crossing_tonic`) always spikes; there a
bracketed bisection serves, for the membrane need not be concave.

Sources: Göltz et al., *Fast and energy-efficient neuromorphic deep learning with first-spike
times*, 2021, for the closed forms at ratios 1 and 2, which the tests use; Engelken, *SparseProp*,
2023, for iterations on event-driven neurons.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from flax_snn.event.flow import current_after, membrane_after
from flax_snn.event.physics import Physics
from flax_snn.typing import Array, Bool, Float

STEPS = {32: 3, 64: 4}
"""Halley's steps by the bits of the dtype; one more changes no spike time beyond rounding."""


class Crossing(NamedTuple):
    """The next crossing of the threshold.

    Attributes:
      exists: whether there is one within the horizon.
      delay: time until it in seconds; 0 where there is none.
    """

    exists: Array
    delay: Array


def crosses(
    v: Float[Array, "*S"], i: Float[Array, "*S"], horizon: Float[Array, "*S"], numbers: Physics
) -> Bool[Array, "*S"]:
    """Returns whether membranes that rest below their threshold reach it within the horizon.

    Args:
      v: potential above rest, below the threshold.
      i: synaptic current in units of potential.
      horizon: time in seconds, may be infinite; at or below 0 there is no crossing.
      numbers: rows that broadcast against the state; thresholds > 0.
    """
    theta = numbers.threshold
    rising = (i > theta) & (horizon > 0)
    i = jnp.where(rising, i, 2.0 * theta)
    end = jnp.minimum(jnp.where(rising, horizon, 0.0), numbers.tau_syn * jnp.log(i / theta))
    return rising & (membrane_after(v, i, end, numbers) > theta)


def delay_until(
    exists: Bool[Array, "*S"],
    v: Float[Array, "*S"],
    i: Float[Array, "*S"],
    horizon: Float[Array, "*S"],
    numbers: Physics,
) -> Float[Array, "*S"]:
    """Returns the time until a crossing that `crosses` found; 0 where it found none."""
    theta, tau_mem, tau_syn = numbers.threshold, numbers.tau_mem, numbers.tau_syn
    v, i = jnp.where(exists, v, 0.0), jnp.where(exists, i, 2.0 * theta)
    end = jnp.minimum(jnp.where(exists, horizon, 0.0), tau_syn * jnp.log(i / theta))
    peak = time_of_peak(v, i, numbers)
    height = current_after(i, peak, numbers)
    square = 2.0 * tau_mem * tau_syn * (1.0 - theta / height)
    start = jnp.maximum(peak - jnp.sqrt(jnp.maximum(square, 0.0)), 0.0)

    def step(_: Array, t: Array) -> Array:
        decayed, membrane = current_after(i, t, numbers), membrane_after(v, i, t, numbers)
        gap, rise = jnp.maximum(theta - membrane, 0.0), decayed - membrane
        # Right of the maximum, where only rounding can lead, the membrane no longer rises.
        rising = rise > 0
        rise = jnp.where(rising, rise, 1.0)
        newton = tau_mem * gap / rise
        bend = newton * (decayed / tau_syn + rise / tau_mem) / rise
        return jnp.minimum(
            t + jnp.where(rising, newton / jnp.maximum(1.0 - 0.5 * bend, 0.5), 0.0), end
        )

    # A loop, not unrolled: the compiler would solve again wherever the time is used.
    steps = STEPS[jnp.finfo(v.dtype).bits]
    t = jax.lax.fori_loop(0, steps, step, jnp.minimum(start, end))
    return jnp.where(exists, t, 0.0)


def next_crossing(v: Array, i: Array, horizon: Array, numbers: Physics) -> Crossing:
    """Returns the next crossing of membranes that rest below their threshold; see `crosses`."""
    exists = crosses(v, i, horizon, numbers)
    delay = jax.lax.cond(
        jnp.any(exists),
        lambda: delay_until(exists, v, i, horizon, numbers),
        lambda: jnp.zeros_like(v),
    )
    return Crossing(exists, delay)


def next_crossing_tonic(v: Array, i: Array, horizon: Array, numbers: Physics) -> Crossing:
    """Returns the next crossing of membranes that may rest at or above their threshold.

    Args:
      v: potential above rest, below the threshold.
      i: synaptic current in units of potential.
      horizon: finite time in seconds; at or below 0 there is no crossing.
      numbers: rows that broadcast against the state.
    """
    theta, tau_syn = numbers.threshold, numbers.tau_syn
    below, above = theta > 0, theta < 0
    ratio = jnp.where((below & (i > theta)) | (above & (i < theta)), i, theta)
    ratio = jnp.where(theta == 0, 1.0, ratio / jnp.where(theta == 0, 1.0, theta))
    turn = tau_syn * jnp.log(ratio)
    # Below rest: the current is no longer more negative than the threshold. Above: the bracket.
    start = jnp.where(above, turn, 0.0)
    end = jnp.minimum(jnp.maximum(horizon, 0.0), jnp.where(below, turn, jnp.inf))
    allowed = (horizon > 0) & (start <= end) & (~below | (i > theta))
    end = jnp.where(allowed, end, 0.0)
    start = jnp.where(allowed, start, 0.0)
    exists = allowed & (membrane_after(v, i, end, numbers) > theta)

    def halve(_: Array, bracket: tuple[Array, Array]) -> tuple[Array, Array]:
        low, high = bracket
        middle = 0.5 * (low + high)
        crossed = membrane_after(v, i, middle, numbers) > theta
        return jnp.where(crossed, low, middle), jnp.where(crossed, middle, high)

    steps = 4 + jnp.finfo(v.dtype).nmant
    shape = jnp.broadcast_shapes(v.shape, start.shape)
    bracket = (jnp.broadcast_to(start, shape), jnp.broadcast_to(end, shape))
    _, high = jax.lax.fori_loop(0, steps, halve, bracket)
    return Crossing(exists, jnp.where(exists, high, 0.0))


def time_of_peak(v: Array, i: Array, numbers: Physics) -> Array:
    """Returns when a membrane with ``v < i``, ``i > 0`` stops to rise, ``log1p(d y) / d``."""
    a, b = 1.0 / numbers.tau_mem, 1.0 / numbers.tau_syn
    d = b - a
    y = (i - v) / (a * i + d * v)
    x = d * y
    near = jnp.abs(x) < 1e-4
    # log1p(x) / x, whose quotient has no value at equal time constants.
    far = jnp.where(near, 1.0, x)
    return y * jnp.where(near, 1.0 - 0.5 * x + x * x / 3.0, jnp.log1p(far) / far)
