"""Cells as nodes: input weights, neurons, and the nodes around them that NIR needs besides.

weights -> [Delay] -> neuron -> [Threshold] -> [Delay]
                        ^ [Delay] <- Linear <-'
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from flax_snn.cells import NeuronCell
from flax_snn.nir.channel_order import to_first
from flax_snn.nir.error import fail
from flax_snn.nir.writing.builder import (
    GraphBuilder,
    Signal,
    check_arithmetic,
    read_variable,
    scaled,
    unsupported,
)
from flax_snn.nir.writing.layers import Variables, add_delay, add_dense
from flax_snn.nir.writing.neurons import PopulationNodes, population_nodes


def add_cell(
    builder: GraphBuilder,
    cell: Any,
    variables: Variables,
    path: str,
    signal: Signal,
    name: str = "",
) -> Signal:
    """Adds the nodes of a cell, and returns the signal that it sends.

    Args:
      builder: the graph to which the nodes are added.
      cell: a `NeuronCell` that overrides none of its methods.
      variables: variables of the cell, by collection.
      path: path of the cell in the variables of the network.
      signal: what the cell receives.
      name: name of the node of its neurons; by default that of the node type.

    Raises:
      NIRError: the cell cannot be written as NIR nodes.
    """
    _check_cell(cell, path)
    check_arithmetic(cell, path)
    options, where = builder.options, f"{path} ({type(cell).__name__})"
    weights = cell.features is not None
    features = (cell.features,) if weights else signal.features
    numbers = _numbers(cell, variables, features, where)
    population = population_nodes(
        cell.dynamics, numbers, features, where, options.dt, options.method, options.allow
    )
    population, factor = options.target.fit(population, where, options.dt, options.method)
    name = builder.free(name or population.kind.lower())
    if population.synapses:
        return _several(builder, cell, name, population, variables, path, signal)
    if weights:
        signal = add_dense(builder, f"{name}_in", variables, path, signal, factor)
    elif factor is not None:
        builder.rescale(signal, to_first(factor, signal.order), where)
    if population.lag:
        signal = add_delay(builder, f"{name}_lag", population.lag, path, signal)
    if not cell.recurrent:
        return _neurons(builder, name, population, path, signal)
    if options.target.recurrence is None:
        raise fail(
            where,
            f"populations without recurrent weights, which {options.target.name} reads",
            "some",
        )
    kernel = scaled(read_variable(variables, "params", "recurrent_kernel", path).T, factor)
    if options.recurrence == "flat":
        return _recurrent(builder, name, population, kernel, path, signal)
    inner = GraphBuilder(options)
    out = _recurrent(inner, name, population, kernel, path, Signal(("input",), signal.shape))
    return builder.nest(name, inner, out, signal)


def _check_cell(cell: Any, path: str) -> None:
    """Raises unless a cell consists of weights and neurons that NIR has nodes for."""
    if not isinstance(cell, NeuronCell):
        raise unsupported(
            path, cell, "", "cells that can be exported are NeuronCells, and Chains of them"
        )
    method = cell.overridden()
    if method is not None:
        raise unsupported(
            path,
            cell,
            "",
            f"it overrides {method}, which may compute something else: use a cell that does not",
        )
    reason = cell.dynamics.lacks("nir")
    if reason is not None:
        raise unsupported(path, cell, "", f"{type(cell.dynamics).__name__}: {reason}")


def _recurrent(
    builder: GraphBuilder,
    name: str,
    population: PopulationNodes,
    kernel: np.ndarray,
    path: str,
    signal: Signal,
) -> Signal:
    out = _neurons(builder, name, population, path, signal)
    back = builder.add(f"{name}_rec", "Linear", {"weight": kernel}, out, path)
    if population.recurrent_lag:
        back = add_delay(builder, f"{name}_rec_lag", population.recurrent_lag, path, back)
    builder.edges.append((back.sources[0], name))
    return out


def _several(
    builder: GraphBuilder,
    cell: Any,
    name: str,
    population: PopulationNodes,
    variables: Variables,
    path: str,
    signal: Signal,
) -> Signal:
    """Adds a population with several synaptic currents: an LI for each, whose sum it receives."""
    if cell.features is None:
        raise fail(path, "input weights in front of several synapses", "features=None")
    rule = cell.dynamics.rule
    synapses, inputs = population.synapses, max(rule.channels, 1)
    ends = []
    for k in range(inputs):
        block = slice(k * cell.features, (k + 1) * cell.features)
        kernel = read_variable(variables, "params", "kernel", path)
        block_params = {"kernel": kernel[:, block]}
        if cell.use_bias:
            block_params["bias"] = read_variable(variables, "params", "bias", path)[block]
        drive = add_dense(builder, f"{name}_in{k}", {"params": block_params}, path, signal)
        if population.lag:
            drive = add_delay(builder, f"{name}_lag{k}", population.lag, path, drive)
        ends.append(builder.add(f"{name}_syn{k}", "LI", synapses[k], drive, path))
    total = Signal(tuple(s for end in ends for s in end.sources), ends[0].shape)
    out = _neurons(builder, name, population, path, total)
    if cell.recurrent:
        kernel = read_variable(variables, "params", "recurrent_kernel", path).T
        # In a loop with two entries, names would decide which edge closes it; a Delay does instead.
        late = population.recurrent_lag or 1 - population.emit_lag
        for k in range(1 if rule.recurrent_channel else inputs):
            rows = kernel[k * cell.features : (k + 1) * cell.features]
            back = builder.add(f"{name}_rec{k}", "Linear", {"weight": rows}, out, path)
            if late:
                back = add_delay(builder, f"{name}_rec_lag{k}", late, path, back)
            if not rule.recurrent_channel:
                builder.edges.append((back.sources[0], f"{name}_syn{k}"))
                continue
            back = builder.add(f"{name}_rec_syn", "LI", synapses[-1], back, path)
            builder.edges.append((back.sources[0], name))
    return out


def _neurons(
    builder: GraphBuilder, name: str, population: PopulationNodes, path: str, signal: Signal
) -> Signal:
    """Adds a population, and the Threshold and the Delay after it."""
    order = signal.order
    fields = {key: np.array(to_first(each, order)) for key, each in population.fields.items()}
    metadata = {
        key: _short(to_first(each, order)) if isinstance(each, np.ndarray) else each
        for key, each in population.metadata.items()
    }
    signal = builder.add(name, population.kind, fields, signal, path, **metadata)
    if population.threshold is not None:
        theta = np.array(to_first(population.threshold, order))
        signal = builder.add(f"{name}_threshold", "Threshold", {"threshold": theta}, signal, path)
    if population.emit_lag:
        signal = add_delay(builder, f"{name}_late", population.emit_lag, path, signal)
    return dataclasses.replace(signal, order=order)


def _numbers(
    cell: Any, variables: Mapping[str, Any], features: tuple[int, ...], where: str
) -> dict[str, Any]:
    """Returns the coefficients of a cell by name, including learned and individual ones."""
    rule = cell.dynamics.rule
    if rule.noisy and not cell.deterministic:
        raise fail(
            where, "neurons without membrane noise", "noise", "switch it off: deterministic=True"
        )
    if not cell.learn and not cell.values:
        numbers = vars(cell.dynamics.coefficients(dtype=cell.dtype_of_state))
        individual = {
            name: read_variable(variables, "neuron", name, where) for name in cell.individual
        }
        return numbers | individual
    size = features[-1] * max(rule.channels, 1)
    current = jax.ShapeDtypeStruct((1, *features[:-1], size), cell.dtype_of_state)
    arrays = jax.tree.map(jnp.asarray, dict(variables))
    found = vars(cell.apply(arrays, current, method="coefficients"))
    return {k: np.asarray(v)[0] if np.ndim(v) else v for k, v in found.items() if v is not None}


def _short(values: np.ndarray) -> Any:
    """Returns one number if all values are the same, else the array."""
    return float(values.flat[0]) if (values == values.flat[0]).all() else np.array(values)
