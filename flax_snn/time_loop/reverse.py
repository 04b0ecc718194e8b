"""A layer over one chunk of time steps, in reverse.

Derivatives of all steps are computed from the membranes at once; then step by step back through
them, where no division and no transcendental function is left; then weight gradients of the chunk
in one product. The derivatives of a step are JAX's of `flax_snn.dynamics.step`, so that every rule
has them; written by hand is what surrounds it: what is kept, what is computed again, and when.
"""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax.linen.dtypes import promote_dtype
from jax import lax

from flax_snn.time_loop.chunks import Chunks, Window, tree_at, tree_put
from flax_snn.time_loop.forward import Kept
from flax_snn.time_loop.layer import Layer, LayerWeights
from flax_snn.time_loop.states import floating, others, rejoined
from flax_snn.typing import Array


class Scratch(NamedTuple):
    """Memory of the reverse pass of a chunk, handed on from chunk to chunk, never cleared.

    Attributes:
      states: state before each step.
      fed: recurrent current of each step, ``None`` without recurrent weights.
      d_currents: cotangent of the currents; zeros before the first chunk, since steps that are not
        a chunk's own count in sums over the chunk.
      d_fed: cotangent of the recurrent currents, where it is another.
      d_states: cotangent of the state after each step, where coefficients are learned.
    """

    states: Any
    fed: Array | None
    d_currents: Array
    d_fed: Array | None
    d_states: Any


def make_scratch(
    layer: Layer, chunks: Chunks, weights: LayerWeights, state: Any, learned: LayerWeights
) -> Scratch:
    """Return memory for the reverse pass.

    Args:
      layer: the layer.
      chunks: the cut.
      weights: arrays of the layer.
      state: state of a tile, for its shapes.
      learned: for each array of the layer whether its gradient is wanted.
    """
    v = layer.neuron.membrane(state)
    width = v.shape[-1] * layer.neuron.blocks
    current = jax.ShapeDtypeStruct((*v.shape[:-1], width), v.dtype)
    fed = d_fed = d_states = None
    if weights.recurrent_kernel is not None:
        one = jax.eval_shape(lambda s, x: layer.step(weights, s, x), state, current)
        fed = chunks.empty(one[2][1])
        d_fed = None if layer.neuron.shares_synapse else fed
    states = jax.tree.map(chunks.empty, state)
    if any(jax.tree.leaves(learned.coefficients)):
        d_states = floating(states)
    return Scratch(states, fed, chunks.empty(current), d_fed, d_states)


def reverse(
    layer: Layer,
    chunks: Chunks,
    weights: LayerWeights,
    kept: Kept,
    window: Window,
    d_state: Any,
    d_outputs: Array,
    d_membranes: Array | None,
    learned: LayerWeights,
    scratch: Scratch,
) -> tuple[Any, Array, LayerWeights, Scratch]:
    """Run back through a chunk.

    Args:
      layer: the layer.
      chunks: the cut.
      weights: arrays of the layer.
      kept: what the forward pass kept.
      window: where the chunk lies.
      d_state: cotangent of the state after the chunk, of its floating leaves.
      d_outputs: cotangent of the outputs, zero in steps that are not the chunk's own.
      d_membranes: cotangent of the membranes, likewise; ``None`` for zero.
      learned: for each array of the layer whether its gradient is wanted.
      scratch: memory to use.

    Returns:
      Cotangents of the state before the chunk, of the inputs and of the weights (zeros where
      not wanted), and the memory.
    """
    recurrent_kernel = weights.recurrent_kernel
    states, held = floating(kept.states), others(kept.states)
    v_dtype = layer.neuron.membrane(kept.states).dtype
    currents = kept.currents.astype(v_dtype)

    def seen(state: Any) -> Any:
        return None if d_membranes is None else layer.neuron.membrane(state)

    def pullbacks(state: Any, held: Any, current: Array, fed: Any) -> Any:
        def stepped(state: Any, current: Array, fed: Any) -> Any:
            return layer.step(weights, rejoined(state, held), current, fed)

        def outcome(state: Any, current: Array, fed: Any) -> Any:
            after, output, _ = stepped(state, current, fed)
            return floating(after), output, seen(after)

        def fed_by(state: Any) -> Any:
            _, _, (spikes, _) = stepped(state, current, fed)
            return spikes

        back = jax.vjp(outcome, state, current, fed)[1]
        return back, jax.vjp(fed_by, state)[1] if recurrent_kernel is not None else None

    # One more axis in front of each derivative: the steps of the chunk.
    back_through = jax.vmap(pullbacks)(states, held, currents, kept.fed)

    def body(j: Any, loop: Any) -> Any:
        d_state, d_currents, d_fed, d_states = loop
        t = chunks.back(window, j)
        if d_states is not None:
            d_states = tree_put(d_states, d_state, t)
        back, back_fed = tree_at(back_through, t)
        d_state, d_current, d_feed = back((d_state, *tree_at((d_outputs, d_membranes), t)))
        d_currents = tree_put(d_currents, d_current, t)
        if recurrent_kernel is not None:
            d_spikes = _input_gradient(d_feed, recurrent_kernel, layer.dtype, v_dtype)
            (d_before,) = back_fed(d_spikes)
            d_state = jax.tree.map(jnp.add, d_state, d_before)
            if d_fed is not None:
                d_fed = tree_put(d_fed, d_feed, t)
        return d_state, d_currents, d_fed, d_states

    loop = (d_state, scratch.d_currents, scratch.d_fed, scratch.d_states)
    loop = chunks.each_step(window, body, loop)
    d_state, d_currents, d_fed, d_states = loop
    scratch = Scratch(kept.states, kept.fed, d_currents, d_fed, d_states)

    d_weights = jax.tree.map(jnp.zeros_like, weights)
    d_spikes = None
    if recurrent_kernel is not None:
        fed_by = jax.vmap(lambda *now: layer.step(weights, *now)[2][0])
        spikes = fed_by(kept.states, kept.currents, kept.fed)
        d_feeds = d_currents if d_fed is None else d_fed
        d_kernel = _weight_gradient(chunks, spikes, d_feeds, recurrent_kernel, layer.dtype)
        d_weights = dataclasses.replace(d_weights, recurrent_kernel=d_kernel)
        d_spikes = _input_gradient(d_feeds, recurrent_kernel, layer.dtype, spikes.dtype)
    if d_states is not None:
        found = _coefficients(
            layer, weights, kept, (d_states, d_outputs, d_membranes, d_spikes), learned.coefficients
        )
        d_weights = dataclasses.replace(d_weights, coefficients=found)
    d_inputs, d_weights = _project_back(layer, chunks, kept, d_currents, weights, d_weights)
    return d_state, d_inputs, d_weights, scratch


