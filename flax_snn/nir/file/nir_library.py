"""Graphs as objects of the library ``nir``, and back."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from flax_snn.nir.graph import Graph, Shape

if TYPE_CHECKING:
    import nir


def library() -> Any:
    """Returns the module ``nir``.

    Raises:
      ModuleNotFoundError: it is not installed; the message says how to install it.
    """
    try:
        import nir
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "flax_snn.nir writes files with the libraries nir and h5py; install them with"
            " pip install 'flax-snn[nir]', or -e '.[nir]' in a clone"
        ) from error
    return nir


def to_library(graph: Graph) -> nir.NIRGraph:
    """Returns a graph as an object of the library ``nir``."""
    nir = library()
    nodes = {}
    for name, node in graph.nodes.items():
        if isinstance(node, Graph):
            nodes[name] = to_library(node)
            continue
        fields = dict(node.fields)
        if node.type == "Input":
            nir_node = nir.Input({"input": np.array(fields["shape"])})
        elif node.type == "Output":
            nir_node = nir.Output({"output": np.array(fields["shape"])})
        else:
            if node.type == "Flatten":
                fields["input_type"] = {"input": np.array(fields["input_type"])}
            for key in ("kernel_size", "stride", "padding", "dilation", "input_shape"):
                if isinstance(fields.get(key), tuple):
                    sizes = fields[key]
                    fields[key] = int(sizes[0]) if node.type == "Conv1d" else np.array(sizes)
            nir_node = getattr(nir, node.type)(**fields)
        nir_node.metadata = dict(node.metadata)
        nodes[name] = nir_node
    # The shapes have been checked; the type check of nir refuses some graphs that are right.
    return nir.NIRGraph(nodes, list(graph.edges), dict(graph.metadata), type_check=False)


def plain_values(node: Any) -> dict[str, Any]:
    """Returns a node or graph of ``nir`` as the plain values that its file would contain."""
    kind = type(node).__name__
    values: dict[str, Any] = {"type": kind}
    metadata = getattr(node, "metadata", None)
    values["metadata"] = metadata if isinstance(metadata, Mapping) else {}
    if kind == "NIRGraph":
        values["nodes"] = {str(name): plain_values(each) for name, each in node.nodes.items()}
        values["edges"] = list(node.edges)
        return values
    if kind in ("Input", "Output"):
        types = node.input_type if kind == "Input" else node.output_type
        values["shape"] = next(iter(types.values()), None)
        return values
    skipped = ("metadata", "input_type", "output_type")
    values |= {name: value for name, value in vars(node).items() if name not in skipped}
    if kind == "Flatten":
        values["input_type"] = node.input_type.get("input")
    return values


def with_input_shapes(
    graph: nir.NIRGraph, input_shapes: Mapping[str, Shape], prefix: str = ""
) -> nir.NIRGraph:
    """Returns a graph of ``nir`` in which every Conv and Flatten has its input shape.

    ``nir`` lets these fields be None in memory and cannot write None.

    Args:
      graph: the graph, which is not changed.
      input_shapes: what each node receives, channels first, by its name without nesting.
      prefix: names of the graphs around this one, each followed by a dot.
    """
    nir = library()
    nodes = {}
    for name, node in graph.nodes.items():
        if isinstance(node, nir.NIRGraph):
            node = with_input_shapes(node, input_shapes, f"{prefix}{name}.")
        elif isinstance(node, nir.Conv1d | nir.Conv2d) and node.input_shape is None:
            node, sizes = copy.copy(node), input_shapes[prefix + name][1:]
            node.input_shape = np.array(sizes) if isinstance(node, nir.Conv2d) else sizes[0]
        elif isinstance(node, nir.Flatten) and node.input_type.get("input") is None:
            node = copy.copy(node)
            node.input_type = {"input": np.array(input_shapes[prefix + name])}
        nodes[name] = node
    changed = copy.copy(graph)
    changed.nodes = nodes
    return changed
