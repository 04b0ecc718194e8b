"""Loops of a graph as cells: the order in which their nodes are computed.

Where the value of a stateless node in the previous step is needed, it is computed again from what
neurons and entries sent in that step. Before the first step, these sent 0.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import flax.linen as nn

from flax_snn.nir.channel_order import last, to_last
from flax_snn.nir.error import fail
from flax_snn.nir.loop_cell import Loop, Operation, StepValue
from flax_snn.nir.reading.grouping import NodeGroup
from flax_snn.nir.reading.modules import BuiltModule, ModuleBuilder, joined, tree_names
from flax_snn.nir.wiring import closing_edges, components, is_loop

_MOST_VALUES = 10_000


def build_loop(builder: ModuleBuilder, node_group: NodeGroup) -> BuiltModule:
    """Returns a cell that advances the nodes of a loop one after the other.

    Args:
      builder: makes the modules of its nodes.
      node_group: the loop.

    Raises:
      NIRError: some elements of a Delay in the loop are 0 and others are not; two edges that close
        loops follow each other.
    """
    wiring, steps, inside = builder.wiring, builder.steps, set(node_group.members)
    zero = {n for n in inside if n in steps and (steps[n] == 0).all()}
    closed = {n for n in inside if n in steps} - zero
    for name in sorted(closed):
        if (steps[name] == 0).any():
            raise fail(
                f"node {name!r} (Delay): delay",
                "in a loop, at least one step for every element, or 0 for all",
                "some of each",
                "elements without a delay need their value of the same step: split the node",
            )
    names = tree_names(sorted(inside))
    entries = {name: f"into {names[name]}" for name, _ in node_group.entries}
    order = _Order(builder, inside, zero, closed, names, entries)
    for name in sorted(inside - zero - closed):
        order.compute(name, False)
    feeds = {names[name]: order.inputs(name, False) for name in sorted(closed)}

    modules: dict[str, nn.Module] = {}
    variables: dict[str, Any] = {}
    cells = []
    for name in sorted(inside - zero - closed):
        if wiring.nodes[name].is_neuron:
            built = builder.cell(NodeGroup(name, "cell", (name,), name))
            cells.append(names[name])
        else:
            built = builder.layer(name)
        modules[names[name]] = built.module
        variables[f"layers_{names[name]}"] = built.variables
    shapes = {names[n]: last(wiring.shapes[n]) for n in inside}
    shapes |= {entries[n]: last(wiring.shapes[each[0]]) for n, each in node_group.entries}
    loop = Loop(
        modules,
        tuple(cells),
        shapes,
        {names[n]: tuple(to_last(steps[n]).ravel().tolist()) for n in sorted(closed)},
        tuple(order.operations),
        feeds,
        tuple(entries[n] for n, _ in node_group.entries),
        tuple(names[n] for n in node_group.exits),
        sum(math.prod(wiring.shapes[n]) for n in node_group.exits),
        builder.param_dtype,
    )
    return BuiltModule(loop, joined(variables))


@dataclasses.dataclass(eq=False)
class _Order:
    """The operations of a step, each after those that compute its inputs.

    Attributes:
      builder: makes the modules, and has the wiring.
      inside: nodes of the loop.
      zero: Delays of 0 steps, which send what they receive.
      closed: Delays of at least one step, each of which closes its loop.
      names: names of the nodes in the variable tree.
      entries: names of the values that come from outside, by node.
    """

    builder: ModuleBuilder
    inside: set[str]
    zero: set[str]
    closed: set[str]
    names: dict[str, str]
    entries: dict[str, str]

    def __post_init__(self) -> None:
        wiring, steps = self.builder.wiring, self.builder.steps
        groups = components(wiring.sources, sorted(wiring.nodes))
        loops = {name for g in groups if is_loop(g, wiring.sources) for name in g}
        late = {n for n in loops if n in steps and (steps[n] >= 1).all()}
        self.closing = closing_edges(wiring, late)
        self.done: set[tuple[str, bool]] = set()
        self.operations: list[Operation] = []

    def inputs(self, name: str, before: bool) -> tuple[StepValue, ...]:
        """Returns the values whose sum a node receives, after adding the operations for them."""
        found: list[StepValue] = [(self.entries[name], before)] if name in self.entries else []
        for source in self.builder.wiring.sources[name]:
            if source in self.inside:
                late = (source, name) in self.closing
                if late and before:
                    raise fail(
                        f"node {name!r}",
                        "a neuron or a Delay between two edges that close loops",
                        "two such edges in a row",
                        "put a Delay of one step into the feedback",
                    )
                found += self._value(source, before or late)
        if len(found) > _MOST_VALUES:
            raise fail(
                f"node {name!r}",
                f"a sum of at most {_MOST_VALUES} values",
                "more, by Delays of 0 steps that are joined again and again",
            )
        return tuple(found)

    def compute(self, name: str, before: bool) -> None:
        """Adds the operation of a node after the operations that compute its inputs."""
        if (name, before) in self.done:
            return
        self.done.add((name, before))
        sources = self.inputs(name, before)
        self.operations.append((self.names[name], before, sources))

    def _value(self, name: str, before: bool) -> tuple[StepValue, ...]:
        if name in self.zero:
            return self.inputs(name, before)
        stored = name in self.closed or (before and self.builder.wiring.nodes[name].is_neuron)
        if not stored:
            self.compute(name, before)
        return ((self.names[name], before),)
