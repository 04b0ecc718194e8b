"""A training step with crossbars beside a digital one.

Rewrites benchmarks/results/crossbar_step.json:

    python -m benchmarks.crossbar.step

The updates of ``python -m train.randman`` (100 steps, batch 250, 128 recurrent neurons), eight of
them in one compiled call, all networks in turns.
"""

from __future__ import annotations

import functools
import statistics
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from benchmarks.in_process import in_turns, medians
from benchmarks.machine import take_no_options, write_results
from train.command_line import parse
from train.run.step import create_state, train_batches
from train.settings.options import RunOptions
from train.tasks.randman import Randman, RandmanConfig

TASK = Randman()
RESULTS = Path(__file__).parents[1] / "results" / "crossbar_step.json"
COMMAND = "python -m benchmarks.crossbar.step"
UPDATES, REPEATS = 8, 9
NETWORKS = {
    "digital": "",
    "ideal": "--crossbar ideal",
    "pcm": "--crossbar pcm",
    "pcm, readout": "--crossbar pcm --crossbar-layers readout",
    "reram": "--crossbar reram",
}


def updates(flags: str, data: Any) -> Any:
    """Return a compiled call of some updates."""
    config, _ = parse(TASK, flags.split(), RandmanConfig())
    model, training = TASK.build(config), config.training
    state = create_state(model, training, 1000, jnp.uint32(0))
    size = training.batch_size
    order = jnp.arange(UPDATES * size, dtype=jnp.int32).reshape(UPDATES, size)
    part = jax.tree.map(jnp.asarray, data.take(slice(0, UPDATES * size)))
    run = jax.jit(functools.partial(train_batches, model, training))
    return lambda: run(state, part, order)


def main() -> None:
    """Measure all networks."""
    take_no_options(COMMAND, __doc__)
    data = TASK.load(RandmanConfig(), RunOptions()).train
    runs = {name: updates(flags, data) for name, flags in NETWORKS.items()}
    seconds = in_turns(runs, repeats=REPEATS, warm_up=2)
    middle = medians(seconds)
    rows: dict[str, Any] = {
        name: {
            "ms_per_update": round(1e3 * middle[name] / UPDATES, 2),
            "ratio": round(middle[name] / middle["digital"], 3),
            "ratios": [
                round(a / b, 3) for a, b in zip(seconds[name], seconds["digital"], strict=True)
            ],
        }
        for name in runs
    }
    results = {"networks": NETWORKS, "rows": rows}
    write_results(RESULTS, COMMAND, results)
    for name, row in rows.items():
        spread = statistics.quantiles(row["ratios"], n=4)
        print(
            f"{name:<14} {row['ms_per_update']:8.1f} ms  {row['ratio']:.2f} x digital"
            f" (quartiles {spread[0]:.2f} to {spread[2]:.2f})"
        )


if __name__ == "__main__":
    main()
