"""`to_nir`: writes a Flax network with its variables as a NIR graph."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

import flax.linen as nn
import jax
import numpy as np

from flax_snn.dynamics import Dynamics
from flax_snn.nir.error import fail
from flax_snn.nir.file.nir_library import to_library
from flax_snn.nir.graph import Graph, Node
from flax_snn.nir.metadata import FORMAT
from flax_snn.nir.method import Method, check_method
from flax_snn.nir.writing.builder import GraphBuilder, Recurrence, Signal, WriteOptions
from flax_snn.nir.writing.modules import add_module
from flax_snn.nir.writing.neurons import LEAVES, method_of
from flax_snn.nir.writing.targets import find_target

if TYPE_CHECKING:
    import nir

__all__ = ["to_nir"]


def to_nir(
    model: nn.Module,
    variables: Mapping[str, Any],
    input_shape: int | tuple[int, ...],
    dt: float | None = None,
    method: Method | None = None,
    *,
    target: str | None = None,
    recurrence: Recurrence | None = None,
    for_nir_read: bool = False,
    allow_soft_reset: bool = False,
    allow: Collection[str] = (),
    metadata: Mapping[str, Any] | None = None,
) -> nir.NIRGraph:
    """Writes a network as a NIR graph that means the same spikes in other frameworks.

    Time step and method are those of the dynamics. A synaptic current that acts one step after its
    input (the default neuron with ``tau_syn``) becomes a Delay of one step before a CubaLIF; spikes
    of the membrane before the step become a Delay after it; and recurrent weights become a Linear
    that closes a cycle. Properties that NIR has no field for are refused, or written into the
    metadata if ``allow`` names them.

    >>> import flax_snn as snn, jax, jax.numpy as jnp
    >>> network = snn.RNN(snn.Chain([snn.LIFCell(8), snn.LeakyIntegratorReadout(3)]))
    >>> variables = network.init(jax.random.key(0), jnp.zeros((1, 10, 4)))
    >>> graph = snn.nir.to_nir(network, variables, (4,), dt=1e-3, method="exp")
    >>> sorted(graph.nodes)
    ['input', 'li', 'li_in', 'lif', 'lif_in', 'output']

    Args:
      model: ``nn.Sequential``, ``snn.RNN`` or ``nn.RNN`` over cells and chains of cells, a single
        layer, or what `from_nir` returned.
      variables: variables of the model, ``{"params": ..., ...}``.
      input_shape: shape of the features of one step, without batch and time: ``(F,)`` or
        ``(H, W, C)``.
      dt: length of a step in seconds. The graph is written for the dt of the dynamics; another
        value is refused.
      method: ``euler`` or ``exp``: how a reader will advance the differential equations of NIR, for
        which time constants are written (see `flax_snn.nir.method`). It follows from the
        ``discretization`` of the dynamics, and another value is refused; dynamics that are given
        as decays need it. It is not the ``method`` of `flax_snn.event.RNN`.
      target: framework that will read the graph, one of `flax_snn.nir.TARGETS`; ``None`` (default)
        for readers that follow the definition of NIR.
      recurrence: ``flat`` cycles or ``nested`` graphs. By default what the target reads, else flat.
      for_nir_read: write convolutions in a form that ``nir.read`` accepts. Its type check refuses
        groups, and kernels that are not square unless their padding is "same". With True, kernels
        are filled with zeros until they are square and have one group; the graph computes the same
        with more weights. If there is no such kernel, the convolution is written as with False
        (default), and `save` warns.
      allow_soft_reset: True is short for ``allow=("soft_reset",)``.
      allow: properties without a field in NIR that may be written into metadata, names of
        `flax_snn.nir.LEAVES`.
      metadata: further metadata of the graph.

    Returns:
      The graph, which `save` writes to a file.

    Raises:
      NIRError: a module, a neuron or an argument cannot be written without changing the network.
        The message names it.
    """
    shape = _shape(input_shape)
    unknown = set(allow) - set(LEAVES)
    if unknown:
        raise fail("allow", f"names among {', '.join(LEAVES)}", sorted(unknown))
    framework = find_target(target)
    dynamics = _all_dynamics(model)
    model_dt, model_method = _agreed(dynamics, dt, method)
    if framework.method is not None or framework.dt is not None:
        model_dt, model_method = framework.dt or model_dt, framework.method or model_method
    if dynamics and (model_dt is None or model_method is None):
        raise fail(
            "method",
            "'euler' or 'exp'",
            "None",
            "the neurons are given as decays: name the method with which others will step them",
        )
    options = WriteOptions(
        model_dt or 1.0,
        model_method or "exp",
        recurrence or framework.recurrence or "flat",
        {*allow, *(["soft_reset"] if allow_soft_reset else [])},
        framework,
        for_nir_read,
    )
    flat = jax.device_get(nn.unbox(dict(variables)))
    channels_first = (shape[-1], *shape[:-1])
    builder = GraphBuilder(options)
    out = add_module(builder, model, flat, "", Signal(("input",), channels_first))
    if not builder.nodes:
        raise fail("network", "at least one layer", type(model).__name__)
    nodes = builder.nodes | {
        "input": Node("Input", {"shape": channels_first}),
        "output": Node("Output", {"shape": out.shape}),
    }
    edges = (*builder.edges, *((source, "output") for source in out.sources))
    graph = Graph(nodes, edges)
    framework.check(graph)
    if framework.ordered:
        graph = _ordered(graph)
    about: dict[str, Any] = {"producer": "flax_snn", "flax_snn_format": FORMAT}
    if dynamics:
        about |= {"dt": model_dt, "method": model_method}
    if target is not None:
        about["target"] = target
    about |= dict(metadata or {})
    return to_library(dataclasses.replace(graph, metadata=about))


def _ordered(graph: Graph) -> Graph:
    """Returns the graph with names whose alphabetical order is the order of computation."""
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


def _shape(shape: Any) -> tuple[int, ...]:
    numbers = (shape,) if isinstance(shape, int) else tuple(shape)
    if not numbers or not all(isinstance(n, int | np.integer) and n > 0 for n in numbers):
        raise fail(
            "input_shape",
            "features of one step, (F,) or (H, W, C)",
            repr(shape),
            "leave out batch and time",
        )
    return tuple(int(n) for n in numbers)


def _all_dynamics(module: Any) -> list[Dynamics]:
    """Returns the dynamics of all neurons in a tree of modules."""
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
    """Returns the time step and the method of the dynamics; raises if the arguments differ."""
    if method is not None:
        check_method(method)
    for each in dynamics:
        if dt is not None and not math.isclose(dt, each.dt, rel_tol=1e-9):
            raise fail(
                "dt",
                f"{each.dt!r} s, the step of the neurons",
                f"{dt!r} s",
                "construct the dynamics with the dt that you want",
            )
        dt = each.dt
        model_method = method_of(each)
        if model_method is not None and method is not None and model_method != method:
            raise fail(
                "method",
                f"{model_method!r}, by which the neurons are discretized",
                repr(method),
                "the other one would shift spikes: construct the dynamics with it instead",
            )
        method = method or model_method
    for each in dynamics:
        how = each.rule.discretization
        if method is None and how is not None:
            method = "euler" if how.decay == "euler" else "exp"
    return dt, method
