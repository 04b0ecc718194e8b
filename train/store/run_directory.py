"""The directory of a run: what it holds, and when it may be written to."""

from __future__ import annotations

import datetime
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from train.errors import RunDirectoryError
from train.store.layout import CHECKPOINTS, CONFIG, CONTENTS, METRICS, RESULT


def choose(workdir: Path | None, task: str, *, overwrite: bool, resume: bool) -> Path:
    """Return the directory of a run; nothing is written yet.

    Args:
      workdir: what the user asked for; ``None`` for ``checkpoints/<task>/<time>``, or, to resume,
        for the newest of these.
      task: name of the task.
      overwrite: whether a run that is there may be replaced.
      resume: whether a run that is there is to go on.

    Returns:
      The directory.

    Raises:
      RunDirectoryError: not a directory, not writable, it holds a run and may not be replaced, or
        there is none to resume.
    """
    folder = task.replace(":", ".")
    if workdir is not None:
        path = workdir
    elif resume:
        path = _newest(Path(CHECKPOINTS, folder))
    else:
        path = Path(CHECKPOINTS, folder, timestamp())
    existing = next((p for p in (path, *path.parents) if p.exists()), Path())
    if not existing.is_dir():
        raise RunDirectoryError(f"{existing} is not a directory; choose another --workdir")
    if not os.access(existing, os.W_OK | os.X_OK):
        raise RunDirectoryError(f"{existing} cannot be written to; choose another --workdir")
    held = [name for name in CONTENTS if (path / name).exists()]
    if held and not (overwrite or resume):
        raise RunDirectoryError(
            f"{path} already holds a run ({', '.join(held)}); go on with it with --resume, replace"
            " it with --overwrite, or choose another --workdir"
        )
    if resume and held and CONFIG not in held:
        raise RunDirectoryError(
            f"{path} holds {', '.join(held)} but no {CONFIG}, so its settings are not known;"
            " train again with --overwrite"
        )
    return path


def timestamp() -> str:
    """Return the time of day as a folder is named by it."""
    return datetime.datetime.now().strftime("%Y-%m-%d_%H-%M-%S")


def _newest(folder: Path) -> Path:
    """Return the run in a folder that began last."""
    runs = [p for p in folder.iterdir() if (p / CONFIG).exists()] if folder.is_dir() else []
    if not runs:
        raise RunDirectoryError(f"{folder} holds no run to resume; name one with --workdir")
    return max(runs, key=lambda p: p.name)


def stored_settings(path: Path) -> dict[str, Any] | None:
    """Return the settings of the run in a directory, ``None`` where there is none.

    Those of an older release come in its form; see `settings_json.upgraded`.

    Raises:
      RunDirectoryError: they are no JSON.
    """
    if not (path / CONFIG).exists():
        return None
    try:
        settings = json.loads((path / CONFIG).read_text())
    except ValueError as error:
        raise RunDirectoryError(
            f"{path / CONFIG} is damaged ({error}); train again with --overwrite"
        ) from error
    if not isinstance(settings, dict):
        raise RunDirectoryError(
            f"{path / CONFIG} is damaged (expected an object, got {settings!r:.80}); train again"
            " with --overwrite"
        )
    return settings


def read_result(path: Path) -> dict[str, Any] | None:
    """Return the result of a run, ``None`` where it is not finished."""
    if not (path / RESULT).exists():
        return None
    result: dict[str, Any] = json.loads((path / RESULT).read_text())
    return result


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """Return the metrics of a run, one record per epoch; a line cut short by a kill is left out."""
    if not (path / METRICS).exists():
        return []
    lines = (path / METRICS).read_text().split("\n")
    # What stands behind the last line break was not written to its end.
    try:
        return [json.loads(line) for line in lines[:-1]]
    except ValueError as error:
        raise RunDirectoryError(
            f"{path / METRICS} is damaged ({error}); restore it, or train again with --overwrite"
        ) from error


def write_metrics(path: Path, records: Sequence[Mapping[str, Any]]) -> None:
    """Replace the metrics of a run, whole or not at all."""
    beside = path / f"{METRICS}.tmp"
    beside.write_text("".join(metrics_line(record) for record in records))
    beside.replace(path / METRICS)


def metrics_line(record: Mapping[str, Any]) -> str:
    """Return the line of one epoch in the metrics file."""
    return json.dumps(record, allow_nan=False) + "\n"


def start(path: Path, settings: Mapping[str, Any]) -> None:
    """Make the directory ready for a new run, which replaces one that is there.

    Only what a run writes is replaced; other files stay. Called when training is about to begin,
    so that a run that cannot begin destroys nothing.

    Args:
      path: what `choose` returned.
      settings: settings of the run, for JSON.

    Raises:
      RunDirectoryError: it cannot be written to.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        for name in CONTENTS:
            old = path / name
            if old.is_dir():
                shutil.rmtree(old)
            else:
                old.unlink(missing_ok=True)
        write_json(path / CONFIG, settings)
    except OSError as error:
        raise RunDirectoryError(
            f"{path} cannot be written to ({error.strerror}); choose another --workdir"
        ) from error


def reopen(path: Path, settings: Mapping[str, Any]) -> None:
    """Make a run that may be finished one that goes on, with settings that replace its own."""
    # In this order a kill in between leaves a run that was not quite finished.
    (path / RESULT).unlink(missing_ok=True)
    write_json(path / CONFIG, settings)


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write JSON whole or not at all."""
    beside = path.with_name(f"{path.name}.tmp")
    beside.write_text(json.dumps(value, indent=2, allow_nan=False) + "\n")
    beside.replace(path)
