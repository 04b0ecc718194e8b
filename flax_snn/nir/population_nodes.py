"""Cells as nodes: weights, neuron, and what stands around them where NIR needs several nodes.

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
from flax_snn.nir.draft import Draft, Value, cannot, check_arithmetic, scaled, taken
from flax_snn.nir.emit import Emitted, emit
from flax_snn.nir.error import fail
from flax_snn.nir.layer_nodes import Variables, add_delay, add_dense
from flax_snn.nir.layout import to_first


def add_cell(
    draft: Draft, cell: Any, variables: Variables, path: str, value: Value, name: str = ""
) -> Value:
    """Add the nodes of a cell; return what it sends.

    Args:
      draft: the graph so far.
      cell: the cell, a `NeuronCell` with the step of one.
      variables: its variables, by collection.
      path: where it stands in the variables of the network.
      value: what it receives.
      name: name of the node of its neurons, where one is wanted.

    Raises:
      NIRError: NIR cannot say it.
    """
    _check_cell(cell, path)
    check_arithmetic(cell, path)
    terms, where = draft.terms, f"{path} ({type(cell).__name__})"
    weights = cell.features is not None
    features = (cell.features,) if weights else value.features
    numbers = _numbers(cell, variables, features, where)
    emitted = emit(cell.dynamics, numbers, features, where, terms.dt, terms.method, terms.allow)
    emitted, factor = terms.target.fit(emitted, where, terms.dt, terms.method)
    name = draft.free(name or emitted.kind.lower())
    if emitted.synapses:
        return _several(draft, cell, name, emitted, variables, path, value)
    if weights:
        value = add_dense(draft, f"{name}_in", variables, path, value, factor)
    elif factor is not None:
        draft.rescale(value, to_first(factor, value.order), where)
    if emitted.lag:
        value = add_delay(draft, f"{name}_lag", emitted.lag, path, value)
    if not cell.recurrent:
        return _neurons(draft, name, emitted, path, value)
    if terms.target.recurrence is None:
        raise fail(
            where, f"populations without recurrent weights, which {terms.target.name} reads", "some"
        )
    kernel = scaled(taken(variables, "params", "recurrent_kernel", path).T, factor)
    if terms.recurrence == "flat":
        return _recurrent(draft, name, emitted, kernel, path, value)
    inner = Draft(terms)
    out = _recurrent(inner, name, emitted, kernel, path, Value(("input",), value.shape))
    return draft.nest(name, inner, out, value)


def _check_cell(cell: Any, path: str) -> None:
    """Raise unless a cell is neurons that NIR knows, behind weights, and nothing else."""
    if not isinstance(cell, NeuronCell):
        raise cannot(path, cell, "", "cells that can be: a NeuronCell, or a Chain of them")
    method = cell.overridden()
    if method is not None:
        raise cannot(path, cell, "", f"its {method} is its own, and may do other things")
    reason = cell.dynamics.lacks("nir")
    if reason is not None:
        raise cannot(path, cell, "", f"{type(cell.dynamics).__name__}: {reason}")


def _recurrent(
    draft: Draft, name: str, emitted: Emitted, kernel: np.ndarray, path: str, value: Value
) -> Value:
    out = _neurons(draft, name, emitted, path, value)
    back = draft.add(f"{name}_rec", "Linear", {"weight": kernel}, out, path)
    if emitted.recurrent_lag:
        back = add_delay(draft, f"{name}_rec_lag", emitted.recurrent_lag, path, back)
    draft.edges.append((back.sources[0], name))
    return out


def _several(
    draft: Draft,
    cell: Any,
    name: str,
    emitted: Emitted,
    variables: Variables,
    path: str,
    value: Value,
) -> Value:
    """Add a population with several synaptic currents: an LI for each, all into the neuron."""
    if cell.features is None:
        raise fail(path, "input weights in front of several synapses", "features=None")
    rule = cell.dynamics.rule
    synapses, inputs = emitted.synapses, max(rule.channels, 1)
    ends = []
    for k in range(inputs):
        block = slice(k * cell.features, (k + 1) * cell.features)
        kernel = taken(variables, "params", "kernel", path)
        own = {"kernel": kernel[:, block]}
        if cell.use_bias:
            own["bias"] = taken(variables, "params", "bias", path)[block]
        drive = add_dense(draft, f"{name}_in{k}", {"params": own}, path, value)
        if emitted.lag:
            drive = add_delay(draft, f"{name}_lag{k}", emitted.lag, path, drive)
        ends.append(draft.add(f"{name}_syn{k}", "LI", synapses[k], drive, path))
    total = Value(tuple(s for end in ends for s in end.sources), ends[0].shape)
    out = _neurons(draft, name, emitted, path, total)
    if cell.recurrent:
        kernel = taken(variables, "params", "recurrent_kernel", path).T
        # Which edge closes a loop that is entered at two places is a matter of names: a Delay says.
        late = emitted.recurrent_lag or 1 - emitted.emit_lag
        for k in range(1 if rule.recurrent_channel else inputs):
            rows = kernel[k * cell.features : (k + 1) * cell.features]
            back = draft.add(f"{name}_rec{k}", "Linear", {"weight": rows}, out, path)
            if late:
                back = add_delay(draft, f"{name}_rec_lag{k}", late, path, back)
            if not rule.recurrent_channel:
                draft.edges.append((back.sources[0], f"{name}_syn{k}"))
                continue
            back = draft.add(f"{name}_rec_syn", "LI", synapses[-1], back, path)
            draft.edges.append((back.sources[0], name))
    return out


def _neurons(draft: Draft, name: str, emitted: Emitted, path: str, value: Value) -> Value:
    """Add a population, with the Threshold and the Delay behind it."""
    order = value.order
    fields = {key: np.array(to_first(each, order)) for key, each in emitted.fields.items()}
    metadata = {
        key: _short(to_first(each, order)) if isinstance(each, np.ndarray) else each
        for key, each in emitted.metadata.items()
    }
    value = draft.add(name, emitted.kind, fields, value, path, **metadata)
    if emitted.threshold is not None:
        theta = np.array(to_first(emitted.threshold, order))
        value = draft.add(f"{name}_threshold", "Threshold", {"threshold": theta}, value, path)
    if emitted.emit_lag:
        value = add_delay(draft, f"{name}_late", emitted.emit_lag, path, value)
    return dataclasses.replace(value, order=order)


def _numbers(
    cell: Any, variables: Mapping[str, Any], features: tuple[int, ...], where: str
) -> dict[str, Any]:
    """Return the coefficients of a cell, learned and individual ones among them."""
    rule = cell.dynamics.rule
    if rule.noisy and not cell.deterministic:
        raise fail(
            where, "neurons without membrane noise", "noise", "switch it off: deterministic=True"
        )
    if not cell.learn and not cell.values:
        numbers = vars(cell.dynamics.coefficients(dtype=cell.dtype_of_state))
        own = {name: taken(variables, "neuron", name, where) for name in cell.individual}
        return numbers | own
    size = features[-1] * max(rule.channels, 1)
    current = jax.ShapeDtypeStruct((1, *features[:-1], size), cell.dtype_of_state)
    arrays = jax.tree.map(jnp.asarray, dict(variables))
    found = vars(cell.apply(arrays, current, method="coefficients"))
    return {k: np.asarray(v)[0] if np.ndim(v) else v for k, v in found.items() if v is not None}


def _short(values: np.ndarray) -> Any:
    """Return one number where all are the same."""
    return float(values.flat[0]) if (values == values.flat[0]).all() else np.array(values)
