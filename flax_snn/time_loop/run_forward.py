"""The forward pass of the fused loop over all chunks of a sequence."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from flax_snn.time_loop.chunks import tile_of, tree_at, tree_put, with_tile
from flax_snn.time_loop.forward import Record, forward
from flax_snn.time_loop.kept import Kept, room_for, with_chunk
from flax_snn.time_loop.layer import LayerWeights
from flax_snn.time_loop.loop import Traces
from flax_snn.time_loop.program import Program, Saved, each_tile
from flax_snn.time_loop.reverse import residuals_of
from flax_snn.typing import Array


def run_forward(
    program: Program,
    weights: tuple[LayerWeights, ...],
    states: Any,
    inputs: Array,
    *,
    learned: tuple[LayerWeights, ...] | None = None,
) -> tuple[Any, Any]:
    """Runs all chunks of all tiles.

    Args:
      program: layers and cut.
      weights: arrays of each layer.
      states: state of each layer before the first step, ``(B, *features)``.
      inputs: ``(B, T, *features)``, or ``(T, B, *features)`` as the cut says.
      learned: for each array of a layer whether its gradient is wanted, where the reverse pass is
        to follow; None to save nothing for it.

    Returns:
      States, outputs and traces as a time loop returns them; and the states that entered the
      chunks with what else was recorded, or None.
    """
    chunks, layers = program.chunks, program.layers
    whole_inputs, inputs = inputs, chunks.split(inputs)
    save = learned is not None

    def chunk_of(tile: Any, i: Any, loop: Any) -> Any:
        states, saved, kept, outputs, traces, feedbacks, scratch = loop
        window, base = chunks.window(tile, i), (tile * chunks.count + i) * chunks.length
        x: Any = chunks.cut(inputs, window)
        after: list[Any] = []
        written: list[Any] = []
        keeps: list[Any] = []
        for k, (layer, layer_weights, state) in enumerate(
            zip(layers, weights, states, strict=True)
        ):
            if k == len(layers) - 1:
                record = scratch[k]._replace(outputs=chunks.cut(outputs, window))
            elif program.traced:
                record = scratch[k]._replace(outputs=chunks.cut(traces.spikes[k], window))
            else:
                record = scratch[k]
            if program.traced:
                record = record._replace(membranes=chunks.cut(traces.membranes[k], window))
            if feedbacks[k] is not None:
                record = record._replace(feedback=chunks.cut(feedbacks[k], window))
            currents = layer.project(x, layer_weights)
            keep = Record() if kept is None else kept[k].record._replace(outputs=None)
            state, record, keep = forward(
                layer,
                chunks,
                layer_weights,
                state,
                currents,
                window,
                record,
                residuals[k],
                kept=keep,
                base=base,
            )
            x = record.outputs
            after.append(state)
            written.append(record)
            if kept is not None:
                keeps.append(with_chunk(kept[k], keep, currents, x, base))
        if save:
            saved = tree_put(saved, states, tile * chunks.count + i)
        outputs = chunks.paste(outputs, x, window)
        if program.traced:
            now = Traces(
                tuple(r.outputs for r in written[:-1]), tuple(r.membranes for r in written)
            )
            traces = jax.tree.map(lambda t, part: chunks.paste(t, part, window), traces, now)
        feedbacks = tuple(
            None if whole is None else chunks.paste(whole, record.feedback, window)
            for whole, record in zip(feedbacks, written, strict=True)
        )
        scratch = tuple(
            _only(memory, record) for memory, record in zip(scratch, written, strict=True)
        )
        kept = None if kept is None else tuple(keeps)
        return tuple(after), saved, kept, outputs, traces, feedbacks, scratch

    def run_tile(tile: Any, loop: Any) -> Any:
        states, *whole = loop
        tile_states = tile_of(states, chunks, tile)
        loop = (tile_states, *whole, _hidden(program, tile_states))
        tile_states, *whole, _ = lax.fori_loop(
            0, chunks.count, functools.partial(chunk_of, tile), loop
        )
        return with_tile(states, tile_states, chunks, tile), *whole

    residuals, *room = _room(program, weights, states, whole_inputs, inputs, learned)
    loop = (jax.tree.map(lambda s: chunks.split(s, 0), states), *room)
    states, saved, kept, outputs, traces, feedbacks = each_tile(chunks, run_tile, loop)
    states = jax.tree.map(lambda s: chunks.joined(s, 0), states)
    results = (states, *jax.tree.map(chunks.joined, (outputs, traces)))
    feedbacks = jax.tree.map(chunks.joined, feedbacks)
    return results, Saved(saved, feedbacks, kept) if save else None


def _room(
    program: Program,
    weights: tuple[LayerWeights, ...],
    states: Any,
    whole_inputs: Array,
    inputs: Array,
    learned: tuple[LayerWeights, ...] | None,
) -> tuple[list[Any], Any, tuple[Kept, ...] | None, Array, Traces | None, tuple[Array | None, ...]]:
    """Returns what the derivatives of each layer are made of, and memory that chunks write into.

    Args:
      program: layers and cut.
      weights: arrays of each layer.
      states: state of each layer before the first step.
      whole_inputs: inputs as the cut found them.
      inputs: the same, split.
      learned: as in `run_forward`.

    Returns:
      Residuals of the layers, saved states, what is kept, outputs, traces and recurrent currents;
      None for what is not wanted.
    """
    chunks, layers = program.chunks, program.layers
    saved = kept = None
    residuals: list[Any] = [None] * len(layers)
    if learned is not None:
        count = chunks.count * chunks.tiles
        saved = jax.tree.map(
            lambda s: jnp.zeros((count, chunks.tile, *s.shape[1:]), s.dtype), states
        )
        if program.kept:
            entered = tree_at(saved, 0)
            residuals = [
                residuals_of(*each, traced=program.traced)
                for each in zip(layers, weights, entered, learned, strict=True)
            ]
            given = _shapes_of_inputs(program, entered, whole_inputs)
            kept = tuple(
                room_for(chunks, *each)
                for each in zip(layers, weights, entered, given, residuals, strict=True)
            )
    membranes = [la.neuron.membrane(s) for la, s in zip(layers, states, strict=True)]
    lead = inputs.shape[: 2 if chunks.tiles == 1 else 3]
    shapes = [(*lead, *v.shape[1:]) for v in membranes]
    blanks = [
        jnp.zeros(shape, layer.output_dtype) for shape, layer in zip(shapes, layers, strict=True)
    ]
    traces = None
    if program.traced:
        pairs = zip(shapes, membranes, strict=True)
        traces = Traces(tuple(blanks[:-1]), tuple(jnp.zeros(s, v.dtype) for s, v in pairs))
    feedbacks = tuple(
        jnp.zeros((*lead, layer_weights.recurrent_kernel.shape[1]), v.dtype)
        if learned is not None and recorded and layer_weights.recurrent_kernel is not None
        else None
        for recorded, layer_weights, v in zip(program.recorded, weights, membranes, strict=True)
    )
    return residuals, saved, kept, blanks[-1], traces, feedbacks


def _shapes_of_inputs(program: Program, states: Any, inputs: Array) -> list[Any]:
    """Returns the shape of what each layer is given in a step of a tile."""
    chunks, given = program.chunks, []
    x = jax.ShapeDtypeStruct((chunks.tile, *inputs.shape[2:]), inputs.dtype)
    for layer, state in zip(program.layers, states, strict=True):
        given.append(x)
        x = jax.ShapeDtypeStruct(layer.neuron.membrane(state).shape, layer.output_dtype)
    return given


def _only(memory: Record, record: Any) -> Record:
    """Returns the parts of a record that are memory, not results."""
    parts: list[Any] = [None if m is None else r for m, r in zip(memory, record, strict=True)]
    return Record(*parts)


def _hidden(program: Program, states: Any) -> tuple[Record, ...]:
    """Returns memory for the outputs of hidden layers where no trace holds them."""
    memory = [
        Record(program.chunks.empty(layer.neuron.membrane(state).astype(layer.output_dtype)))
        if not program.traced
        else Record()
        for layer, state in zip(program.layers[:-1], states[:-1], strict=True)
    ]
    return (*memory, Record())
