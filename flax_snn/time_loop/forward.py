"""A layer over one chunk of time steps, forward.

The neurons go step by step. Where the states before the steps are kept, the outputs of all steps
follow from them at once.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
from jax import lax

from flax_snn.time_loop.chunks import Chunks, Window, tree_at, tree_put
from flax_snn.time_loop.layer import Layer, LayerWeights
from flax_snn.typing import Array


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
    states: Any
    fed: Array | None


class Record(NamedTuple):
    """Chunks that a run writes into, ``None`` where nobody asks.

    Attributes:
      outputs: output of each step.
      membranes: membrane after each step.
      states: state before each step.
      fed: recurrent current of each step.
    """

    outputs: Array | None = None
    membranes: Array | None = None
    states: Any = None
    fed: Array | None = None


def forward(
    layer: Layer,
    chunks: Chunks,
    weights: LayerWeights,
    state: Any,
    currents: Array,
    window: Window,
    record: Record,
) -> tuple[Any, Record]:
    """Run the layer over a chunk.

    Args:
      layer: the layer.
      chunks: the cut.
      weights: arrays of the layer.
      state: state before the chunk.
      currents: what its input weights made of the inputs of the chunk.
      window: where the chunk lies.
      record: what to write into; steps that are not the chunk's own stay as they are.

    Returns:
      The state after the chunk, and the record.
    """

    def body(t: Any, loop: Any) -> Any:
        before, record = loop
        after, output, (_, fed) = layer.step(weights, before, tree_at(currents, t))
        now = Record(output, layer.neuron.membrane(after), before, fed)
        return after, Record(
            *(
                None if part is None else tree_put(part, value, t)
                for part, value in zip(record, now, strict=True)
            )
        )

    return chunks.each_step(window, body, (state, record))


def outputs_of(layer: Layer, weights: LayerWeights, kept: Kept) -> Array:
    """Return the outputs of all steps of a chunk; arbitrary in steps that are not its own."""
    outputs = jax.vmap(lambda *now: layer.step(weights, *now)[1])
    # Written once: XLA would compute the spikes again for each product that reads them.
    return lax.optimization_barrier(outputs(kept.states, kept.currents, kept.fed))
