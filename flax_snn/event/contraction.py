"""Sums over arrivals at the spikes of a layer, in blocks of which only those in use are computed.

A layer has slots for more spikes than it has; the used ones come first. So the pairs of spikes and
arrivals are gone through in blocks, as many as the fullest sample needs: time follows the number
of spikes, memory the size of a block.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from flax_snn.event.connections import Events, Layer, over
from flax_snn.event.physics import Physics
from flax_snn.event.superposition import Lanes, current, driven, left_of_reset
from flax_snn.typing import Array, Float

SPIKES, ARRIVALS = 16, 64
"""Spikes and arrivals of a block."""


def lanes_of(numbers: Physics, events: Events, before: Float[Array, "B K"] | None) -> Lanes:
    """Returns one lane for each spike: its neuron at its time."""
    index = events.index
    numbers = numbers.lanes() if index is None else numbers.of(jnp.maximum(index, 0))
    return Lanes(events.time, None if before is None else before + numbers.hold, numbers)


def currents(
    layer: Layer, events: Events, lanes: Lanes
) -> tuple[Float[Array, "B K"], Float[Array, "B K"]]:
    """Returns the synaptic current at each spike, and at the end of the reset before it.

    Args:
      layer: the layer.
      events: input spikes and spikes of the layer.
      lanes: what `lanes_of` made of them.
    """
    none = jnp.zeros_like(events.time)

    def add(sums: tuple[Array, Array], block: _Block) -> tuple[Array, Array]:
        part = block.lanes(lanes)
        felt = block.felt(layer, events, part.numbers)
        now = block.add(sums[0], current(part, *felt))
        if lanes.restart is None:
            return now, sums[1]
        return now, block.add(sums[1], current(part, *felt, at_restart=True))

    return _over_blocks(layer, events, (none, none), add)


def contracted(
    layer: Layer, events: Events, before: Float[Array, "B K"] | None, costate: Float[Array, "B K"]
) -> Layer:
    """Returns ``sum_k lambda_k dV(t_k)/dp`` for every array p of a layer.

    Args:
      layer: the layer.
      events: input spikes and spikes of the layer.
      before: time of the spike before of the same neuron, -inf for none; ``None`` where no neuron
        has several.
      costate: lambda of each spike, 0 in empty slots.
    """

    def alone(layer: Layer) -> Array:
        lanes = lanes_of(layer.numbers, events, before)
        return jnp.sum(costate * (left_of_reset(lanes) - lanes.numbers.threshold))

    def add(total: Layer, block: _Block) -> Layer:
        def weighted(layer: Layer) -> Array:
            part = block.lanes(lanes_of(layer.numbers, events, before))
            v = driven(part, *block.felt(layer, events, part.numbers))
            return jnp.sum(block.cut(costate) * v)

        return jax.tree.map(jnp.add, total, jax.grad(weighted)(layer))

    return _over_blocks(layer, events, jax.grad(alone)(layer), add)


class _Block(NamedTuple):
    """Pairs of some spikes of a layer and some arrivals.

    Attributes:
      within: the arrivals are those of the layer's own spikes.
      spikes: number of spikes; static.
      arrivals: number of arrivals; static.
      k: the first spike.
      m: the first arrival.
    """

    within: bool
    spikes: int
    arrivals: int
    k: Any
    m: Any

    def lanes(self, lanes: Lanes) -> Lanes:
        """Returns the lanes of the spikes."""
        return Lanes(*jax.tree.map(self.cut, tuple(lanes)))

    def cut(self, x: Array) -> Array:
        """Returns the columns of the spikes of the block; columns that all spikes share stay."""
        whole = x.shape[1] == 1 or x.shape[1] == self.spikes
        return x if whole else jax.lax.dynamic_slice_in_dim(x, self.k, self.spikes, axis=1)

    def add(self, total: Array, part: Array) -> Array:
        """Returns the total, with the sums of the spikes of the block added."""
        if total.shape == part.shape:
            return total + part
        return jax.lax.dynamic_update_slice_in_dim(total, self.cut(total) + part, self.k, axis=1)

    def felt(self, layer: Layer, events: Events, numbers: Physics) -> tuple[Array, Array]:
        """Returns arrival times at the neurons of the spikes, and weights in units of potential."""
        neuron = None if events.index is None else jnp.maximum(self.cut(events.index), 0)
        connections, time, source = (layer.kernel, layer.delay), layer.time, events.source
        if self.within:
            connections = (layer.recurrent_kernel, layer.recurrent_delay)
            time, source = events.time, events.index
        if time.shape[1] != self.arrivals:
            time, source = (
                jax.lax.dynamic_slice_in_dim(x, self.m, self.arrivals, axis=1)
                for x in (time, source)
            )
        arrival, weight = over(*connections, time, source, neuron)
        return arrival, weight * numbers.gain[:, None, :]


def block_sizes(arrivals: int, spikes: int, each: bool) -> tuple[int, int]:
    """Returns arrivals and spikes of a block.

    Args:
      arrivals: number of arrivals.
      spikes: number of spikes.
      each: slot n is that of neuron n, so that all are in use.
    """
    if each:
        return min(arrivals, max(ARRIVALS, ARRIVALS * 256 // max(spikes, 1))), spikes
    return min(arrivals, ARRIVALS), min(spikes, SPIKES)


def _over_blocks(
    layer: Layer, events: Events, total: Any, add: Callable[[Any, _Block], Any]
) -> Any:
    """Adds up all blocks in use; numbers of arrivals and spikes are multiples of those of a block.

    The used arrivals and spikes are the first ones of each sample.
    """
    each = events.index is None
    sets = [(False, layer.time)]
    if layer.recurrent_kernel is not None:
        sets.append((True, events.time))
    for within, time in sets:
        if time.shape[1] == 0 or events.time.shape[1] == 0:
            continue
        arrivals, spikes = block_sizes(time.shape[1], events.time.shape[1], each)
        whole = events.time.shape[1] // spikes
        if time.shape[1] // arrivals * whole == 1:
            total = add(total, _Block(within, spikes, arrivals, 0, 0))
            continue
        columns = _used(time, arrivals)
        rows = whole if each else _used(events.time, spikes)

        def body(
            number: Array, total: Any, shape: Any = (within, spikes, arrivals, columns)
        ) -> Any:
            within, spikes, arrivals, columns = shape
            k, m = number // columns * spikes, number % columns * arrivals
            return add(total, _Block(within, spikes, arrivals, k, m))

        total = jax.lax.fori_loop(0, rows * columns, body, total)
    return total


def _used(time: Array, block: int) -> Array:
    """Returns the number of blocks of slots that some sample uses."""
    return -(-jnp.max(jnp.sum(jnp.isfinite(time), axis=1, dtype=jnp.int32)) // block)
