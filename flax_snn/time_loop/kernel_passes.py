"""The two kernels of a layer: all time steps forward, and back.

Arrays are flat: ``(M,)`` for the M neurons of all samples, ``(T, M)`` over time. A program of the
device takes a block of neighbours; in the last block, lanes without a neuron are masked. Where a
gradient is to follow, the state is saved before every `segment` steps. The reverse kernel goes
through the segments from the last one, runs each again and then back; segments of one step save all
states, and nothing runs twice. The derivative of a step is JAX's of the step itself.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from flax_snn.time_loop.layer import Layer
from flax_snn.time_loop.states import floating, others, rejoined
from flax_snn.typing import Array, Shape

NO_FORWARD_MODE = (
    "RNN: implementation='kernel' has first derivatives in reverse mode only; for forward mode"
    " (jax.jvp, jacfwd) and second derivatives use implementation='scan'"
)

BLOCK = 128
"""Neurons of a block: one for each thread of four warps."""

AHEAD = 4
"""Steps whose currents are asked for before the first of them is taken."""


@dataclasses.dataclass(frozen=True)
class Passes:
    """What of the kernels of a layer is no array.

    Attributes:
      layer: the layer.
      steps: time steps T.
      size: neurons of all samples M.
      segment: steps between two states that are saved.
      traced: whether membranes are wanted.
      block: neurons of a block, a power of two.
      interpret: whether the kernels are interpreted, as on machines without a GPU.
      compiler: arguments of the compiler, None for its own.
    """

    layer: Layer
    steps: int
    size: int
    segment: int
    traced: bool
    block: int = BLOCK
    interpret: bool = True
    compiler: Any = None

    @property
    def segments(self) -> int:
        """Number of states that are saved."""
        return -(-self.steps // self.segment)


def one_step(
    layer: Layer, coefficients: Any, state: Any, currents: tuple[Array, ...]
) -> tuple[Any, Array, Array]:
    """Returns the state after a step of neurons on their own, the output, and the membrane."""
    after, output = layer.integrate(coefficients, state, currents)
    return after, output, layer.neuron.membrane(after)


def derivative(
    layer: Layer, coefficients: Any, state: Any, currents: tuple[Array, ...], learned: Any
) -> tuple[Any, Callable[[Any], Any]]:
    """Runs a step and returns its derivative.

    Args:
      layer: the layer.
      coefficients: numbers of the step.
      state: state before the step.
      currents: currents of the step.
      learned: for each coefficient whether it has a gradient.

    Returns:
      Floating part of the state after the step, output, and membrane; and what turns cotangents of
      these into those of the floating part of the state before, of the currents, and of the
      coefficients that are learned.
    """
    rest = others(state)
    moving = jax.tree.map(lambda c, yes: c if yes else None, coefficients, learned)

    def outcome(part: Any, currents: Any, moving: Any) -> Any:
        numbers = rejoined(moving, coefficients)
        after, output, membrane = one_step(layer, numbers, rejoined(part, rest), currents)
        return floating(after), output, membrane

    return jax.vjp(outcome, floating(state), currents, moving)


def forward_kernel(
    passes: Passes, coefficients: Any, state: Any, currents: tuple[Array, ...], *, save: bool
) -> tuple[Any, Array, Array | None, Any]:
    """Runs a layer over all time steps.

    Args:
      passes: the layer and its sizes.
      coefficients: numbers of the step, ``()`` or ``(M,)``.
      state: state before the first step, ``(M,)``.
      currents: what the input weights made of the inputs, ``(T, M)`` each.
      save: whether the reverse pass is to follow.

    Returns:
      State after the last step, outputs ``(T, M)``, membranes or None, and the states that entered
      the segments, ``(segments, M)``, or None.
    """
    layer, steps = passes.layer, passes.steps
    over_time = functools.partial(_like, (steps, passes.size))
    v = layer.neuron.membrane(state)
    shapes = (
        jax.tree.map(functools.partial(_like, (passes.size,)), state),
        jax.ShapeDtypeStruct((steps, passes.size), layer.output_dtype),
        over_time(v) if passes.traced else None,
        jax.tree.map(functools.partial(_like, (passes.segments, passes.size)), state)
        if save
        else None,
    )

    def body(memory: _Memory, given: Any, results: Any) -> None:
        refs, begin, inputs = given
        last, outputs, membranes, saved = results
        numbers = jax.tree.map(memory.numbers, refs)

        def group(first: Any, count: int, state: Any) -> Any:
            first = jnp.asarray(first)
            ahead = [memory.rows(inputs, first + k) for k in range(count)]
            for k in range(count):
                t = first + k
                if save:
                    _save(memory, saved, state, t, passes.segment)
                state, output, membrane = one_step(layer, numbers, state, ahead[k])
                memory.put(outputs, t, output)
                if passes.traced:
                    memory.put(membranes, t, membrane)
            return state

        state = jax.tree.map(memory.flat, begin)
        state = _in_groups(steps, group, state)
        jax.tree.map(memory.put_flat, last, state)

    return _call(passes, body, (coefficients, state, currents), shapes)


def reverse_kernel(
    passes: Passes,
    coefficients: Any,
    saved: Any,
    currents: tuple[Array, ...],
    cotangents: tuple[Any, Array, Array | None],
    learned: Any,
) -> tuple[Any, tuple[Array, ...], Any]:
    """Runs a layer back over all time steps.

    Args:
      passes: the layer and its sizes.
      coefficients: numbers of the step, ``()`` or ``(M,)``; ``(M,)`` where learned.
      saved: the states that entered the segments.
      currents: as in the forward pass.
      cotangents: of the floating part of the last state, of the outputs, of the membranes or None.
      learned: for each coefficient whether its gradient is wanted.

    Returns:
      Cotangents of the floating part of the first state, of the currents, and of the coefficients
      that are learned, ``(M,)``, each neuron its own.
    """
    layer, length = passes.layer, passes.segment
    flat = functools.partial(_like, (passes.size,))
    moving = jax.tree.map(lambda c, yes: c if yes else None, coefficients, learned)
    again = jax.tree.map(functools.partial(_like, (length, passes.size)), saved)
    shapes = (
        jax.tree.map(flat, cotangents[0]),
        jax.tree.map(functools.partial(_like, (passes.steps, passes.size)), currents),
        jax.tree.map(flat, moving),
        again if length > 1 else None,
    )

    def body(memory: _Memory, given: Any, results: Any) -> None:
        refs, entered, inputs, (d_last, d_outputs, d_membranes) = given
        d_begin, d_currents, d_learned, scratch = results
        numbers = jax.tree.map(memory.numbers, refs)

        def back_one(state: Any, t: Any, loop: Any) -> Any:
            d_state, d_moving = loop
            ends, back = derivative(layer, numbers, state, memory.rows(inputs, t), learned)
            d_v = memory.row(d_membranes, t) if passes.traced else jnp.zeros_like(ends[2])
            d_state, d_now, d_own = back((d_state, memory.row(d_outputs, t), d_v))
            jax.tree.map(lambda ref, d: memory.put(ref, t, d), d_currents, d_now)
            return d_state, jax.tree.map(jnp.add, d_moving, d_own)

        def back_segment(j: Any, loop: Any) -> Any:
            index = passes.segments - 1 - j
            first = index * length
            count = jnp.minimum(length, passes.steps - first)
            state = memory.rows(entered, index)
            if length == 1:
                return back_one(state, first, loop)

            def again(k: Any, state: Any) -> Any:
                jax.tree.map(lambda ref, leaf: memory.put(ref, k, leaf), scratch, state)
                return one_step(layer, numbers, state, memory.rows(inputs, first + k))[0]

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

    given = (coefficients, saved, currents, cotangents)
    return _call(passes, body, given, shapes)[:3]


def _save(memory: _Memory, saved: Any, state: Any, t: Any, segment: int) -> None:
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


class _Memory:
    """How a program reaches its block of neurons in memory."""

    def __init__(self, passes: Passes) -> None:
        """Finds the block of the program that is running."""
        # Imported where it is used: it takes half a second, and only this loop needs it.
        import jax.experimental.pallas as pl
        from jax.experimental.pallas import triton

        self._load, self._store, self._barrier = triton.load, triton.store, triton.debug_barrier
        self._interpret = passes.interpret
        begin = pl.program_id(0) * passes.block
        self._at = pl.ds(begin, passes.block)
        self._size = passes.block
        whole = passes.size % passes.block == 0
        lanes = lax.broadcasted_iota(jnp.int32, (passes.block,), 0)
        self._mask = None if whole else begin + lanes < passes.size

    def flat(self, ref: Any) -> Array:
        """Returns the block of an array ``(M,)``."""
        return self._read(ref.at[self._at], ref.dtype)

    def row(self, ref: Any, index: Any) -> Array:
        """Returns the block of a row of an array ``(T, M)``."""
        return self._read(ref.at[jnp.asarray(index, jnp.int32), self._at], ref.dtype)

    def rows(self, refs: Any, index: Any) -> Any:
        """Returns the blocks of a row of several arrays."""
        return jax.tree.map(lambda ref: self.row(ref, index), refs)

    def numbers(self, ref: Any) -> Array:
        """Returns a coefficient: one number, or one for each neuron of the block."""
        return ref[0] if ref.shape == (1,) else self.flat(ref)

    def put_flat(self, ref: Any, value: Array) -> None:
        """Writes the block of an array ``(M,)``."""
        self._store(ref.at[self._at], value, mask=self._mask)

    def put(self, ref: Any, index: Any, value: Array, when: Any = None) -> None:
        """Writes the block of a row of an array ``(T, M)``, where a condition holds."""
        mask = self._mask
        if when is not None:
            every = jnp.broadcast_to(when, (self._size,))
            mask = every if mask is None else mask & every
        self._store(
            ref.at[jnp.asarray(index, jnp.int32), self._at], value.astype(ref.dtype), mask=mask
        )

    def wait(self) -> None:
        """Waits until what the block has written can be read."""
        if not self._interpret:
            self._barrier()

    def _read(self, ref: Any, dtype: Any) -> Array:
        if self._mask is None:
            return self._load(ref)
        return self._load(ref, mask=self._mask, other=jnp.zeros((), dtype))


def _like(shape: Shape, leaf: Any) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(shape, leaf.dtype)


def _call(
    passes: Passes, body: Callable[[_Memory, Any, Any], None], given: Any, shapes: Any
) -> Any:
    """Runs a body for all blocks, on pytrees of arrays."""
    import jax.experimental.pallas as pl

    arrays, structure = jax.tree.flatten(given)
    arrays = [array.reshape(1) if array.ndim == 0 else array for array in arrays]
    wanted, results = jax.tree.flatten(shapes)

    def flat(*refs: Any) -> None:
        inputs = jax.tree.unflatten(structure, refs[: len(arrays)])
        body(_Memory(passes), inputs, jax.tree.unflatten(results, refs[len(arrays) :]))

    whole = pl.BlockSpec(memory_space=pl.ANY)
    call = pl.pallas_call(
        flat,
        grid=(-(-passes.size // passes.block),),
        in_specs=[whole] * len(arrays),
        out_specs=[whole] * len(wanted),
        out_shape=wanted,
        interpret=passes.interpret,
        compiler_params=passes.compiler,
    )
    # Pallas would differentiate the kernel itself, or fail without a word.
    alone = jax.custom_jvp(lambda *arrays: call(*arrays))
    alone.defjvp(_refuse)
    return jax.tree.unflatten(results, alone(*arrays))


def _refuse(primals: Any, tangents: Any) -> Any:
    raise TypeError(NO_FORWARD_MODE)
