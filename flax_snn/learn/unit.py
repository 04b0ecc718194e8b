"""A layer as a row of separate neurons: what a weight changes in its own neuron, and nowhere else.

With the recurrent spikes held fixed, a layer is N systems that know nothing of each other. Each one
has the state of its neuron and, for e-prop, a copy of the readout's filter, which its spikes drive:

    h_j[t], z_j[t] = step(h_j[t-1], I_j[t]);        r_j[t], y_j[t] = readout(r_j[t-1], z_j[t])

`run` takes a chunk of steps forward and returns how to go back: the cotangents of the outputs and
of the last state become those of the currents and of the first state, elementwise, without a
product.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from flax_snn.products import feed_back
from flax_snn.time_loop.layer import Layer, LayerWeights, in_blocks
from flax_snn.time_loop.states import floating, others, rejoined
from flax_snn.typing import Array

UNROLL, UNROLL_FEW, FEW = 1, 8, 2**12
"""Steps that a pass of the loop takes: more for states of few values, where passes cost most."""


class UnitState(NamedTuple):
    """State of a unit: that of the neurons, and of the readout's filter of each, ``(B, N)``."""

    neuron: Any
    filter: Any = None


class UnitArrays(NamedTuple):
    """Arrays of a unit: those of the layer, and the coefficients of the filter."""

    layer: LayerWeights
    filter: Any = None


class Pass(NamedTuple):
    """A chunk that a unit was run over.

    Attributes:
      after: state after the chunk.
      spikes: output of each step ``(T, B, N)``.
      fed: spikes that were fed back in each step, or None.
      states: state of the neurons before each step, where it was asked for.
      feedback: recurrent current of each step, likewise.
      back: turns cotangents of the watched outputs and of the floating state
        after the chunk into those of the floating state before it, of the currents, of the
        recurrent currents (None where they are the same) and of the learned coefficients
        ``(B, N)``.
    """

    after: UnitState
    spikes: Array
    fed: Array | None
    states: Any
    feedback: Array | None
    back: Callable[[Any], Any]


@dataclasses.dataclass(frozen=True)
class Unit:
    """What of a row of neurons is no array.

    Attributes:
      layer: the layer.
      readout: the integrator whose filter each neuron has a copy of, or None.
      learned: for each leaf of the coefficients whether its gradient is wanted.
      watched: which outputs learning signals act on: 0 the spikes, 1 the filtered spikes.
    """

    layer: Layer
    readout: Layer | None = None
    learned: tuple[bool, ...] = ()
    watched: tuple[int, ...] = (0,)

    def start(self, state: Any, feedback: bool = False) -> UnitState:
        """Returns the state before the first step; the filters are empty.

        Args:
          state: state of the neurons.
          feedback: unused; for the same signature everywhere.
        """
        del feedback
        if self.readout is None:
            return UnitState(state)
        v = self.layer.neuron.membrane(state)
        empty = self.readout.neuron.initial_state(jnp.zeros(v.shape, self.readout.state_dtype))
        return UnitState(state, empty)

    def step(
        self, arrays: UnitArrays, state: UnitState, current: Array, recurrent: Any
    ) -> tuple[UnitState, tuple[Array, ...], tuple[Any, Any]]:
        """Advances by one step.

        Args:
          arrays: the arrays.
          state: state before the step.
          current: what the input weights made of the input of the step.
          recurrent: None for a layer without recurrent weights; else maps the spikes that are fed
            back to the current that they cause.

        Returns:
          The state after the step, the spikes and the filtered spikes, and what was fed back.
        """
        seen: list[Any] = [None, None]

        def caused(spikes: Array) -> Any:
            value = recurrent(spikes)
            seen[:] = spikes, value
            return in_blocks(value, value.shape[-1] // spikes.shape[-1])

        neuron, spikes = self.layer.integrate(
            arrays.layer.coefficients,
            state.neuron,
            current,
            None if recurrent is None else caused,
        )
        if self.readout is None:
            return UnitState(neuron), (spikes,), (seen[0], seen[1])
        filtered, y = self.readout.integrate(arrays.filter, state.filter, spikes)
        return UnitState(neuron, filtered), (spikes, y), (seen[0], seen[1])

    def run(
        self, arrays: UnitArrays, state: UnitState, currents: Array, *, record: bool = False
    ) -> Pass:
        """Runs a chunk forward.

        Args:
          arrays: the arrays.
          state: state before the chunk.
          currents: what the input weights made of the inputs of the chunk, ``(T, B, M)``.
          record: return the states before the steps, and the recurrent currents.
        """
        layer, kernel = self.layer, arrays.layer.recurrent_kernel
        v = layer.neuron.membrane(state.neuron)
        currents = currents.astype(v.dtype)
        extra = None
        if kernel is not None and not layer.neuron.shares_synapse:
            extra = jnp.zeros((currents.shape[0], *v.shape[:-1], kernel.shape[1]), v.dtype)
        leaves, structure = jax.tree.flatten(arrays.layer.coefficients)
        mine = [
            jnp.broadcast_to(leaf, v.shape)
            for leaf, wanted in zip(leaves, self._wanted(leaves), strict=True)
            if wanted
        ]

        def forward(part: Any, currents: Array, extra: Any, mine: list[Array]) -> Any:
            given = iter(mine)
            pairs = zip(leaves, self._wanted(leaves), strict=True)
            merged = jax.tree.unflatten(structure, [next(given) if w else c for c, w in pairs])
            changed = arrays._replace(layer=dataclasses.replace(arrays.layer, coefficients=merged))

            def body(before: UnitState, now: Any) -> Any:
                current, more = now

                def recurrent(spikes: Array) -> Array:
                    assert kernel is not None
                    spikes = lax.stop_gradient(spikes)
                    value = feed_back(spikes, kernel, layer.dtype, layer.dot_general)
                    return value if more is None else value + more

                given = None if kernel is None else recurrent
                after, outputs, (fed, value) = self.step(changed, before, current, given)
                fed = None if fed is None else lax.stop_gradient(fed)
                seen = (before.neuron, value) if record else (None, None)
                return after, (outputs, fed, lax.stop_gradient(seen))

            start = rejoined(part, others(state))
            unroll = UNROLL_FEW if v.size <= FEW else UNROLL
            after, (outputs, fed, seen) = lax.scan(body, start, (currents, extra), unroll=unroll)
            watched = tuple(outputs[k] for k in self.watched)
            return (watched, floating(after)), (after, outputs[0], fed, seen)

        given = (floating(state), currents, extra, mine)
        _, back, (after, spikes, fed, (states, feedback)) = jax.vjp(forward, *given, has_aux=True)
        return Pass(after, spikes, fed, states, feedback, back)

    def _wanted(self, leaves: list[Any]) -> tuple[bool, ...]:
        return self.learned or (False,) * len(leaves)
