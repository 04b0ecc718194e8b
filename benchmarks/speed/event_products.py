"""What event-driven products cost over density and width, and what networks gain from them.

    pip install 'flax-snn[cpu]' && python -m benchmarks.speed.event_products

rewrites benchmarks/results/event_products.json and docs/images/event_products.png. Each product
beside the dense one: up to 65 536 rows in chunks of 1024, as the fused loop takes them. Training
steps (loss and gradients) of networks under ``nn.RNN``, ``snn.RNN(products="dense")`` and
``snn.RNN()`` (``auto``), and the floor: one dense product per kernel forward, two backward. All in
one process, in turns, waited for, medians. The density of the inputs of each layer stands beside
each row. About four minutes; ``--rows`` measures some of them, and the others stay in the file,
each with its date.
"""

from __future__ import annotations

import argparse
import datetime
import json
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import matplotlib
from jax import lax
from matplotlib.figure import Figure

import flax_snn as snn
from benchmarks.in_process import in_turns, medians
from benchmarks.machine import write_results
from flax_snn.products import event_kernel_gradient, event_product

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "benchmarks" / "results" / "event_products.json"
PICTURE = ROOT / "docs" / "images" / "event_products.png"
COMMAND = "python -m benchmarks.speed.event_products"
WIDTHS = (32, 64, 128, 256, 1024)
DENSITIES = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5)
CHUNK, CHUNKS = 1024, 64
CUBA = snn.LIFDynamics(tau_syn=5e-3)
# sizes, batch, steps, density of the inputs, factor on the weights, layers
NETWORKS: dict[str, Any] = {
    "128-128-128-20": ((128, 128, 128, 20), 256, 256, 0.05, 1.5, snn.LIFCell(128)),
    "128-128-128-20 ALIF": ((128, 128, 128, 20), 256, 256, 0.05, 1.5, snn.ALIFCell(128)),
    "700-128r-128r-20 CuBa": (
        (700, 128, 128, 20),
        128,
        100,
        0.03,
        1.5,
        snn.RecurrentLIFCell(128, dynamics=CUBA),
    ),
    "700-1024-1024-20": ((700, 1024, 1024, 20), 64, 100, 0.03, 1.0, snn.LIFCell(1024)),
    "700-1024r-1024r-20": ((700, 1024, 1024, 20), 64, 100, 0.03, 1.0, snn.RecurrentLIFCell(1024)),
}


