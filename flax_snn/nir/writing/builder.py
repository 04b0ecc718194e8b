"""A graph while it is written: its nodes and edges, and the signals along the edges."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping
from typing import Any, Literal

import numpy as np

from flax_snn.nir.error import NIRError, fail
from flax_snn.nir.graph import Graph, Node
from flax_snn.nir.method import Method
from flax_snn.nir.shapes import output_shape
from flax_snn.nir.writing.targets import Target
from flax_snn.products import is_plain

Recurrence = Literal["flat", "nested"]


@dataclasses.dataclass(frozen=True, eq=False)
class Signal:
    """The output of a node, or the sum of several.

    Attributes:
      sources: names of the nodes that send it; several are summed.
      shape: shape without batch and time, channels first.
      order: order of the elements of a flat signal, if it is that of Flax, else None.
    """

    sources: tuple[str, ...]
    shape: tuple[int, ...]
    order: np.ndarray | None = None

    @property
    def features(self) -> tuple[int, ...]:
        """Shape with the channels last, as in Flax."""
        return (*self.shape[1:], *self.shape[:1])


@dataclasses.dataclass(frozen=True)
class WriteOptions:
    """How a graph is written.

    Attributes:
      dt: step in seconds for which time constants are written.
      method: method for which time constants are written.
      recurrence: whether recurrent populations are flat cycles or nested graphs.
      allow: properties that may be written into metadata, names of `flax_snn.nir.LEAVES`.
      target: the framework that will read the graph.
      for_nir_read: whether convolutions are written in a form that the type check of ``nir.read``
        accepts.
    """

    dt: float
    method: Method
    recurrence: Recurrence
    allow: Collection[str]
    target: Target
    for_nir_read: bool = False


@dataclasses.dataclass(frozen=True, eq=False)
class GraphBuilder:
    """The nodes and edges that have been added to a graph.

    Attributes:
      options: how the graph is written.
      nodes: nodes by name.
      edges: pairs of names, (source, target).
    """

    options: WriteOptions
    nodes: dict[str, Node | Graph] = dataclasses.field(default_factory=dict)
    edges: list[tuple[str, str]] = dataclasses.field(default_factory=list)

    def add(
        self, name: str, kind: str, fields: dict[str, Any], signal: Signal, path: str, **more: Any
    ) -> Signal:
        """Adds a node that receives a signal, and returns the signal that the node sends.

        Args:
          name: name of the node; a number is added if there is a node of that name.
          kind: type of the node.
          fields: parameters of the node.
          signal: what the node receives.
          path: path of its module in the variables of the network.
          **more: metadata of the node.
        """
        node, name = Node(kind, fields, {"module": path} | more), self.free(name)
        shape = output_shape(node, name, signal.sources[0], signal.shape)
        self.nodes[name] = node
        self.edges.extend((source, name) for source in signal.sources)
        keeps = kind not in ("Affine", "Linear", "Flatten") and len(shape) == 1
        return Signal((name,), shape, signal.order if keeps else None)

    def nest(self, name: str, inner: GraphBuilder, out: Signal, signal: Signal) -> Signal:
        """Adds a nested graph that receives a signal, and returns the signal that it sends.

        Args:
          name: name of the nested graph.
          inner: nodes and edges of the nested graph, whose Input is called ``input``.
          out: the signal in the nested graph that leaves it.
          signal: what the nested graph receives.
        """
        ends = {
            "input": Node("Input", {"shape": signal.shape}),
            "output": Node("Output", {"shape": out.shape}),
        }
        edges = (*inner.edges, *((source, "output") for source in out.sources))
        self.nodes[name] = Graph({**inner.nodes, **ends}, edges)
        self.edges.extend((source, name) for source in signal.sources)
        return Signal((name,), out.shape)

    def free(self, name: str) -> str:
        """Returns a name that no node has: the given one, if need be with a number."""
        count, tried = 0, name
        while tried in self.nodes or tried in ("input", "output"):
            count += 1
            tried = f"{name}_{count}"
        return tried

    def rescale(self, signal: Signal, factor: np.ndarray, where: str) -> None:
        """Scale the weights before a population, to make up for a gain that the target prescribes.

        Args:
          signal: what the population receives.
          factor: factor for each neuron.
          where: the population, for error messages.

        Raises:
          NIRError: the population does not receive the output of one layer of weights alone.
        """
        if (factor == 1.0).all():
            return
        name, rows = signal.sources[0], factor.reshape(factor.shape[0], -1)
        node = self.nodes.get(name)
        alone = len(signal.sources) == 1 and (rows == rows[:, :1]).all()
        if not alone or not isinstance(node, Node) or "weight" not in node.fields:
            raise fail(
                where,
                f"weights in front of the neurons, to be scaled for {self.options.target.name}",
                "none",
                "put a layer with weights before them, or export without a target",
            )
        changed = {
            key: scaled(node[key], rows[:, 0]) for key in ("weight", "bias") if key in node.fields
        }
        self.nodes[name] = dataclasses.replace(node, fields=node.fields | changed)


def scaled(weight: np.ndarray, factor: np.ndarray | None) -> np.ndarray:
    """Returns weights (out, ...) whose rows have been multiplied by factors, in the same dtype."""
    if factor is None:
        return weight
    rows = np.asarray(factor, np.float64).reshape((-1,) + (1,) * (weight.ndim - 1))
    return (weight * rows).astype(weight.dtype)


def read_variable(
    variables: Mapping[str, Any], collection: str, name: str, path: str
) -> np.ndarray:
    """Returns a variable of a module as an array.

    Raises:
      NIRError: the variables do not contain it.
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


def unsupported(path: str, module: Any, what: str, remedy: str) -> NIRError:
    """Returns the error for a module that cannot be written as nodes.

    Args:
      path: path of the module in the network.
      module: the module.
      what: the property that cannot be written, such as " with reverse=True"; "" for the module
        as a whole.
      remedy: what to do instead.
    """
    kind = type(module).__name__
    if not hasattr(module, "setup"):  # a function
        kind = getattr(module, "__name__", repr(module))
    return NIRError(f"{path or 'network'}: cannot export {kind}{what}; {remedy}")


def check_arithmetic(module: Any, path: str) -> None:
    """Raises if a module does not compute plain products in the dtype of its weights."""
    if module.dtype is not None and np.dtype(module.dtype) != np.dtype(module.param_dtype):
        what = f" with dtype={np.dtype(module.dtype)}"
        raise unsupported(
            path,
            module,
            what,
            "NIR has no dtype of computation: leave dtype out, or set it to that of the weights",
        )
    for name in ("dot_general", "dot_general_cls", "conv_general_dilated"):
        for each in (name, f"{name}_cls"):
            if not is_plain(getattr(module, each, None)):
                raise unsupported(
                    path, module, f" with {each}", "NIR has plain products only: export it without"
                )
