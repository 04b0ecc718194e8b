"""Checks of every field of a graph: plain values become a graph, or an error names the field."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from flax_snn.nir import graph as ir
from flax_snn.nir.error import fail
from flax_snn.nir.graph import FIELDS, Graph, Node
from flax_snn.nir.rounding import without_rounding

_OPTIONAL: dict[str, Any] = {"input_shape": None, "input_type": None, "start_dim": 1, "end_dim": -1}


def parse_graph(raw: Mapping[str, Any], where: str = "graph") -> Graph:
    """Returns a graph made of plain values, after a check of every field.

    Args:
      raw: ``{"type": "NIRGraph", "nodes": {name: ...}, "edges": [(from, to), ...]}``.
      where: name of the graph in error messages.

    Raises:
      NIRError: a type or field is unknown, a field is missing, or a value is of the wrong kind.
    """
    unknown = set(raw) - {"type", "nodes", "edges", "metadata"}
    if unknown:
        raise fail(where, "nodes, edges and metadata", f"unknown fields {sorted(unknown)}", _REMOVE)
    if not isinstance(raw.get("nodes"), Mapping) or not raw["nodes"]:
        raise fail(where, "a graph with nodes", "none", "export the network again")
    if "edges" not in raw:
        raise fail(where, "edges", "none", "export the network again")
    nodes = {
        str(name): parse_node(
            raw["nodes"][name], f"node {name!r}" if where == "graph" else f"{where}, node {name!r}"
        )
        for name in sorted(raw["nodes"])
    }
    return Graph(nodes, _edges(raw["edges"], nodes, where), metadata_of(raw, where))


def parse_node(raw: Any, where: str) -> Node | Graph:
    """Returns a node made of plain values, after a check of every field.

    Args:
      raw: ``{"type": ..., field: value, ...}``.
      where: name of the node in error messages.

    Raises:
      NIRError: a type or field is unknown, a field is missing, or a value is of the wrong kind.
    """
    if not isinstance(raw, Mapping) or not isinstance(raw.get("type"), str):
        raise fail(where, "a group with a field 'type'", "none", "export the network again")
    kind = raw["type"]
    if kind == "NIRGraph":
        return parse_graph(raw, where)
    if kind not in FIELDS:
        raise fail(where, f"a type among {', '.join([*FIELDS, 'NIRGraph'])}", repr(kind), _REMOVE)
    wanted = FIELDS[kind]
    unknown = sorted(set(raw) - set(wanted) - {"type", "metadata"})
    if unknown:
        raise fail(
            f"{where} ({kind})",
            f"fields {', '.join(wanted)}",
            f"unknown {', '.join(unknown)}",
            _REMOVE,
        )
    fields: dict[str, Any] = {}
    for name, what in wanted.items():
        value = raw.get(name)
        if value is None and name == "v_reset" and "v_threshold" in raw:
            value = np.zeros_like(np.asarray(raw["v_threshold"], np.float64))  # as nir reads it
        if value is None and name not in _OPTIONAL:
            raise fail(f"{where} ({kind})", f"a field {name!r}", "none", "export the network again")
        label = f"{where} ({kind}): {name}"
        fields[name] = _OPTIONAL[name] if value is None else _checked(what, value, label)
    node = Node(kind, fields, metadata_of(raw, where))
    _check_together(node, f"{where} ({kind})")
    return node


def metadata_of(raw: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Returns the metadata of a graph or node as plain Python values."""
    found = raw.get("metadata") or {}
    if not isinstance(found, Mapping):
        raise fail(f"{where}: metadata", "a group of values", repr(type(found).__name__))
    return {str(key): _plain(value) for key, value in found.items()}


_REMOVE = (
    "flax_snn ignores nothing silently: remove it from the graph if the network does not need it"
)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, bytes):
        return value.decode("utf8", "replace")
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return value.item() if value.ndim == 0 else value
    return value


def _edges(raw: Any, nodes: Mapping[str, Any], where: str) -> tuple[tuple[str, str], ...]:
    edges: list[tuple[str, str]] = []
    seen: set[tuple[str, str]] = set()
    try:
        pairs = [(str(a), str(b)) for a, b in raw]
    except (TypeError, ValueError):
        raise fail(f"{where}: edges", "pairs of node names", repr(raw)[:80]) from None
    for edge in pairs:
        for name, end in zip(edge, ("from", "to"), strict=True):
            if name not in nodes:
                raise fail(
                    f"{where}: edge {edge[0]!r} -> {edge[1]!r}",
                    f"nodes among {', '.join(map(repr, list(nodes)[:20]))}",
                    f"an edge {end} {name!r}, which does not exist",
                    "add the node or remove the edge",
                )
        if edge in seen:
            raise fail(
                f"{where}: edge {edge[0]!r} -> {edge[1]!r}",
                "each edge once",
                "this one twice",
                "to count an input twice, double its weights",
            )
        edges.append(edge)
        seen.add(edge)
    return tuple(edges)


