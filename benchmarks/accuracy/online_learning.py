"""The cost of a gradient by online rules beside backpropagation through time.

    python3.12 -m venv peers/sparx && peers/sparx/bin/pip install -r benchmarks/peers/sparx.txt
    python -m benchmarks.accuracy.online_learning --sparx peers/sparx/bin/python

rewrites benchmarks/results/online_learning.json. 128 recurrent LIF neurons, 128 inputs of which
5 % are active in a step, 10 leaky outputs, batch 64, a cross-entropy in every step. All rows of a
length run in turns, one gradient each, after a warm-up, and every result is waited for; ratios are
those of medians and of the fastest runs, and of the fewest seconds of processor time, which other
processes on the machine disturb least. The same weights and inputs: losses are compared with
sparx, too, whose e-prop runs in a process of its own. Memory is XLA's own account of temporary
memory. About five minutes.
"""

from __future__ import annotations

import argparse
import functools
import json
import math
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

import flax_snn as snn
from benchmarks.in_process import in_turns
from benchmarks.machine import write_results
from benchmarks.speed.workers import Worker

RESULTS = Path(__file__).parents[1] / "results" / "online_learning.json"
COMMAND = "python -m benchmarks.accuracy.online_learning --sparx peers/sparx/bin/python"
BATCH, INPUTS, NEURONS, CLASSES = 64, 128, 128, 10
DECAY, SLOPE = 0.95, 10.0
REPEATS = {100: 40, 1000: 10, 10000: 3}
SPARX_REPEATS = {100: 5, 1000: 3, 10000: 0}
"""sparx is not asked for T = 10000: its time for each step does not depend on their number."""


def model_of(runner: Callable[..., Any], reset: Any) -> Any:
    """Return the network of `sparx_eprop.py`: unit gains, decays alone."""
    tau = -1e-3 / math.log(DECAY)
    discretization = snn.dynamics.Discretization(membrane_gain="unit")
    surrogate = snn.surrogate.superspike(slope=SLOPE)
    neuron = snn.LIFDynamics(
        tau_mem=tau, reset=reset, discretization=discretization, surrogate=surrogate, fire=">="
    )
    last = snn.LIDynamics(tau_mem=tau, discretization=discretization)
    cells = [
        snn.RecurrentLIFCell(NEURONS, dynamics=neuron),
        snn.LeakyIntegratorReadout(CLASSES, dynamics=last, use_bias=True),
    ]
    return runner(snn.Chain(cells))


def arrays_of(steps: int) -> dict[str, np.ndarray]:
    """Return inputs, labels and weights with which about a tenth of the neurons spike."""
    random = np.random.default_rng(0)
    return {
        "x": (random.random((BATCH, steps, INPUTS)) < 0.05).astype(np.uint8),
        "labels": random.integers(0, CLASSES, BATCH).astype(np.int32),
        "w0": random.normal(0.03, 0.15, (INPUTS, NEURONS)).astype(np.float32),
        "r0": random.normal(0.0, 0.03, (NEURONS, NEURONS)).astype(np.float32),
        "w1": random.normal(0.0, 0.1, (NEURONS, CLASSES)).astype(np.float32),
        "b1": np.zeros(CLASSES, np.float32),
    }


def variables_of(arrays: dict[str, np.ndarray]) -> Any:
    hidden = {"kernel": arrays["w0"], "recurrent_kernel": arrays["r0"]}
    last = {"kernel": arrays["w1"], "bias": arrays["b1"]}
    params = {"cell": {"cells_0": hidden, "cells_1": last}}
    return {"params": jax.tree.map(jnp.asarray, params)}


def processor_seconds(run: Callable[[], Any], seconds: list[float]) -> Any:
    """Run something, wait for it, and note the processor time that all its threads took."""
    started = time.process_time()
    result = jax.block_until_ready(run())
    seconds.append(time.process_time() - started)
    return result


