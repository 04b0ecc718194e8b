"""The fused loop: layers of neurons over a sequence, chunk by chunk, with its own reverse pass.

All layers run over one chunk of time steps before the next chunk begins, so that what they hand to
each other stays in cache and no layer ever holds the whole sequence. The forward pass keeps the
state that enters each chunk and nothing else; the reverse pass runs each chunk again from there,
last chunk first. Memory grows with the number of chunks, by one state each.

Reference: Chen et al., *Training deep nets with sublinear memory cost*, 2016 (recomputation);
Gruslys et al., *Memory-efficient backpropagation through time*, 2016.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct
from jax import lax
from jax.custom_derivatives import SymbolicZero
from jax.interpreters import ad

from flax_snn.time_loop.chunks import Chunks, Window, tree_at, tree_put
from flax_snn.time_loop.forward import Kept, Record, forward, outputs_of
from flax_snn.time_loop.layer import LayerWeights
from flax_snn.time_loop.program import Program, Traces
from flax_snn.time_loop.reverse import make_scratch, reverse
from flax_snn.typing import Array, LIFState

_NO_FORWARD_MODE = (
    "RNN: the fused loop has derivatives in reverse mode only; for forward mode (jax.jvp, jacfwd)"
    " use implementation='scan'"
)


def fused(
    program: Program,
    weights: tuple[LayerWeights, ...],
    carries: tuple[LIFState, ...],
    inputs: Array,
) -> tuple[tuple[LIFState, ...], Array, Traces | None]:
    """Run layers over a sequence.

    Args:
      program: layers and cut.
      weights: arrays of each layer.
      carries: state of each layer before the first step, ``(B, *features)``.
      inputs: ``(B, T, *features)``, or ``(T, B, *features)`` as ``program.chunks.axis`` says.

    Returns:
      The state of each layer after the last step, the outputs of the last one, and the traces.
    """
    chunks = program.chunks
    missing = chunks.length - inputs.shape[chunks.axis]
    if missing > 0:  # one shape of chunk, also for a sequence that is shorter
        widths = [(0, 0)] * inputs.ndim
        widths[chunks.axis] = (0, missing)
        inputs = jnp.pad(inputs, widths)
    arguments = jax.tree.leaves((weights, carries, inputs))
    if any(isinstance(leaf, ad.JVPTracer) for leaf in arguments):
        raise TypeError(_NO_FORWARD_MODE)
    try:
        carries, *sequences = _run(program, weights, carries, inputs)
    except TypeError as error:
        raise (TypeError(_NO_FORWARD_MODE) if "jvp" in str(error) else error) from error
    if missing > 0:
        sequences = jax.tree.map(
            lambda leaf: lax.slice_in_dim(leaf, 0, chunks.steps, axis=chunks.axis), sequences
        )
    return carries, sequences[0], sequences[1]


@struct.dataclass
class _Residuals:
    weights: tuple[LayerWeights, ...]
    saved: tuple[LIFState, ...]
    inputs: Array
    learned: tuple[LayerWeights, ...] = struct.field(pytree_node=False)
    input_learned: bool = struct.field(pytree_node=False)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _run(program: Program, weights: Any, carries: Any, inputs: Any) -> Any:
    return _forward(program, weights, carries, inputs, save=False)[0]


def _run_forward(program: Program, weights: Any, carries: Any, inputs: Any) -> Any:
    def is_primal(leaf: Any) -> bool:
        return hasattr(leaf, "perturbed")

    def map_primals(what: Any, tree: Any) -> Any:
        return jax.tree.map(what, tree, is_leaf=is_primal)

    learned = map_primals(lambda p: p.perturbed, weights)
    weights, carries, values = map_primals(lambda p: p.value, (weights, carries, inputs))
    results, saved = _forward(program, weights, carries, values, save=True)
    return results, _Residuals(weights, saved, values, learned, inputs.perturbed)


def _run_backward(program: Program, residuals: _Residuals, cotangents: Any) -> Any:
    d_carries, d_outputs, d_traces = cotangents
    return _backward(program, residuals, d_carries, d_outputs, d_traces)


_run.defvjp(_run_forward, _run_backward, symbolic_zeros=True)


def _forward(
    program: Program, weights: Any, carries: Any, inputs: Array, *, save: bool
) -> tuple[Any, Any]:
    """Run all chunks of all tiles; keep the states that enter chunks where asked for."""
    chunks, layers = program.chunks, program.layers

    def chunk_of(tile: Any, i: Any, loop: Any) -> Any:
        states, saved, outputs, traces, scratch = loop
        window = chunks.window(tile, i)
        x: Any = chunks.cut(inputs, window)
        after: list[LIFState] = []
        written: list[Any] = []
        for k, (layer, own, state) in enumerate(zip(layers, weights, states, strict=True)):
            if k == len(layers) - 1:
                record = scratch[k]._replace(outputs=chunks.cut(outputs, window))
            elif program.traced:
                record = scratch[k]._replace(outputs=chunks.cut(traces.spikes[k], window))
            else:
                record = scratch[k]
            if program.traced:
                record = record._replace(membranes=chunks.cut(traces.membranes[k], window))
            state, record = forward(
                layer, chunks, own, state, layer.project(x, own), window, record
            )
            x = record.outputs
            after.append(state)
            written.append(record)
        if save:
            saved = tree_put(saved, states, tile * chunks.count + i)
        outputs = chunks.paste(outputs, x, window)
        if program.traced:
            now = Traces(
                tuple(r.outputs for r in written[:-1]), tuple(r.membranes for r in written)
            )
            traces = jax.tree.map(lambda t, part: chunks.paste(t, part, window), traces, now)
        scratch = tuple(
            _only(memory, record) for memory, record in zip(scratch, written, strict=True)
        )
        return tuple(after), saved, outputs, traces, scratch

    def tile_of(tile: Any, loop: Any) -> Any:
        states, saved, outputs, traces = loop
        own = _tile(chunks, states, tile)
        loop = (own, saved, outputs, traces, _hidden(program, own))
        own, saved, outputs, traces, _ = lax.fori_loop(
            0, chunks.count, functools.partial(chunk_of, tile), loop
        )
        return _with_tile(chunks, states, own, tile), saved, outputs, traces

    saved = None
    if save:
        count = chunks.count * chunks.tiles
        saved = jax.tree.map(
            lambda s: jnp.zeros((count, chunks.tile, *s.shape[1:]), s.dtype), carries
        )
    shapes = [(*inputs.shape[:2], *state.v.shape[1:]) for state in carries]
    blanks = [
        jnp.zeros(shape, layer.output_dtype) for shape, layer in zip(shapes, layers, strict=True)
    ]
    traces = None
    if program.traced:
        pairs = zip(shapes, carries, strict=True)
        traces = Traces(tuple(blanks[:-1]), tuple(jnp.zeros(s, c.v.dtype) for s, c in pairs))
    loop = (carries, saved, blanks[-1], traces)
    carries, saved, outputs, traces = _each_tile(chunks, tile_of, loop)
    return (carries, outputs, traces), saved


def _only(memory: Record, record: Any) -> Record:
    """Return the parts of a record that are memory, not results."""
    parts: list[Any] = [None if m is None else r for m, r in zip(memory, record, strict=True)]
    return Record(*parts)


def _hidden(program: Program, states: Any) -> tuple[Record, ...]:
    """Return memory for the outputs of hidden layers where no trace holds them."""
    memory = [
        Record(program.chunks.empty(state.v.astype(layer.output_dtype)))
        if not program.traced
        else Record()
        for layer, state in zip(program.layers[:-1], states[:-1], strict=True)
    ]
    return (*memory, Record())


def _backward(
    program: Program, residuals: Any, d_carries: Any, d_outputs: Any, d_traces: Any
) -> Any:
    chunks, layers = program.chunks, program.layers
    weights, inputs, learned = residuals.weights, residuals.inputs, residuals.learned
    no_traces = [None] * len(layers)
    d_spikes = [*(d_traces.spikes if program.traced else no_traces[:-1]), None]
    d_membranes = d_traces.membranes if program.traced else no_traces
    d_carries = tuple(_dense(dataclasses.replace(d, refractory=None)) for d in d_carries)

    def cut(cotangent: Any, window: Window) -> Array | None:
        if cotangent is None or isinstance(cotangent, SymbolicZero):
            return None
        return chunks.own(chunks.cut(cotangent, window), window)

    def chunk_of(tile: Any, j: Any, loop: Any) -> Any:
        d_states, d_weights, d_inputs, scratch = loop
        i = chunks.count - 1 - j
        window = chunks.window(tile, i)
        saved = tree_at(residuals.saved, tile * chunks.count + i)
        x, kept = chunks.cut(inputs, window), []
        for layer, own, state, memory in zip(layers, weights, saved, scratch, strict=True):
            currents = layer.project(x, own)
            record = Record(states=memory.states, fed=memory.fed)
            _, record = forward(layer, chunks, own, state, currents, window, record)
            assert record.states is not None
            kept.append(Kept(x, currents, record.states, record.fed))
            x = outputs_of(layer, own, kept[-1])
        d_x = cut(d_outputs, window)
        if d_x is None:
            d_x = jnp.zeros_like(x)
        before: list[Any] = []
        found: list[Any] = []
        memories: list[Any] = []
        for k in reversed(range(len(layers))):
            seen = cut(d_spikes[k], window)
            if seen is not None:
                d_x = d_x + seen
            d_state, d_x, d_own, memory = reverse(
                layers[k],
                chunks,
                weights[k],
                kept[k],
                window,
                d_states[k],
                d_x,
                cut(d_membranes[k], window),
                learned[k],
                scratch[k],
            )
            before.insert(0, d_state)
            found.insert(0, d_own)
            memories.insert(0, memory)
        d_weights = jax.tree.map(jnp.add, d_weights, tuple(found))
        if d_inputs is not None:
            d_inputs = chunks.paste(d_inputs, d_x, window)
        return tuple(before), d_weights, d_inputs, tuple(memories)

    def tile_of(tile: Any, loop: Any) -> Any:
        d_carries, d_weights, d_inputs = loop
        states = tree_at(residuals.saved, 0)
        scratch = tuple(
            make_scratch(layer, chunks, *own)
            for layer, *own in zip(layers, weights, states, learned, strict=True)
        )
        own, d_weights, d_inputs, _ = lax.fori_loop(
            0,
            chunks.count,
            functools.partial(chunk_of, tile),
            (_tile(chunks, d_carries, tile), d_weights, d_inputs, scratch),
        )
        return _with_tile(chunks, d_carries, own, tile), d_weights, d_inputs

    d_weights = jax.tree.map(jnp.zeros_like, weights)
    d_inputs = jnp.zeros_like(inputs) if residuals.input_learned else None
    d_carries, d_weights, d_inputs = _each_tile(chunks, tile_of, (d_carries, d_weights, d_inputs))
    return d_weights, d_carries, d_inputs


def _each_tile(chunks: Chunks, body: Any, loop: Any) -> Any:
    return body(0, loop) if chunks.tiles == 1 else lax.fori_loop(0, chunks.tiles, body, loop)


def _tile(chunks: Chunks, states: Any, tile: Any) -> Any:
    """Return the states of the samples of one tile."""
    if chunks.tiles == 1:
        return states
    return jax.tree.map(
        lambda s: lax.dynamic_slice_in_dim(s, tile * chunks.tile, chunks.tile, 0), states
    )


def _with_tile(chunks: Chunks, states: Any, own: Any, tile: Any) -> Any:
    """Return states with those of one tile replaced."""
    if chunks.tiles == 1:
        return own
    return jax.tree.map(
        lambda s, t: lax.dynamic_update_slice_in_dim(s, t, tile * chunks.tile, 0), states, own
    )


def _dense(tree: Any) -> Any:
    """Return cotangents with arrays in place of symbolic zeros."""

    def is_zero(leaf: Any) -> bool:
        return isinstance(leaf, SymbolicZero)

    def dense(leaf: Any) -> Any:
        return jnp.zeros(leaf.aval.shape, leaf.aval.dtype) if is_zero(leaf) else leaf

    return jax.tree.map(dense, tree, is_leaf=is_zero)
