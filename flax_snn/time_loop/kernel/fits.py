"""Whether a layer can run as one kernel, and why not: what of a layer fits on chip."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from flax_snn.time_loop.elementwise import why_not_elementwise
from flax_snn.time_loop.kernel.cut import channels_of, width_of
from flax_snn.time_loop.kernel.step import derivative, one_step
from flax_snn.time_loop.layer import Layer, LayerWeights
from flax_snn.typing import Array

ON_CHIP_BYTES = 2**16
"""Most bytes of the recurrent weights of a layer, in the dtype of its products.

The reverse kernel holds them twice, as they are and transposed, with the spikes and cotangents that
they multiply: 136 to 144 KiB of shared memory, says Triton's compiler, where a block of an A100 has
163 KiB at most and of an H100 227 KiB. No GPU has confirmed it.
"""

_TRIAL = 7
"""Neurons of the row on which a step is tried."""


def why_not_layer(layer: Layer, weights: LayerWeights, state: Any) -> str | None:
    """Returns why a layer cannot run as one kernel, or None if it can."""
    reason = _why_not_recurrent(layer, weights)
    if reason is not None:
        return reason
    shape = layer.neuron.membrane(state).shape
    for path, leaf in jax.tree_util.tree_leaves_with_path(state):
        where = jax.tree_util.keystr(path)
        if leaf.shape != shape:
            return f"expected one number for each neuron, got shape {leaf.shape} in state{where}"
        if leaf.dtype == jnp.bool_:
            return f"its state{where} is of truth values; make it uint8"
    for path, leaf in jax.tree_util.tree_leaves_with_path(weights.coefficients):
        where = jax.tree_util.keystr(path)
        try:
            fits = jnp.broadcast_shapes(leaf.shape, shape) == shape
        except ValueError:
            fits = False
        if not fits:
            return f"coefficients{where} of shape {leaf.shape} are not those of single neurons"

    def row(leaf: Any) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct((_TRIAL,), leaf.dtype)

    v = layer.neuron.membrane(state)
    currents = (row(v),) * layer.neuron.blocks
    coefficients = jax.tree.map(row, weights.coefficients)
    begin = jax.tree.map(row, state)

    channels = channels_of(weights)

    def feedback(spikes: Array) -> tuple[Array, ...]:
        return (spikes,) * channels  # as if each neuron fed itself: the product is no trial's

    fed = feedback if channels else None

    def both(coefficients: Any, state: Any, currents: Any) -> Any:
        learned = jax.tree.map(lambda _: True, coefficients)
        results = one_step(layer, coefficients, state, currents, fed)
        ends, back, spikes = derivative(
            layer, coefficients, state, currents, learned, fed, channels
        )
        return results, back(jax.tree.map(jnp.ones_like, ends)), spikes

    def forward(coefficients: Any, state: Any, currents: Any) -> Any:
        return one_step(layer, coefficients, state, currents, fed)

    reason = why_not_elementwise(forward, _TRIAL, coefficients, begin, currents)
    return reason or why_not_elementwise(both, _TRIAL, coefficients, begin, currents)


def _why_not_recurrent(layer: Layer, weights: LayerWeights) -> str | None:
    """Returns why the recurrent weights of a layer cannot stay on chip, or None if they can."""
    kernel = weights.recurrent_kernel
    if kernel is None:
        return None
    width, channels = width_of(kernel.shape[0]), channels_of(weights)
    dtype = jnp.dtype(layer.dtype or jnp.result_type(kernel.dtype, layer.state_dtype))
    size = width * width * channels * dtype.itemsize
    if size <= ON_CHIP_BYTES:
        return None
    return (
        f"expected recurrent weights of at most {ON_CHIP_BYTES} bytes, which stay on chip for all"
        f" steps, got {kernel.shape} weights of {dtype}: {size} bytes with each axis at a power of"
        " two; the loop for larger ones is 'fused'"
    )
