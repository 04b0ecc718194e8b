"""What jaxsnn 0.3.0 returns at ratios of time constants, and at resets, where it is right or wrong.

    PEER/bin/python benchmarks/peers/jaxsnn_ratios.py < questions.json

runs in the environment of ``jaxsnn.txt`` alone, in float64, and imports nothing of ours;
``benchmarks.event.errors`` asks. Question and answer are one JSON object each:

    "crossings"   [[ratio, v, i], ...]: time until the next spike of a neuron in units of tau_syn,
                  threshold 1, and its derivative with respect to i; null for no spike
    "networks"    {name: {"time" (B, M), "index" (B, M), "sources", "duration", "factors" (B, N, R),
                  "layers": [{"kernel", "tau_mem", "tau_syn", "threshold", "v_reset", "steps"}]}}:
                  spike times (B, N, R) of the last layer, null for none, and the gradients of
                  sum(factors * spike times) with respect to each kernel, once by EventProp and once
                  by differentiating the forward loop ("analytical")
"""

from __future__ import annotations

import json
import math
import sys
from importlib.metadata import version
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxsnn.event.modules import (  # type: ignore[import-not-found]
    LIF,
    Linear,
    Source,
)
from jaxsnn.event.modules.lif import LIFParameters  # type: ignore[import-not-found]
from jaxsnn.event.solver import ttfs_solver  # type: ignore[import-not-found]
from jaxsnn.event.states import LIFState  # type: ignore[import-not-found]
from jaxsnn.event.topology import Topology  # type: ignore[import-not-found]
from jaxsnn.event.types import Spike  # type: ignore[import-not-found]

METHODS = ("eventprop", "analytical")
WINDOW = 1e3


def crossing(ratio: float, v: float, i: float) -> list[float | None]:
    """Time until the next spike and its derivative with respect to the current."""

    def solve(current: jax.Array) -> jax.Array:
        state = LIFState(jnp.array(v), current)
        numbers = (jnp.array(ratio), jnp.array(1.0), jnp.array(1.0))
        return ttfs_solver(*numbers, state, jnp.array(WINDOW))

    time, slope = jax.value_and_grad(solve)(jnp.array(i))
    return [None, None] if time >= WINDOW else [float(time), float(slope)]


def network(question: dict[str, Any], method: str) -> dict[str, Any]:
    """Spike times of the last layer, and gradients with respect to the kernels."""
    layers = question["layers"]
    factors = jnp.array(question["factors"])
    topology = Topology(t_max=question["duration"], backprop_method=method)
    topology.add({"input": Source(question["sources"])} | _modules(layers))
    path = ["input"]
    for k in range(len(layers)):
        path += [f"kernel {k}", f"layer {k}"]
    topology.connect(list(zip(path, path[1:], strict=False)))
    init, apply = topology.done()
    time, index = jnp.array(question["time"]), jnp.array(question["index"])
    events = Spike(
        time=time,
        idx=index,
        current=jnp.zeros_like(time),
        layer_idx=jnp.zeros_like(index),
        internal=jnp.ones_like(index, bool),
    )

    def loss(weights: Any) -> tuple[jax.Array, jax.Array]:
        spikes = apply({"input": events}, weights)[path[-1]]
        _, neurons, most = factors.shape
        own = jnp.arange(neurons)[None, :, None] == spikes.idx[:, None, :]
        own &= spikes.internal[:, None, :] & (spikes.time < question["duration"])[:, None, :]
        times = jnp.sort(jnp.where(own, spikes.time[:, None, :], jnp.inf), axis=-1)
        times = jnp.pad(times, ((0, 0), (0, 0), (0, most)), constant_values=jnp.inf)[..., :most]
        return jnp.sum(jnp.where(jnp.isfinite(times), factors * times, 0.0)), times

    weights = init(jax.random.PRNGKey(0))
    grads, times = jax.jit(jax.grad(loss, has_aux=True))(weights)
    kernels = [grads[f"kernel {k}"] for k in range(len(layers))]
    return {
        "spikes": _listed(np.asarray(times)),
        "grads": [_listed(np.asarray(grad)) for grad in kernels],
    }


def _modules(layers: list[dict[str, Any]]) -> dict[str, Any]:
    found = {}
    for k, layer in enumerate(layers):
        kernel = jnp.array(layer["kernel"])
        found[f"kernel {k}"] = Linear(pre_weights=kernel)
        parameters = LIFParameters(
            tau_syn=layer["tau_syn"],
            tau_mem=layer["tau_mem"],
            v_th=layer["threshold"],
            v_reset=layer["v_reset"],
        )
        found[f"layer {k}"] = LIF(kernel.shape[1], layer["steps"], parameters)
    return found


def _listed(x: Any) -> Any:
    """Return nested lists with ``None`` for what is not finite, which JSON cannot say."""
    if isinstance(x, np.ndarray):
        return [_listed(part) for part in x]
    return float(x) if math.isfinite(x) else None


def main() -> None:
    jax.config.update("jax_enable_x64", True)
    questions = json.load(sys.stdin)
    answers = {
        "versions": {name: version(name) for name in ("jaxsnn", "jax")},
        "crossings": [crossing(*map(float, q)) for q in questions["crossings"]],
        "networks": {
            name: {method: network(question, method) for method in METHODS}
            for name, question in questions["networks"].items()
        },
    }
    print(json.dumps(answers))


if __name__ == "__main__":
    main()
