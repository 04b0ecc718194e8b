"""A layer over one chunk of time steps, forward.

The neurons go step by step. Where the states before the steps are recorded, the outputs of all
steps follow from them at once.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
from jax import lax

from flax_snn.time_loop.chunks import Chunks, Window, tree_at, tree_put
from flax_snn.time_loop.layer import Layer, LayerWeights
from flax_snn.time_loop.pullback import Residuals, pullback
from flax_snn.typing import Array


class Replay(NamedTuple):
    """A chunk that was run again: what its reverse pass reads.

    Attributes:
      inputs: inputs of the layer.
      currents: what its input weights made of them.
      states: state before each step.
      feedback: recurrent current of each step, ``None`` without recurrent weights.
      before: state before the chunk.
      outputs: output of each step, where it was recorded.
      residuals: what the derivative of each step is made of, in place of the states.
    """

    inputs: Array
    currents: Array
    states: Any
    feedback: Array | None
    before: Any
    outputs: Array | None = None
    residuals: tuple[Array, ...] | None = None


class Record(NamedTuple):
    """Chunks that a run writes into, ``None`` where nothing is recorded.

    Attributes:
      outputs: output of each step.
      membranes: membrane after each step.
      states: state before each step.
      feedback: recurrent current of each step.
      residuals: what the derivative of each step is made of.
    """

    outputs: Array | None = None
    membranes: Array | None = None
    states: Any = None
    feedback: Array | None = None
    residuals: tuple[Array, ...] | None = None


NOTHING = Record()
"""A record of nothing."""


def forward(
    layer: Layer,
    chunks: Chunks,
    weights: LayerWeights,
    state: Any,
    currents: Array,
    window: Window,
    record: Record,
    residuals: Residuals | None = None,
    feedback: Array | None = None,
    kept: Record = NOTHING,
    base: Any = 0,
) -> tuple[Any, Record, Record]:
    """Runs the layer over a chunk.

    Args:
      layer: the layer.
      chunks: the cut.
      weights: arrays of the layer.
      state: state before the chunk.
      currents: what its input weights made of the inputs of the chunk.
      window: where the chunk lies.
      record: what to write into; steps that are not those of the chunk stay as they are.
      residuals: which arrays of the derivative of a step the record has room for.
      feedback: recurrent current of each step, where an earlier run recorded it.
      kept: a record of all steps of the sequence, likewise.
      base: entry of it that is the first step of the chunk.

    Returns:
      The state after the chunk, and both records.
    """

    def body(t: Any, loop: Any) -> Any:
        before, record, kept = loop
        current = tree_at(currents, t)
        if residuals is None:
            known = None if feedback is None else tree_at(feedback, t)
            after, output, (_, caused) = layer.step(weights, before, current, known)
            now = Record(output, layer.neuron.membrane(after), before, caused)
        else:
            current = current.astype(layer.neuron.membrane(before).dtype)
            (after, output), back = pullback(
                layer, weights, before, current, None, traced=residuals.traced
            )
            membrane = layer.neuron.membrane(after)
            now = Record(output, membrane, residuals=residuals.recorded(back))
        return after, _with_step(record, now, t), _with_step(kept, now, base + t)

    return chunks.each_step(window, body, (state, record, kept))


def _with_step(record: Record, now: Record, at: Any) -> Record:
    """Returns a record with what one step did, in the parts that are recorded."""
    pairs = zip(record, now, strict=True)
    return Record(*(None if part is None else tree_put(part, one, at) for part, one in pairs))


def outputs_of(layer: Layer, weights: LayerWeights, replay: Replay) -> Array:
    """Returns the outputs of all steps of a chunk; arbitrary in steps that are not its own."""
    if replay.outputs is not None:
        return replay.outputs
    outputs = jax.vmap(lambda *now: layer.step(weights, *now)[1])
    # Written once: XLA would compute the spikes again for each product that reads them.
    return lax.optimization_barrier(outputs(replay.states, replay.currents, replay.feedback))
