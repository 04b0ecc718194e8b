"""SpikingJelly: ``export_to_nir`` and ``import_from_nir``, single step.

v <- v + (x - (v - v_reset)) / tau, or v <- v - (v - v_reset) / tau + x without ``decay_input``;
CUBALIFNode c <- c_decay c + x, v <- v_decay v + c. A spike is v >= threshold.
"""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import Any

import graph_file
import nir
import numpy as np
import torch
from serve import Arrays, Network, Peer, biases, inputs, serve, weights
from spikingjelly.activation_based import (
    functional,
    layer,
    neuron,
)
from spikingjelly.activation_based.nir_exchange import (
    export_to_nir,
    import_from_nir,
)
from torch_loop import Recorder, conv2d, linear, loop, modules_of, named

DT = 1e-3


def _lif(tau: float, **options: Any) -> neuron.LIFNode:
    return neuron.LIFNode(tau=tau, **({"v_reset": 0.0, "decay_input": False} | options))


def _dense(
    rng: np.random.Generator, first: torch.nn.Module, second: torch.nn.Module, gain: float = 1.0
) -> Network:
    net = torch.nn.Sequential(
        linear(weights(rng, 10, 12, gain=gain), biases(rng, 10), layer.Linear),
        first,
        linear(weights(rng, 6, 10, gain=gain), biases(rng, 6), layer.Linear),
        second,
    )
    return _network(net, inputs(rng, 12))


def lif(rng: np.random.Generator) -> Network:
    """``decay_input=False``: r = tau / dt in the file."""
    return _dense(rng, _lif(8.0), _lif(5.0))


def lif_decay_input(rng: np.random.Generator) -> Network:
    """``decay_input=True``: r = 1 in the file; the second layer starts and resets at -0.1."""
    second = _lif(6.0, decay_input=True, v_reset=-0.1, v_threshold=0.8)
    return _dense(rng, _lif(7.0, decay_input=True), second, gain=4.0)


def plif_if(rng: np.random.Generator) -> Network:
    """``ParametricLIFNode``, then ``IFNode``."""
    return _dense(rng, neuron.ParametricLIFNode(4.0, decay_input=True), neuron.IFNode(), gain=1.5)


def cuba(rng: np.random.Generator) -> Network:
    neurons = [neuron.CUBALIFNode(c_decay=c, v_decay=v) for c, v in ((0.7, 0.85), (0.6, 0.9))]
    return _dense(rng, *neurons, gain=0.25)


def soft(rng: np.random.Generator) -> Network:
    return _dense(rng, _lif(8.0, v_reset=None), _lif(5.0, v_reset=None))


def conv(rng: np.random.Generator) -> Network:
    net = torch.nn.Sequential(
        conv2d(weights(rng, 3, 2, 3, 3), biases(rng, 3), layer.Conv2d, padding=1),
        _lif(6.0),
        layer.AvgPool2d(2),
        layer.Flatten(),
        linear(weights(rng, 5, 36), biases(rng, 5), layer.Linear),
        _lif(5.0),
    )
    return _network(net, inputs(rng, 2, 8, 6))


def conv_stride(rng: np.random.Generator) -> Network:
    net = torch.nn.Sequential(
        conv2d(weights(rng, 4, 2, 3, 3), biases(rng, 4), layer.Conv2d, stride=2, padding=1),
        neuron.IFNode(),
        layer.Flatten(),
        linear(weights(rng, 5, 48), biases(rng, 5), layer.Linear),
        _lif(5.0),
    )
    return _network(net, inputs(rng, 2, 8, 6))


def conv1d(rng: np.random.Generator) -> Network:
    first = layer.Conv1d(2, 4, 5, padding=2)
    with torch.no_grad():
        first.weight.copy_(torch.from_numpy(weights(rng, 4, 2, 5)))
        first.bias.copy_(torch.from_numpy(biases(rng, 4)))
    last = linear(weights(rng, 5, 48), biases(rng, 5), layer.Linear)
    return _network(
        torch.nn.Sequential(first, _lif(4.0), layer.Flatten(), last, _lif(4.0)), inputs(rng, 2, 12)
    )


def recurrent(rng: np.random.Generator) -> Network:
    """``LinearRecurrentContainer`` feeds the spikes of the last step back as further inputs."""
    container = layer.LinearRecurrentContainer(_lif(8.0), in_features=10, out_features=10)
    return _dense(rng, container, _lif(5.0))


def _network(net: torch.nn.Sequential, x: np.ndarray) -> Network:
    functional.set_step_mode(net, "s")
    spiking = [part for part in net.modules() if isinstance(part, neuron.BaseNode)]
    spikes = Recorder(spiking, lambda _, output: output)
    membranes = Recorder(spiking, lambda module, _: module.v)
    y = loop(net, x)

    def write(file: Path) -> list[str]:
        functional.reset_net(net)
        return graph_file.write(file, export_to_nir(net, torch.zeros(1, *x.shape[2:]), dt=DT))

    return Network(x, y, write, DT, "euler", spikes.traces(), membranes.traces())


def read(file: Path, dt: float) -> tuple[nir.NIRGraph, torch.nn.Module]:
    graph = graph_file.read(file, PEER.workarounds)
    return graph, import_from_nir(deepcopy(graph), dt=dt, step_mode="s")


def simulate(model: tuple[nir.NIRGraph, torch.nn.Module], x: np.ndarray) -> Arrays:
    graph, net = model
    found = modules_of(graph, net)
    # A neuron returns its output and its new memories, of which the membrane is the first.
    spikes = Recorder(found.values(), lambda _, output: output[0])
    membranes = Recorder(found.values(), lambda _, output: output[1][0])
    state: Any = None

    def step(now: torch.Tensor) -> torch.Tensor:
        nonlocal state
        output, state = net(now, state)
        return output

    y = loop(step, x)
    outputs = dict(zip(found, spikes.traces(), strict=True))
    return {"y": y} | named(graph, outputs, dict(zip(found, membranes.traces(), strict=True)))


KINDS = (lif, lif_decay_input, plif_if, cuba, soft, conv, conv_stride, conv1d, recurrent)
PEER = Peer("spikingjelly", {kind.__name__: kind for kind in KINDS}, read, simulate)

if __name__ == "__main__":
    serve(PEER)
