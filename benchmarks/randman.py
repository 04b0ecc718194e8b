"""Test accuracy on Randman, all documented rows; rewrites benchmarks/results/randman.json.

    python -m benchmarks.randman                    all rows, about an hour on 2 cores
    python -m benchmarks.randman --rows deep tutorial    those whose names begin so, others stay

Every row runs ``python -m train.randman`` with one set of defaults: flags choose the data set, the
shape of the network and the number of epochs. What rows about initial weights, readouts and the
tutorial's own setting change besides is in their commands.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.machine import describe_machine, write_results

RESULTS = Path(__file__).parent / "results" / "randman.json"
COMMAND = "python -m benchmarks.randman"

FEED_FORWARD = "--variant torch --no-recurrent"
DEEP = "--no-recurrent --hidden 128 128 128 128 128 128 --epochs 15"
GAINS = "--init gains"
FLAX_DEFAULT = "--init gains --input-gain 1 --layer-gain 1 --readout-gain 1"
TUTORIAL_DATA = "--classes 2 --units 16 --dim 2 --alpha 2 --step-frac 1 --dt 1e-3 --hidden 32"
TUTORIAL_TRAINING = (
    "--neuron tutorial --no-learn-tau --optimizer sgd --learning-rate 0.02 --momentum 0.9"
    " --schedule constant --warm-up 0 --clip-norm 0 --label-smoothing 0 --jitter 0 --count-scale 1"
    " --batch-size 48"
)


@dataclasses.dataclass(frozen=True)
class Row:
    """Runs that differ by their seed.

    Attributes:
      flags: of ``python -m train.randman``.
      seeds: seeds of the runs.
      required: least accuracy asked for, ``None`` for none.
      of: what has to reach it: the ``mean`` of the seeds, or their ``min``.
      data_seeds: seed of the data set, where each run has its own; else the default for all.
    """

    flags: str = ""
    seeds: tuple[int, ...] = (0, 1, 2)
    required: float | None = None
    of: str = "mean"
    data_seeds: tuple[int, ...] | None = None

    def commands(self) -> list[str]:
        """Return the flags of each run."""
        data = self.data_seeds or (None,) * len(self.seeds)
        return [
            f"{self.flags} --seed {seed}" + ("" if d is None else f" --data-seed {d}")
            for seed, d in zip(self.seeds, data, strict=True)
        ]


FIVE = (0, 1, 2, 3, 4)
ROWS = {
    "default, 30 epochs": Row(seeds=FIVE, required=0.99),
    "default, 8 epochs": Row("--epochs 8", FIVE, 0.97, "min"),
    "default, membrane readout": Row("--readout max", FIVE, 0.995),
    "feed-forward, torch variant": Row(FEED_FORWARD, required=0.97),
    "feed-forward, torch variant, gains": Row(f"{FEED_FORWARD} {GAINS}"),
    "feed-forward, torch variant, flax default": Row(f"{FEED_FORWARD} {FLAX_DEFAULT}"),
    "20 classes": Row("--classes 20", required=0.99),
    "dimension 2": Row("--dim 2", required=0.94),
    "dimension 2, data seeds": Row("--dim 2", (0,) * 5, data_seeds=FIVE),
    "paper variant": Row("--variant paper"),
    "torch variant": Row("--variant torch"),
    "tutorial setting, its training": Row(f"{TUTORIAL_DATA} --epochs 20 {TUTORIAL_TRAINING}", FIVE),
    "tutorial setting, ours": Row(f"{TUTORIAL_DATA} --epochs 20", FIVE),
    "deep, lsuv": Row(DEEP),
    "deep, flax default": Row(f"{DEEP} {FLAX_DEFAULT}"),
}


def run(flags: str) -> dict[str, Any]:
    """Train once, as a user would; return what its files and its screen say."""
    with tempfile.TemporaryDirectory() as folder:
        workdir = Path(folder, "run")
        command = [sys.executable, "-m", "train.randman", *flags.split(), "--no-plots"]
        started = time.time()
        shown = subprocess.run(
            [*command, "--workdir", str(workdir)], check=True, text=True, stderr=subprocess.PIPE
        ).stderr
        result: dict[str, Any] = json.loads((workdir / "result.json").read_text())
        lines = (workdir / "metrics.jsonl").read_text().splitlines()
    records = [json.loads(line) for line in lines]
    begun = result["first_step_unix_time"] - started
    before = [line for line in shown.splitlines() if line.startswith("before training: valid")]
    return {
        "test": result["test_accuracy"],
        "validation": result["validation_accuracy"],
        "best_epoch": result["best_epoch"],
        "seconds": result["seconds"],
        "epochs_to_90": _reached(records, 0.90, "epoch", 0),
        "seconds_to_99": _reached(records, 0.99, "seconds", begun),
        "rates_hz_before": before[0].split(", ", 1)[1],
        "rates_hz": {name: round(hz, 2) for name, hz in result["test_rates_hz"].items()},
    }


def _reached(records: list[dict[str, Any]], share: float, unit: str, offset: float) -> Any:
    """Epoch or time at which the validation accuracy first reached a share."""
    found = [r[unit] for r in records if r["validation_accuracy"] >= share]
    return round(found[0] + offset, 1) if found else None


def measure(name: str) -> dict[str, Any]:
    """Run all seeds of a row."""
    row = ROWS[name]
    runs = {}
    for flags in row.commands():
        runs[flags.removeprefix(row.flags).strip()] = found = run(flags)
        print(f"  {name}: {flags}: {found['test']:.2%} in {found['seconds']:.0f} s", flush=True)
    accuracies = [found["test"] for found in runs.values()]
    reached = min(accuracies) if row.of == "min" else statistics.mean(accuracies)
    return {
        "command": f"python -m train.randman {row.flags}".strip(),
        "runs": runs,
        "mean": round(statistics.mean(accuracies), 6),
        "min": min(accuracies),
        "required": None if row.required is None else {row.of: row.required},
        "passed": None if row.required is None else reached >= row.required,
    }


def main() -> None:
    parser = argparse.ArgumentParser(prog=COMMAND)
    parser.add_argument("--rows", nargs="*", default=[""], help="beginnings of names of rows")
    wanted = parser.parse_args().rows
    for name in ROWS:
        if any(name.startswith(beginning) for beginning in wanted):
            row = measure(name) | {"machine": describe_machine()}
            # Read anew: another process may measure other rows.
            stored = json.loads(RESULTS.read_text())["rows"] if RESULTS.exists() else {}
            rows = stored | {name: row}
            write_results(RESULTS, COMMAND, {"rows": {n: rows[n] for n in ROWS if n in rows}})
            print(f"{name}: mean {row['mean']:.2%}", flush=True)


if __name__ == "__main__":
    main()
