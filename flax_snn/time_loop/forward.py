"""A layer over one chunk of time steps, forward.

The currents of the chunk are one product; the neurons go step by step. The reverse pass runs the
chunk `again` and keeps the membranes, from which it has the spikes of all steps at once.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
from jax import lax

from flax_snn.time_loop.chunks import Chunks, Window, tree_at, tree_put
from flax_snn.time_loop.layer import Layer, LayerWeights
from flax_snn.typing import Array, LIFState


class Kept(NamedTuple):
    """What the reverse pass of a chunk reads.

    Attributes:
      inputs: inputs of the layer.
      currents: what its input weights made of them.
      states: state before each step.
      fed: recurrent current of each step, ``None`` without recurrent weights.
    """

    inputs: Array
    currents: Array
    states: LIFState
    fed: Array | None


def forward(
    layer: Layer,
    chunks: Chunks,
    weights: LayerWeights,
    state: LIFState,
    inputs: Array,
    window: Window,
    outputs: Array,
    membranes: Array | None,
) -> tuple[LIFState, Array, Array | None]:
    """Run the layer over a chunk.

    Args:
      layer: the layer.
      chunks: the cut.
      weights: arrays of the layer.
      state: state before the chunk.
      inputs: inputs of the chunk.
      window: where the chunk lies.
      outputs: chunk to write outputs into; steps that are not its own stay as they are.
      membranes: chunk to write membranes into, or ``None``.

    Returns:
      The state after the chunk, outputs, membranes.
    """
    currents = layer.project(inputs, weights)

    def body(t: Any, loop: Any) -> Any:
        state, outputs, membranes = loop
        state, output, _ = layer.step(weights, state, tree_at(currents, t))
        if membranes is not None:
            membranes = tree_put(membranes, state.v, t)
        return state, tree_put(outputs, output, t), membranes

    return chunks.each_step(window, body, (state, outputs, membranes))


def again(
    layer: Layer,
    chunks: Chunks,
    weights: LayerWeights,
    state: LIFState,
    inputs: Array,
    window: Window,
    memory: tuple[LIFState, Array | None],
) -> tuple[Kept, Array]:
    """Run the layer over a chunk a second time, for the reverse pass.

    Args:
      layer: the layer.
      chunks: the cut.
      weights: arrays of the layer.
      state: state before the chunk.
      inputs: inputs of the chunk.
      window: where the chunk lies.
      memory: chunks to write states and recurrent currents into.

    Returns:
      What the reverse pass reads, and the outputs; arbitrary in steps that are not its own.
    """
    currents = layer.project(inputs, weights)

    def body(t: Any, loop: Any) -> Any:
        state, states, fed = loop
        states = tree_put(states, state, t)
        state, _, (_, current) = layer.step(weights, state, tree_at(currents, t))
        return state, states, None if fed is None else tree_put(fed, current, t)

    loop = (state, *memory)
    _, states, fed = chunks.each_step(window, body, loop)
    outputs = jax.vmap(lambda *now: layer.step(weights, *now)[1])
    # Written once: XLA would compute the spikes again for each product that reads them.
    return Kept(inputs, currents, states, fed), lax.optimization_barrier(
        outputs(states, currents, fed)
    )