def _checked(what: str, value: Any, label: str) -> Any:
    if isinstance(value, str):
        if what == ir.PADDING and value in ("same", "valid"):
            return value
        allowed = "whole numbers >= 0, 'same' or 'valid'" if what == ir.PADDING else "numbers"
        raise fail(label, allowed, repr(value[:80]))
    array = np.asarray(value)
    if array.dtype.kind not in "fiu" or (array.dtype.kind == "f" and array.dtype.itemsize > 8):
        kind = "complex numbers" if array.dtype.kind == "c" else f"dtype {array.dtype}"
        raise fail(label, "real numbers", kind, "export real values")
    if array.size == 0 and what != ir.SPATIAL:
        remedy = "a network needs an axis of features" if what == ir.SHAPE else ""
        raise fail(label, "at least one value", f"an empty array of shape {array.shape}", remedy)
    if what in (ir.SHAPE, ir.SPATIAL, ir.PADDING, ir.WHOLE, ir.AXIS):
        return _whole(what, array, label)
    if not np.isfinite(array).all():
        worst = array[~np.isfinite(array)].flat[0]
        raise fail(
            label,
            "finite numbers",
            f"{worst} among them",
            "correct the values in the network that was exported",
        )
    if what == ir.WEIGHT:
        return array
    # Neurons compute in float32, or wider: no type that is possible rounds what it holds.
    array = without_rounding(array, np.float32 if array.dtype.kind in "iu" else np.float64, label)
    array = array.astype(np.float64)
    if what == ir.POSITIVE and (array <= 0).any():
        raise fail(
            label,
            "numbers > 0",
            f"{array.min():g} among them",
            "correct the values in the network that was exported",
        )
    if what == ir.DELAY and (array < 0).any():
        raise fail(
            label,
            "seconds >= 0",
            f"{array.min():g} among them",
            "a delay is the time that has passed since the input: correct its sign",
        )
    return array


def _whole(what: str, array: np.ndarray, label: str) -> Any:
    if array.dtype.kind == "f" and not (array == np.round(array)).all():
        raise fail(label, "whole numbers", array.tolist())
    if array.ndim > 1 or array.size > 8:
        raise fail(label, "a number or a short list of numbers", f"an array of shape {array.shape}")
    numbers = tuple(int(n) for n in np.ravel(array))
    if what == ir.AXIS:
        return numbers[0] if len(numbers) == 1 else _refuse_list(label, numbers)
    lowest = 0 if what == ir.PADDING else 1
    if any(n < lowest for n in numbers):
        raise fail(label, f"whole numbers >= {lowest}", list(numbers), "correct the exported value")
    if what == ir.WHOLE:
        return numbers[0] if len(numbers) == 1 else _refuse_list(label, numbers)
    return numbers


def _refuse_list(label: str, numbers: ir.Shape) -> int:
    raise fail(label, "one number", list(numbers), "write a single number")


def _check_together(node: Node, where: str) -> None:
    """Raises if fields of a node contradict each other."""
    if node.is_neuron:
        shapes = {name: np.shape(value) for name, value in node.fields.items()}
        if len(set(shapes.values())) > 1:
            raise fail(
                where,
                "parameters of one shape, that of the population",
                ", ".join(f"{name} {shape}" for name, shape in shapes.items()),
                "write every parameter once per neuron",
            )
    if "v_reset" in node.fields and (node["v_reset"] > node["v_threshold"]).any():
        raise fail(
            f"{where}: v_reset",
            "a potential at or below v_threshold",
            "one above it: the neuron would fire in every step",
        )
    if node.type in ("Affine", "Linear"):
        if np.ndim(node["weight"]) != 2:
            raise fail(
                f"{where}: weight",
                "a matrix (out, in)",
                f"shape {np.shape(node['weight'])}",
                "a stack of matrices is not supported: write one node for each matrix",
            )
    if "bias" in node.fields:
        rows = (node["weight"].shape[0],) if np.ndim(node["weight"]) else ()
        if node["bias"].shape != rows:
            raise fail(f"{where}: bias", f"shape {rows}", node["bias"].shape)
    if node.type in ("Conv1d", "Conv2d"):
        _check_conv(node, where)
    if node.type in ("SumPool2d", "AvgPool2d"):
        for name in ("kernel_size", "stride", "padding"):
            node.fields[name] = _per_axis(node[name], 2, f"{where}: {name}")
        if isinstance(node["padding"], str):
            raise fail(f"{where}: padding", "whole numbers >= 0", repr(node["padding"]))
        if any(2 * p > k for p, k in zip(node["padding"], node["kernel_size"], strict=True)):
            raise fail(
                f"{where}: padding",
                f"at most half of kernel_size {node['kernel_size']}",
                node["padding"],
            )


def _check_conv(node: Node, where: str) -> None:
    axes = int(node.type[4])
    weight = node["weight"]
    if weight.ndim != axes + 2:
        raise fail(f"{where}: weight", f"{axes + 2} axes (out, in, ...)", f"shape {weight.shape}")
    for name in ("stride", "dilation"):
        node.fields[name] = _per_axis(node[name], axes, f"{where}: {name}")
    if not isinstance(node["padding"], str):
        node.fields["padding"] = _per_axis(node["padding"], axes, f"{where}: padding")
    if node["input_shape"] is not None:
        node.fields["input_shape"] = _per_axis(node["input_shape"], axes, f"{where}: input_shape")
    if weight.shape[0] % node["groups"]:
        raise fail(
            f"{where}: groups",
            f"a number that divides the {weight.shape[0]} output channels",
            node["groups"],
        )
    if node["padding"] == "same" and any(s != 1 for s in node["stride"]):
        raise fail(
            f"{where}: padding",
            "explicit padding with a stride above 1",
            "'same'",
            "frameworks disagree about 'same' with strides: write the padding as numbers",
        )


def _per_axis(values: Any, axes: int, label: str) -> Any:
    if isinstance(values, str):
        return values
    if len(values) == 1:
        return values * axes
    if len(values) != axes:
        raise fail(label, f"{axes} number(s)", list(values))
    return values
