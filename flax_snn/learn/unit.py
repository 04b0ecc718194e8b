"""A layer as a row of separate neurons: what a weight changes in its own neuron, and nowhere else.

With the recurrent spikes held fixed, a layer is N systems that know nothing of each other. Each one
has the state of its neuron and, for e-prop, a copy of the readout's filter, which its spikes drive:

    h_j[t], z_j[t] = step(h_j[t-1], I_j[t]);        r_j[t], y_j[t] = readout(r_j[t-1], z_j[t])

`run` takes a chunk of steps forward, linearises all of them at once, and returns how to go back:
the cotangents of the outputs and of the last state become those of the currents and of the first
state, elementwise, without a product.
"""

from __future__ import annotations

import dataclasses
import functools
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
      states: state of the neurons before each step.
      feedback: recurrent current of each step, or None.
      back: turns several `Cotangents` into what they say of the inputs of the chunk.
    """

    after: UnitState
    spikes: Array
    fed: Array | None
    states: Any
    feedback: Array | None
    back: Callable[[list[Cotangents]], list[Reverse]]


class Cotangents(NamedTuple):
    """Where a way back through a chunk begins.

    Attributes:
      outputs: cotangents of the watched outputs ``(T, B, N)``; None for zeros.
      ends: those of the floating state after the chunk, one array ``(B, N)`` for each leaf.
    """

    outputs: tuple[Array, ...] | None
    ends: list[Array]


class Reverse(NamedTuple):
    """What came back from a chunk.

    Attributes:
      before: cotangents of the floating state before it, ``(B, N)`` for each leaf.
      currents: those of the currents ``(T, B, M)``.
      feedback: those of the recurrent currents, or None where they are the same.
      values: those of the learned coefficients, ``(B, N)`` each.
    """

    before: list[Array]
    currents: Array
    feedback: Array | None
    values: list[Array]

    def driven(self, name: str) -> Array:
        """Returns the cotangents of the currents that an entry brings, ``(T, B, M)``."""
        if name == "recurrent_kernel" and self.feedback is not None:
            return self.feedback
        return self.currents

    def columns(self, component: int, currents: int) -> Array:
        """Returns the cotangent of a component ``(B, M)``, once for each block of currents."""
        found = self.before[component]
        return jnp.tile(found, (1, currents // found.shape[-1]))


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

    def run(self, arrays: UnitArrays, state: UnitState, currents: Array) -> Pass:
        """Runs a chunk forward.

        Args:
          arrays: the arrays.
          state: state before the chunk.
          currents: what the input weights made of the inputs of the chunk, ``(T, B, M)``.
        """
        layer, kernel = self.layer, arrays.layer.recurrent_kernel
        v = layer.neuron.membrane(state.neuron)
        currents = currents.astype(v.dtype)
        unroll = UNROLL_FEW if v.size <= FEW else UNROLL

        def recurrent(spikes: Array) -> Array:
            assert kernel is not None
            return feed_back(spikes, kernel, layer.dtype, layer.dot_general)

        def forward(before: UnitState, current: Array) -> Any:
            given = None if kernel is None else recurrent
            after, outputs, (fed, value) = self.step(arrays, before, current, given)
            return after, (before, outputs[0], fed, value)

        after, seen = lax.scan(forward, lax.stop_gradient(state), currents, unroll=unroll)
        states, spikes, fed, feedback = lax.stop_gradient(seen)
        lines = jax.vmap(self._linearised(arrays, v))(states, currents, feedback)
        back = functools.partial(self._back, lines, len(self.watched), unroll)
        return Pass(after, spikes, fed, states.neuron, feedback, back)

    def _linearised(self, arrays: UnitArrays, v: Array) -> Callable[[Any, Array, Any], Any]:
        """Returns a function of state, current and recurrent current of a step: its derivative."""
        leaves, structure = jax.tree.flatten(arrays.layer.coefficients)
        wanted = self.learned or (False,) * len(leaves)
        mine = [
            jnp.broadcast_to(leaf, v.shape)
            for leaf, want in zip(leaves, wanted, strict=True)
            if want
        ]

        def of_step(state: UnitState, current: Array, feedback: Any) -> Any:
            def step(part: Any, current: Array, extra: Any, mine: list[Array]) -> Any:
                given = iter(mine)
                pairs = zip(leaves, wanted, strict=True)
                merged = jax.tree.unflatten(structure, [next(given) if w else c for c, w in pairs])
                changed = dataclasses.replace(arrays.layer, coefficients=merged)
                value = feedback if extra is None else extra
                after, outputs, _ = self.step(
                    arrays._replace(layer=changed),
                    rejoined(part, others(state)),
                    current,
                    None if feedback is None else lambda _: value,
                )
                return [outputs[k] for k in self.watched], jax.tree.leaves(floating(after))

            extra = None if self.layer.neuron.shares_synapse else feedback
            return jax.vjp(step, floating(state), current, extra, mine)[1]

        return of_step

    def _back(
        self, lines: Any, watched: int, unroll: int, cotangents: list[Cotangents]
    ) -> list[Reverse]:
        """Returns what several cotangents say of the inputs of a chunk, in one way back."""

        def body(now: Any, step: Any) -> Any:
            line, outputs = step
            after, found = [], []
            for (ends, sums), signal in zip(now, outputs, strict=True):
                d_outputs = [jnp.zeros_like(ends[0])] * watched if signal is None else [*signal]
                before, current, extra, values = line((d_outputs, ends))
                after.append((jax.tree.leaves(before), list(map(jnp.add, sums, values))))
                found.append((current, extra))
            return after, found

        learned = sum(self.learned)
        start = [(each.ends, [jnp.zeros_like(each.ends[0])] * learned) for each in cotangents]
        steps = (lines, [each.outputs for each in cotangents])
        last, found = lax.scan(body, start, steps, reverse=True, unroll=unroll)
        return [
            Reverse(before, currents, feedback, values)
            for (before, values), (currents, feedback) in zip(last, found, strict=True)
        ]
