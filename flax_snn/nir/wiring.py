"""The wiring of a graph: nested graphs are dissolved, edges and shapes checked, loops found.

A nested graph receives through its Input and sends through its Output. Once it is dissolved, the
names of its nodes begin with the name of the graph: ``rnn.lif``. A node that several edges lead to
receives the sum.

In a loop, some edge carries the value of the previous step. It is the edge whose target is an
ancestor in a depth-first walk from the Input, with successors in alphabetical order. A Delay of at
least one step inside a loop takes the place of such an edge: the latency is that of the Delay.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping

from flax_snn.nir.error import fail
from flax_snn.nir.graph import Graph, Node, Shape
from flax_snn.nir.shapes import fixed_shape, output_shape

_MOST_SOURCES = 10_000


@dataclasses.dataclass(frozen=True, eq=False)
class Wiring:
    """A graph without nesting, whose edges and shapes have been checked.

    Attributes:
      nodes: all nodes except Inputs and Outputs, by name.
      sources: for each node and the Output, the names of the nodes whose sum it receives.
      input: name of the Input.
      output: name of the Output.
      shapes: shape of what each node and the Input send, channels first.
      metadata: metadata of the root graph.
    """

    nodes: dict[str, Node]
    sources: dict[str, tuple[str, ...]]
    input: str
    output: str
    shapes: dict[str, Shape]
    metadata: dict[str, object]

    def targets(self) -> dict[str, tuple[str, ...]]:
        """Returns, for each node, the names of the nodes that receive its output."""
        return _reversed(self.sources)

    def in_shape(self, name: str) -> Shape:
        """Returns the shape of what a node receives."""
        return self.shapes[self.sources[name][0]]


def wire(graph: Graph) -> Wiring:
    """Dissolves nested graphs and checks edges, shapes and loops.

    Raises:
      NIRError: there is not exactly one Input and one Output; a node has no path from the Input or
        to the Output; shapes do not match; a loop has no state.
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
                "a network has one input and one output: join them, or export the parts separately",
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
    computing = {n: node for n, node in nodes.items() if node.type not in ("Input", "Output")}
    behind = _behind(sources, wires)
    plain = {name: _joined(name, sources[name], behind) for name in (*computing, ends["Output"])}
    sent = {name: shapes[name] for name in (*computing, ends["Input"], ends["Output"])}
    wiring = Wiring(computing, plain, ends["Input"], ends["Output"], sent, graph.metadata)
    late = {
        n for n, node in computing.items() if node.type == "Delay" and (node["delay"] > 0).all()
    }
    check_loops(wiring, late)
    return wiring


def components(sources: Mapping[str, tuple[str, ...]], names: Iterable[str]) -> list[list[str]]:
    """Returns groups of nodes that can reach each other, sources before their targets.

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
    """Raises if a loop has neither a neuron nor a Delay, so that no step separates its values.

    Args:
      wiring: the graph.
      closed: names of the Delays of at least one step.

    Raises:
      NIRError: all nodes of a loop are stateless.
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
                "nodes without a state would need their output of the same step: add a Delay, or"
                " remove an edge",
            )


def closing_edges(wiring: Wiring, closed: set[str]) -> set[tuple[str, str]]:
    """Returns the edges that carry the value of the previous step.

    Args:
      wiring: the graph.
      closed: names of the Delays of at least one step in loops, which no value passes within a
        step.
    """
    targets = {name: tuple(sorted(set(t))) for name, t in wiring.targets().items()}
    found: set[tuple[str, str]] = set()
    done: set[str] = set()
    # What a Delay sends was received in an earlier step, so a new walk starts at it.
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
                    "an edge to a nested graph enters it at its Input: put the nodes of this graph"
                    " into the graph around it",
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
    for start, neighbours, expected in (
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
                f"node {left[0]!r}", expected, "none", "connect it, or remove it from the graph"
            )


def _shapes(
    nodes: Mapping[str, Node], sources: Mapping[str, tuple[str, ...]], first: str
) -> dict[str, Shape]:
    shapes = {
        name: shape for name, node in nodes.items() if (shape := fixed_shape(node)) is not None
    }
    targets = _reversed(sources)
    waiting = [name for name in nodes if name in shapes]
    while waiting:
        source = waiting.pop()
        for name in targets.get(source, ()):
            if name not in shapes:
                shapes[name] = output_shape(nodes[name], name, source, shapes[source])
                waiting.append(name)
    for name, node in nodes.items():
        for source in sources[name]:
            if source not in shapes:
                raise fail(
                    f"node {source!r}",
                    "a node whose shape follows from its input",
                    "one whose input shape is unknown",
                )
            output_shape(node, name, source, shapes[source])
    return shapes


def _behind(sources: Mapping[str, tuple[str, ...]], wires: set[str]) -> dict[str, tuple[str, ...]]:
    """Returns, for each Input or Output that passes values on, the computing nodes behind it."""
    inner = {n: tuple(s for s in sources[n] if s in wires) for n in wires}
    found: dict[str, tuple[str, ...]] = {}
    for group in components(inner, sorted(wires)):
        if is_loop(group, inner):
            raise fail(
                f"node {group[0]!r}",
                "a node that computes in every loop",
                "a loop of Inputs and Outputs only",
            )
        (name,) = group  # what it receives from was found before it
        found[name] = _joined(name, sources[name], found)
    return found


def _joined(
    name: str, sources: tuple[str, ...], behind: Mapping[str, tuple[str, ...]]
) -> tuple[str, ...]:
    """Returns the computing nodes whose sum a node receives."""
    if sum(len(behind.get(source, "1")) for source in sources) > _MOST_SOURCES:
        raise fail(
            f"node {name!r}",
            f"a sum of at most {_MOST_SOURCES} values",
            "more, by Inputs and Outputs that are joined again and again",
        )
    return tuple(s for source in sources for s in behind.get(source, (source,)))
