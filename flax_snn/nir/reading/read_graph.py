"""`from_nir`: makes a Flax network and its variables of a NIR graph or file."""

from __future__ import annotations

import math
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
import numpy as np

from flax_snn.nir.channel_order import orders
from flax_snn.nir.error import fail
from flax_snn.nir.file.files import as_graph
from flax_snn.nir.file.hdf5 import MAX_BYTES
from flax_snn.nir.graph import Graph
from flax_snn.nir.method import Method, check_method
from flax_snn.nir.reading.grouping import delay_steps, group_nodes
from flax_snn.nir.reading.modules import BuiltModule, ModuleBuilder
from flax_snn.nir.reading.network import assemble
from flax_snn.nir.reading.neurons import ReadOptions
from flax_snn.nir.reading.presets import find_producer, repaired
from flax_snn.nir.reading.size import check_size
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
    """Makes a Flax network of a NIR graph.

    Every node, field and edge of the graph is honoured, or the graph is refused: nothing is guessed
    and nothing is ignored. The network reads sequences that are batch-major with channels last,
    ``(*B, T, F)`` or ``(B, T, H, W, C)``, where the graph has channels first, ``(C, H, W)``.
    Weights become parameters; what differs between neurons of a population is in the collection
    ``neuron``.

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
      method: how the differential equations of NIR, which have no time step, are discretized. With
        ``euler``, a state decays by the factor 1 - dt/tau in a step, with ``exp`` by exp(-dt/tau).
        Choose what the network was trained with. The argument corresponds to ``discretization`` of
        `flax_snn.LIFDynamics`, and is not the ``method`` of `flax_snn.event.RNN`, which says how
        gradients are computed (see `flax_snn.nir.method`).
      producer: name of a preset for a framework whose files deviate from NIR, one of
        `flax_snn.nir.PRODUCERS`. ``None`` (default) reads the file as NIR defines it.
      override: use dt and method even if the metadata of the file name others. Default: False.
      round_delays: round delays to whole steps. By default, other delays are refused.
      surrogate: surrogate derivative of all spikes. By default the one that the file names, else
        superspike(10).
      param_dtype: dtype of the parameters, to which the values of the file are rounded.
      max_bytes: largest total size of all arrays of a file, in bytes, and of what the network
        computes and remembers in one step of one sample.

    Returns:
      The network and its variables. The network is ``snn.RNN`` or ``nn.Sequential`` if the layers
      are in a row, else a `GraphNetwork`.

    Raises:
      NIRError: the file is damaged; a node, field, value or edge is not valid; or the graph cannot
        be advanced with this dt and method. The message names the node.
      FileNotFoundError: there is no such file.
    """
    dt = _positive(dt)
    check_method(method, "NIR does not define the step: choose what the network was trained with")
    options = ReadOptions(dt, method, find_producer(producer, method), surrogate)
    parsed = as_graph(graph, max_bytes)
    if not override:
        _check_agreement(parsed, dt, method)
    try:
        network = _network(parsed, options, round_delays, param_dtype, max_bytes)
    except RecursionError as error:
        raise fail(
            "graph", "chains of at most some hundred nodes in a loop", "a deeper chain"
        ) from error
    return network.module, network.variables


def _network(
    graph: Graph, options: ReadOptions, round_delays: bool, param_dtype: Any, max_bytes: int
) -> BuiltModule:
    wiring = wire(repaired(graph, options.producer, options.dt))
    steps = {
        name: delay_steps(node, name, options.dt, round_delays)
        for name, node in wiring.nodes.items()
        if node.type == "Delay"
    }
    check_size(wiring, steps, param_dtype, max_bytes)
    found = group_nodes(wiring, steps)
    groups = components(wiring.sources, sorted(wiring.nodes))
    loops = {n for g in groups if is_loop(g, wiring.sources) for n in g}
    return assemble(
        ModuleBuilder(wiring, options, steps, orders(wiring, loops), param_dtype), found
    )


def _check_agreement(graph: Graph, dt: float, method: str) -> None:
    written = graph.metadata.get("dt")
    if isinstance(written, bool) or not isinstance(written, int | float):
        written = dt
    if not math.isclose(written, dt, rel_tol=1e-9):
        raise fail(
            "dt",
            f"{written!r} s, for which the file was written",
            f"{dt!r} s",
            "pass that dt, or override=True to use the time constants with other steps",
        )
    written = graph.metadata.get("method")
    if written in ("euler", "exp") and written != method:
        raise fail(
            "method",
            f"{written!r}, for which the file was written",
            repr(method),
            "pass that method, or override=True to use the other one",
        )


def _positive(dt: Any) -> float:
    if isinstance(dt, bool) or not isinstance(dt, int | float | np.number):
        raise fail("dt", "the length of a step in seconds", repr(dt))
    if not (math.isfinite(dt) and dt > 0):
        raise fail("dt", "a finite number of seconds > 0", repr(dt))
    return float(dt)
