"""Cells as layers of data, for loops that never call a cell."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from flax_snn.cells import Chain, NeuronCell, weights
from flax_snn.products import product_for
from flax_snn.time_loop import LOOPS, Layer, LayerWeights, Run, TimeLoop, Traces, note_loop
from flax_snn.typing import Array, Shape


def why_not_layers(cell: nn.RNNCellBase) -> str | None:
    """Returns why a cell or a chain cannot run as layers of data, or None if it can."""
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
    products: str,
) -> tuple[Any, Array]:
    """Runs a cell, bound to its variables, over a sequence, and sows traces if they are wanted.

    Args:
      cell: a cell that `why_not_layers` has nothing against.
      carry: its state before the first step.
      inputs: ``(*B, T, *features)``, or ``(T, *B, *features)``.
      time_axis: axis of the time steps.
      implementation: name of a time loop, or ``auto`` for the one that is worth it.
      chunk: time steps of a chunk, ``None`` to choose them.
      products: ``auto``, ``dense`` or ``event``.

    Returns:
      The carry, and the outputs with time where it was.

    Raises:
      ValueError: a carry that does not fit the inputs; a loop that cannot run these layers;
        event-driven products that are not available.
      TypeError: inputs wider than the state; forward-mode derivatives of the fused loop.
    """
    if cell.is_initializing():
        cell(carry, jax.lax.index_in_dim(inputs, 0, time_axis, False))  # makes the parameters
    first = inputs.ndim - cell.num_feature_axes
    axis = 0 if time_axis == 0 and first > 1 else 1
    steps, features = inputs.shape[time_axis], inputs.shape[first:]
    batch = inputs.shape[1:first] if axis == 0 else inputs.shape[:time_axis]
    samples = math.prod(batch)

    def flat(leaf: Any) -> Array:
        leaf = jnp.asarray(leaf) if isinstance(leaf, np.ndarray) else leaf
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
        layers=_with_products(layers, arrays, steps * samples, products),
        weights=arrays,
        states=states,
        inputs=_shaped(inputs, (*lead, *features)),
        axis=axis,
        chunk=chunk,
        traced=any(each.is_mutable_collection("intermediates") for each in cells),
        programmed=any(each.dot_general_cls is not None for each in cells)
        and not any(layer.event_driven for layer in layers),
        asks_for_events=products == "event" or any(layer.event_driven for layer in layers),
    )
    loop = _chosen(run, implementation)
    note_loop(next(name for name, each in LOOPS.items() if each is loop))
    if products == "event" and loop is not LOOPS["fused"]:
        raise ValueError(
            "RNN: products='event' is for the fused loop, and implementation"
            f"={implementation!r} takes another; use implementation='fused' or products='auto'"
        )
    states, outputs, traces = loop.run(run)

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
    """Returns the time loop of a name; ``auto`` is the last that can run this and is worth it."""
    if implementation != "auto":
        loop = LOOPS[implementation]
        reason = loop.why_not(run)
        if reason is not None:
            raise ValueError(
                f"RNN: implementation={implementation!r} cannot run this: {reason}; use"
                " implementation='auto'"
            )
        return loop
    # Whether it can takes longer to find out: a kernel has a step of the neuron traced.
    last_first = (loop for loop in reversed(LOOPS.values()) if loop.worth(run))
    return next(loop for loop in last_first if loop.why_not(run) is None)


def _with_products(
    layers: tuple[Layer, ...], arrays: tuple[LayerWeights, ...], rows: Any, products: str
) -> tuple[Layer, ...]:
    """Returns layers with the products that suit their sizes, where their cells did not choose."""
    changed = []
    for layer, given in zip(layers, arrays, strict=True):
        kernels = [k for k in (given.kernel, given.recurrent_kernel) if k is not None]
        if kernels and not layer.event_driven:
            dtype = layer.dtype or kernels[0].dtype
            features = max(k.shape[0] for k in kernels)
            width = min(k.shape[1] for k in kernels)
            layer = dataclasses.replace(
                layer, dot_general=product_for(products, features, width, rows, dtype)
            )
        changed.append(layer)
    return tuple(changed)


def _layers(
    cells: list[Any], states: tuple[Any, ...], shape: Shape, dtype: Any
) -> tuple[tuple[Layer, ...], tuple[LayerWeights, ...]]:
    """Returns the cells as data, checked against their states."""
    layers, arrays = [], []
    x = jax.ShapeDtypeStruct(shape, dtype)
    for each, state in zip(cells, states, strict=True):
        layer, layer_weights = each.layer(x)
        current = jax.eval_shape(layer.project, x, layer_weights)
        v = layer.neuron.membrane(state)
        weights.check_current(current, v, layer.neuron.blocks)
        layers.append(layer)
        arrays.append(layer_weights)
        x = jax.ShapeDtypeStruct(v.shape, layer.output_dtype)
    return tuple(layers), tuple(arrays)


def _shaped(array: Array, shape: Shape) -> Array:
    return array if array.shape == shape else array.reshape(shape)


def _sow(cells: list[Any], traces: Traces, outputs: Array) -> None:
    for each, v, s in zip(cells, traces.membranes, (*traces.spikes, outputs), strict=True):
        each.sow("intermediates", "v", v)
        if each.dynamics.spikes:
            each.sow("intermediates", "spikes", s)


def neuron_cells(cell: nn.RNNCellBase) -> list[Any]:
    """Returns the cells of a chain from input to output, those of nested chains among them."""
    if is_chain(cell):
        return [inner for each in cell.cells for inner in neuron_cells(each)]
    return [cell]


def is_chain(cell: nn.RNNCellBase) -> bool:
    """Returns whether a cell is a `Chain` whose step no subclass has changed."""
    return isinstance(cell, Chain) and type(cell).__call__ is Chain.__call__


def _flat(cell: nn.RNNCellBase, carry: Any) -> list[Any]:
    """Returns the states of `neuron_cells` in their order."""
    if is_chain(cell):
        return [
            state
            for each, part in zip(cell.cells, carry, strict=True)
            for state in _flat(each, part)
        ]
    return [carry]


def _nested(cell: nn.RNNCellBase, states: Iterator[Any]) -> Any:
    """Returns states of `neuron_cells` as the carry of the cell."""
    if is_chain(cell):
        return tuple(_nested(each, states) for each in cell.cells)
    return next(states)
