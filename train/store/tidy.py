"""A run directory put in order before its run goes on: nothing half-written, nothing damaged."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path

from train.store.checkpoint import open_checkpoint
from train.store.contents import validation_score
from train.store.layout import CHECKPOINTS, DAMAGED, DELETED, INTERRUPTED
from train.store.read import numbered
from train.store.run_directory import remove_halves

_HALVES = ("*.orbax-checkpoint-tmp*", f"*.{DELETED}")


def set_aside(run: Path, folders: Iterable[Path]) -> list[Path]:
    """Moves checkpoints that are damaged to where nothing reads them.

    Args:
      run: the run directory.
      folders: the checkpoints.

    Returns:
      Where they are now.
    """
    moved = []
    for folder in folders:
        stem = f"{folder.parent.name}-{folder.name}"
        names = [stem, *(f"{stem}-{k}" for k in range(2, 1000))]
        target = next(t for name in names if not (t := run / DAMAGED / name).exists())
        target.parent.mkdir(exist_ok=True)
        folder.rename(target)
        moved.append(target)
    return moved


def clear_leftovers(run: Path) -> None:
    """Deletes what a process left that was killed between writing and deleting.

    These are files and checkpoints that were not written to their end, and whole checkpoints that
    are neither the best nor the latest, or, within an epoch, that a later one contains.

    Args:
      run: the run directory, whose checkpoints are all whole.
    """
    remove_halves(run)
    folder, within = run / CHECKPOINTS, run / INTERRUPTED
    doomed = [folder / DELETED, run / f"{INTERRUPTED}.{DELETED}"]
    doomed += [p for f in (folder, within) for end in _HALVES for p in f.glob(end)]
    saved = [open_checkpoint(p) for p in numbered(folder)]
    stops = [open_checkpoint(p) for p in numbered(within)]
    if saved:
        latest = max(saved, key=lambda c: (c.meta["updates"], c.meta["epoch"]))
        best = max(saved, key=lambda c: (validation_score(c.meta), c.meta["epoch"]))
        doomed += [c.path for c in saved if c is not latest and c is not best]
        doomed += [c.path for c in stops if c.meta["updates"] <= latest.meta["updates"]]
    for path in doomed:
        _delete(path)


def _delete(path: Path) -> None:
    """Deletes a folder so that no half of a checkpoint is ever seen."""
    if path.name.isdigit():
        path = path.rename(path.with_name(f"{path.name}.{DELETED}"))
    shutil.rmtree(path, ignore_errors=True)
