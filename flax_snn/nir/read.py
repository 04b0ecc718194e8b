"""Reading: a NIR graph or file as a Flax network with its variables."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
import numpy as np

from flax_snn.nir.assembly import assemble
from flax_snn.nir.error import fail
from flax_snn.nir.hdf5 import MAX_BYTES, read_tree
from flax_snn.nir.ir import Graph
from flax_snn.nir.layout import orders
from flax_snn.nir.neuron import Method, Stepping
from flax_snn.nir.parse import parse_graph
from flax_snn.nir.parts import Builder, Part
from flax_snn.nir.producers import find_producer, repaired
from flax_snn.nir.units import delay_steps, units
from flax_snn.nir.wiring import components, is_loop, wire
from flax_snn.surrogate import Surrogate

__all__ = ["from_nir"]


def from_nir(
    graph: Any,
    dt: float,
    method: Method,
    producer: str | None = None,
    *,
    override: bool = False,
    round_delays: bool = False,
    surrogate: Surrogate | None = None,
    param_dtype: Any = jnp.float32,
    max_bytes: int = MAX_BYTES,
) -> tuple[nn.Module, dict[str, Any]]:
    """Make a Flax network of a NIR graph; nothing in it is guessed, and nothing left out.

    Sequences are batch-major with channels last, ``(*B, T, F)`` or ``(B, T, H, W, C)``, whatever
    the file says of one step, ``(C, H, W)``. Weights become parameters, and whatever differs
    from neuron to neuron lies in the collection ``neuron``.

    >>> import flax_snn as snn, jax.numpy as jnp, numpy as np, nir
    >>> ones = np.ones(2)
    >>> graph = nir.NIRGraph.from_list(
    ...     nir.Linear(weight=np.ones((2, 3))),
    ...     nir.LIF(tau=0.01 * ones, r=ones, v_leak=0 * ones, v_threshold=ones, v_reset=0 * ones))
    >>> network, variables = snn.nir.from_nir(graph, dt=1e-3, method="exp")
    >>> network.apply(variables, jnp.ones((4, 50, 3))).shape
    (4, 50, 2)

    Args:
      graph: a ``nir.NIRGraph``, or the path of a file.
      dt: length of a time step in seconds.
      method: ``euler``, a decay of 1 - dt/tau, or ``exp``, of exp(-dt/tau).
      producer: name of a preset for files of a framework that do not mean what they say; see
        `flax_snn.nir.PRODUCERS`.
      override: use dt and method even where the file was written for others.
      round_delays: round delays to whole steps; otherwise others are refused.
      surrogate: surrogate derivative of all spikes; by default what the file says, else
        superspike(10).
      param_dtype: dtype to which parameters are rounded.
      max_bytes: most bytes of all arrays of a file.

    Returns:
      A module, and its variables: ``snn.RNN`` or ``nn.Sequential`` for a row of layers, else a
      `GraphNetwork`.

    Raises:
      NIRError: a damaged file; nodes, fields, values or wirings that have no meaning; dt, method
        or delays that the graph cannot be stepped with. The message names the node.
      FileNotFoundError: no such file.
    """
    dt = _positive(dt)
    if method not in ("euler", "exp"):
        raise fail("method", "'euler' or 'exp'", repr(method), "NIR leaves it to the reader")
    stepping = Stepping(dt, method, find_producer(producer, method), surrogate)
    parsed = as_graph(graph, max_bytes)
    if not override:
        _check_agreement(parsed, dt, method)
    try:
        network = _network(parsed, stepping, round_delays, param_dtype)
    except RecursionError as error:
        raise fail(
            "graph", "nodes that feed each other some hundred deep", "a deeper chain"
        ) from error
    return network.module, network.variables


def _network(graph: Graph, stepping: Stepping, round_delays: bool, param_dtype: Any) -> Part:
    wiring = wire(repaired(graph, stepping.producer, stepping.dt))
    steps = {
        name: delay_steps(node, name, stepping.dt, round_delays)
        for name, node in wiring.nodes.items()
        if node.type == "Delay"
    }
    found = units(wiring, steps)
    groups = components(wiring.sources, sorted(wiring.nodes))
    loops = {n for g in groups if is_loop(g, wiring.sources) for n in g}
    return assemble(Builder(wiring, stepping, steps, orders(wiring, loops), param_dtype), found)


def as_graph(graph: Any, max_bytes: int = MAX_BYTES) -> Graph:
    """Return a checked graph, of a file or of what ``nir`` has in memory.

    Raises:
      NIRError: it is not one.
      FileNotFoundError: no such file.
    """
    if isinstance(graph, Graph):
        return graph
    if isinstance(graph, str | os.PathLike):
        return parse_graph(read_tree(graph, max_bytes))
    if not hasattr(graph, "nodes") or not hasattr(graph, "edges"):
        raise fail(
            "graph",
            "a nir.NIRGraph or the path of a file",
            type(graph).__name__,
        )
    return parse_graph(_raw(graph))


def _raw(node: Any) -> dict[str, Any]:
    """Return a node of nir as the plain values that its file would hold."""
    kind = type(node).__name__
    raw: dict[str, Any] = {"type": kind}
    metadata = getattr(node, "metadata", None)
    raw["metadata"] = metadata if isinstance(metadata, Mapping) else {}
    if kind == "NIRGraph":
        raw["nodes"] = {str(name): _raw(each) for name, each in node.nodes.items()}
        raw["edges"] = list(node.edges)
        return raw
    if kind in ("Input", "Output"):
        types = node.input_type if kind == "Input" else node.output_type
        raw["shape"] = next(iter(types.values()), None)
        return raw
    skipped = ("metadata", "input_type", "output_type")
    raw |= {name: value for name, value in vars(node).items() if name not in skipped}
    if kind == "Flatten":
        raw["input_type"] = node.input_type.get("input")
    return raw


def _check_agreement(graph: Graph, dt: float, method: str) -> None:
    written = graph.metadata.get("dt")
    if isinstance(written, bool) or not isinstance(written, int | float):
        written = dt
    if not math.isclose(written, dt, rel_tol=1e-9):
        raise fail(
            "dt",
            f"{written!r} s, for which the file was written",
            f"{dt!r} s",
            "or pass override=True: time constants stay, the steps change",
        )
    written = graph.metadata.get("method")
    if written in ("euler", "exp") and written != method:
        raise fail(
            "method",
            f"{written!r}, for which the file was written",
            repr(method),
            "or pass override=True",
        )


def _positive(dt: Any) -> float:
    if isinstance(dt, bool) or not isinstance(dt, int | float | np.number):
        raise fail("dt", "the length of a step in seconds", repr(dt))
    if not (math.isfinite(dt) and dt > 0):
        raise fail("dt", "a finite number of seconds > 0", repr(dt))
    return float(dt)
