"""snnTorch: ``export_to_nir`` and ``import_from_nir``.

v <- beta v + x, or i <- alpha i + x; v <- beta v + i; a spike is v > threshold. Its step in a file
is 0.1 ms in both directions, whatever was meant.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import graph_file
import nir
import numpy as np
import snntorch as snn
import torch
from serve import Arrays, Network, Peer, biases, inputs, serve, weights
from snntorch.export_nir import export_to_nir
from snntorch.import_nir import import_from_nir
from torch_loop import Recorder, conv2d, linear, loop, modules_of, named

DT = 1e-4
Shape = int | Sequence[int]


def _leaky(rng: np.random.Generator, shape: Shape, **options: Any) -> snn.Leaky:
    """A ``Leaky`` with a decay for each neuron; by default it resets to zero in the same step."""
    options = {"reset_mechanism": "zero", "reset_delay": False} | options
    beta = torch.from_numpy(rng.uniform(0.8, 0.95, shape).astype(np.float32))
    return snn.Leaky(beta=beta, threshold=torch.ones(shape), init_hidden=True, **options)


def _synaptic(rng: np.random.Generator, size: int) -> snn.Synaptic:
    alpha, beta = (
        torch.from_numpy(rng.uniform(low, high, size).astype(np.float32))
        for low, high in ((0.5, 0.8), (0.8, 0.95))
    )
    return snn.Synaptic(
        alpha=alpha,
        beta=beta,
        threshold=torch.ones(size),
        init_hidden=True,
        reset_mechanism="zero",
        reset_delay=False,
    )


def _dense(
    rng: np.random.Generator, neuron: Callable[..., torch.nn.Module], gain: float = 1.0
) -> Network:
    net = torch.nn.Sequential(
        linear(weights(rng, 10, 12, gain=gain), biases(rng, 10)),
        neuron(rng, 10),
        linear(weights(rng, 6, 10, gain=gain), biases(rng, 6)),
        neuron(rng, 6),
    )
    return _network(net, inputs(rng, 12))


def lif(rng: np.random.Generator) -> Network:
    return _dense(rng, _leaky)


def lif_without_bias(rng: np.random.Generator) -> Network:
    net = torch.nn.Sequential(
        linear(weights(rng, 10, 12)), _leaky(rng, 10), linear(weights(rng, 6, 10)), _leaky(rng, 6)
    )
    return _network(net, inputs(rng, 12))


def cuba(rng: np.random.Generator) -> Network:
    return _dense(rng, _synaptic, gain=0.4)


def soft(rng: np.random.Generator) -> Network:
    """Subtracts the threshold in the same step; the file says a reset to zero."""
    return _dense(rng, lambda *a: _leaky(*a, reset_mechanism="subtract"))


def soft_delayed(rng: np.random.Generator) -> Network:
    """The default ``Leaky``: subtracts a step after the spike; the file says a reset to zero."""
    return _dense(rng, lambda *a: _leaky(*a, reset_mechanism="subtract", reset_delay=True))


def conv(rng: np.random.Generator) -> Network:
    net = torch.nn.Sequential(
        conv2d(weights(rng, 3, 2, 3, 3), biases(rng, 3), padding=1),
        _leaky(rng, (3, 8, 6)),
        torch.nn.AvgPool2d((2, 2), (2, 2)),
        torch.nn.Flatten(),
        linear(weights(rng, 5, 36), biases(rng, 5)),
        _leaky(rng, 5),
    )
    return _network(net, inputs(rng, 2, 8, 6))


def conv_stride(rng: np.random.Generator) -> Network:
    net = torch.nn.Sequential(
        conv2d(weights(rng, 4, 2, 3, 3), biases(rng, 4), stride=2, padding=1),
        _leaky(rng, (4, 4, 3)),
        torch.nn.Flatten(),
        linear(weights(rng, 5, 48), biases(rng, 5)),
        _leaky(rng, 5),
    )
    return _network(net, inputs(rng, 2, 8, 6))


def conv_only(rng: np.random.Generator) -> Network:
    """Without ``Flatten``, which snnTorch does not read back."""
    net = torch.nn.Sequential(
        conv2d(weights(rng, 3, 2, 3, 3), biases(rng, 3), padding=1),
        _leaky(rng, (3, 8, 6)),
        torch.nn.AvgPool2d((2, 2), (2, 2)),
    )
    return _network(net, inputs(rng, 2, 8, 6))


def _recurrent(rng: np.random.Generator, neuron: torch.nn.Module, gain: float = 1.0) -> Network:
    net = torch.nn.Sequential(
        linear(weights(rng, 10, 12, gain=gain), biases(rng, 10)),
        neuron,
        linear(weights(rng, 6, 10), biases(rng, 6)),
        _leaky(rng, 6),
    )
    return _network(net, inputs(rng, 12))


def recurrent(rng: np.random.Generator) -> Network:
    """All to all, with a recurrent bias."""
    options = {"reset_mechanism": "zero", "reset_delay": False, "init_hidden": True}
    neuron = snn.RLeaky(beta=0.9, linear_features=10, **options)
    neuron.recurrent = linear(weights(rng, 10, 10, gain=0.5), biases(rng, 10))
    return _recurrent(rng, neuron)


def recurrent_diagonal(rng: np.random.Generator) -> Network:
    """One to one."""
    options = {"reset_mechanism": "zero", "reset_delay": False, "init_hidden": True}
    v = torch.from_numpy(rng.uniform(-0.5, 0.3, 10).astype(np.float32))
    return _recurrent(rng, snn.RLeaky(beta=0.85, all_to_all=False, V=v, **options))


def recurrent_cuba(rng: np.random.Generator) -> Network:
    options = {"reset_mechanism": "zero", "reset_delay": False, "init_hidden": True}
    neuron = snn.RSynaptic(alpha=0.6, beta=0.9, linear_features=10, **options)
    neuron.recurrent = linear(weights(rng, 10, 10, gain=0.2), biases(rng, 10))
    return _recurrent(rng, neuron, gain=0.4)


def _network(net: torch.nn.Sequential, x: np.ndarray) -> Network:
    spiking = [module for module in net if hasattr(module, "mem")]
    spikes = Recorder(spiking, lambda _, output: output)
    membranes = Recorder(spiking, lambda module, _: module.mem)
    y = loop(net, x)

    def write(file: Path) -> list[str]:
        for neuron in spiking:
            neuron.reset_mem()
        graph = export_to_nir(net, torch.zeros(1, *x.shape[2:]), ignore_dims=[0])
        return graph_file.write(file, graph)

    return Network(x, y, write, DT, "euler", spikes.traces(), membranes.traces())


def read(file: Path, dt: float) -> tuple[nir.NIRGraph, torch.nn.Module]:
    """Import the file; snnTorch takes no step and assumes 0.1 ms."""
    graph = graph_file.read(file, PEER.workarounds)
    try:
        return graph, import_from_nir(deepcopy(graph))
    except AttributeError as error:
        if "object has no attribute 'items'" not in str(error):
            raise
    # It cannot wire a nested graph that comes before the nodes that feed it, and a file lists
    # its nodes by name.
    PEER.workarounds.append("Input moved to the front of the nodes: recurrence fails otherwise")
    moved = deepcopy(graph)
    order = sorted(graph.nodes, key=lambda name: not isinstance(graph.nodes[name], nir.Input))
    moved.nodes = {name: graph.nodes[name] for name in order}
    return graph, import_from_nir(moved)


def simulate(model: tuple[nir.NIRGraph, torch.nn.Module], x: np.ndarray) -> Arrays:
    graph, net = model
    found = modules_of(graph, net)
    # What it makes of an IF returns its membrane too.
    spikes = Recorder(
        found.values(), lambda _, output: output[0] if isinstance(output, tuple) else output
    )
    membranes = Recorder(found.values(), lambda module, _: module.mem)
    state: Any = None

    def step(now: torch.Tensor) -> torch.Tensor:
        nonlocal state
        output, state = net(now, state)
        return output

    y = loop(step, x)
    outputs = dict(zip(found, spikes.traces(), strict=True))
    return {"y": y} | named(graph, outputs, dict(zip(found, membranes.traces(), strict=True)))


KINDS = (
    lif,
    lif_without_bias,
    cuba,
    soft,
    soft_delayed,
    conv,
    conv_stride,
    conv_only,
    recurrent,
    recurrent_diagonal,
    recurrent_cuba,
)
PEER = Peer("snntorch", {kind.__name__: kind for kind in KINDS}, read, simulate)

if __name__ == "__main__":
    serve(PEER)
