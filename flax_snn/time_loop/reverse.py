"""A layer over one chunk of time steps, in reverse.

Derivatives of all steps are computed from the membranes at once; then step by step back through
them, where no division and no transcendental function is left; then weight gradients of the chunk
in one product. The derivatives of a step are JAX's of `flax_snn.dynamics.step`, so that every rule
has them; written by hand is what surrounds it: what is recorded, what is computed again, and when.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax.linen.dtypes import promote_dtype
from jax import lax

from flax_snn.time_loop.chunks import Chunks, Window, tree_at, tree_put
from flax_snn.time_loop.forward import Replay
from flax_snn.time_loop.layer import Layer, LayerWeights
from flax_snn.time_loop.pullback import Residuals, pullback, residuals_of_step
from flax_snn.time_loop.states import floating, others, rejoined
from flax_snn.typing import Array


class Scratch(NamedTuple):
    """Memory of the reverse pass of a chunk, handed on from chunk to chunk, never cleared.

    Attributes:
      states: state before each step.
      feedback: recurrent current of each step, ``None`` without recurrent weights.
      d_currents: cotangent of the currents; zeros before the first chunk, since steps of other
        chunks count in sums over the chunk.
      d_feedback: cotangent of the recurrent currents, where it is another.
      d_states: cotangent of the state after each step, where coefficients are learned.
      outputs: output of each step, where residuals are recorded.
      residuals: what the derivative of each step is made of, where it is recorded.
    """

    states: Any
    feedback: Array | None
    d_currents: Array
    d_feedback: Array | None
    d_states: Any
    outputs: Array | None = None
    residuals: tuple[Array, ...] | None = None


def make_scratch(
    layer: Layer,
    chunks: Chunks,
    weights: LayerWeights,
    state: Any,
    learned: LayerWeights,
    residuals: Residuals | None,
    *,
    recorded: bool,
    kept: bool = False,
) -> Scratch:
    """Returns memory for the reverse pass.

    Args:
      layer: the layer.
      chunks: the cut.
      weights: arrays of the layer.
      state: state of a tile, for its shapes.
      learned: for each array of the layer whether its gradient is wanted.
      residuals: what is recorded in place of the states, if anything.
      recorded: whether the recurrent currents are known from the forward pass.
      kept: whether all that a chunk would record again is known from there.
    """
    v = layer.neuron.membrane(state)
    current = current_of(layer, state)
    feedback = d_feedback = d_states = None
    if residuals is not None:
        if kept:
            return Scratch(None, None, chunks.empty(current), None, None)
        output = jax.ShapeDtypeStruct(v.shape, layer.output_dtype)
        return Scratch(
            None,
            None,
            chunks.empty(current),
            None,
            None,
            chunks.empty(output),
            tuple(chunks.empty(array) for array in residuals.arrays),
        )
    if weights.recurrent_kernel is not None:
        one = jax.eval_shape(lambda s, x: layer.step(weights, s, x), state, current)
        feedback = chunks.empty(one[2][1])
        d_feedback = None if layer.neuron.shares_synapse else feedback
    states = jax.tree.map(chunks.empty, state)
    if any(jax.tree.leaves(learned.coefficients)):
        d_states = floating(states)
    if recorded or kept:
        feedback = None
    if kept:
        states = None
    return Scratch(states, feedback, chunks.empty(current), d_feedback, d_states)


def current_of(layer: Layer, state: Any) -> jax.ShapeDtypeStruct:
    """Returns the shape of the current of one step."""
    v = layer.neuron.membrane(state)
    return jax.ShapeDtypeStruct((*v.shape[:-1], v.shape[-1] * layer.neuron.blocks), v.dtype)


def residuals_of(
    layer: Layer, weights: LayerWeights, state: Any, learned: LayerWeights, *, traced: bool
) -> Residuals | None:
    """Returns what the steps of a layer record in place of their states, or None if they do not.

    States are needed for the gradients of coefficients, and of recurrent weights. Elsewhere the
    smaller of the two is recorded.

    Args:
      layer: the layer.
      weights: arrays of the layer.
      state: state of a tile, for its shapes.
      learned: for each array of the layer whether its gradient is wanted.
      traced: whether the membrane is seen by the loss, too.
    """
    if weights.recurrent_kernel is not None or any(jax.tree.leaves(learned.coefficients)):
        return None
    found = residuals_of_step(layer, weights, state, current_of(layer, state), traced=traced)
    if len(found.arrays) >= len(jax.tree.leaves(state)):
        return None
    return found


def reverse(
    layer: Layer,
    chunks: Chunks,
    weights: LayerWeights,
    replay: Replay,
    window: Window,
    d_state: Any,
    d_outputs: Array,
    d_membranes: Array | None,
    learned: LayerWeights,
    scratch: Scratch,
    residuals: Residuals | None,
) -> tuple[Any, Array, LayerWeights, Scratch]:
    """Runs back through a chunk.

    Args:
      layer: the layer.
      chunks: the cut.
      weights: arrays of the layer.
      replay: what running the chunk again recorded.
      window: where the chunk lies.
      d_state: cotangent of the state after the chunk, of its floating leaves.
      d_outputs: cotangent of the outputs, zero in steps of other chunks.
      d_membranes: cotangent of the membranes, likewise; ``None`` for zero.
      learned: for each array of the layer whether its gradient is wanted.
      scratch: memory to use.
      residuals: what was recorded in place of the states, if anything.

    Returns:
      Cotangents of the state before the chunk, of the inputs and of the weights (zeros where
      not wanted), and the memory.
    """
    recurrent_kernel = weights.recurrent_kernel
    v_dtype = scratch.d_currents.dtype
    back_at = _derivatives(layer, chunks, weights, replay, d_membranes is not None, residuals)

    def body(j: Any, loop: Any) -> Any:
        d_state, d_currents, d_feedback, d_states = loop
        t = chunks.back(window, j)
        if d_states is not None:
            d_states = tree_put(d_states, d_state, t)
        back, back_fed = back_at(t)
        d_state, d_current, d_fed_back = back((d_state, *tree_at((d_outputs, d_membranes), t)))
        d_currents = tree_put(d_currents, d_current, t)
        if recurrent_kernel is not None:
            d_spikes = _input_gradient(d_fed_back, recurrent_kernel, layer.dtype, v_dtype)
            (d_before,) = back_fed(d_spikes)
            d_state = jax.tree.map(jnp.add, d_state, d_before)
            if d_feedback is not None:
                d_feedback = tree_put(d_feedback, d_fed_back, t)
        return d_state, d_currents, d_feedback, d_states

    loop = (d_state, scratch.d_currents, scratch.d_feedback, scratch.d_states)
    loop = chunks.each_step(window, body, loop)
    d_state, d_currents, d_feedback, d_states = loop
    scratch = Scratch(
        None if scratch.states is None else replay.states,
        None if scratch.feedback is None else replay.feedback,
        d_currents,
        d_feedback,
        d_states,
        None if scratch.outputs is None else replay.outputs,
        None if scratch.residuals is None else replay.residuals,
    )

    d_weights = jax.tree.map(jnp.zeros_like, weights)
    d_spikes = None
    if recurrent_kernel is not None:
        spikes_fed_back = jax.vmap(lambda *now: layer.step(weights, *now)[2][0])
        spikes = spikes_fed_back(replay.states, replay.currents, replay.feedback)
        d_feedbacks = d_currents if d_feedback is None else d_feedback
        d_kernel = _weight_gradient(layer, chunks, spikes, d_feedbacks, recurrent_kernel)
        d_weights = dataclasses.replace(d_weights, recurrent_kernel=d_kernel)
        d_spikes = _input_gradient(d_feedbacks, recurrent_kernel, layer.dtype, spikes.dtype)
    if d_states is not None:
        found = _coefficients(
            layer,
            weights,
            replay,
            (d_states, d_outputs, d_membranes, d_spikes),
            learned.coefficients,
        )
        d_weights = dataclasses.replace(d_weights, coefficients=found)
    d_inputs, d_weights = _project_back(layer, chunks, replay, d_currents, weights, d_weights)
    return d_state, d_inputs, d_weights, scratch


def _derivatives(
    layer: Layer,
    chunks: Chunks,
    weights: LayerWeights,
    replay: Replay,
    traced: bool,
    residuals: Residuals | None,
) -> Callable[[Any], tuple[Any, Any]]:
    """Returns a function from a step to its derivative, and to that of the spikes fed back."""
    if residuals is not None:
        recorded = replay.residuals
        assert recorded is not None
        current = jnp.zeros_like(replay.currents[0], layer.neuron.membrane(replay.before).dtype)
        fixed = pullback(layer, weights, replay.before, current, None, traced=traced)[1]
        return lambda t: (residuals.derivative(fixed, tree_at(recorded, t)), None)

    def derivatives(state: Any, current: Array, feedback: Any) -> Any:
        back = pullback(layer, weights, state, current, feedback, traced=traced)[1]
        if weights.recurrent_kernel is None:
            return back, None
        rest = others(state)

        def spikes_fed_back(state: Any) -> Any:
            return layer.step(weights, rejoined(state, rest), current, feedback)[2][0]

        return back, jax.vjp(spikes_fed_back, floating(state))[1]

    currents = replay.currents.astype(layer.neuron.membrane(replay.before).dtype)
    if chunks.count == 1:  # too much for a cache: derivatives would be written and read once more
        return lambda t: derivatives(*tree_at((replay.states, currents, replay.feedback), t))
    # One more axis in front of each derivative: the steps of the chunk.
    back_through = jax.vmap(derivatives)(replay.states, currents, replay.feedback)
    return lambda t: tree_at(back_through, t)


def _project_back(
    layer: Layer,
    chunks: Chunks,
    replay: Replay,
    d_currents: Array,
    weights: LayerWeights,
    d_weights: LayerWeights,
) -> tuple[Array, LayerWeights]:
    """Returns cotangents of the inputs, and of the input weights among the others."""
    d_currents = d_currents.astype(replay.currents.dtype)
    if weights.kernel is None:
        return d_currents, d_weights
    d_bias = None
    if weights.bias is not None:
        lead = tuple(range(d_currents.ndim - 1))
        d_bias = jnp.sum(d_currents, lead).astype(weights.bias.dtype)
    d_kernel = _weight_gradient(layer, chunks, replay.inputs, d_currents, weights.kernel)
    d_inputs = d_currents
    if jnp.issubdtype(replay.inputs.dtype, jnp.floating):
        d_inputs = _input_gradient(d_currents, weights.kernel, layer.dtype, replay.inputs.dtype)
    return d_inputs, dataclasses.replace(d_weights, kernel=d_kernel, bias=d_bias)


def _weight_gradient(
    layer: Layer, chunks: Chunks, inputs: Array, d_outputs: Array, kernel: Array
) -> Array:
    """Returns the cotangent of a kernel: inputs ``(T, B, F)`` by cotangents ``(T, B, M)``.

    One flat product: XLA makes copies of operands with more axes. Not where samples may be spread
    over devices, though: one axis of steps and samples could not be.
    """
    if not jnp.issubdtype(inputs.dtype, jnp.floating):
        inputs = inputs.astype(d_outputs.dtype)
    left, right = promote_dtype(inputs, d_outputs, dtype=layer.dtype)
    if layer.event_driven:
        gradient: Array = layer.dot_general.kernel_gradient(left, right)
        return gradient.astype(kernel.dtype)
    if chunks.shards == 1:
        left, right = (a.reshape((-1, a.shape[-1])) for a in (left, right))
    lead = tuple(range(left.ndim - 1))
    return lax.dot_general(left, right, ((lead, lead), ((), ()))).astype(kernel.dtype)


def _input_gradient(d_outputs: Array, kernel: Array, dtype: Any, to: Any) -> Array:
    """Returns the cotangent of the inputs of a kernel."""
    d_outputs, kernel = promote_dtype(d_outputs, kernel, dtype=dtype)
    return lax.dot_general(d_outputs, kernel, (((d_outputs.ndim - 1,), (1,)), ((), ()))).astype(to)


def _coefficients(
    layer: Layer,
    weights: LayerWeights,
    replay: Replay,
    cotangents: tuple[Any, Array, Array | None, Array | None],
    learned: Any,
) -> Any:
    """Returns cotangents of the coefficients: sums over the samples and steps of the chunk.

    Args:
      layer: the layer.
      weights: arrays of the layer.
      replay: what running the chunk again recorded.
      cotangents: of the states after the steps, of outputs and membranes, of the spikes that
        were fed back.
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
        changed = dataclasses.replace(weights, coefficients=merged(some, leaves))

        def one(*now: Any) -> Any:
            after, output, (spikes, _) = layer.step(changed, *now)
            seen = None if cotangents[2] is None else layer.neuron.membrane(after)
            return floating(after), output, seen, spikes

        return jax.vmap(one)(replay.states, replay.currents, replay.feedback)

    some = [leaf for leaf, want in zip(leaves, wanted, strict=True) if want]
    (found,) = jax.vjp(outcome, some)[1](cotangents)
    return merged(found, [jnp.zeros_like(leaf) for leaf in leaves])
