"""The network that layers make: a row of them, or a graph.

A row becomes ``nn.Sequential``, and cells in it that follow each other become one ``snn.RNN`` over
a ``snn.Chain``. Files that `to_nir` wrote have the place of each node in the module tree in its
metadata ``module``, such as ``layers_0/cell/cells_1``; the same tree is then built again.
"""

from __future__ import annotations

import flax.linen as nn

from flax_snn.cells import LIFCell
from flax_snn.cells.chain import Chain
from flax_snn.nir.channel_order import last
from flax_snn.nir.graph_network import GraphNetwork, Source
from flax_snn.nir.reading.grouping import NodeGroup
from flax_snn.nir.reading.loops import build_loop
from flax_snn.nir.reading.modules import BuiltModule, ModuleBuilder, joined, tree_names
from flax_snn.nir.wiring import Wiring
from flax_snn.runners.rnn import RNN
from flax_snn.runners.weightless import LIF, LeakyIntegrator

Path = tuple[str, ...]
Placed = tuple[Path, BuiltModule]


def assemble(builder: ModuleBuilder, groups: list[NodeGroup]) -> BuiltModule:
    """Returns the network of a graph.

    Args:
      builder: makes the modules.
      groups: all groups of nodes, sources before their targets.
    """
    wiring = builder.wiring
    row = _row(wiring, groups)
    if row is None:
        return _graph(builder, groups)
    built_modules = [_build(builder, group) for group in row]
    for paths in (_written_paths(wiring, row), _paths(row, built_modules)):
        if paths is not None:
            tree = _tree(list(zip(paths, built_modules, strict=True)))
            if tree is not None:
                return tree
    raise AssertionError("the paths that are made here have no tree")


def _row(wiring: Wiring, groups: list[NodeGroup]) -> list[NodeGroup] | None:
    """Returns the groups if each sends only to the next one, else None."""
    before = wiring.input
    for group in groups:
        if group.sources != (before,) or len(group.entries) > 1 or len(group.exits) > 1:
            return None
        if group.kind == "loop" and len(wiring.shapes[group.exit]) > 1:
            return None
        before = group.exit
    if wiring.sources[wiring.output] != (before,) or not groups:
        return None
    return groups if _flat_loops(wiring, groups) else None


def _flat_loops(wiring: Wiring, groups: list[NodeGroup]) -> bool:
    return all(len(wiring.in_shape(u.entries[0][0])) == 1 for u in groups if u.kind == "loop")


def _build(builder: ModuleBuilder, group: NodeGroup) -> BuiltModule:
    if group.kind == "cell":
        return builder.cell(group)
    return build_loop(builder, group) if group.kind == "loop" else builder.layer(group.name)


def _paths(row: list[NodeGroup], built_modules: list[BuiltModule]) -> list[Path]:
    """Returns the places in the module tree of a row of layers whose file does not say them."""
    chains = [
        group.kind == "cell" and _chains(b) for group, b in zip(row, built_modules, strict=True)
    ]
    runs: list[list[int]] = []  # cells that follow each other, or a single layer
    for k, chain in enumerate(chains):
        if chain and runs and chains[runs[-1][0]]:
            runs[-1].append(k)
        else:
            runs.append([k])
    paths: list[Path] = []
    for r, run in enumerate(runs):
        for k, index in enumerate(run):
            path: Path = () if len(runs) == 1 else (f"layers_{r}",)
            if row[index].kind != "layer":
                path = (*path, "cell")
            paths.append((*path, f"cells_{k}") if len(run) > 1 else path)
    return paths


def _chains(built: BuiltModule) -> bool:
    """Whether a cell can be in a chain, because its features have one axis."""
    return getattr(built.module, "feature_axes", 1) == 1


def _written_paths(wiring: Wiring, row: list[NodeGroup]) -> list[Path] | None:
    paths: list[Path] = []
    for group in row:
        texts = {wiring.nodes[n].metadata.get("module") for n in group.members}
        if len(texts) != 1 or not isinstance(text := texts.pop(), str):
            return None
        paths.append(tuple(text.split("/")) if text else ())
    return paths


def _tree(items: list[Placed]) -> BuiltModule | None:
    """Returns the module that has these modules at their paths, or None if there is none."""
    heads = [path[0] if path else "" for path, _ in items]
    if len(items) == 1 and not heads[0]:
        built = items[0][1]
        return built
    rest = [(path[1:], built) for path, built in items]
    if all(head == "cell" for head in heads):
        return _runner(rest)
    kinds = {head.partition("_")[0] for head in heads}
    if kinds not in ({"layers"}, {"cells"}):
        return None
    kind = kinds.pop()
    children: list[BuiltModule] = []
    count = 0
    while count < len(items):
        head = f"{kind}_{len(children)}"
        group = [item for h, item in zip(heads, rest, strict=True) if h == head]
        if not group or heads[count : count + len(group)] != [head] * len(group):
            return None
        child = _tree(group)
        if child is None or (kind == "cells") != isinstance(child.module, nn.RNNCellBase):
            return None
        children.append(child)
        count += len(group)
    variables = joined({f"{kind}_{k}": child.variables for k, child in enumerate(children)})
    modules = [child.module for child in children]
    return BuiltModule(nn.Sequential(modules) if kind == "layers" else Chain(modules), variables)  # type: ignore[arg-type]


def _runner(items: list[Placed]) -> BuiltModule | None:
    inner = _tree(items)
    if inner is None or not isinstance(inner.module, nn.RNNCellBase):
        return None
    cell, variables = inner.module, joined({"cell": inner.variables})
    alone = len(items) == 1 and not items[0][0]
    if alone and getattr(cell, "features", 1) is None and not getattr(cell, "recurrent", False):
        fields = {
            name: getattr(cell, name)
            for name in ("dynamics", "individual", "feature_axes", "param_dtype")
        }
        return BuiltModule(
            (LIF if isinstance(cell, LIFCell) else LeakyIntegrator)(**fields), variables
        )
    return BuiltModule(RNN(cell), variables)


def _graph(builder: ModuleBuilder, groups: list[NodeGroup]) -> BuiltModule:
    wiring = builder.wiring
    names = tree_names([group.name for group in groups])
    ends: dict[str, Source] = {wiring.input: ("input", "")}
    modules, variables, exits, schedule = {}, {}, {}, []
    for group in groups:
        name, built = names[group.name], _build(builder, group)
        path: Path = ("cell",) if group.kind != "layer" else ()
        tree = _tree([(path, built)])
        assert tree is not None
        modules[name], variables[f"layers_{name}"] = tree.module, tree.variables
        entries = [each for _, each in group.entries] or [group.sources]
        schedule.append((name, tuple(tuple(ends[s] for s in each) for each in entries)))
        if group.kind == "loop":
            exits[name] = tuple((n, last(wiring.shapes[n])) for n in group.exits)
            ends |= {n: (name, n) for n in group.exits}
        else:
            ends[group.exit] = (name, "")
    network = GraphNetwork(
        modules,
        tuple(schedule),
        tuple(ends[s] for s in wiring.sources[wiring.output]),
        exits,
        len(wiring.shapes[wiring.input]),
    )
    return BuiltModule(network, joined(variables))
