"""Writing: a Flax network with its variables as a NIR graph, and graphs as files."""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import flax.linen as nn
import jax
import numpy as np

from flax_snn.dynamics import Dynamics
from flax_snn.nir.draft import Draft, Recurrence, Terms, Value
from flax_snn.nir.emit import LEAVES, method_of
from flax_snn.nir.error import fail
from flax_snn.nir.hdf5 import MAX_BYTES
from flax_snn.nir.ir import Graph, Node
from flax_snn.nir.metadata import FORMAT
from flax_snn.nir.neuron import Method
from flax_snn.nir.read import as_graph
from flax_snn.nir.targets import find_target
from flax_snn.nir.walk import add_module
from flax_snn.nir.wiring import wire

if TYPE_CHECKING:
    import nir

__all__ = ["load", "save", "to_nir"]


def to_nir(
    model: nn.Module,
    variables: Mapping[str, Any],
    input_shape: int | tuple[int, ...],
    dt: float | None = None,
    method: Method | None = None,
    *,
    target: str | None = None,
    recurrence: Recurrence | None = None,
    allow_soft_reset: bool = False,
    allow: Collection[str] = (),
    metadata: Mapping[str, Any] | None = None,
) -> nir.NIRGraph:
    """Write a network as a NIR graph: what leaves here computes the same spikes elsewhere.

    Time step and method are those of the dynamics. A synaptic current that acts one step after
    its input (the default neuron with ``tau_syn``) is a Delay of a step in front of a CubaLIF,
    spikes of the entering membrane are a Delay behind it, and recurrent weights are a Linear that
    closes a cycle. What NIR cannot say is refused, or, if allowed, written into the metadata.

    >>> import flax_snn as snn, jax, jax.numpy as jnp
    >>> network = snn.RNN(snn.Chain([snn.LIFCell(8), snn.LeakyIntegratorReadout(3)]))
    >>> variables = network.init(jax.random.key(0), jnp.zeros((1, 10, 4)))
    >>> graph = snn.nir.to_nir(network, variables, (4,), dt=1e-3, method="exp")
    >>> sorted(graph.nodes)
    ['input', 'li', 'li_in', 'lif', 'lif_in', 'output']

    Args:
      model: ``nn.Sequential``, ``snn.RNN`` or ``nn.RNN`` over cells and chains of cells, single
        layers, or what `from_nir` returned.
      variables: its variables, ``{"params": ..., ...}``.
      input_shape: features of one step, without batch and time: ``(F,)`` or ``(H, W, C)``.
      dt: length of a step in seconds, for a check against the dynamics.
      method: ``euler`` or ``exp``, for a check; needed where the dynamics are given as decays.
      target: framework that is to read the graph, one of `flax_snn.nir.TARGETS`; ``None`` for all
        that read NIR as it is defined.
      recurrence: ``flat`` cycles or ``nested`` graphs; by default what the target reads, else flat.
      allow_soft_reset: short for ``allow=("soft_reset",)``.
      allow: what NIR cannot say and metadata may: names of `flax_snn.nir.LEAVES`.
      metadata: more metadata of the graph.

    Returns:
      The graph; `save` writes it to a file.

    Raises:
      NIRError: a module, a neuron or an argument that cannot be written without changing the
        network; the message names it.
    """
    shape = _shape(input_shape)
    unknown = set(allow) - set(LEAVES)
    if unknown:
        raise fail("allow", f"names among {', '.join(LEAVES)}", sorted(unknown))
    aim = find_target(target)
    dynamics = _all_dynamics(model)
    own_dt, own_method = _agreed(dynamics, dt, method)
    if aim.method is not None or aim.dt is not None:
        own_dt, own_method = aim.dt or own_dt, aim.method or own_method
    if dynamics and (own_dt is None or own_method is None):
        raise fail(
            "method",
            "'euler' or 'exp'",
            "None",
            "these neurons are given as decays, which either method can stand for",
        )
    terms = Terms(
        own_dt or 1.0,
        own_method or "exp",
        recurrence or aim.recurrence or "flat",
        {*allow, *(["soft_reset"] if allow_soft_reset else [])},
        aim,
    )
    flat = jax.device_get(nn.unbox(dict(variables)))
    channels_first = (shape[-1], *shape[:-1])
    draft = Draft(terms)
    out = add_module(draft, model, flat, "", Value(("input",), channels_first))
    if not draft.nodes:
        raise fail("network", "at least one layer", type(model).__name__)
    nodes = draft.nodes | {
        "input": Node("Input", {"shape": channels_first}),
        "output": Node("Output", {"shape": out.shape}),
    }
    edges = (*draft.edges, *((source, "output") for source in out.sources))
    graph = Graph(nodes, edges)
    aim.check(graph)
    if aim.ordered:
        graph = _ordered(graph)
    about: dict[str, Any] = {"producer": "flax_snn", "flax_snn_format": FORMAT}
    if dynamics:
        about |= {"dt": own_dt, "method": own_method}
    if target is not None:
        about["target"] = target
    about |= dict(metadata or {})
    return to_library(dataclasses.replace(graph, metadata=about))


