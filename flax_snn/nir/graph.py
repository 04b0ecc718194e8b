"""A NIR graph as plain data.

The nodes are those of nir 1.0.8 (Pedersen et al., *Neuromorphic intermediate representation: a
unified instruction set for interoperable brain-inspired computing*, 2024). Shapes have channels
first and no axes for batch and time; times are in seconds.
"""

from __future__ import annotations

import dataclasses
from typing import Any

Shape = tuple[int, ...]

SHAPE = "shape"
REAL = "real"
POSITIVE = "positive"
WEIGHT = "weight"
WHOLE = "whole"
SPATIAL = "spatial"
PADDING = "padding"
AXIS = "axis"
DELAY = "delay"

_LI = {"tau": POSITIVE, "r": POSITIVE, "v_leak": REAL}
_CUBALI = {
    "tau_mem": POSITIVE,
    "tau_syn": POSITIVE,
    "r": POSITIVE,
    "v_leak": REAL,
    "w_in": REAL,
}
_FIRE = {"v_threshold": REAL, "v_reset": REAL}
_CONV = {
    "input_shape": SPATIAL,
    "weight": WEIGHT,
    "stride": SPATIAL,
    "padding": PADDING,
    "dilation": SPATIAL,
    "groups": WHOLE,
    "bias": WEIGHT,
}
_POOL = {"kernel_size": SPATIAL, "stride": SPATIAL, "padding": PADDING}

FIELDS: dict[str, dict[str, str]] = {
    "Input": {"shape": SHAPE},
    "Output": {"shape": SHAPE},
    "Affine": {"weight": WEIGHT, "bias": WEIGHT},
    "Linear": {"weight": WEIGHT},
    "Scale": {"scale": WEIGHT},
    "Conv1d": _CONV,
    "Conv2d": _CONV,
    "SumPool2d": _POOL,
    "AvgPool2d": _POOL,
    "Flatten": {"input_type": SHAPE, "start_dim": AXIS, "end_dim": AXIS},
    "Delay": {"delay": DELAY},
    "Threshold": {"threshold": REAL},
    "I": {"r": POSITIVE},
    "IF": {"r": POSITIVE} | _FIRE,
    "LI": _LI,
    "LIF": _LI | _FIRE,
    "CubaLI": _CUBALI,
    "CubaLIF": _CUBALI | _FIRE,
}
"""Fields of each node type except NIRGraph, and the kind of value that each field has."""

NEURONS = ("I", "IF", "LI", "LIF", "CubaLI", "CubaLIF")
"""Node types that have a state."""


@dataclasses.dataclass(frozen=True, eq=False)
class Node:
    """A node whose fields have been checked.

    Attributes:
      type: name of the node type, a key of `FIELDS`.
      fields: parameters by name. Weights have the dtype of the file, parameters of neurons are
        float64, shapes and strides are tuples of ints.
      metadata: metadata of the node: strings, numbers, bools, arrays and dicts of these.
    """

    type: str
    fields: dict[str, Any]
    metadata: dict[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def is_neuron(self) -> bool:
        """Whether the node has a state."""
        return self.type in NEURONS

    def __getitem__(self, name: str) -> Any:
        return self.fields[name]


@dataclasses.dataclass(frozen=True, eq=False)
class Graph:
    """A graph of nodes and of nested graphs.

    Attributes:
      nodes: nodes and nested graphs by name, in alphabetical order.
      edges: pairs of names, (source, target).
      metadata: metadata of the graph, as in `Node`.
    """

    nodes: dict[str, Node | Graph]
    edges: tuple[tuple[str, str], ...]
    metadata: dict[str, Any] = dataclasses.field(default_factory=dict)
