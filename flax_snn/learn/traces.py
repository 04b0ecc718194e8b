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

from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from flax_snn.learn.borders import Border, cross
from flax_snn.learn.components import Components, tangents
from flax_snn.learn.unit import Cotangents, Pass, Reverse, Unit, UnitArrays
from flax_snn.time_loop.layer import LayerWeights
from flax_snn.time_loop.states import floating
from flax_snn.typing import Array

ENTRIES = ("kernel", "bias", "recurrent_kernel")
"""Arrays of `LayerWeights` that bring a current: rows by neurons, but for the bias."""


class Traces(NamedTuple):
    """Traces of a layer between two chunks.

    Attributes:
      shared: by entry, ``(A, S, B, F)``: A shared components, S blocks of currents, F inputs.
      own: by group of entries that bring the same currents (`groups_of`), ``(B, F, M)`` for each
        component of its own: F inputs of all these entries, M currents.
      values: for each learned coefficient ``(C, B, N)``.
    """

    shared: dict[str, Array]
    own: list[tuple[Array, ...]]
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


def groups_of(unit: Unit, weights: LayerWeights) -> list[list[str]]:
    """Returns the entries of a layer, those that bring the same currents together."""
    names = list(entries_of(weights))
    if unit.layer.neuron.shares_synapse or "recurrent_kernel" not in names:
        return [names] if names else []
    groups = [[name for name in names if name != "recurrent_kernel"], ["recurrent_kernel"]]
    return [group for group in groups if group]


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
    own: list[tuple[Array, ...]] = []
    entries = entries_of(arrays.layer)
    for name, array in entries.items():
        if parts.shared:
            blocks = array.shape[-1] // neurons
            shape = (len(parts.shared), blocks, batch, _inputs(name, array))
            shared[name] = jnp.zeros(shape, v.dtype)
    for group in groups_of(unit, arrays.layer) if parts.own else []:
        inputs = sum(_inputs(name, entries[name]) for name in group)
        currents = entries[group[0]].shape[-1]
        own.append(tuple(jnp.zeros((batch, inputs, currents), v.dtype) for _ in parts.own))
    values = [jnp.zeros((len(parts.own), *v.shape), v.dtype) for want in unit.learned if want]
    return Traces(shared, own, values)


def _inputs(name: str, array: Array) -> int:
    """Returns the number of inputs of an entry."""
    return 1 if name == "bias" else array.shape[0]


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
    leaves = jax.tree.leaves(floating(done.after))

    def ends(component: int | None) -> list[Array]:
        return [jnp.full_like(leaf, float(m == component)) for m, leaf in enumerate(leaves)]

    own = () if last else parts.own
    found = done.back(
        [
            *(Cotangents(each, ends(None)) for each in signals),
            *(Cotangents(None, ends(m)) for m in own),
        ]
    )
    count = len(signals)
    chunk = _Chunk(*row, done, inputs, found[:count], found[count:])
    weights, after = chunk.of_weights()
    gradients = [
        LayerWeights(coefficients=chunk.of_coefficients(k), **found)
        for k, found in enumerate(weights)
    ]
    if last:
        return gradients, traces
    shared = {name: chunk.shared_after(name) for name in traces.shared}
    return gradients, Traces(shared, after, chunk.values_after())


class _Chunk(NamedTuple):
    """A chunk that was run in reverse, from each signal and from each component of its own."""

    unit: Unit
    parts: Components
    arrays: UnitArrays
    answer: Response | None
    traces: Traces
    done: Pass
    inputs: Array
    signals: list[Reverse]
    own: list[Reverse]

    def pre(self, name: str) -> Array:
        """Returns what is multiplied by the weights, ``(T, B, F)``."""
        dtype = self.signals[0].currents.dtype
        if name == "recurrent_kernel":
            assert self.done.fed is not None
            return self.done.fed.astype(dtype)
        if name == "bias":
            return jnp.ones((*self.inputs.shape[:2], 1), dtype)
        return self.inputs.astype(dtype)

    def of_weights(self) -> tuple[list[dict[str, Array]], list[tuple[Array, ...]]]:
        """Returns the gradients of the weights by each signal, and the traces of single neurons."""
        entries = entries_of(self.arrays.layer)
        added: dict[str, list[Array]] = {}
        own: list[tuple[Array, ...]] = []
        groups = groups_of(self.unit, self.arrays.layer) if self.traces.own else []
        for group, held in zip(groups, self.traces.own, strict=True):
            more, after = cross(self.parts, self._border(group, held))
            own.append(after)
            ends = np.cumsum([_inputs(name, entries[name]) for name in group])
            pieces = [jnp.split(each, ends[:-1]) for each in more]
            added |= {name: [each[k] for each in pieces] for k, name in enumerate(group)}
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

    def _border(self, group: list[str], held: tuple[Array, ...]) -> Border:
        """Returns the traces of a group of entries at the borders of the chunk."""
        currents = self.signals[0].driven(group[0]).shape[-1]
        arriving, moving = (
            [[each.columns(m, currents) for m in self.parts.own] for each in ends]
            for ends in (self.signals, self.own)
        )
        if not self.own:
            return Border(held, arriving, [], None, None)
        rows = [jnp.concatenate([self.pre(name) for name in group], axis=-1)]
        driven = [jnp.concatenate([each.driven(group[0]) for each in self.own], axis=-1)]
        for traces, columns in self._through(group, currents):
            rows.append(traces[None])
            driven.append(columns[None])
        return Border(held, arriving, moving, jnp.concatenate(rows), jnp.concatenate(driven))

    def _from_shared(self, name: str, back: Reverse) -> Array:
        arriving = jnp.stack([back.before[m] for m in self.parts.shared])
        blocks = jnp.einsum("asbi,abj->isj", self.traces.shared[name], arriving)
        return blocks.reshape(blocks.shape[0], -1)

    def _through(self, group: list[str], currents: int) -> Iterator[tuple[Array, Array]]:
        """Yields shared traces ``(B, F)`` and what they leave in components, ``(B, K M)``."""
        for a, m in enumerate(self.parts.shared):
            for s in range(self.traces.shared[group[0]].shape[1]):
                columns = []
                for each in self.own:
                    only = jnp.zeros((each.before[m].shape[0], currents), each.before[m].dtype)
                    neurons = each.before[m].shape[-1]
                    columns.append(only.at[:, s * neurons : (s + 1) * neurons].set(each.before[m]))
                rows = [self.traces.shared[name][a, s] for name in group]
                yield jnp.concatenate(rows, axis=-1), jnp.concatenate(columns, axis=-1)

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
