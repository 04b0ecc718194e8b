"""The two passes of the fused loop over all chunks of a sequence, forward and in reverse."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from flax_snn.time_loop.chunks import Chunks, Window, tile_of, tree_at, tree_put, with_tile
from flax_snn.time_loop.forward import Record, Replay, forward, outputs_of
from flax_snn.time_loop.kept import Kept, replay_of, room_for, with_chunk
from flax_snn.time_loop.layer import Layer, LayerWeights
from flax_snn.time_loop.loop import Traces
from flax_snn.time_loop.reverse import make_scratch, residuals_of, reverse
from flax_snn.time_loop.states import floating
from flax_snn.typing import Array


@dataclasses.dataclass(frozen=True)
class Program:
    """What of a run is no array.

    Attributes:
      layers: the layers, from input to output.
      chunks: how the sequence is cut.
      traced: whether traces are wanted.
      recorded: for each layer whether the forward pass records its recurrent currents for the
        reverse pass, which then needs no recurrent product to run a chunk again.
      kept: whether the forward pass keeps what the reverse pass reads of all steps, which then
        runs no chunk again.
    """

    layers: tuple[Layer, ...]
    chunks: Chunks
    traced: bool
    recorded: tuple[bool, ...]
    kept: bool = False


class Saved(NamedTuple):
    """What the forward pass saves for the reverse pass.

    Attributes:
      states: states that entered the chunks, ``(chunks, tile, *features)``, all chunks of a tile in
        a row.
      feedbacks: recurrent currents of each layer in all steps, with axes as the inputs have them;
        None for a layer that does not record them.
      kept: what is kept of each layer, or None.
    """

    states: Any
    feedbacks: tuple[Array | None, ...]
    kept: tuple[Kept, ...] | None


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
    split = jax.tree.map(lambda s: chunks.split(s, 0), states)
    feedbacks = tuple(
        jnp.zeros((*lead, layer_weights.recurrent_kernel.shape[1]), v.dtype)
        if save and recorded and layer_weights.recurrent_kernel is not None
        else None
        for recorded, layer_weights, v in zip(program.recorded, weights, membranes, strict=True)
    )
    loop = (split, saved, kept, blanks[-1], traces, feedbacks)
    states, saved, kept, outputs, traces, feedbacks = _each_tile(chunks, run_tile, loop)
    states = jax.tree.map(lambda s: chunks.joined(s, 0), states)
    results = (states, *jax.tree.map(chunks.joined, (outputs, traces)))
    feedbacks = jax.tree.map(chunks.joined, feedbacks)
    return results, Saved(saved, feedbacks, kept) if save else None


def run_backward(
    program: Program,
    weights: tuple[LayerWeights, ...],
    inputs: Array,
    saved: Any,
    cotangents: Any,
    learned: tuple[LayerWeights, ...],
    input_learned: bool,
) -> tuple[Any, Any, Array | None]:
    """Runs all chunks of all tiles again from the states that entered them, and back through them.

    Args:
      program: layers and cut.
      weights: arrays of each layer.
      inputs: as in `run_forward`.
      saved: what the forward pass saved.
      cotangents: those of states, outputs and traces; None for zeros.
      learned: for each array of a layer whether its gradient is wanted.
      input_learned: whether the gradient of the inputs is wanted.

    Returns:
      Cotangents of the weights (zeros where not wanted), of the floating parts of the states, and
      of the inputs or None.
    """
    chunks, layers = program.chunks, program.layers
    saved, feedbacks, kept = saved
    d_states, d_outputs, d_traces = cotangents
    d_states = jax.tree.map(
        lambda s, d: jnp.zeros((chunks.batch, *s.shape[2:]), s.dtype) if d is None else d,
        floating(saved),
        d_states,
    )
    inputs, d_outputs, d_traces, feedbacks = jax.tree.map(
        chunks.split, (inputs, d_outputs, d_traces, feedbacks)
    )
    no_traces = [None] * len(layers)
    d_spikes = [*(d_traces.spikes if program.traced else no_traces[:-1]), None]
    d_membranes = d_traces.membranes if program.traced else no_traces

    residuals = [
        residuals_of(*each, traced=program.traced if program.kept else d_v is not None)
        for *each, d_v in zip(layers, weights, tree_at(saved, 0), learned, d_membranes, strict=True)
    ]

    def cut(cotangent: Any, window: Window) -> Array | None:
        return None if cotangent is None else chunks.masked(chunks.cut(cotangent, window), window)

    def seen(k: int, state: Any, window: Window) -> Array | None:
        found = cut(d_membranes[k], window)
        expected = residuals[k]
        if found is None and expected is not None and expected.traced:
            v = layers[k].neuron.membrane(state)
            return jnp.zeros((chunks.length, *v.shape), v.dtype)
        return found

    def run_again(x: Array, states: Any, window: Window, base: Any, scratch: Any) -> list[Replay]:
        replay: list[Replay] = []
        for k, (layer, layer_weights, state, memory) in enumerate(
            zip(layers, weights, states, scratch, strict=True)
        ):
            if kept is not None:
                replay.append(replay_of(chunks, kept[k], layer, layer_weights, x, state, base))
            else:
                currents = layer.project(x, layer_weights)
                record = Record(
                    memory.outputs,
                    states=memory.states,
                    feedback=memory.feedback,
                    residuals=memory.residuals,
                )
                known = None if feedbacks[k] is None else chunks.cut(feedbacks[k], window)
                _, now, _ = forward(
                    layer,
                    chunks,
                    layer_weights,
                    state,
                    currents,
                    window,
                    record,
                    residuals[k],
                    known,
                )
                feedback = now.feedback if known is None else known
                replay.append(
                    Replay(x, currents, now.states, feedback, state, now.outputs, now.residuals)
                )
            x = outputs_of(layer, layer_weights, replay[-1])
        return replay

    def chunk_of(tile: Any, j: Any, loop: Any) -> Any:
        d_states, d_weights, d_inputs, scratch = loop
        i = chunks.count - 1 - j
        window = chunks.window(tile, i)
        states = tree_at(saved, tile * chunks.count + i)
        base = (tile * chunks.count + i) * chunks.length
        replay = run_again(chunks.cut(inputs, window), states, window, base, scratch)
        d_x = cut(d_outputs, window)
        if d_x is None:
            v = layers[-1].neuron.membrane(states[-1])
            d_x = jnp.zeros((chunks.length, *v.shape), layers[-1].output_dtype)
        before: list[Any] = []
        found: list[Any] = []
        memories: list[Any] = []
        for k in reversed(range(len(layers))):
            more = cut(d_spikes[k], window)
            if more is not None:
                d_x = d_x + more
            d_state, d_x, d_own, memory = reverse(
                layers[k],
                chunks,
                weights[k],
                replay[k],
                window,
                d_states[k],
                d_x,
                seen(k, states[k], window),
                learned[k],
                scratch[k],
                residuals[k],
            )
            before.insert(0, d_state)
            found.insert(0, d_own)
            memories.insert(0, memory)
        d_weights = jax.tree.map(jnp.add, d_weights, tuple(found))
        if d_inputs is not None:
            d_inputs = chunks.paste(d_inputs, d_x, window)
        return tuple(before), d_weights, d_inputs, tuple(memories)

    def run_tile(tile: Any, loop: Any) -> Any:
        d_states, d_weights, d_inputs = loop
        states = tree_at(saved, 0)
        scratch = tuple(
            make_scratch(layer, chunks, *arrays, recorded=feedback is not None, kept=program.kept)
            for layer, *arrays, feedback in zip(
                layers, weights, states, learned, residuals, feedbacks, strict=True
            )
        )
        tile_states, d_weights, d_inputs, _ = lax.fori_loop(
            0,
            chunks.count,
            functools.partial(chunk_of, tile),
            (tile_of(d_states, chunks, tile), d_weights, d_inputs, scratch),
        )
        return with_tile(d_states, tile_states, chunks, tile), d_weights, d_inputs

    d_weights = jax.tree.map(jnp.zeros_like, weights)
    d_inputs = jnp.zeros_like(inputs) if input_learned else None
    split = jax.tree.map(lambda d: chunks.split(d, 0), d_states)
    d_states, d_weights, d_inputs = _each_tile(chunks, run_tile, (split, d_weights, d_inputs))
    d_states = jax.tree.map(lambda d: chunks.joined(d, 0), d_states)
    return d_weights, d_states, None if d_inputs is None else chunks.joined(d_inputs)


def _shapes_of_inputs(program: Program, states: Any, inputs: Array) -> list[Any]:
    """Returns the shape of what each layer is given in a step of a tile."""
    chunks, given = program.chunks, []
    x = jax.ShapeDtypeStruct((chunks.tile, *inputs.shape[2:]), inputs.dtype)
    for layer, state in zip(program.layers, states, strict=True):
        given.append(x)
        x = jax.ShapeDtypeStruct(layer.neuron.membrane(state).shape, layer.output_dtype)
    return given


def _each_tile(chunks: Chunks, body: Any, loop: Any) -> Any:
    return body(0, loop) if chunks.tiles == 1 else lax.fori_loop(0, chunks.tiles, body, loop)


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
