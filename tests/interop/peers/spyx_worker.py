"""Spyx: ``to_nir`` and ``from_nir``.

z = v > threshold of the membrane before the step; v <- beta v + x - z threshold, or with a synapse
v <- v - z threshold; i <- alpha i + x; v <- beta v + i. A recurrent layer feeds z back in the step.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import graph_file
import jax
import jax.numpy as jnp
import nir
import numpy as np
import spyx.nn as spyx
from flax import nnx
from jax_loop import chain, channels_first, channels_last, loop, named
from serve import Arrays, Network, Peer, biases, inputs, serve, weights
from spyx.nir import (
    _replace_rnn_subgraph_with_nirgraph,
    from_nir,
    to_nir,
)

DT = 1e-3
Neuron = Callable[[np.random.Generator, tuple[int, ...]], Any]


def _linear(rng: np.random.Generator, outs: int, ins: int, gain: float = 1.0) -> nnx.Linear:
    layer = nnx.Linear(ins, outs, rngs=nnx.Rngs(0))
    layer.kernel[...] = jnp.asarray(weights(rng, outs, ins, gain=gain).T)
    layer.bias[...] = jnp.asarray(biases(rng, outs))
    return layer


def _conv2d(rng: np.random.Generator, outs: int, ins: int, **options: Any) -> nnx.Conv:
    layer = nnx.Conv(ins, outs, (3, 3), rngs=nnx.Rngs(0), **options)
    layer.kernel[...] = jnp.asarray(weights(rng, outs, ins, 3, 3, gain=1.5).transpose(2, 3, 1, 0))
    layer.bias[...] = jnp.asarray(biases(rng, outs))
    return layer


def _decays(rng: np.random.Generator, layer: Any) -> Any:
    """Draw the decays of the layer, one for each neuron."""
    for name, low, high in (("alpha", 0.5, 0.8), ("beta", 0.8, 0.95)):
        if hasattr(layer, name):
            drawn = rng.uniform(low, high, layer.hidden_shape).astype(np.float32)
            getattr(layer, name)[...] = jnp.asarray(drawn)
    return layer


def _neuron(kind: Callable[..., Any]) -> Neuron:
    return lambda rng, shape: _decays(rng, kind(shape, rngs=nnx.Rngs(0)))


def _recurrent(kind: Callable[..., Any], gain: float) -> Neuron:
    def make(rng: np.random.Generator, shape: tuple[int, ...]) -> Any:
        layer = _neuron(kind)(rng, shape)
        layer.recurrent_w[...] = jnp.asarray(weights(rng, *shape, *shape, gain=gain).T)
        return layer

    return make


_lif, _cuba, _psu = (_neuron(kind) for kind in (spyx.LIF, spyx.CuBaLIF, spyx.PSU_LIF))


def _if(_: np.random.Generator, shape: tuple[int, ...]) -> spyx.IF:
    return spyx.IF(shape)


def _li(_: np.random.Generator, shape: tuple[int, ...]) -> spyx.LI:
    return spyx.LI(shape, rngs=nnx.Rngs(0))


def _dense(rng: np.random.Generator, first: Neuron, second: Neuron, gain: float = 1.0) -> Network:
    layers = [
        _linear(rng, 10, 12, gain),
        first(rng, (10,)),
        _linear(rng, 6, 10, gain),
        second(rng, (6,)),
    ]
    return _network(layers, inputs(rng, 12))


def lif(rng: np.random.Generator) -> Network:
    """Subtracts a step after the spike; the file says a reset to zero and r = beta."""
    return _dense(rng, _lif, _lif)


def cuba(rng: np.random.Generator) -> Network:
    """As ``lif``; gains 1, but w_in = 1 and r = beta in the file."""
    return _dense(rng, _cuba, _cuba, gain=0.4)


def lif_if(rng: np.random.Generator) -> Network:
    """As ``lif``, then ``IF``, v <- v + x, with r = 1 in the file."""
    return _dense(rng, _lif, _if, gain=0.6)


def no_reset(rng: np.random.Generator) -> Network:
    """``PSU_LIF``, which is LI and Threshold in the file, with r = 1 for gain 1."""
    return _dense(rng, _psu, _psu, gain=0.4)


def li(rng: np.random.Generator) -> Network:
    """Spyx warns that it does not know ``LI`` and leaves the readout out of the file."""
    return _dense(rng, _lif, _li)


def recurrent(rng: np.random.Generator) -> Network:
    """``RLIF``: nested, with edges input -> w_rec; the feedback comes without a step of delay."""
    return _dense(rng, _recurrent(spyx.RLIF, 0.4), _lif)


def recurrent_cuba(rng: np.random.Generator) -> Network:
    """As ``recurrent``, with a synapse."""
    return _dense(rng, _recurrent(spyx.RCuBaLIF, 0.15), _cuba, gain=0.4)


def conv(rng: np.random.Generator) -> Network:
    """The columns after ``Flatten`` are in the order (H, W, C), though all shapes are (C, H, W)."""
    layers = [
        _conv2d(rng, 3, 2, padding="SAME"),
        _lif(rng, (8, 6, 3)),
        spyx.SumPool((2, 2), (2, 2), "VALID"),
        spyx.Flatten(),
        _linear(rng, 5, 36),
        _lif(rng, (5,)),
    ]
    return _network(layers, inputs(rng, 2, 8, 6))


def conv_stride(rng: np.random.Generator) -> Network:
    """As ``conv``, with explicit padding."""
    layers = [
        _conv2d(rng, 4, 2, strides=(2, 2), padding=((1, 1), (1, 1))),
        _lif(rng, (4, 3, 4)),
        spyx.Flatten(),
        _linear(rng, 5, 48),
        _lif(rng, (5,)),
    ]
    return _network(layers, inputs(rng, 2, 8, 6))


def _step(layer: Any, state: Any, x: jax.Array) -> tuple[Any, jax.Array]:
    if state is None:
        return None, layer(x)
    output, state = layer(x, state)
    return state, output


def _run(net: Any, x: np.ndarray) -> tuple[list[np.ndarray], list[np.ndarray | None]]:
    """Return the outputs of each layer and its membrane, if it has one."""
    outputs, states = loop(_step, net.layers, net.initial_state(x.shape[1]), x)
    membranes = [_membrane(*pair) for pair in zip(net.layers, states, strict=True)]
    return outputs, membranes


def _membrane(layer: Any, state: Any) -> np.ndarray | None:
    if state is None:
        return None
    if hasattr(layer, "alpha"):  # the current stands behind the membrane
        state = jnp.split(state, 2, axis=-1)[0]
    return channels_first(np.asarray(state))


def _network(layers: list[Any], x: np.ndarray) -> Network:
    net = spyx.Sequential(*layers)
    outputs, membranes = _run(net, x)
    spiking = [hasattr(layer, "spike") for layer in layers]

    def write(file: Path) -> list[str]:
        shapes = {"input": np.array(x.shape[2:])}, {"output": np.array(outputs[-1].shape[2:])}
        return graph_file.write(file, to_nir(net, *shapes, dt=DT))

    return Network(
        x,
        outputs[-1],
        write,
        DT,
        "euler",
        [output for output, spikes in zip(outputs, spiking, strict=True) if spikes],
        [membrane for membrane in membranes if membrane is not None],
    )


def read(file: Path, dt: float) -> tuple[nir.NIRGraph, Callable[[np.ndarray], Any]]:
    # Spyx imports and runs in one call.
    graph = graph_file.read(file, PEER.workarounds)
    return graph, lambda x: from_nir(deepcopy(graph), jnp.asarray(channels_last(x)), dt=dt)


def simulate(model: tuple[nir.NIRGraph, Callable[[np.ndarray], Any]], x: np.ndarray) -> Arrays:
    graph, run = model
    net, y = run(x)
    arrays = {"y": channels_first(np.asarray(y))}
    outputs, membranes = _run(net, x)
    keys = _keys(graph)
    return arrays | (named(graph, keys, outputs, membranes) if len(keys) == len(outputs) else {})


def _keys(graph: nir.NIRGraph) -> list[str]:
    """Return the names of the nodes of which Spyx makes layers, in order.

    Of a recurrent layer, that of its neuron: Spyx nests a flat one.
    """
    before = set(graph.nodes)
    graph = _replace_rnn_subgraph_with_nirgraph(deepcopy(graph))
    keys = []
    for name in chain(graph):
        node = graph.nodes[name]
        if isinstance(node, nir.NIRGraph):
            inner = next(key for key, part in node.nodes.items() if hasattr(part, "v_threshold"))
            keys.append(inner if inner in before else f"{name}.{inner}")
        elif not isinstance(node, nir.Threshold):
            keys.append(name)
    return keys


KINDS = (lif, cuba, lif_if, no_reset, li, recurrent, recurrent_cuba, conv, conv_stride)
PEER = Peer("spyx", {kind.__name__: kind for kind in KINDS}, read, simulate)

if __name__ == "__main__":
    serve(PEER)
