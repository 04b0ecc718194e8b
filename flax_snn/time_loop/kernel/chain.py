"""Layers one after the other, each as one kernel, with the reverse pass of all.

Between the layers stand their products, over all steps at once. What the reverse pass keeps of a
layer are its currents, states as the forward kernel saves them, and its input, which is the output
of the layer before: spikes are kept in one byte each where they are spikes and not counts.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax.linen.dtypes import promote_dtype
from jax.custom_derivatives import SymbolicZero

from flax_snn.products import feed_back
from flax_snn.time_loop.kernel.cut import Chain
from flax_snn.time_loop.kernel.forward import forward_kernel
from flax_snn.time_loop.kernel.passes import Passes
from flax_snn.time_loop.kernel.reverse import reverse_kernel
from flax_snn.time_loop.layer import Layer, LayerWeights
from flax_snn.typing import Array, Shape


class _Kept(NamedTuple):
    """What the reverse pass reads of a layer."""

    inputs: Array
    currents: tuple[Array, ...]
    saved: Any


class _Residuals(NamedTuple):
    """What the reverse pass reads."""

    weights: tuple[LayerWeights, ...]
    kept: tuple[_Kept, ...]
    learned: Any


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def run_chain(chain: Chain, weights: Any, states: Any, inputs: Array) -> Any:
    """Runs all layers over a sequence.

    Args:
      chain: the layers and how they are cut.
      weights: arrays of each layer.
      states: state of each layer before the first step, ``(B, *features)``.
      inputs: ``(T, B, *features)``.

    Returns:
      State of each layer after the last step, outputs ``(T, B, N)``, and the traces: spikes of all
      layers but the last one and membranes of all, or empty tuples.
    """
    nothing = jax.tree.map(lambda _: False, [w.coefficients for w in weights])
    return _forward(chain, weights, states, inputs, nothing, save=False)[0]


def _forward(
    chain: Chain, weights: Any, states: Any, inputs: Array, learned: Any, *, save: bool
) -> tuple[Any, tuple[_Kept, ...]]:
    after, spikes, membranes, kept = [], [], [], []
    x, small = inputs, inputs
    for k, (passes, own, state) in enumerate(zip(chain.passes, weights, states, strict=True)):
        layer = passes.layer
        shape = layer.neuron.membrane(state).shape
        currents = _separate(passes, layer.project(x, own), shape)
        numbers = _numbers(passes, own.coefficients, shape, learned[k])
        begin = jax.tree.map(lambda leaf, passes=passes: leaf.reshape(passes.shape), state)
        last, outputs, seen, saved = forward_kernel(
            passes, numbers, _recurrent(passes, own), begin, currents, save=save
        )
        kept.append(_Kept(small, currents, saved))
        after.append(jax.tree.map(lambda leaf, shape=shape: leaf.reshape(shape), last))
        x = outputs.reshape(passes.steps, *shape)
        small = x.astype(jnp.uint8) if save and _one_byte(layer) else x
        spikes.append(x)
        membranes.append(None if seen is None else seen.reshape(x.shape))
    traces = (tuple(spikes[:-1]), tuple(membranes)) if chain.traced else ((), ())
    return (tuple(after), x, *traces), tuple(kept)


def _save_forward(chain: Chain, weights: Any, states: Any, inputs: Any) -> Any:
    def is_primal(leaf: Any) -> bool:
        return hasattr(leaf, "perturbed")

    learned = [
        jax.tree.map(lambda p: p.perturbed, own.coefficients, is_leaf=is_primal) for own in weights
    ]
    weights, states, values = jax.tree.map(
        lambda p: p.value, (weights, states, inputs), is_leaf=is_primal
    )
    results, kept = _forward(chain, weights, states, values, learned, save=True)
    # Flags are leaves of no dtype: handed on as structure.
    return results, _Residuals(weights, kept, jax.tree.map(_Flag, learned))


def _backward(chain: Chain, residuals: _Residuals, cotangents: Any) -> Any:
    d_states, d_x, d_spikes, d_membranes = jax.tree.map(
        _known,
        cotangents,
        is_leaf=lambda d: isinstance(d, SymbolicZero),
    )
    learned = jax.tree.map(
        lambda flag: flag.value, residuals.learned, is_leaf=lambda leaf: isinstance(leaf, _Flag)
    )
    d_weights: list[Any] = []
    d_begin: list[Any] = []
    for k in reversed(range(len(chain.passes))):
        passes, own, kept = chain.passes[k], residuals.weights[k], residuals.kept[k]
        shape = d_x.shape[1:]
        if chain.traced and k < len(chain.passes) - 1:
            d_x = d_x + d_spikes[k]
        seen = None
        if chain.traced:
            seen = d_membranes[k].reshape(passes.steps, *passes.shape)
        last = jax.tree.map(
            lambda s, d, to=passes.shape: (
                d.reshape(to) if jnp.issubdtype(s.dtype, jnp.floating) else None
            ),
            kept.saved,
            d_states[k],
        )
        numbers = _numbers(passes, own.coefficients, shape, learned[k])
        d_outputs = d_x.reshape(passes.steps, *passes.shape)
        d_state, d_currents, d_numbers, fed, d_feedback = reverse_kernel(
            passes,
            numbers,
            _recurrent(passes, own),
            kept.saved,
            kept.currents,
            (last, d_outputs, seen),
            learned[k],
            jnp.uint8 if _one_byte(passes.layer) else None,
        )
        d_begin.insert(0, jax.tree.map(lambda d, shape=shape: d.reshape(shape), d_state))
        d_own, d_x = _projected_back(passes, own, kept, d_currents, shape, chain, k)
        d_coefficients = jax.tree.map(
            lambda c, yes, d, shape=shape: _as(c, d.ravel(), shape) if yes else jnp.zeros_like(c),
            own.coefficients,
            learned[k],
            jax.tree.map(lambda c, d: False if d is None else d, own.coefficients, d_numbers),
        )
        d_own = dataclasses.replace(d_own, coefficients=d_coefficients)
        if fed is not None:
            d_kernel = _recurrent_gradient(passes.layer, own.recurrent_kernel, fed, d_feedback)
            d_own = dataclasses.replace(d_own, recurrent_kernel=d_kernel)
        d_weights.insert(0, d_own)
    return tuple(d_weights), tuple(d_begin), d_x


run_chain.defvjp(_save_forward, _backward, symbolic_zeros=True)


def _projected_back(
    passes: Passes,
    own: LayerWeights,
    kept: _Kept,
    d_currents: tuple[Array, ...],
    shape: Shape,
    chain: Chain,
    k: int,
) -> tuple[LayerWeights, Any]:
    """Returns the cotangents of the weights and of the inputs of a layer."""
    layer = passes.layer
    x = kept.inputs if k == 0 else kept.inputs.astype(chain.passes[k - 1].layer.output_dtype)
    d_current = jnp.concatenate([d.reshape(passes.steps, *shape) for d in d_currents], axis=-1)
    if not jnp.issubdtype(x.dtype, jnp.floating):
        return jax.vjp(lambda own: layer.project(x, own), own)[1](d_current)[0], None
    return jax.vjp(lambda own, x: layer.project(x, own), own, x)[1](d_current)


def _known(cotangent: Any) -> Any:
    """Returns a cotangent as an array; what has no derivative as it is."""
    if isinstance(cotangent, SymbolicZero) and jnp.issubdtype(cotangent.dtype, jnp.floating):
        return jnp.zeros(cotangent.shape, cotangent.dtype)
    return cotangent


def _separate(passes: Passes, current: Array, shape: Shape) -> tuple[Array, ...]:
    """Returns the currents of each synaptic channel, of all steps."""
    parts = jnp.split(current, passes.layer.neuron.blocks, axis=-1)
    whole = (passes.steps, *shape)
    to = (passes.steps, *passes.shape)
    return tuple(jnp.broadcast_to(part, whole).reshape(to) for part in parts)


def _numbers(passes: Passes, coefficients: Any, shape: Shape, learned: Any) -> Any:
    """Returns coefficients as the kernels take them: one number, or one for each neuron."""

    def placed(leaf: Array, yes: bool) -> Array:
        if leaf.size == 1 and not yes:
            return leaf.reshape(())
        return jnp.broadcast_to(leaf, shape).reshape(passes.shape)

    return jax.tree.map(placed, coefficients, learned)


def _recurrent(passes: Passes, own: LayerWeights) -> tuple[Array, ...]:
    """Returns the recurrent weights of each channel as a tile multiplies them.

    They have the dtype of the product and the width of the tile, and are zero beyond the neurons.
    """
    if own.recurrent_kernel is None:
        return ()
    layer = passes.layer
    spikes = jnp.zeros((), layer.state_dtype)
    kernel = promote_dtype(spikes, own.recurrent_kernel, dtype=layer.dtype)[1]
    more = passes.tile[-1] - kernel.shape[0]
    parts = jnp.split(kernel, passes.channels, axis=1)
    return tuple(jnp.pad(part, ((0, more), (0, more))) for part in parts)


def _recurrent_gradient(
    layer: Layer, kernel: Any, fed: Array, d_feedback: tuple[Array, ...]
) -> Array:
    """Returns the cotangent of the recurrent weights: one product over all steps and samples."""
    d_caused = jnp.concatenate(d_feedback, axis=-1)
    spikes = fed.astype(d_caused.dtype)
    return jax.vjp(lambda kernel: feed_back(spikes, kernel, layer.dtype), kernel)[1](d_caused)[0]


def _as(coefficient: Array, d_numbers: Array, shape: Shape) -> Array:
    """Returns the cotangent of a coefficient from those of single neurons."""
    back = jax.linear_transpose(lambda c: jnp.broadcast_to(c, shape).ravel(), coefficient)
    return back(d_numbers)[0]


def _one_byte(layer: Layer) -> bool:
    """Returns whether the outputs are known to be 0 and 1."""
    rule = getattr(layer.neuron, "rule", None)
    return layer.fires and rule is not None and rule.fire != "floor"


@jax.tree_util.register_static
@dataclasses.dataclass(frozen=True)
class _Flag:
    """Whether a gradient is wanted, as part of the structure of residuals."""

    value: bool
