"""Parts put together: a row of layers, or a graph of them.

A row becomes ``nn.Sequential``; cells that follow each other become one ``snn.RNN`` over a
``snn.Chain``. Files that `to_nir` wrote say in the metadata ``module`` where each node stood, such
as ``layers_0/cell/cells_1``, and the tree is put together as it was.
"""

from __future__ import annotations

import flax.linen as nn

from flax_snn.cells import LIFCell
from flax_snn.cells.chain import Chain
from flax_snn.nir.graph import GraphNetwork, Source
from flax_snn.nir.layout import last
from flax_snn.nir.loop_build import build_loop
from flax_snn.nir.parts import Builder, Part, joined, tree_names
from flax_snn.nir.units import Unit
from flax_snn.nir.wiring import Wiring
from flax_snn.runners.layers import LIF, LeakyIntegrator
from flax_snn.runners.rnn import RNN

Path = tuple[str, ...]
Placed = tuple[Path, Part]


def assemble(builder: Builder, found: list[Unit]) -> Part:
    """Return the network that units make.

    Args:
      builder: makes the parts.
      found: the units, sources before targets.
    """
    wiring = builder.wiring
    row = _row(wiring, found)
    if row is None:
        return _graph(builder, found)
    parts = [_part(builder, unit) for unit in row]
    for paths in (_written_paths(wiring, row), _paths(row, parts)):
        if paths is not None:
            tree = _tree(list(zip(paths, parts, strict=True)))
            if tree is not None:
                return tree
    raise AssertionError("the paths that are made here have no tree")


def _row(wiring: Wiring, found: list[Unit]) -> list[Unit] | None:
    """Return the units if each feeds the next one alone."""
    before = wiring.input
    for unit in found:
        if unit.sources != (before,) or len(unit.entries) > 1 or len(unit.exits) > 1:
            return None
        if unit.kind == "loop" and len(wiring.shapes[unit.exit]) > 1:
            return None
        before = unit.exit
    if wiring.sources[wiring.output] != (before,) or not found:
        return None
    return found if _flat_loops(wiring, found) else None


def _flat_loops(wiring: Wiring, found: list[Unit]) -> bool:
    return all(len(wiring.in_shape(u.entries[0][0])) == 1 for u in found if u.kind == "loop")


def _part(builder: Builder, unit: Unit) -> Part:
    if unit.kind == "cell":
        return builder.cell(unit)
    return build_loop(builder, unit) if unit.kind == "loop" else builder.layer(unit.name)


def _paths(row: list[Unit], parts: list[Part]) -> list[Path]:
    """Return where the units of a row stand when no file says it."""
    groups: list[list[int]] = []
    for k, unit in enumerate(row):
        joins = unit.kind == "cell" and _chains(parts[k])
        if joins and groups and row[groups[-1][0]].kind == "cell" and _chains(parts[groups[-1][0]]):
            groups[-1].append(k)
        else:
            groups.append([k])
    paths: list[Path] = []
    for g, group in enumerate(groups):
        for k, index in enumerate(group):
            path: Path = () if len(groups) == 1 else (f"layers_{g}",)
            if row[index].kind != "layer":
                path = (*path, "cell")
            paths.append((*path, f"cells_{k}") if len(group) > 1 else path)
    return paths


def _chains(part: Part) -> bool:
    """Whether a cell may stand in a chain: its features are flat."""
    return getattr(part.module, "feature_axes", 1) == 1


def _written_paths(wiring: Wiring, row: list[Unit]) -> list[Path] | None:
    paths: list[Path] = []
    for unit in row:
        texts = {wiring.nodes[n].metadata.get("module") for n in unit.members}
        if len(texts) != 1 or not isinstance(text := texts.pop(), str):
            return None
        paths.append(tuple(text.split("/")) if text else ())
    return paths


def _tree(items: list[Placed]) -> Part | None:
    """Return the module whose parts stand at these paths; ``None`` if there is none."""
    heads = [path[0] if path else "" for path, _ in items]
    if len(items) == 1 and not heads[0]:
        part = items[0][1]
        return part
    rest = [(path[1:], part) for path, part in items]
    if all(head == "cell" for head in heads):
        return _runner(rest)
    kinds = {head.partition("_")[0] for head in heads}
    if kinds not in ({"layers"}, {"cells"}):
        return None
    kind = kinds.pop()
    children: list[Part] = []
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
    return Part(nn.Sequential(modules) if kind == "layers" else Chain(modules), variables)  # type: ignore[arg-type]


def _runner(items: list[Placed]) -> Part | None:
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
        return Part((LIF if isinstance(cell, LIFCell) else LeakyIntegrator)(**fields), variables)
    return Part(RNN(cell), variables)


def _graph(builder: Builder, found: list[Unit]) -> Part:
    wiring = builder.wiring
    names = tree_names([unit.name for unit in found])
    ends: dict[str, Source] = {wiring.input: ("input", "")}
    modules, variables, exits, schedule = {}, {}, {}, []
    for unit in found:
        name, part = names[unit.name], _part(builder, unit)
        path: Path = ("cell",) if unit.kind != "layer" else ()
        tree = _tree([(path, part)])
        assert tree is not None
        modules[name], variables[f"layers_{name}"] = tree.module, tree.variables
        entries = [each for _, each in unit.entries] or [unit.sources]
        schedule.append((name, tuple(tuple(ends[s] for s in each) for each in entries)))
        if unit.kind == "loop":
            exits[name] = tuple((n, last(wiring.shapes[n])) for n in unit.exits)
            ends |= {n: (name, n) for n in unit.exits}
        else:
            ends[unit.exit] = (name, "")
    network = GraphNetwork(
        modules,
        tuple(schedule),
        tuple(ends[s] for s in wiring.sources[wiring.output]),
        exits,
        len(wiring.shapes[wiring.input]),
    )
    return Part(network, joined(variables))
