"""Rows of runs of the training app: the same flags, several seeds; results kept by row.

A module of this folder names its rows and hands them to `main`.
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
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from benchmarks.machine import describe_machine, write_results


@dataclasses.dataclass(frozen=True)
class Row:
    """Runs that differ by their seed.

    Attributes:
      flags: of ``python -m train.<task>``.
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


@dataclasses.dataclass(frozen=True)
class Shown:
    """What a run has left behind.

    Attributes:
      result: its ``result.json``.
      records: the lines of its ``metrics.jsonl``.
      text: what it showed on the screen.
      begun: seconds from the start of the process to the first training step.
    """

    result: dict[str, Any]
    records: list[dict[str, Any]]
    text: str
    begun: float


def run(task: str, flags: str) -> Shown:
    """Train once, as a user would."""
    with tempfile.TemporaryDirectory() as folder:
        workdir = Path(folder, "run")
        command = [sys.executable, "-m", *f"train.{task} {flags}".split(), "--no-plots"]
        started = time.time()
        shown = subprocess.run(
            [*command, "--workdir", str(workdir)], check=True, text=True, stderr=subprocess.PIPE
        ).stderr
        result: dict[str, Any] = json.loads((workdir / "result.json").read_text())
        lines = (workdir / "metrics.jsonl").read_text().splitlines()
    begun = result["first_step_unix_time"] - started
    return Shown(result, [json.loads(line) for line in lines], shown, begun)


def measure(
    task: str, name: str, row: Row, more: Callable[[Shown], dict[str, Any]]
) -> dict[str, Any]:
    """Run all seeds of a row.

    Args:
      task: name of the task.
      name: name of the row.
      row: the row.
      more: what to keep of a run besides its scores.
    """
    runs = dict(once(task, name, row, flags, more) for flags in row.commands())
    return summary(task, row, runs)


def once(
    task: str,
    name: str,
    row: Row,
    flags: str,
    more: Callable[[Shown], dict[str, Any]],
    common: str = "",
) -> tuple[str, dict[str, Any]]:
    """Run one seed of a row; return what tells the run from the others of the row, and its scores.

    Args:
      task: name of the task; ``run module:Class`` for one that stands elsewhere.
      name: name of the row.
      row: the row.
      flags: one of its commands.
      more: what to keep of a run besides its scores.
      common: flags that decide nothing, such as where the data lie.
    """
    shown = run(task, f"{flags} {common}")
    result = shown.result
    score, seconds = result["test_accuracy"], result["seconds"]
    print(f"  {name}: {flags}: {score:.2%} in {seconds:.0f} s", flush=True)
    return flags.removeprefix(row.flags).strip(), {
        "test": score,
        "validation": result["validation_accuracy"],
        "best_epoch": result["best_epoch"],
        "seconds": seconds,
        **more(shown),
    }


def summary(task: str, row: Row, runs: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    """Return a row of results with what its runs have in common.

    Args:
      task: name of the task.
      row: the row.
      runs: scores of its runs, as `once` has them.
    """
    accuracies = [found["test"] for found in runs.values()]
    reached = min(accuracies) if row.of == "min" else statistics.mean(accuracies)
    return {
        "command": f"python -m train.{task} {row.flags}".strip(),
        "runs": runs,
        "mean": round(statistics.mean(accuracies), 6),
        "deviation": round(statistics.stdev(accuracies), 6) if len(accuracies) > 1 else 0.0,
        "min": min(accuracies),
        "required": None if row.required is None else {row.of: row.required},
        "passed": None if row.required is None else reached >= row.required,
    }


def main(
    task: str,
    rows: Mapping[str, Row],
    results: Path,
    more: Callable[[Shown], dict[str, Any]],
) -> None:
    """Measure rows and rewrite the results; ``--rows`` names the beginnings of those wanted.

    Args:
      task: name of the task.
      rows: the rows by their names.
      results: file of the results.
      more: what to keep of a run besides its scores.
    """
    command = f"python -m benchmarks.accuracy.{results.stem}"
    parser = argparse.ArgumentParser(prog=command)
    parser.add_argument("--rows", nargs="*", default=[""], help="beginnings of names of rows")
    wanted = parser.parse_args().rows
    for name in rows:
        if any(name.startswith(beginning) for beginning in wanted):
            row = measure(task, name, rows[name], more) | {"machine": describe_machine()}
            # Read anew: another process may measure other rows.
            stored = json.loads(results.read_text())["rows"] if results.exists() else {}
            found = stored | {name: row}
            write_results(results, command, {"rows": {n: found[n] for n in rows if n in found}})
            print(f"{name}: mean {row['mean']:.2%}", flush=True)
