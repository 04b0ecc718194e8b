"""The default runner beside ``nn.RNN`` over a grid of layers: it should never cost more.

    pip install 'flax-snn[cpu]' && python -m benchmarks.speed.auto_grid

rewrites benchmarks/results/auto_grid.json. Lone layers of LIF neurons, feed-forward and recurrent,
32 to 2048 wide with as many inputs, 50 to 5000 steps, batch 8 to 512, with and without a synapse,
inputs that are spikes in 5 % of their slots or currents without zeros: all whose arrays and
products stay below bounds, and of these each size with one synapse and one kind of input in turn
(``--all``: with all four). A step is the loss and the gradients of weights and inputs' layers as
``jax.value_and_grad`` takes them; ``nn.RNN`` and ``snn.RNN`` take turns in one process, all results
waited for; the ratio is that of medians. A row above the bar is measured again, up to twice, and
the lowest ratio counts: the machine is shared, and what is slow in itself stays slow. All ratios
are in the file, each row with its date. ``--part 2 5`` measures the second fifth of the rows and
keeps the others; ``--missing`` measures those that the file does not have; with ``--seconds`` no
row begins later. About ten minutes.
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import itertools
import json
import math
import statistics
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

import flax_snn as snn
from benchmarks.in_process import in_turns, medians
from benchmarks.machine import write_results

RESULTS = Path(__file__).parents[1] / "results" / "auto_grid.json"
COMMAND = "python -m benchmarks.speed.auto_grid"
BAR = 1.05
WIDTHS, STEPS, BATCHES = (32, 128, 512, 2048), (50, 500, 5000), (8, 64, 512)
MOST_VALUES, MOST_OPERATIONS = 2**25, 2.5e11
DENSITY = 0.05
AGAIN = 2
"""How often a row above the bar is measured again."""

SECONDS = 1.5
"""Time that the rounds of a row take, if that makes no less than five of them."""


@dataclasses.dataclass(frozen=True)
class Row:
    """A layer, and what it is given."""

    recurrent: bool
    width: int
    steps: int
    batch: int
    synapse: bool
    spikes: bool

    @property
    def name(self) -> str:
        kind = f"{self.width}{'r' if self.recurrent else ''}{' synapse' if self.synapse else ''}"
        given = f"{DENSITY:.0%} spikes" if self.spikes else "currents"
        return f"{kind}, T {self.steps}, batch {self.batch}, {given}"

    @property
    def operations(self) -> float:
        """Operations of the dense products of a step."""
        kernels = 2 if self.recurrent else 1
        return 6.0 * kernels * self.steps * self.batch * self.width**2


def grid(*, everything: bool) -> Iterator[Row]:
    """Yield the rows that are measured."""
    sizes = itertools.product(range(len(WIDTHS)), range(len(STEPS)), range(len(BATCHES)))
    for k, (i, j, m) in enumerate(
        (i, j, m)
        for i, j, m in sizes
        if WIDTHS[i] * STEPS[j] * BATCHES[m] <= MOST_VALUES
        and Row(True, WIDTHS[i], STEPS[j], BATCHES[m], False, False).operations <= MOST_OPERATIONS
    ):
        for recurrent, synapse, spikes in itertools.product((False, True), repeat=3):
            turn = (k + recurrent) % 4
            if everything or (synapse, spikes) == (turn % 2 == 1, turn in (0, 3)):
                yield Row(recurrent, WIDTHS[i], STEPS[j], BATCHES[m], synapse, spikes)


def steps_of(row: Row) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return a training step under each runner, and what else is known of them."""
    dynamics = snn.LIFDynamics(tau_syn=5e-3 if row.synapse else None)
    cell_class = snn.RecurrentLIFCell if row.recurrent else snn.LIFCell
    cell = cell_class(row.width, dynamics=dynamics)
    key, shape = jax.random.key(0), (row.batch, row.steps, row.width)
    if row.spikes:
        x = jax.random.bernoulli(key, DENSITY, shape).astype(jnp.float32)
    else:
        x = jax.random.normal(key, shape)
    variables = nn.RNN(cell).init(jax.random.key(1), x[:1, :1])
    gain = {(True, False): 6.0, (True, True): 1.5, (False, False): 1.5, (False, True): 0.4}
    variables["params"]["cell"]["kernel"] *= gain[row.spikes, row.synapse]
    runs: dict[str, Any] = {}
    known: dict[str, Any] = {"compile_s": {}, "temporary_MB": {}}
    for name, runner in (("nn.RNN", nn.RNN), ("snn.RNN", snn.RNN)):
        model = runner(cell)

        def loss(variables: Any, x: jax.Array, model: Any = model) -> jax.Array:
            return jnp.mean(model.apply(variables, x).mean(1) ** 2)

        begin = time.perf_counter()
        step = jax.jit(jax.value_and_grad(loss)).lower(variables, x).compile()
        known["compile_s"][name] = round(time.perf_counter() - begin, 2)
        memory: Any = step.memory_analysis()
        known["temporary_MB"][name] = round(memory.temp_size_in_bytes / 1e6, 1)
        runs[name] = lambda step=step: step(variables, x)
    spikes = jax.jit(snn.RNN(cell).apply)(variables, x[:1])
    return runs, known | {"spikes per slot": round(float(spikes.mean()), 3)}


