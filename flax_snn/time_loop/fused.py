"""The fused loop: layers of neurons over a sequence, chunk by chunk, with its own reverse pass.

All layers run over one chunk of time steps before the next chunk begins, so that what they hand to
each other stays in cache and no layer ever holds the whole sequence. The forward pass keeps the
state that enters each chunk; the reverse pass runs each chunk again from there, last chunk first.
Memory grows with the number of chunks, by one state each. Where the states of all steps fit into a
few megabytes, they are kept, and no chunk runs again (`kept.py`).

The passes (`run_forward.py`, `run_backward.py`) are differentiated by hand, once. Second
derivatives are those of the reference loop, in the memory that it takes. On a mesh of explicit axes
the passes run as on one of automatic axes, and what they return is spread as what the reference
loop returns.

Reference: Chen et al., *Training deep nets with sublinear memory cost*, 2016 (recomputation);
Gruslys et al., *Memory-efficient backpropagation through time*, 2016.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jax import lax
from jax.custom_derivatives import SymbolicZero
from jax.interpreters import ad
from jax.sharding import NamedSharding, PartitionSpec

from flax_snn.products import is_explicit
from flax_snn.time_loop.chunks import plan
from flax_snn.time_loop.layer import LayerWeights
from flax_snn.time_loop.loop import Result, Run
from flax_snn.time_loop.mesh import automatic, placement
from flax_snn.time_loop.program import Program, Saved
from flax_snn.time_loop.run_backward import run_backward
from flax_snn.time_loop.run_forward import run_forward
from flax_snn.time_loop.scan import steps
from flax_snn.time_loop.states import floating, others, rejoined
from flax_snn.typing import Array

_NO_FORWARD_MODE = (
    "RNN: the fused loop has derivatives in reverse mode only; for forward mode (jax.jvp, jacfwd)"
    " use implementation='scan'"
)


RECORDED_BYTES = 2**26
"""Most bytes of recurrent currents that are recorded instead of computed twice."""

KEPT_BYTES = 2**23
"""Most bytes of the states and currents of all steps that are kept instead of computed twice, in
one chunk: what a cache holds."""

KEPT_FEATURES, KEPT_WIDE_BYTES = 512, 2**26
"""The same where products are what costs: in recurrent layers, and in those with as many inputs or
more. Chunks are as without."""


class Fused:
    """Chunk by chunk, with a reverse pass that keeps one state per chunk."""

    def why_not(self, run: Run) -> str | None:
        """Returns None, or that a size is not known."""
        if not run.sized:
            return f"chunks need sizes that are known, got inputs of shape {run.inputs.shape}"
        return None

    def worth(self, run: Run) -> bool:
        """Returns True: it is what auto takes unless another loop is known to be better."""
        del run
        return True

    def run(self, run: Run) -> Result:
        """Runs the layers over the sequence.

        Raises:
          TypeError: forward-mode derivatives.
        """
        arguments = (run.weights, run.states, run.inputs)
        if any(isinstance(leaf, ad.JVPTracer) for leaf in jax.tree.leaves(arguments)):
            raise TypeError(_NO_FORWARD_MODE)
        program = _program(run)
        axis, missing = run.axis, program.chunks.length - run.steps
        inputs = run.inputs
        if missing > 0:  # one shape of chunk, also for a sequence that is shorter
            inputs = _padded(inputs, axis, missing)
        try:
            states, *sequences = _run(program, run.weights, run.states, inputs)
        except TypeError as error:
            raise (TypeError(_NO_FORWARD_MODE) if "jvp" in str(error) else error) from error
        if missing > 0:
            sequences = jax.tree.map(
                lambda leaf: lax.slice_in_dim(leaf, 0, run.steps, axis=axis), sequences
            )
        return Result(states, *sequences)


def _program(run: Run) -> Program:
    """Returns the layers with the cut that suits them."""
    widths, arrays = [math.prod(run.inputs.shape[2:])], 1
    for layer, state in zip(run.layers, run.states, strict=True):
        widths.append(math.prod(layer.neuron.membrane(state).shape[1:]) * layer.neuron.blocks)
        arrays = max(arrays, len(jax.tree.leaves(floating(state))))
    recurrent = any(layer_weights.recurrent_kernel is not None for layer_weights in run.weights)
    kernels = [k for w in run.weights for k in (w.kernel, w.recurrent_kernel) if k is not None]
    chunks = plan(
        run.steps,
        run.batch,
        max(widths),
        recurrent=recurrent,
        axis=run.axis,
        length=run.chunk,
        devices=jax.device_count(),
        arrays=arrays,
        kernel=max((k.size for k in kernels), default=0),
    )
    kept = _kept_bytes(run)
    dear = recurrent or all(
        w.kernel is not None and w.kernel.shape[0] >= KEPT_FEATURES for w in run.weights
    )
    # Not where the user sets the length of chunks, so that what a chunk computes does not depend on
    # the length of the sequence.
    may = run.chunk is None and not is_explicit(run.inputs)
    whole = may and kept <= KEPT_BYTES
    if whole:
        chunks = dataclasses.replace(chunks, length=run.steps, tile=run.batch)
    if may and (whole or (dear and kept <= KEPT_WIDE_BYTES)):
        return Program(run.layers, chunks, run.traced, (False,) * len(run.layers), kept=True)
    return Program(run.layers, chunks, run.traced, _recorded(run))


def _kept_bytes(run: Run) -> int:
    """Returns the bytes of the states and currents of all steps."""
    step = 0
    for layer, weights, state in zip(run.layers, run.weights, run.states, strict=True):
        v = layer.neuron.membrane(state)
        products = (weights.kernel is not None) + (weights.recurrent_kernel is not None)
        step += sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(state))
        step += v.size * v.dtype.itemsize * layer.neuron.blocks * products
    return run.steps * step


def _recorded(run: Run) -> tuple[bool, ...]:
    """Returns for each layer whether its recurrent currents are recorded for the reverse pass.

    They are where those of all layers are few. Where the user sets the length of chunks they are
    not, so that what a chunk computes does not depend on the length of the sequence.
    """
    sizes = [
        0
        if w.recurrent_kernel is None
        else w.recurrent_kernel.shape[1] * w.recurrent_kernel.itemsize
        for w in run.weights
    ]
    fits = run.steps * run.batch * sum(sizes) <= RECORDED_BYTES
    may = fits and run.chunk is None and not is_explicit(run.inputs)
    return tuple(may and size > 0 for size in sizes)


def _padded(sequence: Array, axis: int, missing: int) -> Array:
    """Returns a sequence with zeros for steps that are missing at its end."""
    widths = [(0, 0)] * sequence.ndim
    widths[axis] = (0, missing)
    return jnp.pad(sequence, widths)


@struct.dataclass
class _Residuals:
    """What the reverse pass needs; ``learned`` are the entries for the leaves of the weights."""

    weights: tuple[LayerWeights, ...]
    states: tuple[Any, ...]
    inputs: Array
    saved: tuple[Any, ...]
    learned: tuple[bool, ...] = struct.field(pytree_node=False)
    input_learned: bool = struct.field(pytree_node=False)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _run(program: Program, weights: Any, states: Any, inputs: Any) -> Any:
    def passes(weights: Any, states: Any, inputs: Any) -> Any:
        return run_forward(program, weights, states, inputs)[0]

    return automatic(passes, _placed(program, weights, states, inputs), weights, states, inputs)


def _run_forward(program: Program, weights: Any, states: Any, inputs: Any) -> Any:
    def is_primal(leaf: Any) -> bool:
        return hasattr(leaf, "perturbed")

    def map_primals(what: Any, tree: Any) -> Any:
        return jax.tree.map(what, tree, is_leaf=is_primal)

    learned = tuple(jax.tree.leaves(map_primals(lambda p: p.perturbed, weights)))
    weights, states, values = map_primals(lambda p: p.value, (weights, states, inputs))
    wanted = _Wanted(program, learned, inputs.perturbed)
    results, saved = _saving(wanted, weights, states, values)
    return results, _Residuals(weights, states, values, saved, learned, inputs.perturbed)


def _run_backward(program: Program, residuals: _Residuals, cotangents: Any) -> Any:
    def is_zero(leaf: Any) -> bool:
        return isinstance(leaf, SymbolicZero)

    known = jax.tree.map(lambda d: None if is_zero(d) else d, cotangents, is_leaf=is_zero)
    r = residuals
    wanted = _Wanted(program, r.learned, r.input_learned)
    return _gradient(wanted, r.weights, r.states, r.inputs, r.saved, known)


_run.defvjp(_run_forward, _run_backward, symbolic_zeros=True)


@dataclasses.dataclass(frozen=True)
class _Wanted:
    """What of a gradient is no array: the run, and which gradients are wanted."""

    program: Program
    learned: tuple[bool, ...]
    input_learned: bool

    def of(self, weights: Any) -> Any:
        """Returns for each array of the weights whether its gradient is wanted."""
        return jax.tree.unflatten(jax.tree.structure(weights), self.learned)


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def _saving(wanted: _Wanted, weights: Any, states: Any, inputs: Any) -> Any:
    """Returns the results of a run, and what its reverse pass needs of it."""
    program = wanted.program

    def passes(weights: Any, states: Any, inputs: Any) -> Any:
        return run_forward(program, weights, states, inputs, learned=wanted.of(weights))

    results = _placed(program, weights, states, inputs)
    saved = None
    if results is not None:
        saved = jax.tree.map(
            lambda s: NamedSharding(s.mesh, PartitionSpec(None, *s.spec)), results[0]
        )
        saved = Saved(saved, (None,) * len(program.layers), None)
    placed = None if results is None else (results, saved)
    return automatic(passes, placed, weights, states, inputs)


@_saving.defjvp
def _saving_jvp(wanted: _Wanted, primals: Any, tangents: Any) -> Any:
    program = wanted.program

    def differentiated(*arguments: Any) -> Any:
        return jax.vjp(functools.partial(_reference, program), *arguments)[0]

    results, saved = _saving(wanted, *primals)
    # Not just the reference: results of a loop that was differentiated have derivatives of their
    # own in JAX, which drops custom rules, and with them surrogates, when it takes a scan apart.
    # Second derivatives of nn.RNN are these.
    plain = functools.partial(automatic, differentiated, _placed(program, *primals))
    moved = jax.jvp(plain, primals, tangents)[1]
    # Their derivatives would be used by `_gradient` only, which has others.
    return (results, saved), (moved, jax.tree.map(_no_tangent, saved))


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def _gradient(
    wanted: _Wanted, weights: Any, states: Any, inputs: Any, saved: Any, cotangents: Any
) -> Any:
    """Returns cotangents of weights, floating parts of states, and inputs (None if not wanted)."""
    learned = wanted.of(weights)

    def passes(weights: Any, inputs: Any, saved: Any, cotangents: Any) -> Any:
        return run_backward(
            wanted.program, weights, inputs, saved, cotangents, learned, wanted.input_learned
        )

    placed = _as_arguments(wanted, weights, states, inputs)
    return automatic(passes, placed, weights, inputs, saved, cotangents)


@_gradient.defjvp
def _gradient_jvp(wanted: _Wanted, primals: Any, tangents: Any) -> Any:
    def plain(weights: Any, states: Any, inputs: Any, cotangents: Any) -> Any:
        def run(weights: Any, part: Any, given: Any) -> Any:
            whole = rejoined(part, others(states))
            values = given if wanted.input_learned else inputs
            results = _reference(wanted.program, weights, whole, values)
            asked = jax.tree.map(lambda leaf, d: None if d is None else leaf, results, cotangents)
            return jax.tree.leaves(asked)

        given = inputs if wanted.input_learned else None
        back = jax.vjp(run, weights, floating(states), given)[1]
        return back(jax.tree.leaves(cotangents))

    found = _gradient(wanted, *primals)
    weights, states, inputs, _, cotangents = primals
    d_weights, d_states, d_inputs, _, d_cotangents = tangents
    moved = (d_weights, d_states, d_inputs, d_cotangents)
    plain = functools.partial(automatic, plain, _as_arguments(wanted, weights, states, inputs))
    return found, jax.jvp(plain, (weights, states, inputs, cotangents), moved)[1]


def _reference(program: Program, weights: Any, states: Any, inputs: Any) -> Any:
    """Returns what `run_forward` returns, by the reference loop; zeros in padded steps."""
    axis, count = program.chunks.axis, program.chunks.steps
    missing = inputs.shape[axis] - count
    inputs = lax.slice_in_dim(inputs, 0, count, axis=axis)
    layers = tuple(layer.dense for layer in program.layers)
    states, *sequences = steps(layers, weights, states, inputs, axis, program.traced)
    return states, *jax.tree.map(lambda leaf: _padded(leaf, axis, missing), sequences)


def _no_tangent(leaf: Array) -> Any:
    if jnp.issubdtype(leaf.dtype, jnp.floating):
        return jnp.zeros_like(leaf)
    return np.zeros(leaf.shape, jax.dtypes.float0)


def _placed(program: Program, weights: Any, states: Any, inputs: Array) -> Any:
    """Returns how the results of the reference loop are spread; None without explicit axes."""
    if not is_explicit(inputs):
        return None
    results = jax.eval_shape(functools.partial(_reference, program), weights, states, inputs)
    return placement(results)


def _as_arguments(wanted: _Wanted, weights: Any, states: Any, inputs: Array) -> Any:
    """Returns how gradients are spread: as their arguments; None without explicit axes."""
    if not is_explicit(inputs):
        return None
    return placement((weights, floating(states), inputs if wanted.input_learned else None))
