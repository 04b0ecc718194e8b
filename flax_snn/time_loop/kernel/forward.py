"""The kernel of a layer, forward over all time steps.

Where a gradient is to follow, the state is saved before every `segment` steps.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from flax_snn.time_loop.kernel.memory import Memory
from flax_snn.time_loop.kernel.passes import Passes, call
from flax_snn.time_loop.kernel.step import one_step, weights_of
from flax_snn.typing import Array

AHEAD = 4
"""Steps whose currents are asked for before the first of them is taken."""


def forward_kernel(
    passes: Passes,
    coefficients: Any,
    recurrent: tuple[Array, ...],
    state: Any,
    currents: tuple[Array, ...],
    *,
    save: bool,
) -> tuple[Any, Array, Array | None, Any]:
    """Runs a layer over all time steps.

    Args:
      passes: the layer and its sizes; ``*M`` is the shape of its neurons.
      coefficients: numbers of the step, ``()`` or ``(*M)``.
      recurrent: recurrent weights ``(width, width)`` of each channel that is fed.
      state: state before the first step, ``(*M)``.
      currents: what the input weights made of the inputs, ``(T, *M)`` each.
      save: whether the reverse pass is to follow.

    Returns:
      State after the last step, outputs ``(T, *M)``, membranes or None, and the states that entered
      the segments, ``(segments, *M)``, or None.
    """
    layer, steps = passes.layer, passes.steps
    v = layer.neuron.membrane(state)
    shapes = (
        jax.tree.map(lambda leaf: passes.like(None, leaf), state),
        passes.like(steps, v, layer.output_dtype),
        passes.like(steps, v) if passes.traced else None,
        jax.tree.map(lambda leaf: passes.like(passes.segments, leaf), state) if save else None,
    )

    def body(memory: Memory, given: Any, results: Any) -> None:
        refs, kernels, begin, inputs = given
        last, outputs, membranes, saved = results
        numbers = jax.tree.map(memory.numbers, refs)
        feedback = weights_of(memory, kernels, layer.dtype)

        def group(first: Any, count: int, state: Any) -> Any:
            first = jnp.asarray(first)
            ahead = [memory.rows(inputs, first + k) for k in range(count)]
            for k in range(count):
                t = first + k
                if save:
                    _save(memory, saved, state, t, passes.segment)
                state, output, membrane = one_step(layer, numbers, state, ahead[k], feedback)
                memory.put(outputs, t, output)
                if passes.traced:
                    memory.put(membranes, t, membrane)
            return state

        state = jax.tree.map(memory.flat, begin)
        state = _in_groups(steps, group, state)
        jax.tree.map(memory.put_flat, last, state)

    return call(passes, body, (coefficients, recurrent, state, currents), shapes)


def _save(memory: Memory, saved: Any, state: Any, t: Any, segment: int) -> None:
    """Writes the state before a step, where a segment begins."""
    length = jnp.asarray(segment, jnp.asarray(t).dtype)
    index = lax.div(t, length)
    begins = None if segment == 1 else lax.rem(t, length) == 0
    jax.tree.map(lambda ref, leaf: memory.put(ref, index, leaf, begins), saved, state)


def _in_groups(steps: int, group: Callable[[Any, int, Any], Any], state: Any) -> Any:
    """Runs all steps, `AHEAD` in a group, and those that are left over."""
    whole = steps // AHEAD
    if whole > 0:
        state = lax.fori_loop(0, whole, lambda i, s: group(i * AHEAD, AHEAD, s), state)
    return group(whole * AHEAD, steps - whole * AHEAD, state)
