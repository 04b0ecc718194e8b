"""Compare runs side by side: scores, times, settings that differ, and their learning curves.

    python -m train.compare checkpoints/randman/first checkpoints/randman/second

prints a table and draws the curves over each other into ``plots/compare.png``.
"""

from __future__ import annotations

import dataclasses
import json
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import tyro

from flax_snn import checks
from train.errors import InputError, RunDirectoryError, exit_code
from train.flags import no_flags, quiet_pipe, read_flags
from train.progress.report import format_score
from train.store import run_directory
from train.store.forms import scores_of
from train.store.layout import CONFIG, METRICS, RESULT
from train.store.settings_json import flat, task_of, upgraded
from train.tasks import find_task

COMMAND = "python -m train.compare"


@dataclasses.dataclass(frozen=True)
class CompareOptions:
    """What to compare, and where to draw it."""

    runs: tyro.conf.Positional[tuple[Path, ...]]
    """Run directories, or folders of them such as --seeds and train.sweep make."""
    plot: Path = Path("plots/compare.png")
    """Where the learning curves are drawn."""
    json: bool = False
    """Print one JSON object instead of a table."""


def compare(paths: Sequence[Path]) -> list[dict[str, Any]]:
    """Returns a row per run.

    Args:
      paths: run directories.

    Returns:
      ``run``, ``task``, ``score`` (its name), ``epochs`` done, ``best_epoch``, ``validation`` (the
      best score), ``test`` (``None`` where the run is not finished), ``seconds`` of training and
      ``settings`` that are not the same in all runs.

    Raises:
      RunDirectoryError: not the directory of a run with an epoch, or tasks whose scores differ.
    """
    if not paths:
        raise RunDirectoryError("expected the directories of runs, got none; name at least one")
    rows = [_row(path) for path in paths]
    scores = {row["score"] for row in rows}
    if len(scores) > 1:
        raise RunDirectoryError(
            f"expected runs of one score, got {', '.join(sorted(scores))}; compare runs of one task"
        )
    names = dict.fromkeys(name for row in rows for name in row["settings"])
    differing = [n for n in names if len({repr(row["settings"].get(n)) for row in rows}) > 1]
    for row in rows:
        row["settings"] = {name: row["settings"].get(name) for name in differing}
    return rows


def expanded(paths: Sequence[Path]) -> list[Path]:
    """Returns run directories, in place of the folders in which ``--seeds`` and sweeps put them.

    Args:
      paths: run directories, or folders of them. Other paths stay as they are.
    """
    found: list[Path] = []
    for path in paths:
        inside = [] if (path / CONFIG).exists() else sorted(path.glob(f"*/{CONFIG}"))
        found += [config.parent for config in inside] or [path]
    return list(dict.fromkeys(found))


def describe(rows: Sequence[dict[str, Any]]) -> str:
    """Returns what `compare` found as a table."""
    score = rows[0]["score"]
    header = ["run", "task", "epochs", "best", "validation", "test", "training s"]
    header += rows[0]["settings"]
    lines = [
        [
            row["run"],
            row["task"],
            str(row["epochs"]),
            str(row["best_epoch"]),
            format_score(score, row["validation"], 2),
            "-" if row["test"] is None else format_score(score, row["test"], 2),
            f"{row['seconds']:.0f}",
            *(as_typed(name, value) for name, value in row["settings"].items()),
        ]
        for row in rows
    ]
    widths = [max(map(len, column)) for column in zip(header, *lines, strict=True)]
    table = [
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in (header, *lines)
    ]
    return "\n".join([f"{score} of {len(rows)} runs; settings that differ at the right", *table])


def report(paths: Sequence[Path], target: Path) -> str:
    """Returns the table of runs, with means over seeds, and draws their learning curves.

    Args:
      paths: run directories.
      target: the PNG file.
    """
    paths = expanded(paths)
    rows = compare(paths)
    picture = draw(paths, rows[0]["score"], target)
    return "\n".join([describe(rows), *over_seeds(rows), f"learning curves: {picture}"])


def as_typed(name: str, value: Any) -> str:
    """Returns the value of a setting as it is typed after its flag: ``64 32`` for two layers.

    Args:
      name: name of the flag without dashes.
      value: what was stored; ``None`` where a run has no such setting.
    """
    if value is None:
        return "-"
    if isinstance(value, bool):
        return f"--{'' if value else 'no-'}{name}"
    if isinstance(value, list):
        return " ".join(str(each) for each in value)
    if not isinstance(value, str):
        return str(value)
    if name == "digest":
        return f"{value[:8]}..."
    # What a file says is shown, never sent to the terminal as a command.
    return value if value and value.isprintable() else checks.shown(value)


