"""A recurrent network from a weight matrix, many steps: a step called from Python, a whole loop.

    python -m benchmarks.speed.lif_network

rewrites benchmarks/results/lif_network.json. The network of `examples.network`: 80 % of the neurons
excite, 20 % inhibit; it fires irregularly. Once as NumPy, once as a Python loop over a jitted step,
once as `snn.RNN` over the whole sequence; spikes of all steps are returned. About a minute.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

import flax_snn as snn
from benchmarks.in_process import in_turns, medians
from benchmarks.machine import write_results
from examples.network import DT, TAU_M, THETA, V_RESET, drive, weights

RESULTS = Path(__file__).parents[1] / "results" / "lif_network.json"
COMMAND = "python -m benchmarks.speed.lif_network"


def numpy_network(matrix: np.ndarray, current: np.ndarray) -> np.ndarray:
    """Return the spikes (T, N); the equations of `conventions.network` as one would write them."""
    kept, gain = np.float32(1 - DT / TAU_M), np.float32(DT / TAU_M)
    v = np.full(matrix.shape[0], V_RESET, np.float32)
    spikes = np.zeros_like(current)
    for t, x in enumerate(current):
        fired = (v >= THETA).astype(np.float32)
        v = np.where(fired > 0, np.float32(V_RESET), v)
        v = kept * v + gain * np.float32(V_RESET) + gain * (x + fired @ matrix)
        spikes[t] = fired
    return spikes


def runs_of(neurons: int, steps: int) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    matrix = weights(neurons, 1.0, rng).astype(np.float32)
    current = drive(steps, neurons, rng).astype(np.float32)
    dynamics = snn.conventions.network(tau_m=TAU_M, v_reset=V_RESET, theta=THETA, dt=DT)
    cell = snn.RecurrentLIFCell(dynamics=dynamics)
    inner = {"params": {"recurrent_kernel": jnp.asarray(matrix)}}
    outer = {"params": {"cell": inner["params"]}}
    x = jnp.asarray(current)
    begin = cell.initialize_carry(None, (neurons,))
    step = jax.jit(lambda state, x: cell.apply(inner, state, x))
    rows = list(x)

    def called() -> jax.Array:
        state, spikes = begin, []
        for now in rows:
            state, s = step(state, now)
            spikes.append(s)
        return jnp.stack(spikes)

    def whole(runner: Any) -> Any:
        run = jax.jit(runner(cell).apply)
        return lambda: run(outer, x)

    return {
        "NumPy": lambda: numpy_network(matrix, current),
        "jitted step, called": called,
        "nn.RNN": whole(nn.RNN),
        "snn.RNN": whole(snn.RNN),
    }


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.speed.lif_network")
    parser.add_argument("--neurons", type=int, nargs="+", default=[250, 1000, 4000])
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--repeats", type=int, default=5, help="rounds that count")
    options = parser.parse_args()
    results = {}
    for neurons in options.neurons:
        runs = runs_of(neurons, options.steps)
        per_step = {
            name: 1e6 * s / options.steps
            for name, s in medians(in_turns(runs, repeats=options.repeats)).items()
        }
        spikes = {name: np.asarray(run()) for name, run in runs.items()}
        # The network is chaotic: one spike that rounding moves changes all later ones.
        first = spikes["snn.RNN"][:100]
        early = {name: float(np.mean(s[:100] == first)) for name, s in spikes.items()}
        rate = float(spikes["snn.RNN"].mean() / DT)
        results[str(neurons)] = {
            "us_per_step": {name: round(us, 2) for name, us in per_step.items()},
            "rate in Hz": rate,
            "same spikes in the first 100 steps": early,
        }
        print(f"{neurons} neurons, {rate:.1f} Hz: " + ", ".join(
            f"{name} {us:.1f} us ({us / per_step['snn.RNN']:.2f})" for name, us in per_step.items()
        ))  # fmt: skip
    write_results(RESULTS, COMMAND, {"steps": options.steps, "networks": results})


if __name__ == "__main__":
    main()
