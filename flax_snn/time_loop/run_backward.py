"""The reverse pass of the fused loop over all chunks of a sequence."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from flax_snn.time_loop.chunks import Window, tile_of, tree_at, with_tile
from flax_snn.time_loop.forward import Record, Replay, forward, outputs_of
from flax_snn.time_loop.kept import replay_of
from flax_snn.time_loop.layer import LayerWeights
from flax_snn.time_loop.program import Program, each_tile
from flax_snn.time_loop.reverse import make_scratch, residuals_of, reverse
from flax_snn.time_loop.states import floating
from flax_snn.typing import Array


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
    d_states, d_weights, d_inputs = each_tile(chunks, run_tile, (split, d_weights, d_inputs))
    d_states = jax.tree.map(lambda d: chunks.joined(d, 0), d_states)
    return d_weights, d_states, None if d_inputs is None else chunks.joined(d_inputs)
