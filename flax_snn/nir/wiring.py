"""The wiring of a graph: nested graphs dissolved, every edge and shape checked, loops found.

A nested graph is entered by its Input and left by its Output, which are wires; its nodes take the
name of the graph in front of theirs, ``rnn.lif``. Several edges into a node are summed.

An edge closes a loop if its target is an ancestor in a depth-first walk from the Input, successors
in alphabetical order: it carries the value of the step before. A Delay of at least one step inside
a loop closes the loop by itself: the latency is that of the Delay.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping

from flax_snn.nir.error import fail
from flax_snn.nir.ir import Graph, Node, Shape
from flax_snn.nir.shapes import output_shape, own_shape


@dataclasses.dataclass(frozen=True, eq=False)
class Wiring:
    """A graph without nesting.

    Attributes:
      nodes: nodes that compute, by name.
      sources: names of the nodes that are summed into each node, and into the output.
      input: name of the Input.
      output: name of the Output.
      shapes: shape of what each node sends, channels first; that of the input among them.
      metadata: that of the root graph.
    """

    nodes: dict[str, Node]
    sources: dict[str, tuple[str, ...]]
    input: str
    output: str
    shapes: dict[str, Shape]
    metadata: dict[str, object]

    def targets(self) -> dict[str, tuple[str, ...]]:
        """Return the names of the nodes that each node feeds."""
        return _reversed(self.sources)

    def in_shape(self, name: str) -> Shape:
        """Return the shape of what a node receives."""
        return self.shapes[self.sources[name][0]]


def wire(graph: Graph) -> Wiring:
    """Dissolve nested graphs and check the wiring.

    Raises:
      NIRError: no Input or Output, several of them; nodes without a path from the Input or to the
        Output; shapes that do not fit; loops without a state.
    """
    nodes, edges = _dissolve(graph, "")
    ends = {}
    for kind in ("Input", "Output"):
        names = [
            n for n, node in graph.nodes.items() if isinstance(node, Node) and node.type == kind
        ]
        if len(names) != 1:
            raise fail(
                "graph",
                f"one {kind} node",
                f"{len(names)}{f': {names}' if names else ''}",
                "a network here has one input and one output: join them, or export the parts",
            )
        ends[kind] = names[0]
    into: dict[str, list[str]] = {name: [] for name in nodes}
    for a, b in edges:
        into[b].append(a)
    sources = {name: tuple(each) for name, each in into.items()}
    _check_ends(sources, ends["Input"], ends["Output"])
    _check_reach(sources, ends["Input"], ends["Output"])
    shapes = _shapes(nodes, sources, ends["Input"])

    wires = {n for n, node in nodes.items() if node.type in ("Input", "Output")} - {ends["Input"]}
    kept = {n: node for n, node in nodes.items() if node.type not in ("Input", "Output")}
    plain = {
        name: tuple(s for source in sources[name] for s in _through(source, sources, wires, ()))
        for name in (*kept, ends["Output"])
    }
    used = {name: shapes[name] for name in (*kept, ends["Input"], ends["Output"])}
    wiring = Wiring(kept, plain, ends["Input"], ends["Output"], used, graph.metadata)
    late = {n for n, node in kept.items() if node.type == "Delay" and (node["delay"] > 0).all()}
    check_loops(wiring, late)
    return wiring


def components(sources: Mapping[str, tuple[str, ...]], names: Iterable[str]) -> list[list[str]]:
    """Return groups of nodes that can reach each other, sources before targets.

    Tarjan's algorithm, *Depth-first search and linear graph algorithms*, 1972, without recursion.
    """
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    waiting: set[str] = set()
    found: list[list[str]] = []
    for root in names:
        if root in index:
            continue
        work = [(root, iter(sources.get(root, ())))]
        index[root] = low[root] = len(index)
        stack.append(root)
        waiting.add(root)
        while work:
            node, rest = work[-1]
            for source in rest:
                if source not in index:
                    index[source] = low[source] = len(index)
                    stack.append(source)
                    waiting.add(source)
                    work.append((source, iter(sources.get(source, ()))))
                    break
                if source in waiting:
                    low[node] = min(low[node], index[source])
            else:
                work.pop()
                if work:
                    low[work[-1][0]] = min(low[work[-1][0]], low[node])
                if low[node] == index[node]:
                    group: list[str] = []
                    while not group or group[-1] != node:
                        group.append(stack.pop())
                        waiting.discard(group[-1])
                    found.append(sorted(group))
    return found


def is_loop(group: list[str], sources: Mapping[str, tuple[str, ...]]) -> bool:
    """Whether the nodes of a component form a loop."""
    return len(group) > 1 or group[0] in sources.get(group[0], ())


def check_loops(wiring: Wiring, closed: set[str]) -> None:
    """Refuse loops that nothing in them makes a matter of time.

    Args:
      wiring: the graph.
      closed: Delays that close loops by themselves.

    Raises:
      NIRError: a loop of stateless nodes alone.
    """
    state = {name for name, node in wiring.nodes.items() if node.is_neuron} | closed
    rest = {
        name: tuple(source for source in sources if source not in state)
        for name, sources in wiring.sources.items()
        if name not in state
    }
    for group in components(rest, sorted(set(rest) & set(wiring.nodes))):
        if is_loop(group, rest):
            raise fail(
                f"nodes {', '.join(map(repr, group))}",
                "a neuron or a Delay of at least one step in every loop",
                "none",
                "a loop without a state has no solution in time: add a Delay, or remove an edge",
            )


def closing_edges(wiring: Wiring, closed: set[str]) -> set[tuple[str, str]]:
    """Return the edges that carry the value of the step before.

    Args:
      wiring: the graph.
      closed: Delays in loops, which close them by themselves: nothing passes them within a step.
    """
    targets = {name: tuple(sorted(set(t))) for name, t in wiring.targets().items()}
    found: set[tuple[str, str]] = set()
    done: set[str] = set()
    # What a Delay sends belongs to the past: it begins a walk of its own.
    for root in (wiring.input, *sorted(closed)):
        if root in done:
            continue
        path, work = {root}, [(root, iter(targets.get(root, ())))]
        while work:
            node, rest = work[-1]
            for target in rest:
                if target in closed or target == wiring.output:
                    continue
                if target in path:
                    found.add((node, target))
                elif target not in done:
                    path.add(target)
                    work.append((target, iter(targets.get(target, ()))))
                    break
            else:
                work.pop()
                path.discard(node)
                done.add(node)
    return found


def _dissolve(graph: Graph, prefix: str) -> tuple[dict[str, Node], list[tuple[str, str]]]:
    nodes: dict[str, Node] = {}
    edges: list[tuple[str, str]] = []
    entry: dict[str, str] = {}
    leave: dict[str, str] = {}
    for name, node in graph.nodes.items():
        full = prefix + name
        if isinstance(node, Node):
            nodes[full] = node
            entry[name] = leave[name] = full
            continue
        inner, inside = _dissolve(node, f"{full}.")
        nodes |= inner
        edges += inside
        for kind, end in (("Input", entry), ("Output", leave)):
            names = [
                n for n, each in node.nodes.items() if isinstance(each, Node) and each.type == kind
            ]
            if len(names) != 1:
                raise fail(
                    f"nested graph {full!r}",
                    f"one {kind} node",
                    f"{len(names)}",
                    "an edge to the graph must say where it enters: dissolve the nested graph",
                )
            end[name] = f"{full}.{names[0]}"
    edges += [(leave[a], entry[b]) for a, b in graph.edges]
    return nodes, edges


def _reversed(sources: Mapping[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    targets: dict[str, list[str]] = {}
    for name, each in sources.items():
        for source in each:
            targets.setdefault(source, []).append(name)
    return {name: tuple(each) for name, each in targets.items()}


def _check_ends(sources: Mapping[str, tuple[str, ...]], first: str, last: str) -> None:
    if sources[first]:
        raise fail(f"node {first!r} (Input)", "no edge into it", f"one from {sources[first][0]!r}")
    leaving = _reversed(sources).get(last)
    if leaving:
        raise fail(f"node {last!r} (Output)", "no edge out of it", f"one to {leaving[0]!r}")


def _check_reach(sources: Mapping[str, tuple[str, ...]], first: str, last: str) -> None:
    for start, neighbours, words in (
        (first, _reversed(sources), "a path from the Input"),
        (last, sources, "a path to the Output"),
    ):
        seen, work = {start}, [start]
        while work:
            for name in neighbours.get(work.pop(), ()):
                if name not in seen:
                    seen.add(name)
                    work.append(name)
        left = sorted(set(sources) - seen)
        if left:
            raise fail(
                f"node {left[0]!r}", words, "none", "connect it, or remove it from the graph"
            )


def _shapes(
    nodes: Mapping[str, Node], sources: Mapping[str, tuple[str, ...]], first: str
) -> dict[str, Shape]:
    shapes = {name: shape for name, node in nodes.items() if (shape := own_shape(node)) is not None}
    changed = True
    while changed:
        changed = False
        for name, node in nodes.items():
            known = [s for s in sources[name] if s in shapes]
            if name not in shapes and known:
                shapes[name] = output_shape(node, name, known[0], shapes[known[0]])
                changed = True
    for name, node in nodes.items():
        for source in sources[name]:
            if source not in shapes:
                raise fail(f"node {source!r}", "a shape that follows from its input", "none")
            output_shape(node, name, source, shapes[source])
    return shapes


def _through(
    name: str, sources: Mapping[str, tuple[str, ...]], wires: set[str], path: tuple[str, ...]
) -> tuple[str, ...]:
    """Return the nodes that a wire leads back to; a node leads to itself."""
    if name not in wires:
        return (name,)
    if name in path:
        raise fail(f"node {name!r}", "a node that computes in every loop", "a loop of wires only")
    return tuple(
        s for source in sources[name] for s in _through(source, sources, wires, (*path, name))
    )
