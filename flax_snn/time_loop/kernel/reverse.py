"""The kernel of a layer, back over all time steps.

It goes through the segments from the last one, runs each again and then back; segments of one step
have all states saved, and nothing runs twice. The derivative of a step is JAX's of the step itself.
Recurrent layers write the spikes that were fed back and the cotangents of the recurrent currents:
the gradient of the recurrent weights is one product of these, over all steps and samples.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from flax_snn.time_loop.kernel.memory import Memory
from flax_snn.time_loop.kernel.passes import Passes, call
from flax_snn.time_loop.kernel.step import derivative, one_step, weights_of
from flax_snn.typing import Array


def reverse_kernel(
    passes: Passes,
    coefficients: Any,
    recurrent: tuple[Array, ...],
    saved: Any,
    currents: tuple[Array, ...],
    cotangents: tuple[Any, Array, Array | None],
    learned: Any,
    fed_dtype: Any = None,
) -> tuple[Any, tuple[Array, ...], Any, Array | None, tuple[Array, ...]]:
    """Runs a layer back over all time steps.

    Args:
      passes: the layer and its sizes; ``*M`` is the shape of its neurons.
      coefficients: numbers of the step, ``()`` or ``(*M)``; ``(*M)`` where learned.
      recurrent: recurrent weights ``(width, width)`` of each channel that is fed.
      saved: the states that entered the segments.
      currents: as in the forward pass.
      cotangents: of the floating part of the last state, of the outputs, of the membranes or None.
      learned: for each coefficient whether its gradient is wanted.
      fed_dtype: dtype in which the spikes fed back are written, None: that of the state.

    Returns:
      Cotangents of the floating part of the first state, of the currents, and of the coefficients
      that are learned, ``(*M)``, each neuron its own; the spikes fed back ``(T, *M)``, None without
      recurrent weights, and the cotangents of the currents that they caused, ``(T, *M)`` each.
    """
    layer, steps, length = passes.layer, passes.steps, passes.segment
    moving = jax.tree.map(lambda c, yes: c if yes else None, coefficients, learned)
    v = layer.neuron.membrane(saved)
    shapes = (
        jax.tree.map(lambda leaf: passes.like(None, leaf), cotangents[0]),
        jax.tree.map(lambda leaf: passes.like(steps, leaf), currents),
        jax.tree.map(lambda leaf: passes.like(None, leaf), moving),
        passes.like(steps, v, fed_dtype) if recurrent else None,
        tuple(passes.like(steps, v) for _ in recurrent),
        jax.tree.map(lambda leaf: passes.like(length, leaf), saved) if length > 1 else None,
    )

    def body(memory: Memory, given: Any, results: Any) -> None:
        refs, kernels, entered, inputs, (d_last, d_outputs, d_membranes) = given
        d_begin, d_currents, d_learned, fed, d_feedback, scratch = results
        numbers = jax.tree.map(memory.numbers, refs)
        feedback = weights_of(memory, kernels, layer.dtype)

        def back_one(state: Any, t: Any, loop: Any) -> Any:
            d_state, d_moving = loop
            ends, back, spikes = derivative(
                layer, numbers, state, memory.rows(inputs, t), learned, feedback, passes.channels
            )
            d_v = memory.row(d_membranes, t) if passes.traced else jnp.zeros_like(ends[2])
            d_state, *d_now, d_own, d_caused = back((d_state, memory.row(d_outputs, t), d_v))
            jax.tree.map(lambda ref, d: memory.put(ref, t, d), d_currents, d_now[0])
            if spikes is not None:
                memory.put(fed, t, spikes)
                jax.tree.map(lambda ref, d: memory.put(ref, t, d), d_feedback, d_caused)
            return d_state, jax.tree.map(jnp.add, d_moving, d_own)

        def back_segment(j: Any, loop: Any) -> Any:
            index = passes.segments - 1 - j
            first = index * length
            count = jnp.minimum(length, steps - first)
            state = memory.rows(entered, index)
            if length == 1:
                return back_one(state, first, loop)

            def again(k: Any, state: Any) -> Any:
                jax.tree.map(lambda ref, leaf: memory.put(ref, k, leaf), scratch, state)
                now = memory.rows(inputs, first + k)
                return one_step(layer, numbers, state, now, feedback)[0]

            lax.fori_loop(0, count, again, state)
            memory.wait()

            def back(k: Any, loop: Any) -> Any:
                at = count - 1 - k
                return back_one(memory.rows(scratch, at), first + at, loop)

            loop = lax.fori_loop(0, count, back, loop)
            memory.wait()
            return loop

        nothing = jax.tree.map(lambda c, yes: jnp.zeros_like(c) if yes else None, numbers, learned)
        loop = (jax.tree.map(memory.flat, d_last), nothing)
        d_state, d_moving = lax.fori_loop(0, passes.segments, back_segment, loop)
        jax.tree.map(memory.put_flat, d_begin, d_state)
        jax.tree.map(memory.put_flat, d_learned, d_moving)

    given = (coefficients, recurrent, saved, currents, cotangents)
    return call(passes, body, given, shapes)[:5]