def _project_back(
    layer: Layer,
    chunks: Chunks,
    kept: Kept,
    d_currents: Array,
    weights: LayerWeights,
    d_weights: LayerWeights,
) -> tuple[Array, LayerWeights]:
    """Return cotangents of the inputs, and of the input weights among the others."""
    d_currents = d_currents.astype(kept.currents.dtype)
    if weights.kernel is None:
        return d_currents, d_weights
    d_bias = None
    if weights.bias is not None:
        lead = tuple(range(d_currents.ndim - 1))
        d_bias = jnp.sum(d_currents, lead).astype(weights.bias.dtype)
    d_kernel = _weight_gradient(chunks, kept.inputs, d_currents, weights.kernel, layer.dtype)
    d_inputs = d_currents
    if jnp.issubdtype(kept.inputs.dtype, jnp.floating):
        d_inputs = _input_gradient(d_currents, weights.kernel, layer.dtype, kept.inputs.dtype)
    return d_inputs, dataclasses.replace(d_weights, kernel=d_kernel, bias=d_bias)


def _weight_gradient(
    chunks: Chunks, inputs: Array, d_outputs: Array, kernel: Array, dtype: Any
) -> Array:
    """Return the cotangent of a kernel: inputs ``(T, B, F)`` by cotangents ``(T, B, M)``.

    One flat product: XLA makes copies of operands with more axes. Not where samples may be spread
    over devices, though: one axis of steps and samples could not be.
    """
    if not jnp.issubdtype(inputs.dtype, jnp.floating):
        inputs = inputs.astype(d_outputs.dtype)
    left, right = promote_dtype(inputs, d_outputs, dtype=dtype)
    if chunks.parts == 1:
        left, right = (a.reshape((-1, a.shape[-1])) for a in (left, right))
    lead = tuple(range(left.ndim - 1))
    return lax.dot_general(left, right, ((lead, lead), ((), ()))).astype(kernel.dtype)


def _input_gradient(d_outputs: Array, kernel: Array, dtype: Any, to: Any) -> Array:
    """Return the cotangent of the inputs of a kernel."""
    d_outputs, kernel = promote_dtype(d_outputs, kernel, dtype=dtype)
    return lax.dot_general(d_outputs, kernel, (((d_outputs.ndim - 1,), (1,)), ((), ()))).astype(to)


def _coefficients(
    layer: Layer,
    weights: LayerWeights,
    kept: Kept,
    cotangents: tuple[Any, Array, Array | None, Array | None],
    learned: Any,
) -> Any:
    """Return cotangents of the coefficients: sums over the samples and steps of the chunk.

    Args:
      layer: the layer.
      weights: arrays of the layer.
      kept: what the forward pass kept.
      cotangents: of the states after the steps, of outputs and membranes, of the spikes that
        were fed.
      learned: whether the cotangent of a coefficient is wanted.

    Returns:
      The cotangents, zeros where not wanted.
    """
    leaves, structure = jax.tree.flatten(weights.coefficients)
    wanted = jax.tree.leaves(learned)

    def merged(some: Any, rest: list[Array]) -> Any:
        given = iter(some)
        pairs = zip(rest, wanted, strict=True)
        return jax.tree.unflatten(structure, [next(given) if w else o for o, w in pairs])

    def outcome(some: list[Array]) -> Any:
        own = dataclasses.replace(weights, coefficients=merged(some, leaves))

        def one(*now: Any) -> Any:
            after, output, (spikes, _) = layer.step(own, *now)
            seen = None if cotangents[2] is None else layer.neuron.membrane(after)
            return floating(after), output, seen, spikes

        return jax.vmap(one)(kept.states, kept.currents, kept.fed)

    some = [leaf for leaf, want in zip(leaves, wanted, strict=True) if want]
    (found,) = jax.vjp(outcome, some)[1](cotangents)
    return merged(found, [jnp.zeros_like(leaf) for leaf in leaves])
