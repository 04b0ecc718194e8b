"""Cells as layers of data, for loops that never call a cell."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from flax_snn.cells import LeakyIntegratorReadout, LIFCell, RecurrentLIFCell, weights
from flax_snn.cells.chain import Chain
from flax_snn.time_loop import (
    Layer,
    LayerWeights,
    Program,
    Traces,
    associative,
    fused,
    plan,
    why_not_associative,
)
from flax_snn.typing import Array, LIFState

KNOWN = (LIFCell, RecurrentLIFCell, LeakyIntegratorReadout)
"""Cells whose step these loops know; not their subclasses, which may have another one."""


STEPWISE_BYTES = 2**24
"""Most memory of the membranes of all steps with which a recurrent chain runs step by step."""


def better_stepwise(cell: nn.RNNCellBase, carry: Any, inputs: Array, steps: int) -> bool:
    """Whether the plain loop is as fast or faster, and its memory small.

    Recurrent products of single steps take most of the time of a recurrent chain with few inputs,
    and the fused loop computes them once more than the plain one, which keeps all states instead:
    some six times the memory of the membranes. A crossbar would be programmed again in each step.
    """
    cells, states = _neuron_cells(cell), _flat(carry)
    widths = [s.v.shape[-1] for c, s in zip(cells, states, strict=True) if c.recurrent]
    held = steps * sum(state.v.size * state.v.dtype.itemsize for state in states)
    analog = any(each.dot_general_cls is not None for each in cells)
    return (
        bool(widths) and not analog and inputs.shape[-1] <= min(widths) and held <= STEPWISE_BYTES
    )


def why_not_layers(cell: nn.RNNCellBase) -> str | None:
    """Say why a cell, or one of a chain, is more than a layer of data; ``None`` if it is one."""
    for each in _neuron_cells(cell):
        if type(each) not in KNOWN:
            known = ", ".join(kind.__name__ for kind in KNOWN)
            return f"it knows {known} and Chain, not {type(each).__name__}"
        reason = each.why_not_layer()
        if reason is not None:
            return reason
    return None


def run_layers(
    cell: nn.RNNCellBase,
    carry: Any,
    inputs: Array,
    time_axis: int,
    *,
    parallel: bool,
    chunk: int | None,
) -> tuple[Any, Array]:
    """Run a cell, bound to its variables, over a sequence; traces are sown where asked for.

    Args:
      cell: a cell that `why_not_layers` has nothing against.
      carry: its state before the first step.
      inputs: ``(*B, T, *features)``, or ``(T, *B, *features)``.
      time_axis: axis of the time steps.
      parallel: all steps at once, instead of the fused loop.
      chunk: time steps of a chunk, ``None`` to choose them.

    Returns:
      The carry, and the outputs with time where it was.

    Raises:
      ValueError: a carry that does not fit the inputs; a layer that is not parallel in time.
      TypeError: inputs wider than the state; forward-mode derivatives of the fused loop.
    """
    if cell.is_initializing():
        cell(carry, jax.lax.index_in_dim(inputs, 0, time_axis, False))  # makes the parameters
    first = inputs.ndim - cell.num_feature_axes
    axis = 0 if time_axis == 0 and first > 1 else 1
    steps, features = inputs.shape[time_axis], inputs.shape[first:]
    batch = inputs.shape[1:first] if axis == 0 else inputs.shape[:time_axis]
    samples = math.prod(batch)

    def flat(leaf: Array) -> Array:
        if leaf.shape[: len(batch)] != batch:
            raise ValueError(
                f"RNN: expected a carry of batch {batch}, as the inputs have, got an array of shape"
                f" {leaf.shape}; initialise the carry for this batch"
            )
        return leaf.reshape((samples, *leaf.shape[len(batch) :]))

    cells = _neuron_cells(cell)
    states = tuple(jax.tree.map(flat, state) for state in _flat(carry))
    lead = (steps, samples) if axis == 0 else (samples, steps)
    layers, arrays, widest = _layers(cells, states, (samples, *features), inputs.dtype)
    traced = any(each.is_mutable_collection("intermediates") for each in cells)
    sequence = inputs.reshape((*lead, *features))
    traces: Traces | None
    if parallel:
        states, outputs, traces = _in_parallel(cells, layers, arrays, states, sequence, axis)
    else:
        recurrent = any(each.recurrent for each in cells)
        cut = plan(steps, samples, widest, recurrent=recurrent, axis=axis, length=chunk)
        program = Program(layers, cut, traced)
        states, outputs, traces = fused(program, arrays, states, sequence)

    def unflat(leaf: Array) -> Array:
        shape = (steps, *batch) if axis == 0 else (*batch, steps)
        return leaf.reshape((*shape, *leaf.shape[2:]))

    if traced and traces is not None:
        _sow(cells, jax.tree.map(unflat, traces), unflat(outputs))
    whole = (
        jax.tree.map(lambda leaf: leaf.reshape((*batch, *leaf.shape[1:])), state)
        for state in states
    )
    return _nested(cell, whole), unflat(outputs)


def _layers(
    cells: list[Any], states: tuple[LIFState, ...], shape: tuple[int, ...], dtype: Any
) -> tuple[tuple[Layer, ...], tuple[LayerWeights, ...], int]:
    """Return the cells as data, checked against their states, and the features of the widest."""
    layers, arrays, widest = [], [], math.prod(shape[1:])
    x = jax.ShapeDtypeStruct(shape, dtype)
    for each, state in zip(cells, states, strict=True):
        layer, own = each.layer(x)
        current = jax.eval_shape(layer.project, x, own)
        weights.check_current(current, state.v, max(layer.rule.channels, 1))
        widest = max(widest, math.prod(current.shape[1:]))
        layers.append(layer)
        arrays.append(own)
        x = jax.ShapeDtypeStruct(state.v.shape, layer.output_dtype)
    return tuple(layers), tuple(arrays), widest


def _in_parallel(
    cells: list[Any],
    layers: tuple[Layer, ...],
    arrays: tuple[LayerWeights, ...],
    states: tuple[LIFState, ...],
    x: Array,
    axis: int,
) -> tuple[tuple[LIFState, ...], Array, Traces]:
    """Run one layer after the other, each over all steps at once."""
    after, spikes, membranes = [], [], []
    x = jnp.moveaxis(x, axis, 0)
    for each, layer, own, state in zip(cells, layers, arrays, states, strict=True):
        reason = why_not_associative(layer, own)
        if reason is not None:
            raise ValueError(
                f"RNN: implementation='associative': {type(each).__name__}: {reason}; use"
                " implementation='auto'"
            )
        state, x, v = associative(layer, own, state, x)
        after.append(state)
        spikes.append(jnp.moveaxis(x, 0, axis))
        membranes.append(jnp.moveaxis(v, 0, axis))
    return tuple(after), spikes[-1], Traces(tuple(spikes[:-1]), tuple(membranes))


def _sow(cells: list[Any], traces: Traces, outputs: Array) -> None:
    for each, v, s in zip(cells, traces.membranes, (*traces.spikes, outputs), strict=True):
        each.sow("intermediates", "v", v)
        if each.dynamics.rule.fire != "none":
            each.sow("intermediates", "spikes", s)


def _neuron_cells(cell: nn.RNNCellBase) -> list[Any]:
    """Return the cells of a chain from input to output, those of nested chains among them."""
    if type(cell) is Chain:
        return [inner for each in cell.cells for inner in _neuron_cells(each)]
    return [cell]


def _flat(carry: Any) -> list[Any]:
    """Return the states of `_neuron_cells` in their order."""
    if isinstance(carry, tuple):
        return [state for each in carry for state in _flat(each)]
    return [carry]


def _nested(cell: nn.RNNCellBase, states: Iterator[Any]) -> Any:
    """Return states of `_neuron_cells` as the carry of the cell."""
    if type(cell) is Chain:
        return tuple(_nested(each, states) for each in cell.cells)
    return next(states)
