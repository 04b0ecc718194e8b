"""Eligibility traces: what the past of a layer has to say to the gradient of what follows.

The gradient of a chunk of steps with respect to a weight w_ij has two parts: through the inputs of
the chunk itself, and through the state that entered it, of which the trace says how w_ij made it:

    G_ij = SUM_t pre_i[t] dE/dI_j[t]  +  SUM_m eps_ijm dE/dh_jm        (and a sum over samples)

The first part is one product of the whole chunk, with the learning signal filtered backwards. The
second needs the traces at the borders of chunks only; after the chunk they are

    eps_ijm <- SUM_m' (dh_jm / dh_jm') eps_ijm' + SUM_t pre_i[t] dh_jm/dI_j[t]

again one product for each sample. The numbers are those of the traces that e-prop and diagonal RTRL
define step by step; a chunk of one step is that definition. Shared traces (`components`) are
vectors over the inputs.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from flax_snn.learn.borders import Border, cross
from flax_snn.learn.components import Components, tangents
from flax_snn.learn.unit import Pass, Unit, UnitArrays
from flax_snn.time_loop.layer import LayerWeights
from flax_snn.time_loop.states import floating
from flax_snn.typing import Array

ENTRIES = ("kernel", "bias", "recurrent_kernel")
"""Arrays of `LayerWeights` that bring a current: rows by neurons, but for the bias."""


class Traces(NamedTuple):
    """Traces of a layer between two chunks.

    Attributes:
      shared: by entry, ``(A, S, B, F)``: A shared components, S blocks of currents, F inputs.
      own: by entry, ``(B, F, M)`` for each component of its own: F inputs, M currents.
      values: for each learned coefficient ``(C, B, N)``.
    """

    shared: dict[str, Array]
    own: dict[str, tuple[Array, ...]]
    values: list[Array]


class Response(NamedTuple):
    """How shared components answer over a chunk: the same for all neurons.

    Attributes:
      decay: what of them is left after the chunk, ``(A, A)``.
      gain: by entry, what an input of each step leaves after the chunk, ``(T, A, S)``.
    """

    decay: Array
    gain: dict[str, Array]


def entries_of(weights: LayerWeights) -> dict[str, Array]:
    """Returns the arrays of a layer that bring a current, by name."""
    found = {name: getattr(weights, name) for name in ENTRIES}
    return {name: array for name, array in found.items() if array is not None}


def no_traces(unit: Unit, parts: Components, arrays: UnitArrays, v: Array) -> Traces:
    """Returns the traces before the first step.

    Args:
      unit: the unit.
      parts: its components.
      arrays: its arrays.
      v: membrane ``(B, N)``, for its shape and dtype.
    """
    batch, neurons = v.shape
    shared: dict[str, Array] = {}
    own: dict[str, tuple[Array, ...]] = {}
    for name, array in entries_of(arrays.layer).items():
        inputs = 1 if name == "bias" else array.shape[0]
        currents = array.shape[-1]
        if parts.shared:
            shape = (len(parts.shared), currents // neurons, batch, inputs)
            shared[name] = jnp.zeros(shape, v.dtype)
        if parts.own:
            own[name] = tuple(jnp.zeros((batch, inputs, currents), v.dtype) for _ in parts.own)
    values = [jnp.zeros((len(parts.own), *v.shape), v.dtype) for want in unit.learned if want]
    return Traces(shared, own, values)


def response(
    unit: Unit, parts: Components, arrays: UnitArrays, v: Array, length: int
) -> Response | None:
    """Returns how the shared components answer over a chunk; None if there are none.

    Args:
      unit: the unit.
      parts: its components.
      arrays: its arrays.
      v: membrane ``(B, N)``, for its dtype.
      length: steps of the chunk.
    """
    if not parts.shared:
        return None
    neuron = unit.layer.neuron
    weights = arrays.layer
    recurrent = weights.recurrent_kernel is not None
    one = jnp.zeros((1, 1), v.dtype)
    kernel = jnp.zeros((1, neuron.recurrent_blocks), v.dtype) if recurrent else None
    first = jax.tree.map(lambda c: c[..., :1] if c.size > 1 else c, weights.coefficients)
    small = arrays._replace(layer=LayerWeights(coefficients=first, recurrent_kernel=kernel))
    state = unit.start(neuron.initial_state(one, recurrent=recurrent))
    current = jnp.zeros((1, neuron.blocks), v.dtype)
    count = len(jax.tree.leaves(floating(state)))

    def moved(source: int, tangent: Array) -> Array:
        found = tangents(unit, source)(small, state, current, tangent)
        return jnp.stack([found[m].reshape(()) for m in parts.shared])

    jacobian = jnp.stack([moved(m, jnp.ones((1, 1), v.dtype)) for m in parts.shared], axis=-1)

    def gain(source: int, blocks: int) -> Array:
        columns = [jax.nn.one_hot(jnp.array([k]), blocks, dtype=v.dtype) for k in range(blocks)]
        return jnp.stack([moved(source, each) for each in columns], axis=-1)

    gains = {"kernel": gain(count, neuron.blocks)}
    gains["bias"] = gains["kernel"]
    if recurrent:
        gains["recurrent_kernel"] = gain(count + 1, neuron.recurrent_blocks)

    def later(now: Array, _: None) -> tuple[Array, Array]:
        return jacobian @ now, now

    decay, powers = lax.scan(later, jnp.eye(len(parts.shared), dtype=v.dtype), None, length)
    powers = jnp.flip(powers, axis=0)
    return Response(decay, {name: powers @ g[None] for name, g in gains.items()})


class Row(NamedTuple):
    """A unit with what belongs to it.

    Attributes:
      unit: the unit.
      parts: its components.
      arrays: its arrays.
      answer: response of the shared components over a chunk; None if there are none.
      traces: traces before the chunk.
    """

    unit: Unit
    parts: Components
    arrays: UnitArrays
    answer: Response | None
    traces: Traces


def gradients_of_chunk(
    row: Row,
    done: Pass,
    inputs: Array,
    signals: list[tuple[Array, ...]],
    *,
    last: bool,
) -> tuple[list[LayerWeights], Traces]:
    """Returns what learning signals make of a chunk, and the traces after it.

    Args:
      row: the unit, its arrays and its traces before the chunk.
      done: the chunk, run forward.
      inputs: inputs of the chunk, floating, ``(T, B, F)``.
      signals: cotangents of the outputs of the unit, ``(T, B, N)`` each; one gradient for each.
      last: no chunk follows, so that the traces after this one are not needed.

    Returns:
      One gradient for each signal, shaped as the weights of the layer; and the traces.
    """
    parts, traces = row.parts, row.traces
    leaves, structure = jax.tree.flatten(floating(done.after))

    def reverse(d_outputs: tuple[Array, ...], component: int | None) -> _Reverse:
        ends = [jnp.full_like(leaf, float(m == component)) for m, leaf in enumerate(leaves)]
        before, *rest = done.back((d_outputs, jax.tree.unflatten(structure, ends)))
        return _Reverse(jax.tree.leaves(before), *rest)

    nothing = jax.tree.map(jnp.zeros_like, signals[0])
    chunk = _Chunk(
        *row,
        done,
        inputs,
        [reverse(each, None) for each in signals],
        [] if last else [reverse(nothing, m) for m in parts.own],
    )
    weights, own = chunk.of_weights()
    gradients = [
        LayerWeights(coefficients=chunk.of_coefficients(k), **found)
        for k, found in enumerate(weights)
    ]
    if last:
        return gradients, traces
    shared = {name: chunk.shared_after(name) for name in traces.shared}
    return gradients, Traces(shared, own if parts.own else {}, chunk.values_after())


class _Reverse(NamedTuple):
    """What came back from a chunk: cotangents of the state before it, of currents and values."""

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


class _Chunk(NamedTuple):
    """A chunk that was run in reverse, from each signal and from each component of its own."""

    unit: Unit
    parts: Components
    arrays: UnitArrays
    answer: Response | None
    traces: Traces
    done: Pass
    inputs: Array
    signals: list[_Reverse]
    own: list[_Reverse]

    def pre(self, name: str) -> Array:
        """Returns what is multiplied by the weights, ``(T, B, F)``."""
        dtype = self.signals[0].currents.dtype
        if name == "recurrent_kernel":
            assert self.done.fed is not None
            return self.done.fed.astype(dtype)
        if name == "bias":
            return jnp.ones((*self.inputs.shape[:2], 1), dtype)
        return self.inputs.astype(dtype)

    def of_weights(self) -> tuple[list[dict[str, Array]], dict[str, tuple[Array, ...]]]:
        """Returns the gradients of the weights by each signal, and the traces of single neurons."""
        entries = entries_of(self.arrays.layer)
        added: dict[str, list[Array]] = {}
        own: dict[str, tuple[Array, ...]] = {}
        if self.traces.own:
            borders = [self._border(name) for name in entries]
            more, after = cross(self.parts, borders)
            added = dict(zip(entries, more, strict=True))
            own = dict(zip(entries, after, strict=True))
        found: list[dict[str, Array]] = []
        for k, back in enumerate(self.signals):
            gradient = {}
            for name, array in entries.items():
                total = _flat(self.pre(name)).T @ _flat(back.driven(name))
                if name in self.traces.shared:
                    total = total + self._from_shared(name, back)
                if name in added:
                    total = total + added[name][k]
                gradient[name] = total.reshape(array.shape).astype(array.dtype)
            found.append(gradient)
        return found, own

    def _border(self, name: str) -> Border:
        """Returns the traces of an array at the borders of the chunk."""
        currents = self.signals[0].driven(name).shape[-1]
        arriving, moving = (
            [[each.columns(m, currents) for m in self.parts.own] for each in group]
            for group in (self.signals, self.own)
        )
        driven = [each.driven(name) for each in self.own]
        through = self._through(name, currents) if self.own else []
        held = self.traces.own[name]
        return Border(held, arriving, moving, self.pre(name), driven, through)

    def _from_shared(self, name: str, back: _Reverse) -> Array:
        arriving = jnp.stack([back.before[m] for m in self.parts.shared])
        blocks = jnp.einsum("asbi,abj->isj", self.traces.shared[name], arriving)
        return blocks.reshape(blocks.shape[0], -1)

    def _through(self, name: str, currents: int) -> Any:
        """Returns what shared traces leave in components: rows ``(B, F)`` by columns ``(B, M)``."""
        if not self.parts.shared:
            return []
        shared = self.traces.shared[name]
        found = []
        for a, m in enumerate(self.parts.shared):
            for s in range(shared.shape[1]):
                columns = []
                for each in self.own:
                    only = jnp.zeros((each.before[m].shape[0], currents), each.before[m].dtype)
                    neurons = each.before[m].shape[-1]
                    columns.append(only.at[:, s * neurons : (s + 1) * neurons].set(each.before[m]))
                found.append((shared[a, s], columns))
        return found

    def shared_after(self, name: str) -> Array:
        """Returns the shared traces after the chunk."""
        answer = self.answer
        assert answer is not None
        moved = jnp.einsum("ac,csbi->asbi", answer.decay, self.traces.shared[name])
        return moved + jnp.einsum("tas,tbi->asbi", answer.gain[name], self.pre(name))

    def of_coefficients(self, k: int) -> Any:
        """Returns the gradient of the coefficients by a signal."""
        leaves, structure = jax.tree.flatten(self.arrays.layer.coefficients)
        back = self.signals[k]
        given = zip(self.traces.values, back.values, strict=True)
        found = []
        for leaf, wanted in zip(leaves, self.unit.learned or (False,) * len(leaves), strict=True):
            if not wanted:
                found.append(jnp.zeros_like(leaf))
                continue
            held, value = next(given)
            for m, trace in zip(self.parts.own, held, strict=True):
                value = value + trace * back.before[m]
            found.append(jnp.sum(value, axis=0).reshape(leaf.shape).astype(leaf.dtype))
        return jax.tree.unflatten(structure, found)

    def values_after(self) -> list[Array]:
        """Returns the traces of learned values after the chunk."""
        after = []
        for n, held in enumerate(self.traces.values):
            rows = []
            for each in self.own:
                row = each.values[n]
                for m, trace in zip(self.parts.own, held, strict=True):
                    row = row + trace * each.before[m]
                rows.append(row)
            after.append(jnp.stack(rows))
        return after


def _flat(array: Array) -> Array:
    return array.reshape(-1, array.shape[-1])
