"""jaxpike: ``nir.to_nir`` and ``nir.from_nir``.

v <- a v + (1 - a) x with a = exp(-dt / tau); a spike is v > threshold. Time constants are in steps,
``dt_seconds`` makes them seconds in the file.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import equinox as eqx
import graph_file
import jax
import jax.numpy as jnp
import jaxpike as jp
import nir
import numpy as np
from jax_loop import chain, channels_first, loop, named
from jaxpike.conv import Conv2d, Flatten, Pool2d
from jaxpike.nir import from_nir, save
from serve import Arrays, Network, Peer, biases, inputs, serve, weights

DT = 1e-3


def _filled(layer: Any, weight: np.ndarray, bias: np.ndarray) -> Any:
    arrays = (jnp.asarray(weight), jnp.asarray(bias))
    return eqx.tree_at(lambda part: (part.weight, part.bias), layer, arrays)


def _linear(rng: np.random.Generator, outs: int, ins: int, gain: float = 4.0) -> Any:
    layer = jp.Dense(ins, outs, key=jax.random.key(0))
    return _filled(layer, weights(rng, outs, ins, gain=gain), biases(rng, outs))


def _conv2d(rng: np.random.Generator, outs: int, ins: int, **options: Any) -> Any:
    layer = Conv2d(ins, outs, 3, key=jax.random.key(0), **options)
    weight = weights(rng, outs, ins, 3, 3, gain=4.0).transpose(2, 3, 1, 0)
    return _filled(layer, weight, biases(rng, outs))


def _lif(tau: float, **options: Any) -> Any:
    return jp.LIF(tau, **({"reset": "zero"} | options))


def _dense(rng: np.random.Generator, first: Any, second: Any) -> Network:
    layers = [_linear(rng, 10, 12), first, _linear(rng, 6, 10), second]
    return _network(layers, inputs(rng, 12))


def lif(rng: np.random.Generator) -> Network:
    return _dense(rng, _lif(6.0), _lif(5.0, threshold=0.8))


def li(rng: np.random.Generator) -> Network:
    """A readout without spikes."""
    return _dense(rng, _lif(8.0), jp.LeakyIntegrator(12.0))


def no_reset(rng: np.random.Generator) -> Network:
    """``LinearLIF``, which is LI and Threshold in the file, and a readout."""
    return _dense(rng, jp.LinearLIF(8.0, threshold=1.0), jp.LeakyIntegrator(12.0))


def soft(rng: np.random.Generator) -> Network:
    return _dense(rng, _lif(6.0, reset="subtract"), _lif(5.0, reset="subtract"))


def conv(rng: np.random.Generator) -> Network:
    layers = [_conv2d(rng, 3, 2), _lif(4.0), Pool2d(2), Flatten(), _linear(rng, 5, 36), _lif(5.0)]
    return _network(layers, inputs(rng, 2, 8, 6))


def conv_stride(rng: np.random.Generator) -> Network:
    """Without padding, which jaxpike has as "SAME" only."""
    options = {"stride": 2, "padding": "VALID"}
    layers = [_conv2d(rng, 4, 2, **options), _lif(4.0), Flatten(), _linear(rng, 5, 24), _lif(5.0)]
    return _network(layers, inputs(rng, 2, 8, 6))


def conv_stride_same(rng: np.random.Generator) -> Network:
    """Stride 2 with "SAME", which pads at the end: 0 before, 1 after."""
    layers = [_conv2d(rng, 4, 2, stride=2), _lif(4.0), Flatten(), _linear(rng, 5, 48), _lif(5.0)]
    return _network(layers, inputs(rng, 2, 8, 6))


def _step(layer: Any, state: Any, x: jax.Array) -> tuple[Any, jax.Array]:
    return layer(state, x)


def _run(net: Any, x: np.ndarray) -> tuple[list[np.ndarray], list[np.ndarray | None]]:
    """Return the outputs of each layer and its membrane, if it has one."""
    shape = x.shape[1:] if x.ndim == 3 else (x.shape[1], *x.shape[3:], x.shape[2])
    outputs, states = loop(_step, net.layers, net.init_state(shape), x)
    return outputs, [None if s is None else channels_first(np.asarray(s.v)) for s in states]


def _network(layers: list[Any], x: np.ndarray) -> Network:
    net = jp.Sequential(*layers)
    outputs, membranes = _run(net, x)
    spiking = [isinstance(layer, jp.LIF | jp.LinearLIF) for layer in layers]

    def write(file: Path) -> list[str]:
        shape = x.shape[2:] if x.ndim == 3 else (*x.shape[3:], x.shape[2])
        save(net, file, (1, *shape), dt_seconds=DT)
        return []

    return Network(
        x,
        outputs[-1],
        write,
        DT,
        "exp",
        [output for output, spikes in zip(outputs, spiking, strict=True) if spikes],
        [membrane for membrane in membranes if membrane is not None],
    )


def read(file: Path, dt: float) -> tuple[nir.NIRGraph, Any]:
    graph = graph_file.read(file, PEER.workarounds)
    return graph, from_nir(graph, dt_seconds=dt)


def simulate(model: tuple[nir.NIRGraph, Any], x: np.ndarray) -> Arrays:
    graph, net = model
    outputs, membranes = _run(net, x)
    # A Threshold has no layer of its own.
    keys = [name for name in chain(graph) if not isinstance(graph.nodes[name], nir.Threshold)]
    traces = named(graph, keys, outputs, membranes) if len(keys) == len(outputs) else {}
    return {"y": outputs[-1] if outputs else x} | traces


KINDS = (lif, li, no_reset, soft, conv, conv_stride, conv_stride_same)
PEER = Peer("jaxpike", {kind.__name__: kind for kind in KINDS}, read, simulate)

if __name__ == "__main__":
    serve(PEER)
