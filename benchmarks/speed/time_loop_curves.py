"""What a training step costs over steps, batch, width and depth; figures and a picture.

    python -m benchmarks.speed.time_loop_curves

rewrites benchmarks/results/time_loop_curves.json and docs/images/time_loop.png: `snn.RNN`, the
stock ``nn.RNN`` and the floor (the products of a step alone), feed-forward LIF layers and a leaky
readout, one size varied at a time around 256 steps, batch 64, two layers of 128. All in turns, in
one process, waited for. About three minutes.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import matplotlib
from matplotlib.figure import Figure

import flax_snn as snn
from benchmarks.in_process import in_turns, medians
from benchmarks.machine import write_results

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "benchmarks" / "results" / "time_loop_curves.json"
PICTURE = ROOT / "docs" / "images" / "time_loop.png"
COMMAND = "python -m benchmarks.speed.time_loop_curves"
BASE = {"steps": 256, "batch": 64, "width": 128, "depth": 2}
VARIED = {
    "steps": (64, 256, 1024, 4096),
    "batch": (4, 16, 64, 256),
    "width": (32, 128, 512),
    "depth": (1, 2, 4, 8),
}
CLASSES = 20


def measure(size: dict[str, int], repeats: int) -> dict[str, dict[str, float]]:
    """Return milliseconds of a step and temporary megabytes of each row."""
    width = size["width"]
    x = jax.random.bernoulli(jax.random.key(0), 0.1, (size["batch"], size["steps"], width))
    x = x.astype(jnp.uint8)
    labels = jnp.arange(size["batch"]) % CLASSES
    cells = [snn.LIFCell(width) for _ in range(size["depth"])]
    chain = snn.Chain([*cells, snn.LeakyIntegratorReadout(CLASSES)])
    variables = snn.RNN(chain).init(jax.random.key(1), x[:1, :2])

    def loss(variables: Any, x: jax.Array, runner: Any) -> jax.Array:
        log_p = jax.nn.log_softmax(runner(chain).apply(variables, x).mean(1))
        return -jnp.take_along_axis(log_p, labels[:, None], axis=1).mean()

    rows = size["batch"] * size["steps"]
    pairs = [(width, width)] * size["depth"] + [(width, CLASSES)]
    inputs = [jnp.ones((rows, a)) for a, _ in pairs]
    weights = [jnp.ones(pair) for pair in pairs]
    grads = [jnp.ones((rows, b)) for _, b in pairs]

    def products(inputs: Any, weights: Any, grads: Any) -> Any:
        threes = zip(inputs, weights, grads, strict=True)
        return [(a @ w, g @ w.T, a.T @ g) for a, w, g in threes]

    step = jax.jit(jax.grad(loss), static_argnums=2)
    compiled = {
        "snn.RNN": step.lower(variables, x, snn.RNN).compile(),
        "nn.RNN": step.lower(variables, x, nn.RNN).compile(),
    }
    floor = jax.jit(products).lower(inputs, weights, grads).compile()
    runs: dict[str, Any] = {
        "snn.RNN": lambda: compiled["snn.RNN"](variables, x),
        "nn.RNN": lambda: compiled["nn.RNN"](variables, x),
        "floor": lambda: floor(inputs, weights, grads),
    }
    found = medians(in_turns(runs, repeats=repeats))
    result = {name: {"ms": round(1e3 * s, 3)} for name, s in found.items()}
    for name, program in compiled.items():
        memory = program.memory_analysis()
        assert memory is not None
        result[name]["temporary_MB"] = round(memory.temp_size_in_bytes / 1e6, 2)
    return result


def draw(curves: dict[str, Any]) -> Figure:
    """Time above, temporary memory below, one column per size."""
    figure = Figure(figsize=(11, 5.2), layout="constrained")
    axes = figure.subplots(2, len(curves), sharey="row")
    for column, (name, points) in enumerate(curves.items()):
        sizes = [int(n) for n in points]
        for row, unit in enumerate(("ms", "temporary_MB")):
            ax = axes[row, column]
            for line, style in (("snn.RNN", "o-"), ("nn.RNN", "s--"), ("floor", "k:")):
                values = [p[line].get(unit) for p in points.values()]
                if values[0] is not None:
                    ax.loglog(sizes, values, style, label=line)
            ax.set_xticks(sizes, [str(n) for n in sizes], minor=False)
            ax.set_xticks([], minor=True)
            ax.grid(alpha=0.3)
        axes[1, column].set_xlabel(name)
    axes[0, 0].set_ylabel("training step (ms)")
    axes[1, 0].set_ylabel("temporary memory (MB)")
    axes[0, 0].legend(frameon=False)
    return figure


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.speed.time_loop_curves")
    parser.add_argument("--repeats", type=int, default=7, help="rounds that count")
    options = parser.parse_args()
    matplotlib.use("agg")
    curves: dict[str, Any] = {}
    for name, values in VARIED.items():
        curves[name] = {}
        for value in values:
            found = measure(BASE | {name: value}, options.repeats)
            curves[name][str(value)] = found
            shown = {
                row: f"{r['ms']:.1f} ms {r.get('temporary_MB', 0):.1f} MB"
                for row, r in found.items()
            }
            print(f"{name} {value}: {shown}", flush=True)
    write_results(RESULTS, COMMAND, {"around": BASE, "curves": curves})
    draw(curves).savefig(PICTURE, dpi=110)


if __name__ == "__main__":
    main()
