"""What belongs together in a graph: the nodes of a cell, and of a loop that is no cell.

    Linear | Affine -> neuron                       input weights of the neuron
    Delay of a step -> CubaLI | CubaLIF             a synapse whose current acts a step later
    LI | CubaLI | I -> Threshold                    a neuron without a reset
    neuron -> Linear | Affine (-> Delay) -> neuron  recurrent weights

Any other loop is advanced node by node (`flax_snn.nir.loop`).
"""

from __future__ import annotations

import dataclasses

import numpy as np

from flax_snn.nir.error import fail
from flax_snn.nir.ir import Node
from flax_snn.nir.wiring import Wiring, check_loops, components, is_loop

_DENSE = ("Affine", "Linear")


@dataclasses.dataclass(frozen=True)
class Unit:
    """Nodes that become one layer.

    Attributes:
      name: the node after which it is called: the neuron of a cell.
      kind: ``layer``, ``cell`` or ``loop``.
      members: all its nodes.
      exit: node whose value it sends; of a loop, any.
      weight: input weights of a cell.
      threshold: Threshold of a cell.
      recurrent: recurrent weights of a cell.
      old: whether the synaptic current acts a step later.
      emit_old: whether a Delay behind the neuron stands for spikes of the entering membrane.
      lag: whether recurrent spikes come one more step later.
      sources: nodes that are summed into it; of a loop, all that feed it.
      entries: nodes of a loop that are fed from outside, with what is summed into each.
      exits: nodes of a loop that feed others.
    """

    name: str
    kind: str
    members: tuple[str, ...]
    exit: str
    weight: str | None = None
    threshold: str | None = None
    recurrent: str | None = None
    old: bool = False
    emit_old: bool = False
    lag: bool = False
    sources: tuple[str, ...] = ()
    entries: tuple[tuple[str, tuple[str, ...]], ...] = ()
    exits: tuple[str, ...] = ()


def delay_steps(node: Node, name: str, dt: float, round_delays: bool) -> np.ndarray:
    """Return the whole steps of a Delay, in its shape.

    Raises:
      NIRError: a delay between two steps, unless they are to be rounded.
    """
    steps = node["delay"] / dt
    whole = np.round(steps)
    if not round_delays and (np.abs(steps - whole) > 1e-6 * np.maximum(1.0, whole)).any():
        worst = float(steps.flat[np.abs(steps - whole).argmax()])
        raise fail(
            f"node {name!r} (Delay): delay",
            f"whole steps of dt={dt:g} s",
            f"{worst:.6g} steps",
            "use another dt, or round_delays=True",
        )
    if (whole > 2**20).any():
        raise fail(f"node {name!r} (Delay): delay", f"at most {2**20} steps", f"{whole.max():g}")
    return whole.astype(np.int64)


def units(wiring: Wiring, steps: dict[str, np.ndarray]) -> list[Unit]:
    """Group the nodes, sources before targets.

    Args:
      wiring: the graph.
      steps: steps of each Delay.

    Raises:
      NIRError: a loop without a state.
    """
    groups = components(wiring.sources, sorted(wiring.nodes))
    groups = [g for g in groups if g[0] in wiring.nodes]
    check_loops(wiring, {name for name, each in steps.items() if (each >= 1).all()})
    loops = {n: frozenset(g) for g in groups if is_loop(g, wiring.sources) for n in g}
    finder = _Finder(wiring, steps, loops)
    cells: dict[str, Unit] = {}
    for name, node in wiring.nodes.items():
        unit = finder.cell(name) if node.is_neuron else None
        if unit is not None:
            cells |= dict.fromkeys(unit.members, unit)
    found: list[Unit] = []
    for group in groups:
        for name in group:
            unit = cells.get(name)
            if unit is not None and unit.exit == name:
                found.append(unit)
            elif unit is None and name not in loops:
                sources = wiring.sources[name]
                found.append(Unit(name, "layer", (name,), name, sources=sources))
        if group[0] in loops and group[0] not in cells:
            found.append(_loop(wiring, group))
    return found