def products(width: int, density: float, repeats: int) -> dict[str, float]:
    """Return milliseconds of dense and event-driven products of square kernels."""
    chunks = max(CHUNKS * 128 * 128 // (width * width), 2) if width > 128 else CHUNKS
    shape = (chunks, CHUNK, width)
    x = jax.random.bernoulli(jax.random.key(0), density, shape).astype(jnp.float32)
    kernel = jax.random.normal(jax.random.key(1), (width, width))
    d_out = jax.random.normal(jax.random.key(2), shape)

    def over_chunks(product: Any, x: jax.Array, other: jax.Array, like: jax.Array) -> jax.Array:
        def add(k: Any, total: jax.Array) -> jax.Array:
            part = other if other.ndim == 2 else other[k]
            out = product(x[k], part)
            return total + out[: total.shape[0]]

        return lax.fori_loop(0, chunks, add, jnp.zeros_like(like))

    def row(product: Any, other: jax.Array, like: jax.Array) -> Any:
        run = jax.jit(lambda x, other: over_chunks(product, x, other, like))
        return lambda: run(x, other)

    def transposed(x: jax.Array, d_out: jax.Array) -> jax.Array:
        return lax.dot_general(x, d_out, (((0,), (0,)), ((), ())))

    runs = {
        "dense": row(jnp.matmul, kernel, kernel[:1]),
        "event": row(lambda x, k: event_product(x, k, 1.0), kernel, kernel[:1]),
        "dense gradient": row(transposed, d_out, kernel),
        "event gradient": row(lambda x, d: event_kernel_gradient(x, d, 1.0), d_out, kernel),
    }
    found = medians(in_turns(runs, repeats=repeats))
    return {name: round(1e3 * seconds, 2) for name, seconds in found.items()}


def network(name: str, repeats: int) -> dict[str, Any]:
    """Return milliseconds of a training step by way, densities, memory and seconds to compile."""
    sizes, batch, steps, density, gain, layer = NETWORKS[name]
    shape = (batch, steps, sizes[0])
    x = jax.random.bernoulli(jax.random.key(0), density, shape).astype(jnp.float32)
    hidden = [layer.clone(features=width) for width in sizes[1:-1]]
    chain = snn.Chain((*hidden, snn.LeakyIntegratorReadout(sizes[-1])))
    made = nn.RNN(chain).init(jax.random.key(1), x[:2])
    variables = jax.tree.map(lambda a: gain * a if a.ndim == 2 else a, made)
    ways = {
        "nn.RNN": nn.RNN(chain),
        "dense": snn.RNN(chain, products="dense"),
        "auto": snn.RNN(chain),
    }
    runs: dict[str, Any] = {}
    memory: dict[str, Any] = {}
    for way, model in ways.items():

        def loss(variables: Any, x: jax.Array, model: Any = model) -> jax.Array:
            return jnp.mean(model.apply(variables, x).mean(1) ** 2)

        step = jax.jit(jax.value_and_grad(loss)).lower(variables, x).compile()
        runs[way] = lambda step=step: step(variables, x)
        memory[way] = round(_temporary_bytes(step) / 1e6, 1)
    kernels = [a for a in jax.tree.leaves(variables) if a.ndim == 2]
    rows = batch * steps
    left = [jax.random.normal(jax.random.key(3), (rows, k.shape[0])) for k in kernels]
    right = [jax.random.normal(jax.random.key(4), (rows, k.shape[1])) for k in kernels]
    floor = jax.jit(
        lambda left, kernels, right: [
            (a @ k, g @ k.T, a.T @ g) for a, k, g in zip(left, kernels, right, strict=True)
        ]
    )
    runs["floor"] = lambda: floor(left, kernels, right)
    found = medians(in_turns(runs, repeats=repeats))
    watch = jax.jit(lambda v, x: snn.RNN(chain).apply(v, x, mutable=["intermediates"])[1])
    seen = watch(variables, x[:8])["intermediates"]["cell"]
    active = [round(float(seen[f"cells_{k}"]["spikes"][0].mean()), 3) for k in range(len(hidden))]
    return {
        "milliseconds": {way: round(1e3 * seconds, 1) for way, seconds in found.items()},
        "auto / nn.RNN": round(found["auto"] / found["nn.RNN"], 3),
        "auto / floor": round(found["auto"] / found["floor"], 3),
        "density": [density, *active],
        "temporary_MB": memory,
    }


def _temporary_bytes(compiled: Any) -> int:
    return int(compiled.memory_analysis().temp_size_in_bytes)


def draw(grid: dict[str, dict[str, dict[str, float]]]) -> None:
    """Draw time over density, as a ratio to the dense product."""
    with matplotlib.rc_context({"font.size": 9}):
        figure = Figure(figsize=(8, 3.4), layout="constrained")
        axes = figure.subplots(1, 2, sharey=True)
        for ax, kind, title in zip(
            axes, ("", " gradient"), ("spikes @ kernel", "gradient of the kernel"), strict=True
        ):
            for width, rows in grid.items():
                ratios = [r[f"event{kind}"] / r[f"dense{kind}"] for r in rows.values()]
                ax.plot([100 * float(d) for d in rows], ratios, marker=".", label=f"{width} wide")
            ax.axhline(1.0, color="0.5", linewidth=0.8)
            ax.set(xscale="log", yscale="log", title=title, xlabel="inputs that are not zero (%)")
        axes[0].set_ylabel("time / time of the dense product")
        axes[1].legend(frameon=False)
        PICTURE.parent.mkdir(exist_ok=True)
        figure.savefig(PICTURE, dpi=150)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.speed.event_products")
    parser.add_argument("--repeats", type=int, default=7, help="rounds that count")
    rows = [*NETWORKS, *map(str, WIDTHS)]
    parser.add_argument(
        "--rows", nargs="+", choices=rows, help="networks and widths; the file keeps the others"
    )
    options = parser.parse_args()
    stored = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    found: dict[str, Any] = {"networks": {}, "products": {}}
    for name in NETWORKS:
        if options.rows is None or name in options.rows:
            found["networks"][name] = row = network(name, options.repeats)
            print(name, row, flush=True)
    for width in map(str, WIDTHS):
        if options.rows is None or width in options.rows:
            found["products"][width] = {}
            for density in DENSITIES:
                row = products(int(width), density, options.repeats)
                found["products"][width][str(density)] = row
                print(width, density, row, flush=True)
    grid = {kind: stored.get(kind, {}) | rows for kind, rows in found.items()}
    today = datetime.date.today().isoformat()
    measured = [name for rows in found.values() for name in rows]
    dates = stored.get("dates", {}) | dict.fromkeys(measured, today)
    write_results(RESULTS, COMMAND, {"dates": dates} | grid)
    draw(grid["products"])


if __name__ == "__main__":
    main()