def to_library(graph: Graph) -> nir.NIRGraph:
    """Return a graph as an object of the library ``nir``."""
    nir = _library()
    nodes = {}
    for name, node in graph.nodes.items():
        if isinstance(node, Graph):
            nodes[name] = to_library(node)
            continue
        fields = dict(node.fields)
        if node.type == "Input":
            made = nir.Input({"input": np.array(fields["shape"])})
        elif node.type == "Output":
            made = nir.Output({"output": np.array(fields["shape"])})
        else:
            if node.type == "Flatten":
                fields["input_type"] = {"input": np.array(fields["input_type"])}
            for key in ("kernel_size", "stride", "padding", "dilation"):
                if isinstance(fields.get(key), tuple):
                    whole = fields[key]
                    fields[key] = int(whole[0]) if node.type == "Conv1d" else np.array(whole)
            if isinstance(fields.get("input_shape"), tuple):
                size = fields["input_shape"]
                fields["input_shape"] = size[0] if node.type == "Conv1d" else np.array(size)
            made = getattr(nir, node.type)(**fields)
        made.metadata = dict(node.metadata)
        nodes[name] = made
    # The shapes are checked already; nir's own check takes 3 x 5 kernels for 3 x 3.
    made = nir.NIRGraph(nodes, list(graph.edges), dict(graph.metadata), type_check=False)
    return made


def save(path: str | os.PathLike[str], graph: nir.NIRGraph) -> None:
    """Write a graph to a file, after a check; an existing file is replaced.

    Args:
      path: the file, by custom ``*.nir``.
      graph: the graph.

    Raises:
      NIRError: a graph that `from_nir` would refuse.
    """
    nir = _library()
    path = Path(path)
    wire(as_graph(graph))
    part = path.with_name(f".{path.name}.part")
    try:
        nir.write(str(part), graph)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def load(path: str | os.PathLike[str], *, max_bytes: int = MAX_BYTES) -> nir.NIRGraph:
    """Read a graph from a file, checked: `from_nir` takes it, and so do other users of ``nir``.

    Args:
      path: the file.
      max_bytes: most bytes of all its arrays together.

    Raises:
      NIRError: a damaged file, or a graph without a meaning.
      FileNotFoundError: no such file.
    """
    graph = as_graph(path, max_bytes)
    wire(graph)
    return to_library(graph)


def _ordered(graph: Graph) -> Graph:
    """Return the graph with names whose alphabetical order is that of computation."""
    width = len(str(len(graph.nodes)))
    inner = [name for name in graph.nodes if name not in ("input", "output")]
    names = {name: f"n{k:0{width}}_{name}" for k, name in enumerate(inner)}
    names |= {"input": "input", "output": "output"}
    nodes = {
        names[name]: _ordered(node) if isinstance(node, Graph) else node
        for name, node in graph.nodes.items()
    }
    edges = tuple((names[a], names[b]) for a, b in graph.edges)
    return dataclasses.replace(graph, nodes=nodes, edges=edges)


def _library() -> Any:
    try:
        import nir
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "flax_snn.nir writes by the libraries nir and h5py: pip install 'flax-snn[nir]', or"
            " -e '.[nir]' in a clone"
        ) from error
    return nir


def _shape(shape: Any) -> tuple[int, ...]:
    numbers = (shape,) if isinstance(shape, int) else tuple(shape)
    if not numbers or not all(isinstance(n, int | np.integer) and n > 0 for n in numbers):
        raise fail(
            "input_shape",
            "features of one step, (F,) or (H, W, C)",
            repr(shape),
            "leave batch and time out",
        )
    return tuple(int(n) for n in numbers)


def _all_dynamics(module: Any) -> list[Dynamics]:
    """Return the dynamics of all neurons in a tree of modules."""
    if isinstance(getattr(module, "dynamics", None), Dynamics):
        return [module.dynamics]
    below: list[Any] = []
    for name in ("layers", "cells", "cell"):
        value = getattr(module, name, ())
        many = isinstance(value, Mapping | tuple | list)
        below += (value.values() if isinstance(value, Mapping) else value) if many else [value]
    return [each for inner in below for each in _all_dynamics(inner)]


def _agreed(
    dynamics: list[Dynamics], dt: float | None, method: Method | None
) -> tuple[float | None, Method | None]:
    """Return time step and method of the dynamics, which the arguments may not contradict."""
    if method not in (None, "euler", "exp"):
        raise fail("method", "'euler' or 'exp'", repr(method))
    for each in dynamics:
        if dt is not None and not math.isclose(dt, each.dt, rel_tol=1e-9):
            raise fail(
                "dt",
                f"{each.dt!r} s, the step of the neurons",
                f"{dt!r} s",
                "a network steps as its dynamics say: make them with another dt",
            )
        dt = each.dt
        own = method_of(each)
        if own is not None and method is not None and own != method:
            raise fail(
                "method",
                f"{own!r}, by which the neurons are discretized",
                repr(method),
                "the other one would shift spikes: make the dynamics with it",
            )
        method = method or own
    for each in dynamics:
        how = each.rule.discretization
        if method is None and how is not None:
            method = "euler" if how.decay == "euler" else "exp"
    return dt, method