def over_seeds(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Returns mean and standard deviation of the test score over runs that differ in their seed.

    Args:
      rows: what `compare` returned.

    Returns:
      A line for each setting of which two or more runs are finished.
    """
    groups: dict[tuple[tuple[str, Any], ...], list[float]] = {}
    for row in rows:
        same = tuple((n, as_typed(n, v)) for n, v in row["settings"].items() if n != "seed")
        groups.setdefault(same, [])
        if row["test"] is not None:
            groups[same].append(row["test"])
    score, lines = rows[0]["score"], []
    for settings, scores in groups.items():
        if len(scores) < 2:
            continue
        mean = statistics.fmean(scores)
        words = ", ".join(f"{name} {value}" for name, value in settings)
        shown = [format_score(score, value, 2) for value in (mean, statistics.stdev(scores))]
        lowest, highest = (format_score(score, f(scores), 2) for f in (min, max))
        lines.append(
            f"{words + ': ' if words else ''}test {score} {shown[0]} +- {shown[1]} over"
            f" {len(scores)} seeds ({lowest} to {highest})"
        )
    return lines


def draw(paths: Sequence[Path], score: str, target: Path) -> Path:
    """Draws the learning curves of runs over each other.

    Args:
      paths: run directories.
      score: name of the score.
      target: the PNG file.

    Returns:
      The file.
    """
    from train.pictures import draw_comparison, save

    runs = {str(path): run_directory.read_metrics(path) for path in paths}
    figure = draw_comparison(runs, score)
    target.parent.mkdir(parents=True, exist_ok=True)
    return save(figure, target)


@quiet_pipe
def main(arguments: Sequence[str] | None = None) -> int:
    """Runs ``python -m train.compare``; returns the exit code."""
    options = read_flags(CompareOptions, COMMAND, __doc__, arguments)

    def work() -> int:
        runs = expanded(options.runs)
        rows = compare(runs)
        if options.json:
            print(json.dumps({"runs": rows}, allow_nan=False))
            return 0
        print(describe(rows))
        print(f"learning curves: {draw(runs, rows[0]['score'], options.plot)}")
        return 0

    return exit_code(COMMAND, work)


def _row(path: Path) -> dict[str, Any]:
    stored = run_directory.stored_settings(path)
    records = run_directory.read_metrics(path)
    if stored is None or not records:
        raise RunDirectoryError(
            f"{path} is not the directory of a run with at least one finished epoch; give those"
            " that python -m train.randman --workdir names"
        )
    score = _score(path, records)
    best = max(records, key=lambda record: (record[f"validation_{score}"], record["epoch"]))
    result = run_directory.read_result(path)
    if result is not None and result["score"] != score:
        raise RunDirectoryError(
            f"{path}: {RESULT} is of the score {result['score']!r} and {METRICS} of {score!r}: they"
            " are of two runs; restore the one that was replaced"
        )
    return {
        "run": str(path),
        "task": stored["task"],
        "score": score,
        "epochs": records[-1]["epoch"],
        "best_epoch": best["epoch"],
        "validation": best[f"validation_{score}"],
        "test": None if result is None else result[f"test_{score}"],
        "seconds": records[-1]["seconds"],
        "settings": _settings(stored),
    }


def _score(path: Path, records: Sequence[dict[str, Any]]) -> str:
    """Returns the score of a run, whose records are those of one epoch after another."""
    (score,) = scores_of(records[0])
    for number, record in enumerate(records, 1):
        if record["epoch"] != number or scores_of(record) != [score]:
            raise RunDirectoryError(
                f"{path / METRICS} is damaged: line {number}: expected epoch {number} with"
                f" validation_{score}, got epoch {record['epoch']} with"
                f" validation_{scores_of(record)[0]}; restore it"
            )
    return score


def _settings(stored: Any) -> dict[str, Any]:
    """Returns stored settings by flag; those of an older release in the form of this one."""
    hidden: set[str] = set()
    try:
        kind = find_task(task_of(stored)).settings
        stored = upgraded(kind, stored)
        hidden = {name.replace("_", "-") for name in no_flags(kind)} - {"digest"}
    except InputError:
        pass  # A task that is not here is compared by what it stored.
    return {name: value for name, value in flat(stored["config"]) if name not in hidden}


if __name__ == "__main__":
    raise SystemExit(main())
