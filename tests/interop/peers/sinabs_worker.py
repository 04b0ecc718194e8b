"""sinabs: ``to_nir`` and ``from_nir``, over batch and time at once.

v <- a v + x with a = exp(-1 / tau), tau in steps; floor(v / threshold) spikes, each of which
subtracts the threshold. ``IAF`` has a = 1 and holds v above -threshold.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import graph_file
import nir
import numpy as np
import sinabs.layers as sl
import torch
from serve import BATCH, Arrays, Network, Peer, biases, inputs, serve, weights
from sinabs.nir import from_nir, to_nir
from torch_loop import Recorder, conv2d, linear, modules_of, named

Layer = Callable[[np.random.Generator, Any], torch.nn.Module]


def _tau(rng: np.random.Generator, shape: Any) -> torch.Tensor:
    return torch.from_numpy(rng.uniform(5, 20, shape).astype(np.float32))


def _lif(rng: np.random.Generator, shape: Any, **options: Any) -> sl.LIFSqueeze:
    options = {"norm_input": False, "batch_size": BATCH} | options
    return sl.LIFSqueeze(tau_mem=_tau(rng, shape), spike_threshold=torch.ones(shape), **options)


def _li(rng: np.random.Generator, size: int) -> sl.ExpLeakSqueeze:
    return sl.ExpLeakSqueeze(tau_mem=_tau(rng, size), norm_input=False, batch_size=BATCH)


def _iaf(_: np.random.Generator, __: Any) -> sl.IAFSqueeze:
    return sl.IAFSqueeze(spike_threshold=torch.tensor(1.0), min_v_mem=-1.0, batch_size=BATCH)


def _dense(rng: np.random.Generator, first: Layer, second: Layer, gain: float = 1.0) -> Network:
    layers = [
        linear(weights(rng, 10, 12, gain=gain), biases(rng, 10)),
        first(rng, 10),
        linear(weights(rng, 6, 10, gain=gain), biases(rng, 6)),
        second(rng, 6),
    ]
    return _network(layers, inputs(rng, 12))


def lif(rng: np.random.Generator) -> Network:
    """Several spikes a step, which subtract; the file says a reset to zero."""
    return _dense(rng, _lif, _lif, gain=0.7)


def li(rng: np.random.Generator) -> Network:
    """As ``lif``, and a readout without spikes."""
    return _dense(rng, _lif, _li, gain=0.7)


def norm_input(rng: np.random.Generator) -> Network:
    """As ``lif``, with gain 1 - a, of which the file says nothing."""
    return _dense(rng, *[lambda *a: _lif(*a, norm_input=True)] * 2, gain=4.0)


def cuba(rng: np.random.Generator) -> Network:
    """As ``lif``, with a synapse, of which the file says nothing."""
    return _dense(rng, *[lambda *a: _lif(*a, tau_syn=4.0)] * 2, gain=0.3)


def _conv(rng: np.random.Generator, neuron: Layer) -> Network:
    layers = [
        conv2d(weights(rng, 3, 2, 3, 3, gain=0.7), biases(rng, 3), padding=1),
        neuron(rng, (3, 8, 6)),
        sl.SumPool2d((2, 2)),
        torch.nn.Flatten(),
        linear(weights(rng, 5, 36, gain=0.7), biases(rng, 5)),
        _iaf(rng, 5),
    ]
    return _network(layers, inputs(rng, 2, 8, 6))


def conv(rng: np.random.Generator) -> Network:
    """With ``IAF``."""
    return _conv(rng, _iaf)


def conv_lif(rng: np.random.Generator) -> Network:
    """With ``LIF``, which sinabs does not read back in a convolutional shape."""
    return _conv(rng, _lif)


def conv_stride(rng: np.random.Generator) -> Network:
    layers = [
        conv2d(weights(rng, 4, 2, 3, 3, gain=0.7), biases(rng, 4), stride=2, padding=1),
        _iaf(rng, (4, 4, 3)),
        torch.nn.Flatten(),
        linear(weights(rng, 5, 48, gain=0.7), biases(rng, 5)),
        _iaf(rng, 5),
    ]
    return _network(layers, inputs(rng, 2, 8, 6))


def _batch_first(trace: Any, batch: int = BATCH) -> np.ndarray:
    """Turn (B * T, ...) into (T, B, ...)."""
    return np.asarray(trace).reshape(batch, -1, *trace.shape[1:]).swapaxes(0, 1)


def _over_time(net: torch.nn.Module, x: np.ndarray) -> np.ndarray:
    """Run ``net`` on ``x`` (T, B, ...)."""
    flat = torch.from_numpy(x).transpose(0, 1).flatten(0, 1)
    with torch.no_grad():
        output = net(flat)
    return _batch_first(output[0] if isinstance(output, tuple) else output, x.shape[1])


def _recorders(modules: list[Any]) -> tuple[Recorder, Recorder]:
    """Record outputs (B * T, ...) and membranes (B, T, ...)."""
    for module in modules:
        module.record_states = True
    membranes = Recorder(modules, lambda module, _: module.recordings["v_mem"])
    return Recorder(modules, lambda _, output: output), membranes


def _network(layers: list[torch.nn.Module], x: np.ndarray) -> Network:
    net = torch.nn.Sequential(*layers)
    populations = [layer for layer in layers if isinstance(layer, sl.StatefulLayer)]
    outputs, membranes = _recorders(populations)
    y = _over_time(net, x)
    spikes = [
        _batch_first(trace[0])
        for trace, layer in zip(outputs.traces(), populations, strict=True)
        if layer.spike_fn is not None
    ]

    def write(file: Path) -> list[str]:
        for layer in populations:
            layer.reset_states()
        return graph_file.write(file, to_nir(net, torch.zeros(x.shape[1:])))

    v = [trace[0].swapaxes(0, 1) for trace in membranes.traces()]
    return Network(x, y, write, 1.0, "exp", spikes, v)


def read(file: Path, dt: float) -> tuple[nir.NIRGraph, Callable[[int], torch.nn.Module]]:
    """Import the file; sinabs takes no step and reads time constants as steps."""

    graph = graph_file.read(file, PEER.workarounds)

    def imported(batch: int) -> torch.nn.Module:
        return from_nir(deepcopy(graph), batch_size=batch)

    imported(1)  # sinabs wants to know the batch, but what it refuses it refuses now
    return graph, imported


def simulate(model: tuple[nir.NIRGraph, Callable[[int], torch.nn.Module]], x: np.ndarray) -> Arrays:
    graph, imported = model
    net = imported(x.shape[1])
    found = modules_of(graph, net)
    outputs, membranes = _recorders(list(found.values()))
    y = _over_time(net, x)
    pairs = zip(found, outputs.traces(), strict=True)
    traces = {name: _batch_first(trace[0], x.shape[1]) for name, trace in pairs}
    pairs = zip(found, membranes.traces(), strict=True)
    v = {name: trace[0].swapaxes(0, 1) for name, trace in pairs}
    return {"y": y} | named(graph, traces, v)


KINDS = (lif, li, norm_input, cuba, conv, conv_lif, conv_stride)
PEER = Peer("sinabs", {kind.__name__: kind for kind in KINDS}, read, simulate)

if __name__ == "__main__":
    serve(PEER)
