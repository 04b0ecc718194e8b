"""Rockpool, Torch back end: ``to_nir`` and ``from_nir``, over batch and time at once.

i <- as (i + x); v <- am v + i with a = exp(-dt / tau); floor(v / threshold) spikes, each of which
subtracts the threshold. ``LIFNeuronTorch`` v <- am v + x; ``ExpSynTorch`` v <- a (v + x).
"""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import graph_file
import nir
import numpy as np
import torch
from rockpool.nn.combinators import Sequential
from rockpool.nn.modules import (
    ExpSynTorch,
    LIFNeuronTorch,
    LIFTorch,
    LinearTorch,
)
from rockpool.nn.modules.torch.nir import from_nir, to_nir
from serve import Arrays, Network, Peer, biases, inputs, serve, weights
from torch_loop import modules_of, named

DT = 1e-3
Layer = Callable[[np.random.Generator, int], Any]


def _tau(rng: np.random.Generator, low: float, high: float, size: int) -> torch.Tensor:
    return torch.from_numpy((DT * rng.uniform(low, high, size)).astype(np.float32))


def _linear(rng: np.random.Generator, outs: int, ins: int, gain: float) -> LinearTorch:
    weight = torch.from_numpy(weights(rng, outs, ins, gain=gain).T.copy())
    bias = torch.from_numpy(biases(rng, outs))
    return LinearTorch((ins, outs), weight=weight, bias=bias, has_bias=True)


def _cuba(rng: np.random.Generator, size: int, **options: Any) -> LIFTorch:
    taus = {"tau_syn": _tau(rng, 5, 10, size), "tau_mem": _tau(rng, 10, 30, size)}
    return LIFTorch(size, **taus, threshold=torch.ones(size), dt=DT, **options)


def _lif(rng: np.random.Generator, size: int) -> LIFNeuronTorch:
    return LIFNeuronTorch(size, tau_mem=_tau(rng, 10, 30, size), threshold=torch.ones(size), dt=DT)


def _li(rng: np.random.Generator, size: int) -> ExpSynTorch:
    return ExpSynTorch(size, tau=_tau(rng, 10, 30, size), dt=DT)


def _dense(rng: np.random.Generator, first: Layer, second: Layer, gain: float) -> Network:
    layers = [_linear(rng, 10, 12, gain), first(rng, 10), _linear(rng, 6, 10, gain), second(rng, 6)]
    return _network(layers, inputs(rng, 12))


def cuba(rng: np.random.Generator) -> Network:
    """r = tau exp(-dt / tau) / dt and w_in = 1 in the file, for gains am and as."""
    return _dense(rng, _cuba, _cuba, gain=0.2)


def lif(rng: np.random.Generator) -> Network:
    return _dense(rng, _lif, _lif, gain=0.6)


def li(rng: np.random.Generator) -> Network:
    """``ExpSynTorch`` as a readout, which is LI in the file."""
    return _dense(rng, _cuba, _li, gain=0.2)


def recurrent_cuba(rng: np.random.Generator) -> Network:
    """The file leaves the recurrent weights out."""

    def neuron(rng: np.random.Generator, size: int) -> LIFTorch:
        w_rec = torch.from_numpy(weights(rng, size, size, gain=0.05))
        return _cuba(rng, size, has_rec=True, w_rec=w_rec)

    return _dense(rng, neuron, _cuba, gain=0.2)


def _time_first(trace: torch.Tensor) -> np.ndarray:
    return trace.detach().transpose(0, 1).numpy()


def _network(layers: list[Any], x: np.ndarray) -> Network:
    now = torch.from_numpy(x).transpose(0, 1)
    spikes, membranes = [], []
    with torch.no_grad():
        for layer in layers:
            now, _, records = layer(now, record=True)
            if isinstance(layer, LIFTorch | LIFNeuronTorch):
                spikes.append(_time_first(now))
                membranes.append(_time_first(records["vmem"]))
    notes = [
        "shapes of Input and Output cut to the features: nir.read refuses them with batch and time"
    ]
    if isinstance(layers[-1], ExpSynTorch):
        notes.append("tau.requires_grad_(False): the exporter does not detach it")
        layers[-1].tau.requires_grad_(False)

    def write(file: Path) -> list[str]:
        graph = to_nir(Sequential(*layers))
        graph.nodes["input"] = nir.Input(np.array(x.shape[2:]))
        graph.nodes["output"] = nir.Output(np.array(now.shape[2:]))
        return graph_file.write(file, graph) + notes

    y = _time_first(now)
    return Network(x, y, write, DT, "exp", spikes, membranes)


def read(file: Path, dt: float) -> tuple[nir.NIRGraph, torch.nn.Module]:
    """Import the file; Rockpool takes no step and infers it from tau and r."""
    graph = graph_file.read(file, PEER.workarounds)
    return graph, from_nir(deepcopy(graph))


def simulate(model: tuple[nir.NIRGraph, torch.nn.Module], x: np.ndarray) -> Arrays:
    graph, net = model
    found = {
        name: module
        for name, module in modules_of(graph, net).items()
        if isinstance(module, LIFTorch | LIFNeuronTorch)
    }
    for module in found.values():
        module._record = True
    with torch.no_grad():
        output = net(torch.from_numpy(x).transpose(0, 1))
    y = output[0] if isinstance(output, tuple) else output
    records = {name: module._record_dict for name, module in found.items()}
    spikes = {name: _time_first(record["spikes"]) for name, record in records.items()}
    membranes = {name: _time_first(record["vmem"]) for name, record in records.items()}
    return {"y": _time_first(y)} | named(graph, spikes, membranes)


KINDS = (cuba, lif, li, recurrent_cuba)
PEER = Peer("rockpool", {kind.__name__: kind for kind in KINDS}, read, simulate)

if __name__ == "__main__":
    serve(PEER)
