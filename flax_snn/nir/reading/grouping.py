"""Groups of nodes that become one layer: a cell, a loop that is not a cell, or a single node.

    Linear | Affine -> neuron                       input weights of a neuron
    Delay of one step -> CubaLI | CubaLIF             a synaptic current that acts one step later
    LI | CubaLI | I -> Threshold                    a neuron without a reset
    neuron -> Linear | Affine (-> Delay) -> neuron  recurrent weights

Such nodes become one cell. Nodes in any other loop become one `flax_snn.nir.Loop`, which advances
them node by node.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from flax_snn.nir.error import fail
from flax_snn.nir.graph import Node
from flax_snn.nir.wiring import Wiring, check_loops, components, is_loop

_DENSE = ("Affine", "Linear")


@dataclasses.dataclass(frozen=True)
class NodeGroup:
    """Nodes that become one layer.

    Attributes:
      name: the node that gives the layer its name; in a cell, the neuron.
      kind: ``layer``, ``cell`` or ``loop``.
      members: names of all nodes of the group.
      exit: node whose output the layer sends; in a loop, one of them.
      weight: node with the input weights of a cell.
      threshold: Threshold node of a cell.
      recurrent: node with the recurrent weights of a cell.
      late_current: whether the synaptic current acts one step later.
      late_spikes: whether a Delay after the neuron stands for spikes of the membrane before the
        step.
      late_feedback: whether recurrent spikes arrive one more step later.
      sources: nodes whose sum the layer receives; for a loop, all nodes that enter it.
      entries: nodes of a loop that receive something from outside, each with these sources.
      exits: nodes of a loop whose output is used outside.
    """

    name: str
    kind: str
    members: tuple[str, ...]
    exit: str
    weight: str | None = None
    threshold: str | None = None
    recurrent: str | None = None
    late_current: bool = False
    late_spikes: bool = False
    late_feedback: bool = False
    sources: tuple[str, ...] = ()
    entries: tuple[tuple[str, tuple[str, ...]], ...] = ()
    exits: tuple[str, ...] = ()


def delay_steps(node: Node, name: str, dt: float, round_delays: bool) -> np.ndarray:
    """Returns the delay of each element in whole steps.

    Args:
      node: a Delay.
      name: its name, for error messages.
      dt: length of a step in seconds.
      round_delays: whether delays that are not whole steps are rounded.

    Raises:
      NIRError: a delay is not a whole number of steps and ``round_delays`` is False.
    """
    steps = node["delay"] / dt
    whole = np.round(steps)
    if not round_delays and (np.abs(steps - whole) > 1e-6 * np.maximum(1.0, whole)).any():
        worst = float(steps.flat[np.abs(steps - whole).argmax()])
        raise fail(
            f"node {name!r} (Delay): delay",
            f"whole steps of dt={dt:g} s",
            f"{worst:.6g} steps",
            "use another dt, or pass round_delays=True",
        )
    if (whole > 2**20).any():
        raise fail(f"node {name!r} (Delay): delay", f"at most {2**20} steps", f"{whole.max():g}")
    return whole.astype(np.int64)


def group_nodes(wiring: Wiring, steps: dict[str, np.ndarray]) -> list[NodeGroup]:
    """Returns the groups of all nodes of a graph, sources before their targets.

    Args:
      wiring: the graph.
      steps: delay in steps of each Delay.

    Raises:
      NIRError: a loop has no state.
    """
    components_found = components(wiring.sources, sorted(wiring.nodes))
    components_found = [g for g in components_found if g[0] in wiring.nodes]
    check_loops(wiring, {name for name, each in steps.items() if (each >= 1).all()})
    loops = {n: frozenset(g) for g in components_found if is_loop(g, wiring.sources) for n in g}
    finder = _Finder(wiring, steps, loops)
    cells: dict[str, NodeGroup] = {}
    for name, node in wiring.nodes.items():
        group = finder.cell(name) if node.is_neuron else None
        if group is not None:
            cells |= dict.fromkeys(group.members, group)
    found: list[NodeGroup] = []
    for component in components_found:
        for name in component:
            group = cells.get(name)
            if group is not None and group.exit == name:
                found.append(group)
            elif group is None and name not in loops:
                sources = wiring.sources[name]
                found.append(NodeGroup(name, "layer", (name,), name, sources=sources))
        if component[0] in loops and component[0] not in cells:
            found.append(_loop(wiring, component))
    return found


class _Finder:
    """Finds the nodes that together are a cell."""

    def __init__(
        self, wiring: Wiring, steps: dict[str, np.ndarray], loops: dict[str, frozenset[str]]
    ) -> None:
        self.wiring, self.steps, self.loops = wiring, steps, loops
        self.nodes, self.sources, self.targets = wiring.nodes, wiring.sources, wiring.targets()

    def uniform(self, name: str) -> int | None:
        """Returns the steps of a Delay if all elements have the same delay, else None."""
        each = self.steps.get(name)
        same = each is not None and each.size and (each == each.flat[0]).all()
        return int(each.flat[0]) if same and each is not None else None

    def feeds_only(self, name: str, kinds: tuple[str, ...], target: str) -> bool:
        """Whether a node has one of these types and the target is its only target."""
        node = self.nodes.get(name)
        return node is not None and node.type in kinds and self.targets[name] == (target,)

    def may_be_one_module(self, name: str, other: str) -> bool:
        """Whether the metadata do not name different modules for two nodes."""
        modules = {self.nodes[n].metadata.get("module") for n in (name, other)}
        return len(modules - {None}) < 2

    def cell(self, name: str) -> NodeGroup | None:
        """Returns the cell that a neuron belongs to, or None if it is in a larger loop."""
        threshold, late = self.threshold_and_delay(name)
        forward = [n for n in (name, threshold, late) if n is not None]
        recurrent, delay, back = self.recurrence(name, forward)
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
        if len(outside) == 1 and self.feeds_only(outside[0], _DENSE, first):
            if self.may_be_one_module(name, outside[0]):
                weight, outside = outside[0], self.sources[outside[0]]
        if recurrent is not None and weight is None and self.biased(recurrent):
            return None
        return NodeGroup(
            name,
            "cell",
            tuple(
                dict.fromkeys(n for n in (*forward, recurrent, back, old, weight) if n is not None)
            ),
            forward[-1],
            weight,
            threshold,
            recurrent,
            old is not None,
            late is not None,
            bool(lag),
            outside,
        )

    def threshold_and_delay(self, name: str) -> tuple[str | None, str | None]:
        """Returns the Threshold and the Delay after a neuron that belong to its cell, or None."""
        threshold = late = None
        last = name
        after = self.targets.get(last, ())
        if self.nodes[name].type in ("I", "LI", "CubaLI") and self.follows(after, "Threshold"):
            if self.may_be_one_module(name, after[0]):
                threshold = last = after[0]
        after = self.targets.get(last, ())
        if self.nodes[name].metadata.get("emit") == "old" and self.follows(after, "Delay"):
            late = after[0] if self.uniform(after[0]) == 1 else None
        return threshold, late

    def follows(self, after: tuple[str, ...], kind: str) -> bool:
        """Whether there is one target, of this type, and it has one source."""
        alone = len(after) == 1 and after[0] in self.nodes
        return alone and self.nodes[after[0]].type == kind and len(self.sources[after[0]]) == 1

    def lag_before(self, name: str, outside: tuple[str, ...]) -> str | None:
        """Returns a Delay of one step before a synapse, or None if there is none."""
        if not self.nodes[name].type.startswith("Cuba") or len(outside) != 1:
            return None
        late = outside[0]
        belongs = self.feeds_only(late, ("Delay",), name) and self.may_be_one_module(name, late)
        return late if belongs and self.uniform(late) == 1 else None

    def biased(self, name: str) -> bool:
        """Whether recurrent weights have a bias that is not 0."""
        node = self.nodes[name]
        return node.type == "Affine" and bool(np.any(node["bias"] != 0))

    def recurrence(self, name: str, forward: list[str]) -> tuple[str | None, int, str | None]:
        """Returns the recurrent weights, their delay in steps, and the node that ends the loop."""
        nothing = None, 0, None
        if name not in self.loops:
            return nothing
        node = self.nodes[name]
        others = self.loops[name] - set(forward)
        fires = node.type in ("IF", "LIF", "CubaLIF") or len(forward) > 1
        matrices = [n for n in others if self.nodes[n].type in _DENSE]
        delays = [n for n in others if n in self.steps]
        if not fires or len(matrices) != 1 or len(delays) > 1 or len(others) > 2:
            return nothing
        weight = matrices[0]
        if len(others) != 1 + len(delays) or self.sources[weight] != (forward[-1],):
            return nothing
        back = delays[0] if delays else weight
        if delays and not (
            self.feeds_only(weight, _DENSE, back) and self.sources[back] == (weight,)
        ):
            return nothing
        late = self.uniform(back) if delays else 0
        if self.targets[back] != (name,) or late is None or (delays and late == 0):
            return nothing
        return weight, late, back


def _loop(wiring: Wiring, component: list[str]) -> NodeGroup:
    inside = set(component)
    entries = tuple(
        (name, outside)
        for name in component
        if (outside := tuple(s for s in wiring.sources[name] if s not in inside))
    )
    targets = wiring.targets()
    exits = tuple(n for n in component if any(t not in inside for t in targets.get(n, ())))
    sources = tuple(s for _, each in entries for s in each)
    return NodeGroup(
        component[0],
        "loop",
        tuple(component),
        exits[0],
        sources=sources,
        entries=entries,
        exits=exits,
    )
