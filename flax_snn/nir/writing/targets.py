"""Frameworks that a graph can be written for, and what their importers read correctly.

Many importers read only some of the graphs that NIR defines, for instance gains of one kind. The
same network can be written as such a graph: gains are moved into the weights, and time constants
are written for the step and the method of the framework. The coefficients of a step and the meaning
of the graph stay the same. What an importer would read wrongly or ignore is refused. Each entry was
tested with the importer of the version in its name.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

import numpy as np

from flax_snn.nir.error import fail
from flax_snn.nir.graph import FIELDS, Graph, Node
from flax_snn.nir.method import Method
from flax_snn.nir.writing.neurons import PopulationNodes

Gain = Literal["any", "r=1", "one", "inferred"]

_DENSE = ("Input", "Output", "Affine", "Linear")
_MAPS = ("Conv2d", "AvgPool2d", "SumPool2d", "Flatten")


@dataclasses.dataclass(frozen=True)
class Target:
    """What the importer of a framework requires of a graph.

    Attributes:
      name: framework and version.
      description: what the importer does.
      dt: step in seconds with which it reads every file; ``None`` for that of the network.
      method: method with which it advances neurons; ``None`` for that of the network.
      leaky: gain of LIF and LI: ``any`` r is read; ``r=1`` is required; or ``one``: r must be such
        that the input is added with gain 1.
      synaptic: gains of CubaLIF and CubaLI, as ``leaky``; ``inferred``: r must be such that the
        framework infers the right step from it.
      counting: gain of IF and I, as ``leaky``.
      recurrence: form of recurrent populations that it reads; ``None`` if it reads none.
      nodes: types of nodes that it reads.
      flat: types of neurons that it does not read as feature maps.
      uniform: parameters that must be the same for all neurons of a population.
      zero: parameters that must be 0.
      same: pairs of parameters that must be equal.
      needs: properties of its neurons that NIR has no field for, names of `flax_snn.nir.LEAVES`.
      bounded: types of neurons whose membrane it bounds below at the negative threshold.
      padded: whether it reads numeric padding and dilation of convolutions.
      sums: whether it sums several edges into a node.
      dense_maps: whether it reads a matrix after a Flatten of a feature map.
      affine: whether it requires an Affine for every matrix.
      ordered: whether it computes nodes in the alphabetical order of their names.
    """

    name: str
    description: str
    dt: float | None = None
    method: Method | None = None
    leaky: Gain = "any"
    synaptic: Gain = "any"
    counting: Gain = "any"
    recurrence: Literal["flat", "nested"] | None = "flat"
    nodes: tuple[str, ...] = tuple(FIELDS)
    flat: tuple[str, ...] = ()
    uniform: tuple[str, ...] = ()
    zero: tuple[str, ...] = ()
    same: tuple[tuple[str, str], ...] = ()
    needs: tuple[str, ...] = ()
    bounded: tuple[str, ...] = ()
    padded: bool = True
    sums: bool = True
    dense_maps: bool = True
    affine: bool = False
    ordered: bool = False

    def fit(
        self, population: PopulationNodes, where: str, dt: float, method: Method
    ) -> tuple[PopulationNodes, np.ndarray | None]:
        """Returns a population with the required gains, and the factor for the weights before it.

        Args:
          population: the population.
          where: the layer, for error messages.
          dt: step in seconds for which the graph is written.
          method: method for which the graph is written.

        Raises:
          NIRError: the framework computes its neurons differently.
        """
        if self is not ANY and "v_threshold" in population.fields:
            self._check_rule(population, where)
        kind = population.kind
        wanted_gain = {"LIF": self.leaky, "LI": self.leaky, "IF": self.counting, "I": self.counting}
        wanted = wanted_gain.get(kind, self.synaptic)
        if wanted == "any":
            return population, None
        fields = dict(population.fields)
        if kind in ("I", "IF"):
            fields["r"] = np.full_like(fields["r"], 1.0 / dt)
            return dataclasses.replace(population, fields=fields), population.gain
        if wanted == "inferred":
            decay = 1.0 - _loss(fields["tau_syn"], dt, method)
            fitted = dataclasses.replace(population, fields=_inferred(fields, dt))
            return fitted, population.gain / decay
        gain = np.ones_like(population.gain)
        pairs = {"tau": "r"} if "tau" in fields else {"tau_mem": "r", "tau_syn": "w_in"}
        for tau, name in pairs.items():
            loss = _loss(fields[tau], dt, method)
            fields[name] = np.ones_like(loss) if wanted == "r=1" else 1.0 / loss
            gain = gain * (loss if wanted == "r=1" else 1.0)
        return dataclasses.replace(population, fields=fields), population.gain / gain

    def _check_rule(self, population: PopulationNodes, where: str) -> None:
        needs = [*self.needs, *(["lower_bound"] if population.kind in self.bounded else [])]
        other = [] if population.emit_lag == 0 else ["spikes a step late"]
        floor = population.metadata.get("v_min")
        if floor is not None and (floor != -population.fields["v_threshold"]).any():
            other.append("a lower bound that is not the negative threshold")
        if set(population.not_in_nir) != set(needs) or other:
            raise fail(
                where,
                f"{' and '.join(needs) or 'plain neurons'}, as {self.name} has them",
                " and ".join([*population.not_in_nir, *other]) or "plain ones",
                "it would compute something else: take another neuron or another target",
            )

    def check(self, graph: Graph) -> None:
        """Raises if the importer would read a graph wrongly or ignore a part of it.

        Raises:
          NIRError: the message names the node and what the importer does with it.
        """
        if self is ANY:
            return
        for name, node in graph.nodes.items():
            if isinstance(node, Graph):
                self.check(node)
                continue
            where = f"node {name!r} ({node.type})"
            if node.type not in self.nodes:
                raise fail(
                    where,
                    f"nodes that {self.name} reads",
                    "one that it refuses or leaves out",
                    f"it reads {', '.join(self.nodes[2:])}",
                )
            self._check_node(node, where)
            into = [a for a, b in graph.edges if b == name]
            if not self.sums and len(into) > 1:
                raise fail(
                    where, f"one edge into a node, which is what {self.name} reads", len(into)
                )
        self._check_maps(graph)

    def _check_node(self, node: Node, where: str) -> None:
        for key in self.uniform:
            values = node.fields.get(key) if node.is_neuron else None
            if values is not None and (values != values.flat[0]).any():
                raise fail(
                    f"{where}: {key}",
                    f"one value for the population, as {self.name} has it",
                    f"{values.min():g} to {values.max():g}",
                )
        for key in self.zero:
            values = node.fields.get(key)
            if values is not None and (values != 0).any():
                raise fail(f"{where}: {key}", f"0, as {self.name} assumes", f"{values.flat[0]:g}")
        for one, other in self.same:
            if one in node.fields and other in node.fields and (node[one] != node[other]).any():
                raise fail(where, f"{one} equal to {other}, as {self.name} asks", "two values")
        if node.type in self.flat and np.ndim(node["r"]) > 1:
            raise fail(
                where, f"flat populations, which {self.name} reads", f"{np.shape(node['r'])}"
            )
        if node.type == "Conv2d" and not self.padded:
            padding = node["padding"]
            numeric = not isinstance(padding, str) and any(padding)
            if numeric or any(d != 1 for d in node["dilation"]) or node["groups"] != 1:
                raise fail(
                    where,
                    f"padding 'same' or 'valid', no dilation, no groups, as {self.name} has",
                    f"padding {padding}, dilation {node['dilation']}, groups {node['groups']}",
                )
        if node.type == "SumPool2d" and any(node["padding"]):
            raise fail(where, f"no padding, which {self.name} ignores", node["padding"])

    def _check_maps(self, graph: Graph) -> None:
        if self.dense_maps:
            return
        for name, node in graph.nodes.items():
            if isinstance(node, Node) and node.type == "Flatten":
                raise fail(
                    f"node {name!r} (Flatten)",
                    f"no feature maps before a matrix in {self.name}",
                    "a Flatten",
                    "it takes the columns of the matrix in another order: use another target",
                )


def _loss(tau: np.ndarray, dt: float, method: Method) -> np.ndarray:
    return np.asarray(dt / tau if method == "euler" else -np.expm1(-dt / tau))


def _inferred(fields: dict[str, np.ndarray], dt: float) -> dict[str, np.ndarray]:
    """Returns fields with the r from which Rockpool infers the step, and with a w_in to match.

    Rockpool computes dt = tau_mem / (1 + r), adds b x to the current and the current to the
    membrane, and ignores r and w_in otherwise. In NIR, (1 - b) w_in (1 - a) r = b describes the
    same neuron.
    """
    leak = _loss(fields["tau_mem"], dt, "exp")
    lost = _loss(fields["tau_syn"], dt, "exp")
    r = fields["tau_mem"] / dt - 1.0
    return fields | {"r": r, "w_in": (1.0 - lost) / (lost * leak * r)}


ANY = Target("NIR", "as it is defined")

TARGETS: dict[str, Target] = {
    each.name: each
    for each in (
        Target(
            "snntorch-1.0.0",
            "Euler steps of 1e-4 s for every file; gains of 1; nested cycles",
            dt=1e-4,
            method="euler",
            leaky="one",
            synaptic="one",
            recurrence="nested",
            nodes=(*_DENSE, "LIF", "CubaLIF", "Conv1d", *_MAPS),
            uniform=("v_threshold",),
            zero=("v_leak", "v_reset"),
            ordered=True,
        ),
        Target(
            "spikingjelly-2.0.0",
            "Euler steps; gains of 1; one value per population",
            method="euler",
            leaky="one",
            synaptic="one",
            counting="one",
            nodes=(*_DENSE, "IF", "LIF", "CubaLIF", "Conv1d", *_MAPS),
            uniform=("tau", "tau_mem", "tau_syn", "v_leak", "v_threshold", "v_reset", "r", "w_in"),
            same=(("v_leak", "v_reset"),),
            ordered=True,
        ),
        Target(
            "norse-1.1.0",
            "Euler steps; r = 1, IF with a gain of 1",
            method="euler",
            leaky="r=1",
            counting="one",
            nodes=(*_DENSE, "IF", "LIF", "CubaLIF", "Conv2d", "SumPool2d", "Flatten"),
            zero=("v_reset",),
            ordered=True,
        ),
        Target(
            "sinabs-3.1.3",
            "time constants in steps, exact decays; gains of 1; several spikes that subtract",
            dt=1.0,
            method="exp",
            leaky="one",
            counting="one",
            recurrence=None,
            nodes=("Input", "Output", "Affine", "IF", "LIF", "Conv2d", "SumPool2d", "Flatten"),
            flat=("LIF",),
            zero=("v_leak", "v_reset"),
            needs=("soft_reset", "several_spikes"),
            bounded=("IF",),
            affine=True,
            ordered=True,
        ),
        Target(
            "rockpool-3.1.0",
            "exact decays; CubaLIF with several spikes that subtract, and the step inferred",
            method="exp",
            synaptic="inferred",
            recurrence="nested",
            nodes=(*_DENSE, "CubaLIF"),
            zero=("v_leak", "v_reset"),
            needs=("soft_reset", "several_spikes"),
            ordered=True,
        ),
        Target(
            "jaxpike-0.1.4",
            "exact decays; r = 1; one value per population; layers in a row",
            method="exp",
            leaky="r=1",
            recurrence=None,
            nodes=(*_DENSE, "LIF", "LI", "Threshold", "Conv2d", "AvgPool2d", "Flatten"),
            uniform=("tau", "v_threshold"),
            zero=("v_leak", "v_reset"),
            padded=False,
            sums=False,
        ),
        Target(
            "spyx-1.0.0",
            "Euler steps; gains of 1; neurons that fire must be without a reset",
            method="euler",
            leaky="one",
            recurrence=None,
            nodes=(*_DENSE, "LI", "Threshold", "Conv2d", "SumPool2d", "Flatten"),
            zero=("v_leak",),
            padded=False,
            sums=False,
            dense_maps=False,
        ),
    )
}
"""Targets by name."""


def find_target(name: Any) -> Target:
    """Returns the target of a name; for None, the one that reads all of NIR.

    Raises:
      NIRError: the name is unknown.
    """
    if name is None:
        return ANY
    if name not in TARGETS:
        raise fail("target", f"None or one of {', '.join(TARGETS)}", repr(name))
    return TARGETS[name]
