"""A layer of learned delays beside sparx; rewrites benchmarks/results/delayed_layer.json.

    python3.12 -m venv peers/sparx && peers/sparx/bin/pip install -r benchmarks/peers/sparx.txt
    python -m benchmarks.speed.delayed_layer --sparx peers/sparx/bin/python

140 inputs of which 5 % are active in a step, 256 outputs, a delay per synapse of up to 24 steps,
100 steps, batch 128: forward and backward, gradients of parameters and of the input, in turns.
sparx runs with the JAX of its environment, ours with that of this one. Under a minute.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import flax_snn as snn
from benchmarks.in_process import in_turns
from benchmarks.machine import write_results
from benchmarks.speed.workers import Worker

RESULTS = Path(__file__).parents[1] / "results" / "delayed_layer.json"
STEPS, BATCH, INPUTS, FEATURES, MAX_DELAY, SIGMA = 100, 128, 140, 256, 24, 12.0
REPEATS = 9


def arrays_of() -> dict[str, np.ndarray]:
    """Return inputs ``(T, B, F)`` and what outputs are weighted by."""
    random = np.random.default_rng(0)
    return {
        "x": (random.random((STEPS, BATCH, INPUTS)) < 0.05).astype(np.float32),
        "weight": random.normal(0.0, 1.0, (STEPS, BATCH, FEATURES)).astype(np.float32),
    }


def ours(arrays: dict[str, np.ndarray]) -> Any:
    """Return the compiled step of our layer, and its arguments."""
    layer = snn.DelayedDense(FEATURES, max_delay=MAX_DELAY, time_major=True, sigma=SIGMA)
    x, weight = (jnp.asarray(arrays[name]) for name in ("x", "weight"))
    variables = layer.init(jax.random.key(0), x)
    others = {name: value for name, value in variables.items() if name != "params"}

    def loss(params: Any, x: Any) -> Any:
        out: Any = layer.apply({"params": params, **others}, x)
        return jnp.sum(out * weight)

    step = jax.jit(jax.value_and_grad(loss, (0, 1))).lower(variables["params"], x).compile()
    return step, (variables["params"], x)


def main() -> None:
    """Measure, print, and write the results."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.speed.delayed_layer")
    parser.add_argument("--sparx", required=True, help="interpreter of an environment with sparx")
    given = parser.parse_args()
    arrays = arrays_of()
    step, arguments = ours(arrays)
    seconds: dict[str, list[float]] = {"ours": [], "sparx": []}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "arrays.npz")
        np.savez(file, **arrays)  # type: ignore[arg-type]
        settings = {
            "file": str(file),
            "features": FEATURES,
            "max_delay": MAX_DELAY,
            "sigma": SIGMA,
        }
        worker = Worker(given.sparx, "sparx_delayed.py", settings)
        for k in range(REPEATS + 2):
            theirs = worker.ask({"do": "step"})["seconds"]
            mine = in_turns({"ours": lambda: step(*arguments)}, repeats=1, warm_up=0)["ours"][0]
            if k >= 2:
                seconds["sparx"].append(theirs)
                seconds["ours"].append(mine)
        report = worker.ask({"do": "report"})
        worker.close()
    medians = {name: statistics.median(each) for name, each in seconds.items()}
    analysis: Any = step.memory_analysis()
    found = {
        "seconds": {name: [round(s, 4) for s in each] for name, each in seconds.items()},
        "median": {name: round(s, 4) for name, s in medians.items()},
        "ours_over_sparx": round(medians["ours"] / medians["sparx"], 3),
        "temporary_bytes": {
            "ours": analysis.temp_size_in_bytes,
            "sparx": report["temporary_bytes"],
        },
        "sparx_versions": report["versions"],
    }
    print(found["median"], found["ours_over_sparx"], found["temporary_bytes"])
    command = "python -m benchmarks.speed.delayed_layer --sparx peers/sparx/bin/python"
    write_results(RESULTS, command, found)


if __name__ == "__main__":
    main()