class _Finder:
    """Finds the nodes that are a cell together."""

    def __init__(
        self, wiring: Wiring, steps: dict[str, np.ndarray], loops: dict[str, frozenset[str]]
    ) -> None:
        self.wiring, self.steps, self.loops = wiring, steps, loops
        self.nodes, self.sources, self.targets = wiring.nodes, wiring.sources, wiring.targets()

    def uniform(self, name: str) -> int | None:
        """Return the steps of a Delay that delays all by the same."""
        each = self.steps.get(name)
        same = each is not None and each.size and (each == each.flat[0]).all()
        return int(each.flat[0]) if same and each is not None else None

    def only(self, name: str, kinds: tuple[str, ...], target: str) -> bool:
        """Whether a node of these types feeds the target, and nothing else."""
        node = self.nodes.get(name)
        return node is not None and node.type in kinds and self.targets[name] == (target,)

    def together(self, name: str, other: str) -> bool:
        """Whether no file says that two nodes were different modules."""
        modules = {self.nodes[n].metadata.get("module") for n in (name, other)}
        return len(modules - {None}) < 2

    def cell(self, name: str) -> Unit | None:
        """Return the cell whose neurons a node is; ``None`` if it is part of a larger loop."""
        threshold, late = self.behind(name)
        own = [n for n in (name, threshold, late) if n is not None]
        recurrent, delay, back = self.recurrence(name, own)
        if name in self.loops and recurrent is None:
            return None
        outside = tuple(source for source in self.sources[name] if source != back)
        old = self.lag_before(name, outside)
        first, lag = name, 0
        if recurrent is not None:
            lag = delay - (old is not None) if late else delay - 2 * (old is not None)
            if lag not in ((0, 1) if late else (0,)):
                return None
        if old is not None:
            first, outside = old, self.sources[old]
        weight = None
        if len(outside) == 1 and self.only(outside[0], _DENSE, first):
            if self.together(name, outside[0]):
                weight, outside = outside[0], self.sources[outside[0]]
        if recurrent is not None and weight is None and self.biased(recurrent):
            return None
        return Unit(
            name,
            "cell",
            tuple(dict.fromkeys(n for n in (*own, recurrent, back, old, weight) if n is not None)),
            own[-1],
            weight,
            threshold,
            recurrent,
            old is not None,
            late is not None,
            bool(lag),
            outside,
        )

    def behind(self, name: str) -> tuple[str | None, str | None]:
        """Return a Threshold and a Delay behind a node that belong to its neurons."""
        threshold = late = None
        last = name
        after = self.targets.get(last, ())
        if self.nodes[name].type in ("I", "LI", "CubaLI") and self.follows(after, "Threshold"):
            if self.together(name, after[0]):
                threshold = last = after[0]
        after = self.targets.get(last, ())
        if self.nodes[name].metadata.get("emit") == "old" and self.follows(after, "Delay"):
            late = after[0] if self.uniform(after[0]) == 1 else None
        return threshold, late

    def follows(self, after: tuple[str, ...], kind: str) -> bool:
        """Whether the only target is a node of this type with no other source."""
        alone = len(after) == 1 and after[0] in self.nodes
        return alone and self.nodes[after[0]].type == kind and len(self.sources[after[0]]) == 1

    def lag_before(self, name: str, outside: tuple[str, ...]) -> str | None:
        """Return a Delay of a step in front of a synapse."""
        if not self.nodes[name].type.startswith("Cuba") or len(outside) != 1:
            return None
        late = outside[0]
        mine = self.only(late, ("Delay",), name) and self.together(name, late)
        return late if mine and self.uniform(late) == 1 else None

    def biased(self, name: str) -> bool:
        """Whether recurrent weights have a bias."""
        node = self.nodes[name]
        return node.type == "Affine" and bool(np.any(node["bias"] != 0))

    def recurrence(self, name: str, own: list[str]) -> tuple[str | None, int, str | None]:
        """Return recurrent weights, the steps behind them, and the node that feeds the neuron."""
        nothing = None, 0, None
        if name not in self.loops:
            return nothing
        node = self.nodes[name]
        rest = self.loops[name] - set(own)
        fires = node.type in ("IF", "LIF", "CubaLIF") or len(own) > 1
        matrices = [n for n in rest if self.nodes[n].type in _DENSE]
        delays = [n for n in rest if n in self.steps]
        if not fires or len(matrices) != 1 or len(delays) > 1 or len(rest) > 2:
            return nothing
        weight = matrices[0]
        if len(rest) != 1 + len(delays) or self.sources[weight] != (own[-1],):
            return nothing
        back = delays[0] if delays else weight
        if delays and not (self.only(weight, _DENSE, back) and self.sources[back] == (weight,)):
            return nothing
        late = self.uniform(back) if delays else 0
        if self.targets[back] != (name,) or late is None or (delays and late == 0):
            return nothing
        return weight, late, back


def _loop(wiring: Wiring, group: list[str]) -> Unit:
    inside = set(group)
    entries = tuple(
        (name, outside)
        for name in group
        if (outside := tuple(s for s in wiring.sources[name] if s not in inside))
    )
    targets = wiring.targets()
    exits = tuple(n for n in group if any(t not in inside for t in targets.get(n, ())))
    sources = tuple(s for _, each in entries for s in each)
    return Unit(
        group[0], "loop", tuple(group), exits[0], sources=sources, entries=entries, exits=exits
    )
