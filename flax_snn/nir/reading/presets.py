"""Presets for frameworks whose files deviate from NIR.

A preset is chosen by name and never guessed. Each was tested with files of the version in its name
against the networks that had been exported; another version may need another preset, or none.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np

from flax_snn.nir.error import fail
from flax_snn.nir.graph import Graph, Node
from flax_snn.nir.shapes import flatten_axes

_SINABS = {"fire": "floor", "reset": "soft", "reset_gradient": "flow"}
_ROCKPOOL = _SINABS | {"max_spikes": 2**16}
_SPYX = {
    "emit": "old",
    "reset": "soft",
    "reset_time": "next",
    "reset_site": "sum",
    "reset_gradient": "flow",
}
_SUBTRACT = {
    "reset": "soft",
    "reset_time": "give-back",
    "reset_site": "sum",
    "reset_gradient": "flow",
}
_SUBTRACT_LATE = {"reset": "soft", "reset_time": "next", "reset_site": "sum"}


@dataclasses.dataclass(frozen=True)
class Producer:
    """How the files of a framework are read. The defaults read a file as NIR defines it.

    Attributes:
      name: framework and version.
      repairs: descriptions of what differs from NIR.
      method: the only method with which its files can be read; ``None`` for any.
      gain: gain of the input of a neuron: ``r`` is (1 - a) r; ``one`` is 1, with r ignored.
      if_gain: gain of the input of IF and I: ``r`` is dt r; ``one`` is 1.
      synapse: gain of the input of a synapse: ``w_in`` is (1 - b) w_in; ``one`` is 1; ``decay`` is
        b, because the input decays in the step in which it arrives. The last two ignore w_in.
      integrator: gain of the input of LI and I, as ``gain``; ``decay`` is a.
      rule: fields of `flax_snn.dynamics.Rule` for the neurons that fire, by node type; those under
        ``""`` hold for all other types.
      start: field of the node with the potential before the first step; ``None`` for v_leak.
      floor: lower bound of the membrane of IF nodes, as a multiple of the threshold.
      tau: unit of time constants.
      threshold_lag: whether a Threshold receives the membrane of the previous step.
      columns: order of the columns of a matrix after a Flatten.
      recurrence: whether recurrent weights are written between the input and the neuron.
      batch: whether the shapes of Input and Output include batch and time.
      dims: whether the axes of Flatten are counted with the batch.
    """

    name: str
    repairs: tuple[str, ...]
    method: Literal["euler", "exp"] | None = None
    gain: Literal["r", "one"] = "r"
    if_gain: Literal["r", "one"] = "r"
    synapse: Literal["w_in", "one", "decay"] = "w_in"
    integrator: Literal["r", "one", "decay"] = "r"
    rule: Mapping[str, Mapping[str, Any]] = dataclasses.field(default_factory=dict)
    start: str | None = None
    floor: float | None = None
    tau: Literal["seconds", "steps", "seconds times dt"] = "seconds"
    threshold_lag: bool = False
    columns: Literal["channels first", "channels last"] = "channels first"
    recurrence: Literal["as written", "through the weights"] = "as written"
    batch: bool = False
    dims: bool = False

    def switches(self, kind: str) -> Mapping[str, Any]:
        """Returns the fields of `flax_snn.dynamics.Rule` for neurons of a node type."""
        return self.rule.get(kind, self.rule.get("", {}))


NIR = Producer("NIR", ())
"""Reads files as NIR defines them."""

_NORSE = Producer(
    "norse-1.1.0",
    (
        "time constants were multiplied by dt: divided by it",
        "IF adds its input with gain 1 (NIR: dt r)",
        "the synapse adds its input with gain 1 (NIR: (1 - b) w_in)",
        "the axes of Flatten count the batch",
    ),
    method="euler",
    if_gain="one",
    synapse="one",
    tau="seconds times dt",
    dims=True,
)
_SINABS_3 = Producer(
    "sinabs-3.1.3",
    (
        "time constants are in steps",
        "the input is added with gain 1 (NIR: (1 - a) r)",
        "several spikes per step, each subtracts the threshold",
    ),
    method="exp",
    gain="one",
    if_gain="one",
    integrator="one",
    rule={"": _SINABS},
    floor=-1.0,
    tau="steps",
)
_SNNTORCH = Producer("snntorch-1.0.0", (), method="euler")

PRODUCERS: dict[str, Producer] = {
    each.name: each
    for each in (
        _NORSE,
        dataclasses.replace(
            _NORSE,
            name="norse-1.1.0-soft",
            repairs=(*_NORSE.repairs, "spikes subtract the threshold (reset_method=subtract)"),
            rule={"": {"reset": "soft", "reset_gradient": "flow"}},
        ),
        _SINABS_3,
        dataclasses.replace(
            _SINABS_3,
            name="sinabs-3.1.3-norm_input",
            repairs=(
                _SINABS_3.repairs[0],
                "the input is added with gain 1 - a (norm_input=True)",
                _SINABS_3.repairs[2],
            ),
            gain="r",
        ),
        Producer(
            "rockpool-3.1.0",
            (
                "the input decays in the step it arrives; gain 1, r and w_in mean nothing",
                "several spikes per step, each subtracts the threshold",
                "LI is v <- a (v + x)",
                "shapes of Input and Output hold batch and time: left out",
            ),
            method="exp",
            gain="one",
            if_gain="one",
            synapse="decay",
            integrator="decay",
            rule={"": _ROCKPOOL},
            batch=True,
        ),
        Producer(
            "spyx-1.0.0",
            (
                "the input is added with gain 1, r means nothing",
                "spikes of the entering membrane, which subtract the threshold",
                "a Threshold sees the membrane of the step before",
                "columns behind a Flatten are in the order (H, W, C)",
                "recurrent weights stand between input and neuron: put into the loop",
            ),
            method="euler",
            gain="one",
            if_gain="one",
            synapse="one",
            integrator="one",
            rule={"": _SPYX, "CubaLIF": _SPYX | {"reset_site": "state"}},
            threshold_lag=True,
            columns="channels last",
            recurrence="through the weights",
        ),
        _SNNTORCH,
        dataclasses.replace(
            _SNNTORCH,
            name="snntorch-1.0.0-subtract",
            repairs=("spikes subtract the threshold one step later (Leaky as it is by default)",),
            rule={"": _SUBTRACT_LATE},
        ),
        dataclasses.replace(
            _SNNTORCH,
            name="snntorch-1.0.0-subtract-now",
            repairs=("spikes subtract the threshold in the same step (reset_delay=False)",),
            rule={"": _SUBTRACT},
        ),
        Producer(
            "spikingjelly-2.0.0",
            ("neurons fire at v_threshold (NIR: above it)", "membranes start at v_reset"),
            method="euler",
            rule={"": {"fire": ">="}},
            start="v_reset",
        ),
        Producer("jaxpike-0.1.4", (), method="exp"),
    )
}
"""Presets by name."""


def find_producer(name: str | None, method: str) -> Producer:
    """Returns the preset of a name; for None, the one that reads NIR as defined.

    Raises:
      NIRError: the name is unknown, or the framework steps its neurons with another method.
    """
    if name is None:
        return NIR
    if name not in PRODUCERS:
        raise fail("producer", f"None or one of {', '.join(PRODUCERS)}", repr(name))
    producer = PRODUCERS[name]
    if producer.method not in (None, method):
        raise fail(
            "method", f"{producer.method!r}, with which {name} steps its neurons", repr(method)
        )
    return producer


def repaired(graph: Graph, producer: Producer, dt: float) -> Graph:
    """Returns a graph whose values and edges have been converted to what NIR defines.

    What deviates in the update of a neuron stays in the preset, and is used by the neurons.
    """
    nodes = dict(graph.nodes)
    for name, node in graph.nodes.items():
        if isinstance(node, Graph):
            inner = repaired(node, producer, dt)
            nodes[name] = _loop(inner) if producer.recurrence != "as written" else inner
        else:
            nodes[name] = _node(node, producer, dt)
    if producer.columns == "channels last":
        _permute_columns(graph, nodes)
    return dataclasses.replace(graph, nodes=nodes)


def _node(node: Node, producer: Producer, dt: float) -> Node:
    fields = dict(node.fields)
    scale = {"seconds": 1.0, "steps": dt, "seconds times dt": 1.0 / dt}[producer.tau]
    for name in ("tau", "tau_mem", "tau_syn"):
        if name in fields and scale != 1.0:
            fields[name] = fields[name] * scale
    if producer.dims and node.type == "Flatten" and fields["start_dim"] >= 1:
        fields["start_dim"] -= 1
        fields["end_dim"] -= fields["end_dim"] > 0
    if producer.batch and node.type in ("Input", "Output"):
        fields["shape"] = fields["shape"][2:] if len(fields["shape"]) > 2 else fields["shape"]
    return dataclasses.replace(node, fields=fields)


def _loop(graph: Graph) -> Graph:
    """Redirects the edge from the Input to recurrent weights to the neuron after the weights."""
    kinds = {name: node.type for name, node in graph.nodes.items() if isinstance(node, Node)}
    neurons = [n for n, kind in kinds.items() if kind in ("LIF", "IF", "CubaLIF")]
    edges = tuple(
        (a, neurons[0])
        if kinds.get(a) == "Input" and kinds.get(b) == "Linear" and (b, neurons[0]) in graph.edges
        else (a, b)
        for a, b in graph.edges
        if neurons
    )
    return dataclasses.replace(graph, edges=edges)


def _permute_columns(graph: Graph, nodes: dict[str, Any]) -> None:
    """Permutes the columns of matrices after a Flatten from (H, W, C) to (C, H, W)."""
    for a, b in graph.edges:
        flat, dense = nodes[a], nodes[b]
        if not (isinstance(flat, Node) and flat.type == "Flatten" and isinstance(dense, Node)):
            continue
        shape = flat["input_type"]
        if dense.type not in ("Affine", "Linear") or shape is None or len(shape) < 2:
            continue
        if flatten_axes(flat, len(shape)) != (0, len(shape) - 1):
            continue
        if math.prod(shape) != dense["weight"].shape[-1]:  # refused with the other edges
            continue
        channels, *space = shape
        order = np.moveaxis(np.arange(math.prod(shape)).reshape(*space, channels), -1, 0).ravel()
        weight = dense["weight"][:, order]
        nodes[b] = dataclasses.replace(dense, fields=dense.fields | {"weight": weight})
