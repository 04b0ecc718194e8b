"""Cells as layers of data, for loops that never call a cell."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import flax.linen as nn
import jax

from flax_snn.cells import Chain, NeuronCell, weights
from flax_snn.time_loop import LOOPS, Layer, LayerWeights, Run, TimeLoop, Traces
from flax_snn.typing import Array


def why_not_layers(cell: nn.RNNCellBase) -> str | None:
    """Return why a cell, or one of a chain, is more than a layer of data, or None if it is one."""
    for each in neuron_cells(cell):
        if not isinstance(each, NeuronCell):
            return f"it knows a NeuronCell and a Chain of them, not {type(each).__name__}"
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
    implementation: str,
    chunk: int | None,
) -> tuple[Any, Array]:
    """Run a cell, bound to its variables, over a sequence; traces are sown where asked for.

    Args:
      cell: a cell that `why_not_layers` has nothing against.
      carry: its state before the first step.
      inputs: ``(*B, T, *features)``, or ``(T, *B, *features)``.
      time_axis: axis of the time steps.
      implementation: name of a time loop, or ``auto`` for the one that is worth it.
      chunk: time steps of a chunk, ``None`` to choose them.

    Returns:
      The carry, and the outputs with time where it was.

    Raises:
      ValueError: a carry that does not fit the inputs; a loop that cannot run these layers.
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
        return _shaped(leaf, (samples, *leaf.shape[len(batch) :]))

    cells = neuron_cells(cell)
    states = tuple(jax.tree.map(flat, state) for state in _flat(cell, carry))
    lead = (steps, samples) if axis == 0 else (samples, steps)
    layers, arrays = _layers(cells, states, (samples, *features), inputs.dtype)
    run = Run(
        layers=layers,
        weights=arrays,
        states=states,
        inputs=_shaped(inputs, (*lead, *features)),
        axis=axis,
        chunk=chunk,
        traced=any(each.is_mutable_collection("intermediates") for each in cells),
        programmed=any(each.dot_general_cls is not None for each in cells),
    )
    states, outputs, traces = _chosen(run, implementation).run(run)

    def unflat(leaf: Array) -> Array:
        shape = (steps, *batch) if axis == 0 else (*batch, steps)
        return _shaped(leaf, (*shape, *leaf.shape[2:]))

    if run.traced and traces is not None:
        _sow(cells, jax.tree.map(unflat, traces), unflat(outputs))
    whole = (
        jax.tree.map(lambda leaf: _shaped(leaf, (*batch, *leaf.shape[1:])), state)
        for state in states
    )
    return _nested(cell, whole), unflat(outputs)


def _chosen(run: Run, implementation: str) -> TimeLoop:
    """Return the time loop of a name, or the last one that can run this and is worth it."""
    if implementation != "auto":
        loop = LOOPS[implementation]
        reason = loop.why_not(run)
        if reason is not None:
            raise ValueError(
                f"RNN: implementation={implementation!r} cannot run this: {reason}; use"
                " implementation='auto'"
            )
        return loop
    able = [loop for loop in LOOPS.values() if loop.why_not(run) is None]
    return [loop for loop in able if loop.worth(run)][-1]


def _layers(
    cells: list[Any], states: tuple[Any, ...], shape: tuple[int, ...], dtype: Any
) -> tuple[tuple[Layer, ...], tuple[LayerWeights, ...]]:
    """Return the cells as data, checked against their states."""
    layers, arrays = [], []
    x = jax.ShapeDtypeStruct(shape, dtype)
    for each, state in zip(cells, states, strict=True):
        layer, own = each.layer(x)
        current = jax.eval_shape(layer.project, x, own)
        v = layer.neuron.membrane(state)
        weights.check_current(current, v, layer.neuron.blocks)
        layers.append(layer)
        arrays.append(own)
        x = jax.ShapeDtypeStruct(v.shape, layer.output_dtype)
    return tuple(layers), tuple(arrays)


def _shaped(array: Array, shape: tuple[int, ...]) -> Array:
    return array if array.shape == shape else array.reshape(shape)


def _sow(cells: list[Any], traces: Traces, outputs: Array) -> None:
    for each, v, s in zip(cells, traces.membranes, (*traces.spikes, outputs), strict=True):
        each.sow("intermediates", "v", v)
        if each.dynamics.spikes:
            each.sow("intermediates", "spikes", s)


def neuron_cells(cell: nn.RNNCellBase) -> list[Any]:
    """Return the cells of a chain from input to output, those of nested chains among them."""
    if is_chain(cell):
        return [inner for each in cell.cells for inner in neuron_cells(each)]
    return [cell]


def is_chain(cell: nn.RNNCellBase) -> bool:
    """Whether a cell is a chain with the step of chains, not one of its own."""
    return isinstance(cell, Chain) and type(cell).__call__ is Chain.__call__


def _flat(cell: nn.RNNCellBase, carry: Any) -> list[Any]:
    """Return the states of `neuron_cells` in their order."""
    if is_chain(cell):
        return [
            state
            for each, part in zip(cell.cells, carry, strict=True)
            for state in _flat(each, part)
        ]
    return [carry]


def _nested(cell: nn.RNNCellBase, states: Iterator[Any]) -> Any:
    """Return states of `neuron_cells` as the carry of the cell."""
    if is_chain(cell):
        return tuple(_nested(each, states) for each in cell.cells)
    return next(states)
