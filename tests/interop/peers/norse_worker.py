"""Norse: ``to_nir`` and ``from_nir``.

LIFBoxCell v <- v + dt / tau (v_leak + x - v); LIFCell v <- v + dt / tau_mem (v_leak + i - v), with
i <- i - dt / tau_syn i + x; a spike is v > threshold. Norse writes the time constants times dt, so
that a file is read with the square of its step.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from pathlib import Path

import graph_file
import nir
import norse.torch as norse
import numpy as np
import torch
from norse.torch.functional.reset import (
    reset_subtract,
    reset_value,
)
from norse.torch.utils.export_nir import to_nir
from norse.torch.utils.import_nir import from_nir
from serve import Arrays, Network, Peer, biases, inputs, serve, weights
from torch_loop import Recorder, conv2d, linear, loop, modules_of, named

DT = 1e-3


def _inverse(rng: np.random.Generator, low: float, high: float, shape: object) -> torch.Tensor:
    """Draw 1 / tau for tau between ``low`` and ``high`` steps."""
    return torch.from_numpy((1 / (DT * rng.uniform(low, high, shape))).astype(np.float32))


def _full(shape: object, value: float) -> torch.Tensor:
    return torch.full((shape,) if isinstance(shape, int) else shape, value)


def _lif(
    rng: np.random.Generator, shape: object, reset: Callable[..., torch.Tensor] = reset_value
) -> norse.LIFBoxCell:
    parameters = norse.LIFBoxParameters(
        tau_mem_inv=_inverse(rng, 5, 20, shape),
        v_leak=_full(shape, 0.0),
        v_th=_full(shape, 0.6),
        v_reset=_full(shape, 0.0),
        reset_method=reset,
    )
    return norse.LIFBoxCell(parameters, dt=DT)


def _cuba(rng: np.random.Generator, size: int) -> norse.LIFCell:
    parameters = norse.LIFParameters(
        tau_syn_inv=_inverse(rng, 3, 6, size),
        tau_mem_inv=_inverse(rng, 8, 20, size),
        v_leak=_full(size, 0.0),
        v_th=_full(size, 0.4),
        v_reset=_full(size, 0.0),
    )
    return norse.LIFCell(parameters, dt=DT)


def _if(_: np.random.Generator, size: int) -> norse.IAFCell:
    return norse.IAFCell(norse.IAFParameters(_full(size, 1.0), _full(size, 0.0)), dt=DT)


def _li(rng: np.random.Generator, size: int) -> norse.LIBoxCell:
    parameters = norse.LIBoxParameters(_inverse(rng, 5, 10, size), _full(size, 0.0))
    return norse.LIBoxCell(parameters, dt=DT)


Cell = Callable[[np.random.Generator, int], torch.nn.Module]


def _dense(rng: np.random.Generator, first: Cell, second: Cell, gain: float) -> Network:
    cells = [
        linear(weights(rng, 10, 12, gain=gain), biases(rng, 10)),
        first(rng, 10),
        linear(weights(rng, 6, 10, gain=gain), biases(rng, 6)),
        second(rng, 6),
    ]
    return _network(cells, inputs(rng, 12))


def lif(rng: np.random.Generator) -> Network:
    return _dense(rng, _lif, _lif, gain=3.0)


def soft(rng: np.random.Generator) -> Network:
    """Subtracts the threshold; the file says a reset to zero."""
    return _dense(rng, *[lambda *a: _lif(*a, reset_subtract)] * 2, gain=3.0)


def cuba(rng: np.random.Generator) -> Network:
    """The synapse has gain 1, but the file says w_in = 1, which is gain dt / tau_syn."""
    return _dense(rng, _cuba, _cuba, gain=1.0)


def iaf(rng: np.random.Generator) -> Network:
    """v <- v + x, but the file says r = 1, which is v <- v + dt x."""
    return _dense(rng, _if, _if, gain=0.5)


def li(rng: np.random.Generator) -> Network:
    """A readout without spikes, which Norse exports and does not import."""
    return _dense(rng, _lif, _li, gain=3.0)


def conv_only(rng: np.random.Generator) -> Network:
    cells = [
        conv2d(weights(rng, 3, 2, 3, 3, gain=3.0), biases(rng, 3), padding=1),
        _lif(rng, (3, 8, 6)),
    ]
    return _network(cells, inputs(rng, 2, 8, 6))


def conv(rng: np.random.Generator) -> Network:
    cells = [
        conv2d(weights(rng, 3, 2, 3, 3, gain=3.0), biases(rng, 3), padding=1),
        _lif(rng, (3, 8, 6)),
        torch.nn.LPPool2d(1, (2, 2), (2, 2)),
        torch.nn.Flatten(-3),
        linear(weights(rng, 5, 36, gain=3.0), biases(rng, 5)),
        _lif(rng, 5),
    ]
    return _network(cells, inputs(rng, 2, 8, 6))


def recurrent(rng: np.random.Generator) -> Network:
    """``LIFRecurrentCell``, with a synapse."""
    parameters = norse.LIFParameters(v_th=torch.tensor(0.4))
    cell = norse.LIFRecurrentCell(10, 10, p=parameters, autapses=True, dt=DT)
    cells = [linear(weights(rng, 10, 12)), cell, linear(weights(rng, 6, 10, gain=3)), _lif(rng, 6)]
    return _network(cells, inputs(rng, 12))


def _network(cells: list[torch.nn.Module], x: np.ndarray) -> Network:
    net = norse.SequentialState(*cells)
    populations = [cell for cell in cells if hasattr(cell, "p")]
    spiking = [cell for cell in populations if not isinstance(cell, norse.LIBoxCell)]
    spikes = Recorder(spiking, lambda _, output: output[0])
    membranes = Recorder(populations, lambda _, output: output[1].v)
    state = None

    def step(now: torch.Tensor) -> torch.Tensor:
        nonlocal state
        output, state = net(now, state)
        return output

    y = loop(step, x)

    def write(file: Path) -> list[str]:
        # Without a batch axis, which would become a part of the shapes.
        return graph_file.write(file, to_nir(net, torch.zeros(x.shape[2:]), dt=DT))

    # An IF has no time constant.
    dt = DT if isinstance(cells[1], norse.IAFCell) else DT * DT
    return Network(x, y, write, dt, "euler", spikes.traces(), membranes.traces(), {"dt_source": DT})


def read(file: Path, dt: float) -> tuple[nir.NIRGraph, torch.nn.Module]:
    graph = graph_file.read(file, PEER.workarounds)
    return graph, from_nir(deepcopy(graph), dt=dt)


def simulate(model: tuple[nir.NIRGraph, torch.nn.Module], x: np.ndarray) -> Arrays:
    graph, net = model
    found = modules_of(graph, net)
    # A CubaLIF returns the states of its synapse and of its neuron.
    outputs = Recorder(found.values(), lambda _, output: output[0])
    membranes = Recorder(found.values(), lambda _, output: _neuron(output[1]).v)
    state = None

    def step(now: torch.Tensor) -> torch.Tensor:
        nonlocal state
        output, state = net(now, state)
        return output

    y = loop(step, x)
    traces = dict(zip(found, outputs.traces(), strict=True))
    return {"y": y} | named(graph, traces, dict(zip(found, membranes.traces(), strict=True)))


def _neuron(state: object) -> object:
    return state if hasattr(state, "v") else state[1]


KINDS = (lif, soft, cuba, iaf, li, conv_only, conv, recurrent)
PEER = Peer("norse", {kind.__name__: kind for kind in KINDS}, read, simulate)

if __name__ == "__main__":
    serve(PEER)
