"""The first spike of every neuron of a layer at once, by prefix sums over the sorted inputs.

Before its first spike a neuron is linear: its state behind each input is a sum over the inputs so
far. The free evolution over a time h is

    v <- E v + K i,  i <- F i        E = exp(-h / tau_mem),  F = exp(-h / tau_syn),  K = K(h)

and pieces of the input add up by

    (E1, K1, F1, v1, i1) + (E2, K2, F2, v2, i2)
        = (E1 E2, E2 K1 + K2 F1, F1 F2, E2 v1 + K2 i1 + v2, F2 i1 + i2)

which is associative, so that all sums can be taken in one parallel prefix scan; every exponent is
negative, for windows of any length and any ratio of the time constants. The first spike lies behind
the first input after which the existence test of `flax_snn.event.crossing` holds; only there the
crossing is computed. On a CPU one sum after the other is faster, all neurons and samples at once,
with the test of each; inputs that arrive together in all samples need one test, behind the last.

Source: the causal sets of Göltz et al., *Fast and energy-efficient neuromorphic deep learning with
first-spike times*, 2021; Blelloch, *Prefix sums and their applications*, 1990.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from flax_snn.event.arrivals import Arrivals
from flax_snn.event.crossing import crosses, delay_until
from flax_snn.event.flow import current_after, kernel
from flax_snn.event.physics import Physics
from flax_snn.typing import Array, Bool, Float, Int

MANY_LANES, MANY_ARRIVALS = 1024, 12
"""Neurons of all samples, and arrivals, from which on tests that are left out make up for a loop
that has them. 64 x 3 neurons with 100 arrivals take 0.17 instead of 0.74 ms without it, 64 x 100
neurons with 5 arrivals 0.11 instead of 0.34, and with 25 arrivals of five moments 1.4 instead of
0.36."""

_Flow = tuple[Array, Array, Array]
"""E, K and F since the arrival before, each ``(B, M, 1)`` or ``(B, M, N)``."""


class Prefixes(NamedTuple):
    """States after each arrival, and how long they last, if no neuron spikes.

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
    """Returns the states after each arrival, if no neuron spikes.

    Args:
      numbers: the neurons.
      time: arrival times in seconds, sorted, ``+inf`` for none; ``(B, M, 1)`` or ``(B, M, N)``.
      jumps: weights in units of potential, 0 for none.
      duration: end of the simulation in seconds, may be infinite.
    """
    rows = jax.tree.map(lambda x: x[None, None, :], numbers)
    if time.shape[1] == 0:
        return Prefixes(time, time, jumps, jumps)
    time, lasts, flow = _timing(rows, time, duration)
    v, i = jax.lax.platform_dependent(flow, jumps, cpu=summed_in_turn, default=summed_in_parallel)
    if rows.start is not None:
        v = v + rows.start * jnp.exp(-time / rows.tau_mem)
    # Else the compiler takes the sums apart and computes them anew wherever they are read.
    return jax.lax.optimization_barrier(Prefixes(time, lasts, v, i))


def _timing(rows: Physics, time: Array, duration: float) -> tuple[Array, Array, _Flow]:
    """Returns finite arrival times, how long the states behind them last, and the flow before."""
    real = jnp.isfinite(time)
    last = jnp.max(jnp.where(real, time, 0.0), axis=1, keepdims=True)
    following = jnp.pad(time[:, 1:], ((0, 0), (0, 1), (0, 0)), constant_values=jnp.inf)
    time = jnp.where(real, time, last)
    lasts = jnp.where(real, jnp.minimum(following, duration) - time, 0.0)
    since = jnp.diff(time, axis=1, prepend=time[:, :1])
    flow = (jnp.exp(-since / rows.tau_mem), kernel(since, rows), jnp.exp(-since / rows.tau_syn))
    return time, lasts, flow


def summed_in_turn(flow: _Flow, jumps: Float[Array, "B M N"]) -> tuple[Array, Array]:
    """Returns potentials and currents after each arrival, computed one after the other."""

    def step(state: tuple[Array, Array], arrival: Any) -> tuple[Any, Any]:
        (v, i), ((e, k, f), jump) = state, arrival
        state = (e * v + k * i, f * i + jump)
        return state, state

    none = jnp.zeros_like(jumps[:, 0])
    by_arrival = jax.tree.map(lambda x: jnp.moveaxis(x, 1, 0), (flow, jumps))
    _, (v, i) = jax.lax.scan(step, (none, none), by_arrival)
    return jnp.moveaxis(v, 0, 1), jnp.moveaxis(i, 0, 1)


def summed_in_parallel(flow: _Flow, jumps: Float[Array, "B M N"]) -> tuple[Array, Array]:
    """Returns the same as `summed_in_turn` in a number of steps that is logarithmic in M."""

    def add(first: tuple[Array, ...], second: tuple[Array, ...]) -> tuple[Array, ...]:
        (e1, k1, f1, v1, i1), (e2, k2, f2, v2, i2) = first, second
        v, i = e2 * v1 + k2 * i1 + v2, f2 * i1 + i2
        return e1 * e2, e2 * k1 + k2 * f1, f1 * f2, v, i

    elements = (*flow, jnp.zeros_like(jumps), jumps)
    *_, v, i = jax.lax.associative_scan(add, elements, axis=1)
    return v, i


