"""A Flax network as a graph: its modules from input to output, each as the nodes that it is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import numpy as np

from flax_snn.cells import Chain, NeuronCell
from flax_snn.nir.draft import Draft, Value, cannot
from flax_snn.nir.graph import GraphNetwork
from flax_snn.nir.layer_nodes import Variables, add_delay, add_layer
from flax_snn.nir.layout import to_first
from flax_snn.nir.loop import Loop
from flax_snn.nir.population_nodes import add_cell
from flax_snn.runners.layers import Neurons
from flax_snn.runners.rnn import RNN


def add_module(
    draft: Draft, module: Any, variables: Variables, path: str, value: Value, name: str = ""
) -> Value:
    """Add the nodes of a module over sequences; return what it sends.

    Args:
      draft: the graph so far.
      module: the module.
      variables: its variables, by collection.
      path: where it stands in the variables of the network.
      value: what it receives.
      name: name of its node, where one is wanted.

    Raises:
      NIRError: it has no counterpart in NIR.
    """
    kind = type(module)
    if kind is nn.Sequential:
        return _row(draft, module.layers, "layers", variables, path, value)
    if kind in (nn.RNN, RNN) or isinstance(module, Neurons):
        for option in ("time_major", "reverse", "return_carry"):
            if getattr(module, option, False):
                raise cannot(path, module, f" with {option}=True", "export it without")
        cell = module.cell if kind in (nn.RNN, RNN) else _weightless(module, value)
        below = _below(variables, _name(cell, "cell"))
        return _cell(draft, cell, below, _join(path, "cell"), value, name)
    if isinstance(module, NeuronCell) or kind is Chain:
        return _cell(draft, module, variables, path or "cell", value, name)
    if kind is GraphNetwork:
        return _graph(draft, module, variables, value)
    return add_layer(draft, module, variables, path, value, name)


def _row(
    draft: Draft, modules: Sequence[Any], word: str, variables: Variables, path: str, value: Value
) -> Value:
    seen: dict[int, str] = {}
    for k, module in enumerate(modules):
        # A module that stands there twice has its variables where it stands first.
        below = _below(variables, seen.setdefault(id(module), _name(module, f"{word}_{k}")))
        add = _cell if word == "cells" else add_module
        value = add(draft, module, below, _join(path, f"{word}_{k}"), value)
    return value


def _cell(
    draft: Draft, cell: Any, variables: Variables, path: str, value: Value, name: str = ""
) -> Value:
    if type(cell) is Chain:
        return _row(draft, cell.cells, "cells", variables, path, value)
    if type(cell) is Loop:
        return _loop(draft, cell, variables, path, [value])[cell.exits[0]]
    return add_cell(draft, cell, variables, path, value, name)


def _weightless(layer: Neurons, value: Value) -> Any:
    """Return the cell that a layer of neurons without weights runs."""
    names = ("dynamics", "surrogate", "learn", "individual", "values", "deterministic")
    dtypes = ("dtype", "param_dtype", "state_dtype")
    fields = {name: getattr(layer, name) for name in (*names, *dtypes)}
    return layer.cell_class(feature_axes=len(value.shape), **fields)


def _graph(draft: Draft, network: GraphNetwork, variables: Variables, value: Value) -> Value:
    ends: dict[Any, Value] = {("input", ""): value}
    for name, entries in network.schedule:
        module, path = network.layers[name], f"layers_{name}"
        below = _below(variables, path)
        came = [_summed([ends[s] for s in entry]) for entry in entries]
        inner = getattr(module, "cell", None)
        if type(inner) is Loop:
            found = _loop(draft, inner, _below(below, "cell"), f"{path}/cell", came)
            ends |= {(name, exit_name): each for exit_name, each in found.items()}
        else:
            ends[name, ""] = add_module(draft, module, below, path, came[0], name)
    return _summed([ends[s] for s in network.output])


def _loop(
    draft: Draft, loop: Loop, variables: Variables, path: str, came: list[Value]
) -> dict[str, Value]:
    """Add the nodes of a loop, then the edges between them."""
    values = dict(zip(loop.entries, came, strict=True))
    for name in (*loop.layers, *loop.delays):
        last = loop.shapes[name]
        values[name] = Value((name,), (last[-1], *last[:-1]))
    operations = [(name, sources) for name, before, sources in loop.schedule if not before]
    for name, sources in operations:
        below = _below(variables, f"layers_{name}")
        shape = values[sources[0][0]].shape
        add = _cell if name in loop.cells else add_layer
        add(draft, loop.layers[name], below, path, Value(("input",), shape), name)
        draft.edges.pop()
    for name, steps in loop.delays.items():
        each = to_first(np.asarray(steps).reshape(loop.shapes[name]))
        add_delay(draft, name, each, path, Value(("input",), values[name].shape))
        draft.edges.pop()
    for name, sources in (*operations, *loop.feeds.items()):
        draft.edges.extend((s, name) for each, _ in sources for s in values[each].sources)
    return {name: values[name] for name in loop.exits}


def _summed(values: list[Value]) -> Value:
    first = values[0]
    return Value(tuple(s for v in values for s in v.sources), first.shape, first.order)


def _below(variables: Variables, name: str) -> dict[str, Any]:
    return {collection: tree[name] for collection, tree in variables.items() if name in tree}


def _join(path: str, name: str) -> str:
    return f"{path}/{name}" if path else name


def _name(module: Any, default: str) -> str:
    return getattr(module, "name", None) or default
