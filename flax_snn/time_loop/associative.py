"""Parallel in time: neurons that are never reset, whose membrane is a linear recurrence.

    z_t = A z_{t-1} + b_t      is      (A, b) o (A', b') = (A' A, A' b + b')

an associative product, of which all prefixes take log2(T) parallel passes. The matrix A of each
neuron, over the parts of its state, and the offsets are read off the step of the neuron, which is
affine in its state as long as nothing resets or bounds the membrane; A is the same in all steps.

Reference: Blelloch, *Prefix sums and their applications*, 1990; Martin & Cundy, *Parallelizing
linear recurrent neural nets over sequence length*, 2018.
"""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp

from flax_snn.time_loop.layer import Layer, LayerWeights
from flax_snn.time_loop.loop import Result, Run, Traces
from flax_snn.time_loop.states import others
from flax_snn.typing import Array


class Associative:
    """All steps at once, for layers whose membrane is a linear recurrence; never chosen by auto."""

    def why_not(self, run: Run) -> str | None:
        """Returns why the membrane of a layer is no linear recurrence, or None if it is one."""
        for layer, weights, state in zip(run.layers, run.weights, run.states, strict=True):
            reason = layer.neuron.lacks("parallel")
            if reason is None and weights.recurrent_kernel is not None:
                reason = "recurrent weights make each step wait for the spikes of the one before"
            if reason is None and jax.tree.leaves(others(state)):
                reason = "parts of its state are whole numbers, and no linear recurrence"
            if reason is not None:
                return f"{type(layer.neuron).__name__}: {reason}"
        return None

    def worth(self, run: Run) -> bool:
        """Returns False: on no machine that it was measured on did it win."""
        del run
        return False

    def run(self, run: Run) -> Result:
        """Runs one layer after the other, each over all steps at once."""
        after, spikes, membranes = [], [], []
        x = jnp.moveaxis(run.inputs, run.axis, 0)
        for layer, layer_weights, state in zip(run.layers, run.weights, run.states, strict=True):
            state, x, v = associative(layer.dense, layer_weights, state, x)
            after.append(state)
            spikes.append(jnp.moveaxis(x, 0, run.axis))
            membranes.append(jnp.moveaxis(v, 0, run.axis))
        traces = Traces(tuple(spikes[:-1]), tuple(membranes)) if run.traced else None
        return Result(tuple(after), spikes[-1], traces)


def associative(
    layer: Layer, weights: LayerWeights, state: Any, inputs: Array
) -> tuple[Any, Array, Array]:
    """Runs a layer over a sequence, all steps at once.

    Args:
      layer: the layer, one that `Associative.why_not` has nothing against.
      weights: its arrays.
      state: state before the first step, ``(B, *features)``.
      inputs: ``(T, B, *features)``.

    Returns:
      The state after the last step, the outputs, and the membrane after each step.
    """
    currents = layer.project(inputs, weights)
    begin, structure = jax.tree.flatten(state)
    nothing = [jnp.zeros_like(part) for part in begin]

    def after(leaves: list[Array], current: Array) -> list[Array]:
        return jax.tree.leaves(
            layer.step(weights, jax.tree.unflatten(structure, leaves), current)[0]
        )

    def response(of: int) -> list[Array]:
        """Returns what a unit of a part of the state becomes in one step, for each neuron."""
        units = [jnp.ones_like(p) if k == of else p for k, p in enumerate(nothing)]
        still = jnp.zeros_like(currents[0])
        return jax.jvp(lambda leaves: after(leaves, still), (nothing,), (units,))[1]

    columns = [response(k) for k in range(len(begin))]
    matrix = [list(row) for row in zip(*columns, strict=True)]
    offsets = jax.vmap(after, (None, 0))(nothing, currents)
    first = _times(matrix, begin)
    offsets = [b.at[0].add(extra) for b, extra in zip(offsets, first, strict=True)]
    states = _prefixes(matrix, offsets)
    before = [jnp.concatenate([z[None], zs[:-1]]) for z, zs in zip(begin, states, strict=True)]
    step = jax.vmap(
        lambda leaves, x: layer.step(weights, jax.tree.unflatten(structure, leaves), x)[1]
    )
    outputs = step(before, currents)
    membranes = layer.neuron.membrane(jax.tree.unflatten(structure, states))
    last = jax.tree.unflatten(structure, [z[-1] for z in states])
    if not layer.fires:
        outputs = membranes.astype(layer.output_dtype)
    return last, outputs, membranes


def _prefixes(matrix: list[list[Array]], offsets: list[Array]) -> list[Array]:
    """Returns ``z_t = A z_{t-1} + b_t`` for all t, from ``z_0 = b_0``.

    After k passes each entry holds what the last 2^k offsets made; A to that power takes it on.
    """
    reach, steps = 1, offsets[0].shape[0]
    while reach < steps:
        passed = _times(matrix, [b[:-reach] for b in offsets])
        offsets = [b.at[reach:].add(p) for b, p in zip(offsets, passed, strict=True)]
        columns = [_times(matrix, list(column)) for column in zip(*matrix, strict=True)]
        matrix = [list(row) for row in zip(*columns, strict=True)]
        reach *= 2
    return offsets


def _times(matrix: list[list[Array]], leaves: list[Array]) -> list[Array]:
    """Returns the product of a matrix of each neuron with a vector of each neuron."""
    axes = range(leaves[0].ndim - matrix[0][0].ndim)
    rows = [[jnp.expand_dims(a, tuple(axes)) for a in row] for row in matrix]
    return [
        functools.reduce(jnp.add, [a * z for a, z in zip(row, leaves, strict=True)]) for row in rows
    ]