@functools.partial(jax.jit, static_argnames="duration")
def first_crossings(
    numbers: Physics, arrivals: Arrivals, duration: float
) -> tuple[Float[Array, "B N"], Float[Array, "B N"]]:
    """Returns the first spike of each neuron.

    Args:
      numbers: the neurons, at rest below their threshold.
      arrivals: what reaches them.
      duration: end of the simulation in seconds, may be infinite.

    Returns:
      Its time in seconds, ``+inf`` where the neuron is silent; the synaptic current at that time,
      in units of potential.
    """
    rows = numbers.lanes()
    if arrivals.time.shape[1] == 1:  # the infinite last one alone
        none = jnp.zeros((arrivals.batch, arrivals.neurons), arrivals.time.dtype)
        return none + jnp.inf, none
    at_once = functools.partial(_first_at_once, duration=duration)
    lanes, count = arrivals.batch * arrivals.neurons, arrivals.time.shape[1] - 1
    if lanes < MANY_LANES or count < MANY_ARRIVALS:
        found = at_once(numbers, arrivals)
    else:
        in_turn = functools.partial(_first_in_turn, duration=duration)
        found = jax.lax.platform_dependent(numbers, arrivals, cpu=in_turn, default=at_once)
    delay = delay_until(found.exists, found.v, found.i, found.lasts, rows)
    time = jnp.where(found.exists, found.time + delay, jnp.inf)
    return time, current_after(found.i, delay, rows)


class _Before(NamedTuple):
    """What each neuron crosses its threshold from, ``(B, N)``; arbitrary where it does not.

    Attributes:
      exists: whether it does.
      time: time of the last arrival before.
      lasts: time from there until the next one.
      v: potential behind that arrival.
      i: synaptic current behind it.
    """

    exists: Array
    time: Array
    lasts: Array
    v: Array
    i: Array


def _first_in_turn(numbers: Physics, arrivals: Arrivals, *, duration: float) -> _Before:
    """Goes from arrival to arrival; tests only where some state lasts."""
    rows = numbers.lanes()
    each = jax.tree.map(lambda x: x[None, None, :], numbers)
    given = arrivals.time[:, :-1]
    time, lasts, flow = _timing(each, given, duration)

    def step(loop: Any, arrival: Any) -> tuple[Any, None]:
        v, i, before = loop
        time, lasts, some_last, real, (e, k, f), source = arrival
        v, i = e * v + k * i, f * i + jnp.where(real, _weights(arrivals, source), 0.0) * rows.gain
        free = v if rows.start is None else v + rows.start * jnp.exp(-time / rows.tau_mem)

        def tested() -> _Before:
            horizon = jnp.broadcast_to(lasts, free.shape)
            new = crosses(free, i, horizon, rows) & ~before.exists
            values = (jnp.broadcast_to(time, free.shape), horizon, free, i)
            parts = [jnp.where(new, a, b) for a, b in zip(values, before[1:], strict=True)]
            return _Before(before.exists | new, *parts)

        return (v, i, jax.lax.cond(some_last, tested, lambda: before)), None

    none = jnp.zeros((arrivals.batch, arrivals.neurons), time.dtype)
    before = _Before(none > 0, none, none, none, none)
    sources = arrivals.source[:, :-1]
    some_last = jnp.any(lasts > 0, axis=(0, 2))
    time, lasts, real, flow, sources = jax.tree.map(
        lambda x: jnp.moveaxis(x, 1, 0), (time, lasts, jnp.isfinite(given), flow, sources)
    )
    by_arrival = (time, lasts, some_last, real, flow, sources)
    (_, _, before), _ = jax.lax.scan(step, (none, none, before), by_arrival)
    return before


def _weights(arrivals: Arrivals, source: Array) -> Array:
    """Returns the weights ``(B, N)`` of one arrival, of sources ``(B, 1)`` or ``(B, N)``."""
    if source.shape[1] == 1:
        return arrivals.kernel[source[:, 0]]
    return arrivals.kernel[source, jnp.arange(arrivals.neurons, dtype=jnp.int32)[None, :]]


def _first_at_once(numbers: Physics, arrivals: Arrivals, *, duration: float) -> _Before:
    """Takes all sums in parallel, and looks for the first that crosses."""
    rows = numbers.lanes()
    jumps = arrivals.weights() * rows.gain[None]
    behind = prefixes(numbers, arrivals.time[:, :-1], jumps, duration)
    lasts = jnp.broadcast_to(behind.lasts, behind.v.shape)
    found = crosses(behind.v, behind.i, lasts, jax.tree.map(lambda x: x[None], rows))
    at = first_row(found)
    exists = at < found.shape[1]
    at = jnp.where(exists, at, 0)
    row = jnp.arange(found.shape[0], dtype=jnp.int32)[:, None]
    column = jnp.arange(found.shape[2], dtype=jnp.int32)[None, :]
    parts = [
        x[row, at, column if x.shape[2] > 1 else 0]
        for x in (behind.time, behind.lasts, behind.v, behind.i)
    ]
    return _Before(exists, *parts)


def first_row(found: Bool[Array, "B M N"]) -> Int[Array, "B N"]:
    """Returns the number of the first true row, or M if no row is.

    XLA makes much faster code of a minimum than of ``argmax`` on a CPU.
    """
    rows = found.shape[1]
    if rows == 0:
        return jnp.zeros((found.shape[0], found.shape[2]), jnp.int32)
    number = jnp.arange(rows, dtype=jnp.int32)[None, :, None]
    return jnp.min(jnp.where(found, number, rows), axis=1)
