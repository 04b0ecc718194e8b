"""Test accuracy of learning rules beside backpropagation through time, with the same budget.

    python -m benchmarks.accuracy.learning_rules --data-dir FOLDER                  all
    python -m benchmarks.accuracy.learning_rules --data-dir FOLDER --rows randman   some of them

rewrites benchmarks/results/learning_rules.json. FOLDER holds a folder of files, or a link to one,
for spoken_digits (the recordings) and fashion_mnist (the four IDX files); Randman needs none. The
two rows of a task differ by ``--rule`` alone: the same network, seeds, samples and updates. The
budget is small, so that all rows take minutes; it is no comparison of the best that each can do.
Each run is written as it ends, and one that stands in the results with the same command is not run
again: a benchmark that was stopped goes on.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.machine import write_results
from benchmarks.rows import Row, Shown, once, summary

RESULTS = Path(__file__).parents[1] / "results" / "learning_rules.json"
COMMAND = "python -m benchmarks.accuracy.learning_rules --data-dir FOLDER"


class Comparison(NamedTuple):
    """A rule beside backpropagation through time.

    Attributes:
      task: name of the task.
      flags: flags of both rows.
      rule: the rule.
      least: least mean accuracy asked for.
      points: most points by which its mean may lie below that of backpropagation.
    """

    task: str
    flags: str
    rule: str
    least: float | None = None
    points: float | None = None

    def row(self, rule: str) -> Row:
        """Returns the runs of the rule, or of ``bptt``."""
        least = self.least if rule == self.rule else None
        return Row(f"{self.flags} --rule {rule}", required=least)


COMPARISONS = {
    "randman": Comparison(
        "randman",
        "--readout mean --no-learn-tau --batch-size 64 --learning-rate 1e-2 --epochs 5",
        "eprop",
        least=0.97,
    ),
    "digits": Comparison(
        "spoken_digits",
        "--hidden 128 --dropout 0 --no-learn-tau --epochs 8",
        "eprop",
        points=3.0,
    ),
    "fashion": Comparison(
        "fashion_mnist",
        "--architecture conv --norm-groups 0 --channels 4 8 --hidden 32 --steps 4 --dropout 0"
        " --epochs 2",
        "ottt",
        points=2.0,
    ),
}
"""The comparisons by their names."""


def more_of(run: Shown) -> dict[str, Any]:
    """Returns what is kept of a run besides its scores."""
    return {
        "epochs": run.result["epochs"],
        "training_seconds": run.result["training_seconds"],
        "rates_hz": {name: round(hz, 2) for name, hz in run.result["test_rates_hz"].items()},
    }


def stored_rows() -> dict[str, Any]:
    """Returns the rows of the results, read anew: another process may measure other rows."""
    if not RESULTS.exists():
        return {}
    rows: dict[str, Any] = json.loads(RESULTS.read_text())["rows"]
    return rows


def differences(rows: dict[str, Any]) -> dict[str, Any]:
    """Returns by how many points each rule lies above backpropagation, where both are there."""
    found = {}
    for name, each in COMPARISONS.items():
        pair = [rows.get(f"{name}, {rule}") for rule in (each.rule, "bptt")]
        if not all(row and len(row["runs"]) == len(each.row(each.rule).seeds) for row in pair):
            continue
        ours, full = (row["mean"] for row in pair if row)
        points = round(100 * (ours - full), 2)
        found[name] = {"rule": each.rule, "mean": ours, "bptt": full, "points": points}
        if each.points is not None:
            found[name] |= {"points_allowed": -each.points, "passed": points >= -each.points}
        if each.least is not None:
            found[name] |= {"required": each.least, "passed": ours >= each.least}
    return found


def measure(name: str, rule: str, data_dir: Path | None) -> None:
    """Runs the seeds of a row that are not there yet; writes the row after each."""
    case = COMPARISONS[name]
    row, task, label = case.row(rule), case.task, f"{name}, {rule}"
    before = stored_rows().get(label, {})
    # Other flags are another row of the same name.
    same = before.get("command") == summary(task, row, {"": {"test": 0.0}})["command"]
    runs: dict[str, Any] = dict(before["runs"]) if same else {}
    where = "" if task == "randman" else f"--data-dir {data_dir and data_dir / task}"
    for flags in row.commands():
        if flags.removeprefix(row.flags).strip() in runs:
            continue
        seed, scores = once(task, label, row, flags, more_of, where)
        runs[seed] = scores
        kept = stored_rows() | {label: summary(task, row, runs)}
        order = [f"{n}, {r}" for n, c in COMPARISONS.items() for r in (c.rule, "bptt")]
        rows = {each: kept[each] for each in order if each in kept}
        write_results(RESULTS, COMMAND, {"comparisons": differences(rows), "rows": rows})


def main() -> None:
    """Measures rows and rewrites the results."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.accuracy.learning_rules")
    parser.add_argument("--data-dir", type=Path, help="folder with one for each task")
    parser.add_argument("--rows", nargs="*", default=[""], help="beginnings of names of rows")
    given = parser.parse_args()
    folder = given.data_dir and given.data_dir.expanduser().absolute()
    for name, case in COMPARISONS.items():
        if not any(name.startswith(beginning) for beginning in given.rows):
            continue
        if folder is None and case.task != "randman":
            parser.error(f"{name}: expected --data-dir with a folder {case.task}, got none")
        for rule in (case.rule, "bptt"):
            measure(name, rule, folder)


if __name__ == "__main__":
    main()
