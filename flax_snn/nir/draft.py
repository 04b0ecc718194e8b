"""A graph that is being written: nodes and edges so far, and what flows along the edges."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping
from typing import Any, Literal

import numpy as np

from flax_snn.nir.error import NIRError, fail
from flax_snn.nir.ir import Graph, Node
from flax_snn.nir.neuron import Method
from flax_snn.nir.shapes import output_shape
from flax_snn.nir.targets import Target

Recurrence = Literal["flat", "nested"]


@dataclasses.dataclass(frozen=True, eq=False)
class Value:
    """What flows along an edge.

    Attributes:
      sources: nodes that send it; several are summed.
      shape: its shape, channels first.
      order: order of a flat value that is not that of NIR.
    """

    sources: tuple[str, ...]
    shape: tuple[int, ...]
    order: np.ndarray | None = None

    @property
    def features(self) -> tuple[int, ...]:
        """Shape with the channels last, as Flax has it."""
        return (*self.shape[1:], *self.shape[:1])


@dataclasses.dataclass(frozen=True)
class Terms:
    """In what terms a graph is written.

    Attributes:
      dt: step in seconds for which time constants are written.
      method: method for which they are written.
      recurrence: form of recurrent populations.
      allow: what may be left to metadata.
      target: the framework that is to read the graph.
    """

    dt: float
    method: Method
    recurrence: Recurrence
    allow: Collection[str]
    target: Target


@dataclasses.dataclass(frozen=True, eq=False)
class Draft:
    """Nodes and edges so far.

    Attributes:
      terms: in what terms they are written.
      nodes: nodes by name.
      edges: pairs of names.
    """

    terms: Terms
    nodes: dict[str, Node | Graph] = dataclasses.field(default_factory=dict)
    edges: list[tuple[str, str]] = dataclasses.field(default_factory=list)

    def add(
        self, name: str, kind: str, fields: dict[str, Any], value: Value, path: str, **more: Any
    ) -> Value:
        """Add a node behind a value; return what it sends.

        Args:
          name: its name, made unique.
          kind: its type.
          fields: its parameters.
          value: what it receives.
          path: where its module stands in the variables of the network.
          **more: metadata.
        """
        node, name = Node(kind, fields, {"module": path} | more), self.free(name)
        shape = output_shape(node, name, value.sources[0], value.shape)
        self.nodes[name] = node
        self.edges.extend((source, name) for source in value.sources)
        keeps = kind not in ("Affine", "Linear", "Flatten") and len(shape) == 1
        return Value((name,), shape, value.order if keeps else None)

    def nest(self, name: str, inner: Draft, out: Value, value: Value) -> Value:
        """Add another draft, whose input is called so, as a nested graph behind a value."""
        ends = {
            "input": Node("Input", {"shape": value.shape}),
            "output": Node("Output", {"shape": out.shape}),
        }
        edges = (*inner.edges, *((source, "output") for source in out.sources))
        self.nodes[name] = Graph({**inner.nodes, **ends}, edges)
        self.edges.extend((source, name) for source in value.sources)
        return Value((name,), out.shape)

    def free(self, name: str) -> str:
        """Return a name that no node has."""
        count, tried = 0, name
        while tried in self.nodes or tried in ("input", "output"):
            count += 1
            tried = f"{name}_{count}"
        return tried

    def rescale(self, value: Value, factor: np.ndarray, where: str) -> None:
        """Scale the weights in front of a population whose gain is another one in the graph.

        Raises:
          NIRError: there are none that belong to it alone.
        """
        if (factor == 1.0).all():
            return
        name, rows = value.sources[0], factor.reshape(factor.shape[0], -1)
        node = self.nodes.get(name)
        alone = len(value.sources) == 1 and (rows == rows[:, :1]).all()
        if not alone or not isinstance(node, Node) or "weight" not in node.fields:
            raise fail(
                where,
                f"weights in front of the neurons, to be scaled for {self.terms.target.name}",
                "none",
                "put a layer with weights before them, or export without a target",
            )
        changed = {
            key: scaled(node[key], rows[:, 0]) for key in ("weight", "bias") if key in node.fields
        }
        self.nodes[name] = dataclasses.replace(node, fields=node.fields | changed)


def scaled(weight: np.ndarray, factor: np.ndarray | None) -> np.ndarray:
    """Return weights (out, ...) with their rows scaled, in their dtype."""
    if factor is None:
        return weight
    rows = np.asarray(factor, np.float64).reshape((-1,) + (1,) * (weight.ndim - 1))
    return (weight * rows).astype(weight.dtype)


def taken(variables: Mapping[str, Any], collection: str, name: str, path: str) -> np.ndarray:
    """Return a variable of a module as an array.

    Raises:
      NIRError: there is none.
    """
    tree = variables.get(collection, {})
    if name not in tree:
        raise fail(
            f"{path or 'network'}: variables",
            f"{name!r} in the collection {collection!r}",
            f"{', '.join(tree) or 'nothing'}",
            "pass what init returned for this network",
        )
    return np.asarray(tree[name])


def cannot(path: str, module: Any, what: str, remedy: str) -> NIRError:
    """Return the error for a module that has no counterpart.

    Args:
      path: where it stands in the network.
      module: the module.
      what: what of it has none.
      remedy: what to do.
    """
    kind = type(module).__name__
    if not hasattr(module, "setup"):  # a function
        kind = getattr(module, "__name__", repr(module))
    return NIRError(f"{path or 'network'}: cannot export {kind}{what}; {remedy}")


def check_arithmetic(module: Any, path: str) -> None:
    """Raise where a module multiplies otherwise than in the dtype of its weights."""
    if module.dtype is not None and np.dtype(module.dtype) != np.dtype(module.param_dtype):
        what = f" with dtype={np.dtype(module.dtype)}"
        raise cannot(path, module, what, "others compute in the dtype of the weights")
    for name in ("dot_general", "dot_general_cls", "conv_general_dilated"):
        for each in (name, f"{name}_cls"):
            if getattr(module, each, None) is not None:
                raise cannot(
                    path, module, f" with {each}", "others multiply as usual: export it without"
                )
