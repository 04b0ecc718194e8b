"""Modules that contain others, such as sequences, runners and chains, written as nodes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import numpy as np

from flax_snn.cells import Chain, NeuronCell
from flax_snn.layers import DelayedRecurrentCell, SpikingResidual
from flax_snn.nir.channel_order import to_first
from flax_snn.nir.error import fail
from flax_snn.nir.graph_network import GraphNetwork
from flax_snn.nir.loop_cell import Loop
from flax_snn.nir.writing.builder import GraphBuilder, Signal, unsupported
from flax_snn.nir.writing.cells import add_cell
from flax_snn.nir.writing.grid_layers import GRID_WRITERS
from flax_snn.nir.writing.layers import Variables, add_delay, add_layer
from flax_snn.runners.rnn import RNN
from flax_snn.runners.weightless import Neurons


def add_module(
    builder: GraphBuilder,
    module: Any,
    variables: Variables,
    path: str,
    signal: Signal,
    name: str = "",
) -> Signal:
    """Adds the nodes of a module over sequences, and returns the signal that it sends.

    Args:
      builder: the graph to which the nodes are added.
      module: the module.
      variables: variables of the module, by collection.
      path: path of the module in the variables of the network.
      signal: what the module receives.
      name: name of its node; by default that of the node type.

    Raises:
      NIRError: the module cannot be written as NIR nodes.
    """
    kind = type(module)
    if kind is nn.Sequential:
        return _row(builder, module.layers, "layers", variables, path, signal)
    if kind in (nn.RNN, RNN) or isinstance(module, Neurons):
        for option in ("time_major", "reverse", "return_carry"):
            if getattr(module, option, False):
                raise unsupported(
                    path, module, f" with {option}=True", "export the network without this option"
                )
        cell = module.cell if kind in (nn.RNN, RNN) else _weightless(module, signal)
        below = _below(variables, _name(cell, "cell"))
        return _cell(builder, cell, below, _join(path, "cell"), signal, name)
    if isinstance(module, NeuronCell) or kind is Chain:
        return _cell(builder, module, variables, path or "cell", signal, name)
    if kind is GraphNetwork:
        return _graph(builder, module, variables, signal)
    if kind is SpikingResidual:
        return _residual(builder, module, variables, path, signal)
    if kind in GRID_WRITERS:
        return GRID_WRITERS[kind](builder, module, variables, path, signal, name)
    return add_layer(builder, module, variables, path, signal, name)


def _row(
    builder: GraphBuilder,
    modules: Sequence[Any],
    prefix: str,
    variables: Variables,
    path: str,
    signal: Signal,
) -> Signal:
    seen: dict[int, str] = {}
    for k, module in enumerate(modules):
        # A module that occurs twice has its variables at its first place.
        below = _below(variables, seen.setdefault(id(module), _name(module, f"{prefix}_{k}")))
        add = _cell if prefix == "cells" else add_module
        signal = add(builder, module, below, _join(path, f"{prefix}_{k}"), signal)
    return signal


def _cell(
    builder: GraphBuilder,
    cell: Any,
    variables: Variables,
    path: str,
    signal: Signal,
    name: str = "",
) -> Signal:
    if type(cell) is Chain:
        return _row(builder, cell.cells, "cells", variables, path, signal)
    if type(cell) in GRID_WRITERS:
        return GRID_WRITERS[type(cell)](builder, cell, variables, path, signal, name)
    if isinstance(cell, DelayedRecurrentCell):
        raise unsupported(
            path,
            cell,
            "",
            "its recurrent connections have delays of their own: use RecurrentLIFCell, with"
            " snn.DelayedDenseCell(kind='axon', rounded=True) before it for delays of its inputs",
        )
    if type(cell) is Loop:
        return _loop(builder, cell, variables, path, [signal])[cell.exits[0]]
    return add_cell(builder, cell, variables, path, signal, name)


def _residual(
    builder: GraphBuilder, block: SpikingResidual, variables: Variables, path: str, signal: Signal
) -> Signal:
    """Adds the nodes of a residual block, whose sum is two edges into the next node."""
    if block.connect != "add":
        raise unsupported(
            path,
            block,
            f" with connect={block.connect!r}",
            "NIR has sums of signals, and no products: train with connect='add'",
        )
    entries = {name: builder.nodes.get(name) for name in signal.sources}

    def part(name: str) -> Signal:
        module = getattr(block, name)
        below = _below(variables, _name(module, name))
        return add_module(builder, module, below, _join(path, name), signal)

    made = part("body")
    passed = signal if block.shortcut is None else part("shortcut")
    if any(builder.nodes.get(name) is not node for name, node in entries.items()):
        raise fail(
            f"{path} (SpikingResidual)",
            "a block that begins with weights or neurons",
            "a normalisation, which changes the weights before the block",
        )
    if (made.shape, made.order is None) != (passed.shape, passed.order is None):
        raise fail(f"{path} (SpikingResidual)", f"two signals {passed.features}", made.features)
    return _summed([made, passed])


def _weightless(layer: Neurons, signal: Signal) -> Any:
    """Returns the cell that a layer of neurons without weights uses."""
    names = ("dynamics", "surrogate", "learn", "individual", "values", "deterministic")
    dtypes = ("dtype", "param_dtype", "state_dtype")
    fields = {name: getattr(layer, name) for name in (*names, *dtypes)}
    return layer.cell_class(feature_axes=len(signal.shape), **fields)


def _graph(
    builder: GraphBuilder, network: GraphNetwork, variables: Variables, signal: Signal
) -> Signal:
    ends: dict[Any, Signal] = {("input", ""): signal}
    for name, entries in network.schedule:
        module, path = network.layers[name], f"layers_{name}"
        below = _below(variables, path)
        received = [_summed([ends[s] for s in entry]) for entry in entries]
        inner = getattr(module, "cell", None)
        if type(inner) is Loop:
            found = _loop(builder, inner, _below(below, "cell"), f"{path}/cell", received)
            ends |= {(name, exit_name): each for exit_name, each in found.items()}
        else:
            ends[name, ""] = add_module(builder, module, below, path, received[0], name)
    return _summed([ends[s] for s in network.output])


def _loop(
    builder: GraphBuilder, loop: Loop, variables: Variables, path: str, received: list[Signal]
) -> dict[str, Signal]:
    """Adds the nodes of a loop, then the edges between them."""
    values = dict(zip(loop.entries, received, strict=True))
    for name in (*loop.layers, *loop.delays):
        last = loop.shapes[name]
        values[name] = Signal((name,), (last[-1], *last[:-1]))
    operations = [(name, sources) for name, before, sources in loop.schedule if not before]
    for name, sources in operations:
        below = _below(variables, f"layers_{name}")
        shape = values[sources[0][0]].shape
        add = _cell if name in loop.cells else add_layer
        add(builder, loop.layers[name], below, path, Signal(("input",), shape), name)
        builder.edges.pop()
    for name, steps in loop.delays.items():
        each = to_first(np.asarray(steps).reshape(loop.shapes[name]))
        add_delay(builder, name, each, path, Signal(("input",), values[name].shape))
        builder.edges.pop()
    for name, sources in (*operations, *loop.feeds.items()):
        builder.edges.extend((s, name) for each, _ in sources for s in values[each].sources)
    return {name: values[name] for name in loop.exits}


def _summed(values: list[Signal]) -> Signal:
    first = values[0]
    return Signal(tuple(s for v in values for s in v.sources), first.shape, first.order)


def _below(variables: Variables, name: str) -> dict[str, Any]:
    return {collection: tree[name] for collection, tree in variables.items() if name in tree}


def _join(path: str, name: str) -> str:
    return f"{path}/{name}" if path else name


def _name(module: Any, default: str) -> str:
    return getattr(module, "name", None) or default
