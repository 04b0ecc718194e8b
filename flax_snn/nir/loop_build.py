"""Loops of a graph as cells: which node is computed when, and from values of which step.

A stateless node whose value of the step before is asked for computes it again, from what neurons
and entries sent then: so what it sends before the first step is what it makes of silence.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import flax.linen as nn

from flax_snn.nir.error import fail
from flax_snn.nir.layout import last, to_last
from flax_snn.nir.loop import Loop, Operation, Value
from flax_snn.nir.parts import Builder, Part, joined, tree_names
from flax_snn.nir.units import Unit
from flax_snn.nir.wiring import closing_edges, components, is_loop


def build_loop(builder: Builder, unit: Unit) -> Part:
    """Return a cell that advances the nodes of a loop one after the other.

    Args:
      builder: makes the modules of its nodes.
      unit: the loop.

    Raises:
      NIRError: Delays of which some elements are 0; edges that close loops in a row.
    """
    wiring, steps, inside = builder.wiring, builder.steps, set(unit.members)
    zero = {n for n in inside if n in steps and (steps[n] == 0).all()}
    closed = {n for n in inside if n in steps} - zero
    for name in sorted(closed):
        if (steps[name] == 0).any():
            raise fail(
                f"node {name!r} (Delay): delay",
                "in a loop, at least one step for every element, or 0 for all",
                "both",
                "with a delay the loop is closed by it, without one by the step: split the node",
            )
    names = tree_names(sorted(inside))
    entries = {name: f"into {names[name]}" for name, _ in unit.entries}
    order = _Order(builder, inside, zero, closed, names, entries)
    for name in sorted(inside - zero - closed):
        order.compute(name, False)
    feeds = {names[name]: order.inputs(name, False) for name in sorted(closed)}

    modules: dict[str, nn.Module] = {}
    variables: dict[str, Any] = {}
    cells = []
    for name in sorted(inside - zero - closed):
        if wiring.nodes[name].is_neuron:
            part = builder.cell(Unit(name, "cell", (name,), name))
            cells.append(names[name])
        else:
            part = builder.layer(name)
        modules[names[name]] = part.module
        variables[f"layers_{names[name]}"] = part.variables
    shapes = {names[n]: last(wiring.shapes[n]) for n in inside}
    shapes |= {entries[n]: last(wiring.shapes[each[0]]) for n, each in unit.entries}
    loop = Loop(
        modules,
        tuple(cells),
        shapes,
        {names[n]: tuple(to_last(steps[n]).ravel().tolist()) for n in sorted(closed)},
        tuple(order.operations),
        feeds,
        tuple(entries[n] for n, _ in unit.entries),
        tuple(names[n] for n in unit.exits),
        sum(math.prod(wiring.shapes[n]) for n in unit.exits),
        builder.param_dtype,
    )
    return Part(loop, joined(variables))


@dataclasses.dataclass(eq=False)
class _Order:
    """Operations of a step in an order in which each finds its inputs computed.

    Attributes:
      builder: has the wiring.
      inside: nodes of the loop.
      zero: Delays of no step, which pass on what comes.
      closed: Delays that close loops by themselves.
      names: names of the nodes in the variable tree.
      entries: names of what comes from outside, by node.
    """

    builder: Builder
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

    def inputs(self, name: str, before: bool) -> tuple[Value, ...]:
        """Return what is summed into a node, and have it computed first."""
        found: list[Value] = [(self.entries[name], before)] if name in self.entries else []
        for source in self.builder.wiring.sources[name]:
            if source in self.inside:
                late = (source, name) in self.closing
                if late and before:
                    raise fail(
                        f"node {name!r}",
                        "a neuron or a Delay between two edges that close loops",
                        "two such edges in a row",
                        "put a Delay of one step where the feedback is meant to wait",
                    )
                found += self._value(source, before or late)
        return tuple(found)

    def compute(self, name: str, before: bool) -> None:
        """Add the operation of a node, its inputs first."""
        if (name, before) in self.done:
            return
        self.done.add((name, before))
        sources = self.inputs(name, before)
        self.operations.append((self.names[name], before, sources))

    def _value(self, name: str, before: bool) -> tuple[Value, ...]:
        if name in self.zero:
            return self.inputs(name, before)
        kept = name in self.closed or (before and self.builder.wiring.nodes[name].is_neuron)
        if not kept:
            self.compute(name, before)
        return ((self.names[name], before),)
