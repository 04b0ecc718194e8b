"""One linear layer and one LIF layer, 500 steps, batch 16: a widely quoted benchmark, waited for.

    python -m benchmarks.speed.linear_lif

rewrites benchmarks/results/linear_lif.json. The SNN library benchmark of Open Neuromorphic
("Spiking Neural Network (SNN) Library Benchmarks", 2023, updated 2024) times forward and backward
pass of Linear(N, N) and LIF for N = 4096 ... 16384. A forward pass is 2 T B N^2 operations, a
backward pass at least as many, 4 T B N^2 with the gradient of the inputs. The published rows of
Spyx at N = 16384, 29.9 and 46.5 ms in float32, would be 144e12 operations a second forward and
92e12 backward for the weights alone; the card that is named, an RTX 4090, has 82.6e12. Here each
row is run with axes (batch, time, feature) and is waited for, beside its own products (the floor),
in turns. The published rows do not say how many inputs spike: here 3 % and 10 %. ``unwaited`` is
the time after which a call came back without its result: what a clock around a dispatched call
shows. About two minutes; --sizes 16384 needs 8 GB and takes 16 times as long.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

import flax_snn as snn
from benchmarks.in_process import in_turns, medians
from benchmarks.machine import write_results

RESULTS = Path(__file__).parents[1] / "results" / "linear_lif.json"
COMMAND = "python -m benchmarks.speed.linear_lif"
STEPS, BATCH = 500, 16


def measure(size: int, rate: float, repeats: int) -> dict[str, Any]:
    net = snn.RNN(snn.LIFCell(size))
    x = jax.random.bernoulli(jax.random.key(0), rate, (BATCH, STEPS, size)).astype(jnp.float32)
    kernel = jax.random.normal(jax.random.key(1), (size, size)) * (20.0 / size**0.5)
    flat = x.reshape((-1, size))
    grads = jax.random.normal(jax.random.key(2), flat.shape)

    def total(kernel: jax.Array, x: jax.Array) -> jax.Array:
        spikes: Any = net.apply({"params": {"cell": {"kernel": kernel}}}, x)
        return spikes.sum()

    forward = jax.jit(total)
    both = jax.jit(jax.value_and_grad(total, (0, 1)))
    product = jax.jit(lambda x, w: x @ w)
    products = jax.jit(lambda x, w, g: (x @ w, g @ w.T, x.T @ g))
    runs = {
        "forward": lambda: forward(kernel, x),
        "forward and backward": lambda: both(kernel, x),
        "floor, forward": lambda: product(flat, kernel),
        "floor, forward and backward": lambda: products(flat, kernel, grads),
    }
    found = medians(in_turns(runs, repeats=repeats))
    unwaited = []
    for _ in range(3):
        begin = time.perf_counter()
        result = both(kernel, x)
        unwaited.append(time.perf_counter() - begin)
        jax.block_until_ready(result)
    operations = 6 * STEPS * BATCH * size**2
    return {name: round(s, 4) for name, s in found.items()} | {
        "unwaited": round(statistics.median(unwaited), 5),
        "operations": operations,
        "operations per second of the floor": operations / found["floor, forward and backward"],
        "spikes per slot": float(total(kernel, x) / x.size),
    }


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.speed.linear_lif")
    parser.add_argument("--sizes", type=int, nargs="+", default=[4096])
    parser.add_argument(
        "--rates", type=float, nargs="+", default=[0.03, 0.1], help="inputs that spike in a step"
    )
    parser.add_argument("--repeats", type=int, default=3, help="rounds that count")
    options = parser.parse_args()
    rows = {}
    for size, rate in itertools.product(options.sizes, options.rates):
        rows[f"{size} at {rate:.0%}"] = row = measure(size, rate, options.repeats)
        print(
            f"N = {size}, {rate:.0%} of the inputs: forward {row['forward']:.2f} s, floor"
            f" {row['floor, forward']:.2f} s;"
            f" both {row['forward and backward']:.2f} s, floor"
            f" {row['floor, forward and backward']:.2f} s; not waited for"
            f" {1e3 * row['unwaited']:.2f} ms; {row['spikes per slot']:.1%} of slots",
            flush=True,
        )
    write_results(RESULTS, COMMAND, {"steps": STEPS, "batch": BATCH, "rows": rows})


if __name__ == "__main__":
    main()
