"""Test accuracy on default Randman over five seeds; rewrites benchmarks/results/randman.json.

    python -m benchmarks.randman

Runs ``python -m train.randman`` fifteen times, one after the other: about 20 minutes on 2 cores.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.machine import describe_machine, write_results

RESULTS = Path(__file__).parent / "results" / "randman.json"

SEEDS = range(5)

# Flags of each row, and the least that it has to reach: (what, of which the seeds' ..., share).
ROWS: dict[str, tuple[list[str], str, float]] = {
    "rate-coded, 30 epochs": ([], "mean", 0.99),
    "membrane (max), 30 epochs": (["--readout", "max"], "mean", 0.995),
    "rate-coded, 8 epochs": (["--epochs", "8"], "min", 0.97),
}


def run(flags: list[str], seed: int) -> dict[str, Any]:
    """Train once, as a user would, and return result.json."""
    with tempfile.TemporaryDirectory() as folder:
        workdir = Path(folder, "run")
        command = [sys.executable, "-m", "train.randman", *flags, "--seed", str(seed), "--quiet"]
        subprocess.run([*command, "--workdir", str(workdir)], check=True)
        return json.loads((workdir / "result.json").read_text())


def row(name: str) -> dict[str, Any]:
    """Run all seeds of a row."""
    flags, of, required = ROWS[name]
    results = [run(flags, seed) for seed in SEEDS]
    accuracies = [result["test_accuracy"] for result in results]
    reached = min(accuracies) if of == "min" else statistics.mean(accuracies)
    return {
        "command": " ".join(["python -m train.randman", *flags, "--seed N"]),
        "test_accuracy": dict(zip(map(str, SEEDS), accuracies, strict=True)),
        "mean": round(statistics.mean(accuracies), 6),
        "min": min(accuracies),
        "required": {of: required},
        "passed": reached >= required,
        "seconds": [result["seconds"] for result in results],
        "best_epoch": [result["best_epoch"] for result in results],
        "test_rates_hz": [result["test_rates_hz"] for result in results],
    }


def main() -> None:
    rows = {}
    for name in ROWS:
        rows[name] = row(name)
        print(name, rows[name]["test_accuracy"], f"mean {rows[name]['mean']:.2%}", flush=True)
    write_results(RESULTS, "python -m benchmarks.randman", {"rows": rows})
    print(json.dumps(describe_machine()))


if __name__ == "__main__":
    main()
