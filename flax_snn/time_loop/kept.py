"""What the forward pass keeps of all steps, so that the reverse pass runs no chunk again.

Where it fits into memory this is faster: a chunk that is run again costs its input products, its
recurrent products and its steps once more.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from flax_snn.time_loop.chunks import Chunks
from flax_snn.time_loop.forward import Record, Replay
from flax_snn.time_loop.layer import Layer, LayerWeights
from flax_snn.time_loop.pullback import Residuals
from flax_snn.time_loop.reverse import current_of
from flax_snn.typing import Array


class Kept(NamedTuple):
    """What is kept of a layer.

    Arrays are ``(tiles * chunks * length, tile, *features)``, one chunk after the other; all chunks
    of a tile in a row.

    Attributes:
      currents: what the input weights made of the inputs; None where that needs no product.
      record: states and recurrent currents; or outputs and residuals.
    """

    currents: Array | None
    record: Record


def room_for(
    chunks: Chunks,
    layer: Layer,
    weights: LayerWeights,
    state: Any,
    inputs: jax.ShapeDtypeStruct,
    residuals: Residuals | None,
) -> Kept:
    """Returns memory for what is kept of a layer.

    Args:
      chunks: the cut.
      layer: the layer.
      weights: arrays of the layer.
      state: state of a tile, for its shapes.
      inputs: shape of the inputs of a step of a tile.
      residuals: what the derivative of a step is made of, where it is kept instead of states.
    """
    steps = chunks.tiles * chunks.count * chunks.length

    def room(one: Any) -> Array:
        return jnp.zeros((steps, *one.shape), one.dtype)

    if residuals is not None:
        v = layer.neuron.membrane(state)
        outputs = room(jax.ShapeDtypeStruct(v.shape, layer.output_dtype))
        arrays = tuple(room(array) for array in residuals.arrays)
        return Kept(None, Record(outputs, residuals=arrays))
    feedback = currents = None
    if weights.recurrent_kernel is not None:
        current = current_of(layer, state)
        step = jax.eval_shape(lambda s, x: layer.step(weights, s, x), state, current)
        feedback = room(step[2][1])
    if weights.kernel is not None:
        currents = room(jax.eval_shape(layer.project, inputs, weights))
    return Kept(currents, Record(states=jax.tree.map(room, state), feedback=feedback))


def with_chunk(kept: Kept, record: Record, currents: Array, outputs: Array, base: Any) -> Kept:
    """Returns what is kept of a layer, with a chunk added.

    Args:
      kept: what was kept.
      record: the record that the steps of the chunk went into.
      currents: currents of the chunk.
      outputs: outputs of the chunk.
      base: entry that is the first step of the chunk.
    """

    def put(whole: Array | None, part: Array) -> Array | None:
        return None if whole is None else lax.dynamic_update_slice_in_dim(whole, part, base, 0)

    record = record._replace(outputs=put(kept.record.outputs, outputs))
    return Kept(put(kept.currents, currents), record)


def replay_of(
    chunks: Chunks,
    kept: Kept,
    layer: Layer,
    weights: LayerWeights,
    inputs: Array,
    before: Any,
    base: Any,
) -> Replay:
    """Returns what running a chunk again would record.

    Args:
      chunks: the cut.
      kept: what was kept of the layer.
      layer: the layer.
      weights: arrays of the layer.
      inputs: inputs of the chunk.
      before: state before the chunk.
      base: entry of what was kept that is the first step of the chunk.
    """

    def cut(whole: Array) -> Array:
        return lax.dynamic_slice_in_dim(whole, base, chunks.length, 0)

    kept = jax.tree.map(cut, kept)
    record, currents = kept.record, kept.currents
    if currents is None:  # that of residuals is seen by nobody
        currents = layer.project(inputs, weights)
    return Replay(
        inputs,
        currents,
        record.states,
        record.feedback,
        before,
        record.outputs,
        record.residuals,
    )