def measure(steps: int, reset: str, sparx: str | None) -> dict[str, Any]:
    """Return times, memory and losses of all rows at one length."""
    arrays = arrays_of(steps)
    batch = (jnp.asarray(arrays["x"], jnp.float32), jnp.asarray(arrays["labels"]))
    variables = variables_of(arrays)
    rules = {
        "e-prop": (snn.RNN, snn.learn.eprop),
        "d_rtrl": (snn.RNN, snn.learn.d_rtrl),
        "BPTT, snn.RNN": (snn.RNN, snn.learn.bptt),
        "BPTT, nn.RNN": (nn.RNN, snn.learn.bptt),
    }
    runs: dict[str, Callable[[], Any]] = {}
    busy: dict[str, list[float]] = {}
    found: dict[str, dict[str, Any]] = {}
    for name, (runner, rule) in rules.items():
        one = functools.partial(rule, model_of(runner, reset), loss=snn.learn.cross_entropy)
        compiled = jax.jit(one).lower(variables, batch=batch).compile()
        run = functools.partial(compiled, variables, batch=batch)
        busy[name] = []
        runs[name] = functools.partial(processor_seconds, run, busy[name])
        analysis: Any = compiled.memory_analysis()
        memory = analysis.temp_size_in_bytes
        found[name] = {"loss": float(runs[name]()[0]), "temporary_bytes": memory}
    repeats = SPARX_REPEATS[steps]
    with tempfile.TemporaryDirectory() as folder:
        worker = None
        if sparx is not None and repeats and reset == "soft":
            file = Path(folder, "arrays.npz")
            np.savez(file, **arrays)  # type: ignore[arg-type]
            settings = {"file": str(file), "decay": DECAY, "slope": SLOPE, "reset": "subtract"}
            worker = Worker(sparx, "sparx_eprop.py", settings)
        seconds = in_turns(runs, repeats=REPEATS[steps])
        if worker is not None:
            theirs = []
            for _ in range(repeats):  # in turns with ours
                theirs.append(worker.ask({"do": "step"})["seconds"])
                more = in_turns({"e-prop": runs["e-prop"]}, repeats=1, warm_up=0)
                seconds["e-prop"] += more["e-prop"]
            seconds["sparx e-prop"] = theirs
            report = worker.ask({"do": "report"})
            found["sparx e-prop"] = {key: report[key] for key in ("loss", "temporary_bytes")}
            worker.close()
    base = seconds["BPTT, snn.RNN"]
    for name, each in seconds.items():
        found[name] |= {
            "median_ms": round(1e3 * statistics.median(each), 2),
            "fastest_ms": round(1e3 * min(each), 2),
            "ratio_of_medians": round(statistics.median(each) / statistics.median(base), 3),
            "ratio_of_fastest": round(min(each) / min(base), 3),
        }
    for name, each in busy.items():
        least, least_base = min(each), min(busy["BPTT, snn.RNN"])
        found[name] |= {
            "processor_ms": round(1e3 * least, 2),
            "ratio_of_processor": round(least / least_base, 3),
        }
    return found


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.accuracy.online_learning")
    parser.add_argument("--sparx", help="interpreter of an environment with sparx")
    parser.add_argument("--steps", nargs="*", type=int, default=[100, 1000, 10000])
    parser.add_argument("--resets", nargs="*", default=["soft", "hard"])
    given = parser.parse_args()
    for reset in given.resets:
        for steps in given.steps:
            row = measure(steps, reset, given.sparx)
            stored = json.loads(RESULTS.read_text())["lengths"] if RESULTS.exists() else {}
            stored[f"{reset} reset, T {steps}"] = row
            write_results(RESULTS, COMMAND, {"lengths": stored})
            for name, each in row.items():
                print(f"{reset}, T {steps}, {name}: {json.dumps(each)}", flush=True)


if __name__ == "__main__":
    main()