def measure(row: Row) -> dict[str, Any]:
    """Measure a row, again where it is above the bar."""
    runs, found = steps_of(row)
    once = sum(medians(in_turns(runs, repeats=1)).values())
    calls = max(1, round(0.02 / once))

    def several(run: Any) -> Any:
        return lambda: [run() for _ in range(calls)][-1]

    repeated = {name: several(run) for name, run in runs.items()}
    repeats = min(max(round(SECONDS / (calls * once)), 5), 51)
    ratios: list[float] = []
    for _ in range(1 + AGAIN):
        seconds = medians(in_turns(repeated, repeats=repeats))
        ratios.append(round(seconds["snn.RNN"] / seconds["nn.RNN"], 3))
        if ratios[-1] == min(ratios):
            found["ms"] = {n: round(1e3 * s / calls, 3) for n, s in seconds.items()}
        if ratios[-1] <= BAR:
            break
    today = datetime.date.today().isoformat()
    return {"ratio": min(ratios), "ratios": ratios, **found, "date": today}


def main() -> None:
    parser = argparse.ArgumentParser(prog=COMMAND)
    parser.add_argument("--all", action="store_true", help="each size with every kind of input")
    parser.add_argument("--part", type=int, nargs=2, metavar=("K", "OF"), default=(1, 1))
    parser.add_argument("--only", default="", help="rows whose name has this in it")
    parser.add_argument("--missing", action="store_true", help="rows that the file does not have")
    parser.add_argument("--seconds", type=float, default=math.inf, help="begin no row after these")
    options = parser.parse_args()
    part, of = options.part
    rows = [row for row in grid(everything=options.all) if options.only in row.name]
    stored = json.loads(RESULTS.read_text())["rows"] if RESULTS.exists() else {}
    if options.missing:
        rows = [row for row in rows if row.name not in stored]
    begin = time.perf_counter()
    for row in rows[part - 1 :: of]:
        if time.perf_counter() - begin > options.seconds:
            break
        stored[row.name] = found = measure(row)
        print(f"{row.name:46} {found['ratio']:6.3f}  {found['ms']}  {found['ratios']}", flush=True)
        write(stored)
        jax.clear_caches()
    print(json.loads(RESULTS.read_text())["summary"])


def write(stored: dict[str, Any]) -> None:
    """Write the rows, in the order of the grid, and what they have in common."""
    names = [row.name for row in grid(everything=True)]
    kept = {name: stored[name] for name in names if name in stored}
    ratios = [row["ratio"] for row in kept.values()]
    summary = {
        "rows": len(ratios),
        "largest": max(ratios),
        "median": round(statistics.median(ratios), 3),
        "above the bar": [name for name, row in kept.items() if row["ratio"] > BAR],
    }
    write_results(RESULTS, COMMAND, {"bar": BAR, "summary": summary, "rows": kept})


if __name__ == "__main__":
    main()
