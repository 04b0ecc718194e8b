"""Foreign producers: what their files mean where they do not say what NIR says.

A preset is chosen by name and never guessed. Versions are those whose files were run against the
networks that they came from; another version may need another preset, or none.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np

from flax_snn.nir.error import fail
from flax_snn.nir.ir import Graph, Node
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
    """How the files of a framework are read; the defaults are NIR as it is defined.

    Attributes:
      name: framework and version.
      repairs: in words, what differs from NIR.
      method: the only method with which its files mean what they should; ``None`` for any.
      gain: gain of the input: ``r``: (1 - a) r; ``one``: 1, r means nothing.
      if_gain: that of IF and I: ``r``: dt r; ``one``: 1.
      synapse: gain into the synapse: ``w_in``: (1 - b) w_in; ``one``: 1; ``decay``: b, the input
        decays in the step it arrives; w_in then means nothing.
      integrator: gain of LI and I, as ``gain``; ``decay``: a.
      rule: switches of the neurons that fire, by node type; ``""`` for all others.
      start: potential before the first step: a field of the node, ``None`` for v_leak.
      floor: lower bound of the membrane of IF nodes, in thresholds.
      tau: what time constants are given in.
      threshold_lag: whether a Threshold sees the membrane of the step before.
      columns: order of the columns of a matrix behind a Flatten.
      recurrence: whether recurrent weights are written between input and neuron.
      batch: whether shapes of Input and Output hold batch and time.
      dims: whether the axes of Flatten count the batch.
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
        """Return the switches of neurons of a node type."""
        return self.rule.get(kind, self.rule.get("", {}))


NIR = Producer("NIR", ())
"""Files that mean what they say."""

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
    """Return a preset.

    Raises:
      NIRError: an unknown name, or a method with which its files mean something else.
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
    """Return the graph with its values and edges as NIR has them; neurons keep their own rules."""
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
    """Move the edge from the Input to recurrent weights to the neuron that they feed."""
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
    """Bring the columns of matrices behind a Flatten from (H, W, C) to (C, H, W)."""
    for a, b in graph.edges:
        flat, dense = nodes[a], nodes[b]
        if not (isinstance(flat, Node) and flat.type == "Flatten" and isinstance(dense, Node)):
            continue
        shape = flat["input_type"]
        if dense.type not in ("Affine", "Linear") or shape is None or len(shape) < 2:
            continue
        if flatten_axes(flat, len(shape)) != (0, len(shape) - 1):
            continue
        channels, *space = shape
        order = np.moveaxis(np.arange(np.prod(shape)).reshape(*space, channels), -1, 0).ravel()
        weight = dense["weight"][:, order]
        nodes[b] = dataclasses.replace(dense, fields=dense.fields | {"weight": weight})
