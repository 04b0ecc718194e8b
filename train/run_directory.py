"""The directory of a run: what it holds, and when it may be written to."""

from __future__ import annotations

import datetime
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from train.errors import RunDirectoryError

CONFIG, METRICS, RESULT, CHECKPOINTS = "config.json", "metrics.jsonl", "result.json", "checkpoints"

_CONTENTS = (CONFIG, METRICS, RESULT, CHECKPOINTS)


def choose(workdir: Path | None, task: str, overwrite: bool) -> Path:
    """Return the directory of a new run; nothing is written yet.

    Args:
      workdir: what the user asked for; ``None`` for ``checkpoints/<task>/<time>``.
      task: name of the task.
      overwrite: whether a run that is there may be replaced.

    Returns:
      The directory.

    Raises:
      RunDirectoryError: not a directory, not writable, or it holds a run and may not be replaced.
    """
    now = datetime.datetime.now().strftime("%Y-%m-%d_%H-%M-%S")
    path = Path("checkpoints", task, now) if workdir is None else workdir
    existing = next((p for p in (path, *path.parents) if p.exists()), Path())
    if not existing.is_dir():
        raise RunDirectoryError(f"{existing} is not a directory; choose another --workdir")
    if not os.access(existing, os.W_OK | os.X_OK):
        raise RunDirectoryError(f"{existing} cannot be written to; choose another --workdir")
    held = [name for name in _CONTENTS if (path / name).exists()]
    if held and not overwrite:
        raise RunDirectoryError(
            f"{path} already holds a run ({', '.join(held)}); choose another --workdir, or replace"
            " the run with --overwrite"
        )
    return path


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
        for name in _CONTENTS:
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


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write JSON whole or not at all."""
    beside = path.with_name(f"{path.name}.tmp")
    beside.write_text(json.dumps(value, indent=2, allow_nan=False) + "\n")
    beside.replace(path)
