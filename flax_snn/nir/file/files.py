"""Files: read as graphs that are checked, and written whole or not at all."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flax_snn.nir.error import fail
from flax_snn.nir.file.hdf5 import MAX_BYTES, read_tree
from flax_snn.nir.file.nir_library import library, plain_values, to_library, with_input_shapes
from flax_snn.nir.file.nir_read import NIRReadWarning, describe_refusal
from flax_snn.nir.file.validation import parse_graph
from flax_snn.nir.graph import Graph
from flax_snn.nir.wiring import wire

if TYPE_CHECKING:
    import nir

__all__ = ["load", "save"]


def load(path: str | os.PathLike[str], *, max_bytes: int = MAX_BYTES) -> nir.NIRGraph:
    """Reads a graph from a file and checks it.

    The result can be passed to `from_nir`, and to any other reader of ``nir.NIRGraph``.

    Args:
      path: the file.
      max_bytes: largest total size of all arrays of the file, in bytes.

    Raises:
      NIRError: the file is damaged, or its graph is not valid.
      FileNotFoundError: there is no such file.
    """
    graph = as_graph(path, max_bytes)
    wire(graph)
    return to_library(graph)


def save(path: str | os.PathLike[str], graph: nir.NIRGraph) -> None:
    """Checks a graph and writes it to a file; an existing file is replaced.

    The file is read back with ``nir.read``. Some graphs are right and ``nir.read`` refuses them,
    because its type check computes other shapes; a `NIRReadWarning` then names the nodes and says
    how the file can be read or written instead.

    Args:
      path: the file, by convention ``*.nir``.
      graph: the graph.

    Raises:
      NIRError: `from_nir` would refuse the graph, or the file format cannot store it.
    """
    nir = library()
    path = Path(path)
    checked = as_graph(graph)
    wiring = wire(checked)
    _check_names(checked)
    input_shapes = {name: wiring.in_shape(name) for name in wiring.nodes}
    part = path.with_name(f".{path.name}.part")
    try:
        try:
            nir.write(str(part), with_input_shapes(graph, input_shapes))
        except (TypeError, ValueError) as error:
            raise fail(
                "graph",
                "values that a NIR file can store",
                f"{type(error).__name__}: {error}",
                "metadata may be numbers, strings, bools, lists of numbers and dicts of these",
            ) from error
        refusal = _refusal(part)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
    if refusal is not None:
        text = describe_refusal(path.name, checked, wiring, refusal)
        warnings.warn(text, NIRReadWarning, stacklevel=2)


def as_graph(graph: Any, max_bytes: int = MAX_BYTES) -> Graph:
    """Returns a file or an object of ``nir`` as a graph whose fields are checked.

    Args:
      graph: a ``nir.NIRGraph``, the path of a file, or a graph that is checked already.
      max_bytes: largest total size of all arrays of a file, in bytes.

    Raises:
      NIRError: it is not a valid graph.
      FileNotFoundError: there is no such file.
    """
    if isinstance(graph, Graph):
        return graph
    if isinstance(graph, str | os.PathLike):
        return parse_graph(read_tree(graph, max_bytes))
    if not hasattr(graph, "nodes") or not hasattr(graph, "edges"):
        raise fail("graph", "a nir.NIRGraph or the path of a file", type(graph).__name__)
    return parse_graph(plain_values(graph))


def _refusal(path: Path) -> Exception | None:
    """Returns the exception with which ``nir.read`` refuses a file, or None if it reads it."""
    try:
        library().read(str(path))
    except Exception as error:  # nir raises ValueError, TypeError, AssertionError and others
        return error
    return None


def _check_names(graph: Graph) -> None:
    """Raises if the name of a node cannot be the name of a group in an HDF5 file."""
    for name, node in graph.nodes.items():
        if name in ("", ".") or "/" in name or "\0" in name:
            raise fail(
                f"node {name!r}",
                "a name without '/' that is neither empty nor '.'",
                repr(name),
                "HDF5 would store the node in another place: rename it",
            )
        if isinstance(node, Graph):
            _check_names(node)
