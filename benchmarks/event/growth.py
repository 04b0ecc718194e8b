"""How a training step of event layers grows; rewrites benchmarks/results/event_growth.json.

    python -m benchmarks.event.growth

Two layers, batches of 64, `snn.event.RNN` and the gradient of the first spikes of 3 outputs: time
of a step (median) and memory that it needs besides arguments and results, as XLA says
(``temp_size_in_bytes``), with one of inputs, hidden neurons and spikes per hidden neuron varied.
Weights are scaled with the number of sources, so that activity stays the same. What the reverse
pass alone needs is the difference to the forward pass. About four minutes on 2 cores.
"""

from __future__ import annotations

import statistics
import time
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from benchmarks.machine import take_no_options, write_results
from flax_snn import LIFCell, LIFDynamics, event

RESULTS = Path(__file__).parents[1] / "results" / "event_growth.json"
COMMAND = "python -m benchmarks.event.growth"
BATCH, OUTPUTS, REPEATS = 64, 3, 20
TAU_SYN = 5e-3
NEURON = LIFDynamics(tau_mem=2 * TAU_SYN, tau_syn=TAU_SYN)
DURATION = 6 * TAU_SYN

# Inputs, hidden neurons, most spikes of a hidden neuron; all else as in the first.
BASE = (5, 100, 1)
INPUTS = [(n, 100, 1) for n in (5, 50, 500)]
HIDDEN = [(5, n, 1) for n in (50, 100, 200, 500, 1000)]
SPIKES = [(5, 100, n) for n in (1, 2, 4, 8, 16)]


def build(method: str, hidden: int, spikes: int) -> nn.Sequential:
    """Return the network."""
    once: dict[str, Any] = {"method": method, "duration": DURATION}
    layers = []
    for features, most in ((hidden, spikes), (OUTPUTS, 1)):
        limits: dict[str, Any] = {}
        if method == "eventprop":
            limits = {"max_spikes": most, "budget": features * most}
        layers.append(event.RNN(LIFCell(features, dynamics=NEURON), **once, **limits))
    return nn.Sequential(layers)


def measure(method: str, inputs: int, hidden: int, spikes: int) -> dict[str, Any]:
    """Return time and memory of a step, and the spikes that there were."""
    network = build(method, hidden, spikes)
    keys = jax.random.split(jax.random.key(0), 3)
    times = 2 * TAU_SYN * jax.random.uniform(keys[0], (BATCH, inputs))
    events = event.from_times(times)
    # Weights that drive each hidden neuron far above threshold, for as long as the time lasts.
    first = (15.0 * spikes / inputs) * (1 + jax.random.uniform(keys[1], (inputs, hidden)))
    second = (8.0 / (hidden * spikes)) * (1 + jax.random.uniform(keys[2], (hidden, OUTPUTS)))
    params = {"layers_0": {"cell": {"kernel": first}}, "layers_1": {"cell": {"kernel": second}}}

    def loss(params: Any, events: Any) -> jax.Array:
        output: Any = network.apply({"params": params}, events)
        output = output.first_times()
        return jnp.sum(jnp.where(jnp.isfinite(output), output, 0.0)) / TAU_SYN

    forward = jax.jit(loss).lower(params, events).compile()
    step = jax.jit(jax.grad(loss)).lower(params, events).compile()
    layer: Any = network.layers[0]
    fired = layer.apply({"params": params["layers_0"]}, events).counts()
    return {
        "seconds": _seconds(step, params, events),
        "seconds, forward": _seconds(forward, params, events),
        "bytes": _bytes(step),
        "bytes, forward": _bytes(forward),
        "spikes per hidden neuron": round(float(jnp.mean(fired)), 3),
    }


def _seconds(compiled: Any, *arguments: Any) -> float:
    found = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        jax.block_until_ready(compiled(*arguments))
        found.append(time.perf_counter() - start)
    return float(f"{statistics.median(found):.3g}")


def _bytes(compiled: Any) -> int:
    return int(compiled.memory_analysis().temp_size_in_bytes)


def main() -> None:
    take_no_options(COMMAND, __doc__)
    grown: dict[str, Any] = {}
    for what, sizes, at in (("inputs", INPUTS, 0), ("hidden", HIDDEN, 1), ("spikes", SPIKES, 2)):
        for method in ("first_spike", "eventprop"):
            if what == "spikes" and method == "first_spike":
                continue
            rows = grown.setdefault(what, {}).setdefault(method, {})
            for size in sizes:
                rows[str(size[at])] = found = measure(method, *size)
                print(what, size[at], method, found, flush=True)
    setting = dict(zip(("inputs", "hidden", "spikes"), BASE, strict=True))
    write_results(RESULTS, COMMAND, {"batch": BATCH, "base": setting, "rows": grown})


if __name__ == "__main__":
    main()
