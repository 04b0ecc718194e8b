"""The event loop: spikes of a layer of neurons, each of which runs on its own clock.

In one pass of the loop each neuron of each sample goes on to its own next event, a spike or an
arrival, whichever comes first, without waiting for the events of others. The number of passes is
that of the busiest neuron, not that of the layer. In a recurrent layer a neuron may go on as far as
no spike that is still unknown can reach it: up to the earliest next event of the layer, plus the
shortest delay (a conservative parallel simulation: Chandy & Misra, 1979).

The current is not reset by a spike, so a strong input brings several. During the refractory period
the membrane is held at the reset potential, while the current decays and takes up arrivals.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp

from flax_snn.event.arrivals import Arrivals, Recurrence
from flax_snn.event.crossing import next_crossing, next_crossing_tonic
from flax_snn.event.flow import current_after, membrane_after
from flax_snn.event.physics import Physics
from flax_snn.event.spikes import time_order
from flax_snn.typing import Array, Float, Int


class Limits(NamedTuple):
    """Bounds of a simulation, which are static under ``jit``.

    Attributes:
      budget: slots K for the spikes of the layer.
      max_spikes: most spikes of one neuron, ``None`` for no bound.
      duration: end of the simulation in seconds, may be infinite.
      holds: whether there may be a refractory period.
      tonic: whether neurons may rest at or above their threshold.
    """

    budget: int
    max_spikes: int | None
    duration: float
    holds: bool
    tonic: bool


class _State(NamedTuple):
    """Neurons ``(B, N)``, each at its own time, and the spikes so far."""

    v: Array
    i: Array
    time: Array
    free: Array  # end of the refractory period
    arrived: Array  # arrivals from outside so far
    fired: Array
    spike_time: Array  # (B, K)
    spike_index: Array
    spike_current: Array
    used: Array  # (B,) spikes so far, those without a slot among them
    pending: Array | None  # (B, K, N) arrivals of own spikes that are still to come
    busy: Array


@functools.partial(jax.jit, static_argnames="limits")
def run(
    numbers: Physics, arrivals: Arrivals, recurrence: Recurrence | None, limits: Limits
) -> tuple[Float[Array, "B K"], Int[Array, "B K"], Float[Array, "B K"], Int[Array, "B"]]:
    """Simulates a layer.

    Args:
      numbers: the neurons.
      arrivals: what reaches them from outside.
      recurrence: how they feed each other, if they do.
      limits: what bounds the simulation.

    Returns:
      Spike times, sorted, ``+inf`` in empty slots; their neurons, -1 in empty slots; the synaptic
      currents of these neurons at these times, in units of potential; spikes without a slot, at
      least so many: the simulation of a sample ends with the first of them.
    """
    batch, neurons = arrivals.batch, arrivals.neurons
    dtype = arrivals.time.dtype
    rows = numbers.lanes()
    lanes = (batch, neurons)
    state = _State(
        v=jnp.zeros(lanes, dtype)
        if rows.start is None
        else jnp.broadcast_to(rows.start.astype(dtype), lanes),
        i=jnp.zeros(lanes, dtype),
        time=jnp.zeros(lanes, dtype),
        free=jnp.zeros(lanes, dtype),
        arrived=jnp.zeros(lanes, jnp.int32),
        fired=jnp.zeros(lanes, jnp.int32),
        spike_time=jnp.full((batch, limits.budget), jnp.inf, dtype),
        spike_index=jnp.full((batch, limits.budget), -1, jnp.int32),
        spike_current=jnp.zeros((batch, limits.budget), dtype),
        used=jnp.zeros(batch, jnp.int32),
        pending=None
        if recurrence is None
        else jnp.full((batch, limits.budget, neurons), jnp.inf, dtype),
        busy=jnp.array(True),
    )

    def body(state: _State) -> _State:
        return _advance(state, rows, arrivals, recurrence, limits)

    state = jax.lax.while_loop(lambda state: state.busy, body, state)
    found = (state.spike_time, state.spike_index, state.spike_current)
    if recurrence is None:
        order = time_order(state.spike_time)
        time, index, current = (jnp.take_along_axis(x, order, axis=1) for x in found)
    else:
        time, index, current = found
    return time, index, current, jnp.maximum(state.used - limits.budget, 0)


def _advance(
    state: _State,
    rows: Physics,
    arrivals: Arrivals,
    recurrence: Recurrence | None,
    limits: Limits,
) -> _State:
    arrival, weight = arrivals.next(state.arrived)
    slot = None
    if recurrence is not None:
        assert state.pending is not None
        slot = jnp.argmin(state.pending, axis=1)[:, None, :]
        inner = jnp.take_along_axis(state.pending, slot, axis=1)[:, 0]
        from_inside = inner < arrival
        source = jnp.take_along_axis(state.spike_index, slot[:, 0], axis=1)
        arrival = jnp.minimum(arrival, inner)
        weight = jnp.where(from_inside, recurrence.weight(source), weight)

    start, i = state.time, state.i
    if limits.holds:
        start = jnp.maximum(start, state.free)
        i = current_after(i, start - state.time, rows)
    horizon = jnp.minimum(arrival, limits.duration) - start
    crossing = (next_crossing_tonic if limits.tonic else next_crossing)(state.v, i, horizon, rows)
    running = (state.used <= limits.budget)[:, None]
    if limits.max_spikes is not None:
        # Behind its last spike nothing that happens to a neuron matters.
        running = running & (state.fired < limits.max_spikes)
    spikes = crossing.exists & running
    arrives = ~spikes & (arrival < limits.duration) & running
    busy = jnp.any(spikes | arrives)
    spike_time = start + crossing.delay
    if recurrence is not None:
        event = jnp.where(spikes, spike_time, jnp.where(arrives, arrival, jnp.inf))
        first = jnp.min(event, axis=1, keepdims=True)
        neuron = jnp.argmin(event, axis=1)[:, None]
        spikes &= jnp.arange(event.shape[1], dtype=neuron.dtype)[None, :] == neuron
        arrives &= arrival <= first + recurrence.shortest

    wait = jnp.where(
        spikes, crossing.delay, jnp.where(arrives, jnp.maximum(arrival - start, 0.0), 0.0)
    )
    v = membrane_after(state.v, i, wait, rows)
    decayed = current_after(i, wait, rows)
    if limits.holds:
        # An arrival within the refractory period comes before `start`.
        early = arrives & (arrival < start)
        since = jnp.where(early, arrival - state.time, 0.0)
        decayed = jnp.where(early, current_after(state.i, since, rows), decayed)
    moved = spikes | arrives
    now = jnp.where(spikes, spike_time, arrival)
    taken = arrives if recurrence is None else arrives & ~from_inside
    state = state._replace(
        v=jnp.where(spikes, rows.reset, jnp.where(arrives, v, state.v)),
        i=jnp.where(moved, decayed + jnp.where(arrives, rows.gain * weight, 0.0), state.i),
        time=jnp.where(moved, now, state.time),
        free=jnp.where(spikes, spike_time + rows.hold, state.free),
        arrived=state.arrived + taken.astype(jnp.int32),
        fired=state.fired + spikes.astype(jnp.int32),
        busy=busy,
    )
    if recurrence is not None:
        assert slot is not None and state.pending is not None
        used = arrives & from_inside
        still_pending = jnp.where(used, jnp.inf, inner)
        row = jnp.arange(len(still_pending), dtype=slot.dtype)[:, None]
        column = jnp.arange(still_pending.shape[1], dtype=slot.dtype)[None, :]
        pending = state.pending.at[row, slot[:, 0], column].set(still_pending)
        state = state._replace(pending=pending)
    return jax.lax.cond(
        jnp.any(spikes), lambda: _recorded(state, spikes, recurrence), lambda: state
    )


def _recorded(state: _State, spikes: Array, recurrence: Recurrence | None) -> _State:
    """Writes the spikes of this pass, whose times are those of their neurons, into free slots."""
    budget = state.spike_time.shape[1]
    number = jnp.cumsum(spikes, axis=1, dtype=jnp.int32)
    slot = jnp.where(spikes, state.used[:, None] + number - 1, budget)
    row = jnp.arange(len(slot), dtype=jnp.int32)[:, None]
    neuron = jnp.broadcast_to(jnp.arange(slot.shape[1], dtype=jnp.int32)[None, :], slot.shape)
    state = state._replace(
        spike_time=state.spike_time.at[row, slot].set(state.time, mode="drop"),
        spike_index=state.spike_index.at[row, slot].set(neuron, mode="drop"),
        # Nothing arrives at a neuron in the pass in which it spikes.
        spike_current=state.spike_current.at[row, slot].set(state.i, mode="drop"),
        used=state.used + number[:, -1],
    )
    if recurrence is None:
        return state
    assert state.pending is not None
    # At most one neuron of a sample spikes in a pass.
    which = jnp.argmax(spikes, axis=1)[:, None]
    some = jnp.any(spikes, axis=1)
    time = jnp.take_along_axis(state.time, which, axis=1)
    slot = jnp.where(some, state.used - 1, budget)
    reaches = recurrence.reaches(time, which[:, 0].astype(jnp.int32))
    pending = state.pending.at[row[:, 0], slot].set(reaches, mode="drop")
    return state._replace(pending=pending)
