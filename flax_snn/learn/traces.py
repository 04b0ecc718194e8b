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

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

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
    state = floating(done.after)
    parts, traces = row.parts, row.traces
    leaves, structure = jax.tree.flatten(state)
    own = () if last else parts.own
    rows = len(signals) + len(own)

    def stacked(*each: Array) -> Array:
        empty = jnp.zeros((len(own), *each[0].shape), each[0].dtype)
        return jnp.concatenate([jnp.stack(each), empty]) if own else jnp.stack(each)

    d_outputs = tuple(stacked(*each) for each in zip(*signals, strict=True))
    d_leaves = []
    for m, leaf in enumerate(leaves):
        cotangent = jnp.zeros((rows, *leaf.shape), leaf.dtype)
        if m in own:
            cotangent = cotangent.at[len(signals) + own.index(m)].set(1)
        d_leaves.append(cotangent)
    d_state = jax.tree.unflatten(structure, d_leaves)
    d_before, d_currents, d_feedback, d_values = jax.vmap(done.back)((d_outputs, d_state))
    before = jax.tree.leaves(d_before)
    chunk = _Chunk(*row, done, inputs, before, d_currents, d_feedback)
    found = [chunk.gradient(k, d_values) for k in range(len(signals))]
    if last:
        return found, traces
    rest = slice(len(signals), rows)
    after = Traces(
        {name: chunk.shared_after(name) for name in traces.shared},
        {name: chunk.own_after(name, len(signals)) for name in traces.own},
        [
            d_value[rest] + chunk.moved_on(values, rest)
            for values, d_value in zip(traces.values, d_values, strict=True)
        ],
    )
    return found, after


class _Chunk(NamedTuple):
    """A chunk that was run in reverse; first axis of the cotangents: signals, own components."""

    unit: Unit
    parts: Components
    arrays: UnitArrays
    answer: Response | None
    traces: Traces
    done: Pass
    inputs: Array
    before: list[Array]
    d_currents: Array
    d_feedback: Array | None

    def pre(self, name: str) -> Array:
        """Returns what is multiplied by the weights, ``(T, B, F)``."""
        if name == "recurrent_kernel":
            assert self.done.fed is not None
            return self.done.fed
        if name == "bias":
            return jnp.ones((*self.inputs.shape[:2], 1), self.d_currents.dtype)
        return self.inputs.astype(self.d_currents.dtype)

    def driven(self, name: str) -> Array:
        """Returns the cotangents of the currents that the weights bring, ``(K, T, B, M)``."""
        if name == "recurrent_kernel" and self.d_feedback is not None:
            return self.d_feedback
        return self.d_currents

    def gradient(self, k: int, d_values: list[Array]) -> LayerWeights:
        """Returns the gradient of signal k."""
        found = {}
        for name, array in entries_of(self.arrays.layer).items():
            pre, driven = self.pre(name), self.driven(name)[k]
            total = _flat(pre).T @ _flat(driven)
            if name in self.traces.shared:
                total = total + self._from_shared(name, k)
            if name in self.traces.own:
                for m, held in zip(self.parts.own, self.traces.own[name], strict=True):
                    total = total + jnp.sum(held * self._columns(m, k, held), axis=0)
            found[name] = total.reshape(array.shape).astype(array.dtype)
        leaves, structure = jax.tree.flatten(self.arrays.layer.coefficients)
        wanted = self.unit.learned or (False,) * len(leaves)
        given = zip(self.traces.values, d_values, strict=True)
        coefficients = []
        for leaf, want in zip(leaves, wanted, strict=True):
            if not want:
                coefficients.append(jnp.zeros_like(leaf))
                continue
            values, d_value = next(given)
            total = jnp.sum(d_value[k], axis=0)
            for m, held in zip(self.parts.own, values, strict=True):
                total = total + jnp.sum(held * self.before[m][k], axis=0)
            coefficients.append(total.reshape(leaf.shape).astype(leaf.dtype))
        return LayerWeights(coefficients=jax.tree.unflatten(structure, coefficients), **found)

    def _from_shared(self, name: str, k: int) -> Array:
        held = self.traces.shared[name]
        arriving = jnp.stack([self.before[m][k] for m in self.parts.shared])
        blocks = jnp.einsum("asbi,abj->isj", held, arriving)
        return blocks.reshape(blocks.shape[0], -1)

    def _columns(self, m: int, k: int, like: Array) -> Array:
        """Returns a cotangent of a component ``(B, 1, M)``, once for each block of currents."""
        found = self.before[m][k]
        return jnp.tile(found, (1, like.shape[-1] // found.shape[-1]))[:, None]

    def shared_after(self, name: str) -> Array:
        """Returns the shared traces after the chunk."""
        answer = self.answer
        assert answer is not None
        moved = jnp.einsum("ac,csbi->asbi", answer.decay, self.traces.shared[name])
        return moved + jnp.einsum("tas,tbi->asbi", answer.gain[name], self.pre(name))

    def own_after(self, name: str, first: int) -> tuple[Array, ...]:
        """Returns the traces of single neurons after the chunk, cotangents from ``first`` on."""
        parts, held = self.parts, self.traces.own[name]
        pre, driven = self.pre(name), self.driven(name)
        if parts.shared:  # what is left of the shared traces comes in like more steps
            shared = self.traces.shared[name]
            count, blocks, neurons = *shared.shape[:2], self.before[0].shape[-1]
            pre = jnp.concatenate([pre, shared.reshape(-1, *shared.shape[2:])])
            through = jnp.stack([self.before[m] for m in parts.shared], axis=1)
            each = jnp.eye(blocks, dtype=through.dtype).reshape(1, 1, blocks, 1, blocks, 1)
            spread = through.reshape(*through.shape[:2], 1, -1, 1, neurons) * each
            spread = spread.reshape(through.shape[0], count * blocks, -1, blocks * neurons)
            driven = jnp.concatenate([driven, spread], axis=1)
        pre = jnp.moveaxis(pre, 0, 1)
        after = []
        for at, target in enumerate(parts.own):
            k = first + at
            total = jnp.einsum("bti,btj->bij", pre, jnp.moveaxis(driven[k], 0, 1))
            for source, trace in zip(parts.own, held, strict=True):
                if (source, target) in parts.reach:
                    total = total + trace * self._columns(source, k, trace)
            after.append(total)
        return tuple(after)

    def moved_on(self, values: Array, rest: slice) -> Array:
        """Returns what is left of the traces of a learned value after the chunk."""
        through = jnp.stack([self.before[m][rest] for m in self.parts.own], axis=1)
        return jnp.sum(through * values[None], axis=1)


def _flat(array: Array) -> Array:
    return array.reshape(-1, array.shape[-1])
