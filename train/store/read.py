"""Which checkpoint a path means: the best or the furthest one of a run that is whole.

One that is damaged is left where it is, said, and another one of the run is taken in its place.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

from train import processes
from train.errors import CheckpointError, RunWarning
from train.store.checkpoint import Checkpoint, open_checkpoint
from train.store.contents import validation_score
from train.store.items import FormatVersionError
from train.store.layout import CHECKPOINTS, INTERRUPTED
from train.store.places import check_checkpoint_place

__all__ = [
    "Checkpoint",
    "Found",
    "best_checkpoint",
    "find_checkpoint",
    "furthest",
    "latest_checkpoint",
    "numbered",
    "open_checkpoint",
]


class Found(NamedTuple):
    """What was found in the folders of a run.

    Attributes:
      checkpoint: the one that was looked for, its arrays read and compared with their sum;
        ``None`` where none is whole.
      damaged: why others cannot be used, by folder.
    """

    checkpoint: Checkpoint | None
    damaged: dict[Path, CheckpointError]


def find_checkpoint(path: Path) -> Path:
    """Returns the folder of the checkpoint that a path means; see `best_checkpoint`."""
    return best_checkpoint(path).path


def best_checkpoint(path: Path) -> Checkpoint:
    """Returns the checkpoint that a path means.

    Args:
      path: a checkpoint, a run directory, or its folder of checkpoints; of a run, the best epoch
        by validation score is meant, of those that are whole.

    Returns:
      The checkpoint, its arrays read and compared with their sum.

    Raises:
      CheckpointError: there is none, or what was named is damaged.
    """
    check_checkpoint_place(path)
    if not path.exists():
        raise CheckpointError(
            f"{path} does not exist; give a run directory such as checkpoints/randman_reference,"
            " or one of the numbered folders in it"
        )
    folder = path / CHECKPOINTS if (path / CHECKPOINTS).is_dir() else path
    # A run may be named by a number, as a checkpoint is.
    if folder == path and ((path / "state").is_dir() or path.name.isdigit()):
        named = open_checkpoint(path)
        named.verify()
        return named
    folders = numbered(folder)
    if not folders:
        raise CheckpointError(
            f"{path} holds no checkpoint: expected folders {CHECKPOINTS}/<epoch> in it; give the"
            " directory of a run that finished at least one epoch"
        )
    found = _search(folders, lambda c: (validation_score(c.meta), c.meta["epoch"]))
    return _said(found, path)


def latest_checkpoint(run: Path) -> Checkpoint | None:
    """Returns the checkpoint of a run that is furthest, within an epoch or after one.

    Args:
      run: the run directory.

    Returns:
      The checkpoint, its arrays read and compared with their sum, or ``None`` where none was saved
      yet.

    Raises:
      CheckpointError: none of them is whole.
    """
    found = furthest(run)
    return _said(found, run) if found.checkpoint or found.damaged else None


def furthest(run: Path) -> Found:
    """Returns what `latest_checkpoint` does, and which others are damaged, without a word.

    Each checkpoint of the run is read whole: those that are not taken will be needed too.

    Args:
      run: the run directory.
    """
    folders = [p for name in (CHECKPOINTS, INTERRUPTED) for p in numbered(run / name)]
    return _search(folders, lambda c: (c.meta["updates"], c.data["epochs_done"]), every=True)


def numbered(folder: Path) -> list[Path]:
    """Returns what may be checkpoints in a folder, which need not exist."""
    inside = folder.iterdir() if folder.is_dir() else ()
    return sorted(p for p in inside if p.is_dir() and p.name.isdigit())


def _search(
    folders: Iterable[Path], key: Callable[[Checkpoint], Any], every: bool = False
) -> Found:
    """Returns the whole checkpoint of the largest key; ``every``: looks into the others too."""
    damaged: dict[Path, CheckpointError] = {}
    opened: list[Checkpoint] = []
    for folder in folders:
        try:
            opened.append(open_checkpoint(folder))
        except FormatVersionError:
            raise
        except CheckpointError as error:
            damaged[folder] = error
    taken: Checkpoint | None = None
    for checkpoint in sorted(opened, key=key, reverse=True):
        if taken is not None and not every:
            break
        try:
            # Another object for those that are not taken, so that their arrays are given back.
            (checkpoint if taken is None else open_checkpoint(checkpoint.path)).verify()
        except CheckpointError as error:
            damaged[checkpoint.path] = error
            continue
        taken = taken or checkpoint
    return Found(taken, damaged)


def _said(found: Found, path: Path) -> Checkpoint:
    """Returns what was found, with a warning of each checkpoint that is damaged."""
    reasons = list(found.damaged.values())
    if found.checkpoint is None:
        if len(reasons) == 1:
            raise reasons[0]
        listed = "; ".join(str(reason).partition("; ")[0] for reason in reasons)
        raise CheckpointError(f"{path} has no checkpoint that is whole: {listed}; train again")
    if processes.first():
        for reason in reasons:
            what = str(reason).rpartition("; ")[0] or str(reason)
            warnings.warn(f"{what}; {in_its_place(found.checkpoint)}", RunWarning, stacklevel=3)
    return found.checkpoint


def in_its_place(checkpoint: Checkpoint) -> str:
    """Returns the words for the checkpoint that is taken in the place of a damaged one."""
    return f"used in its place: {checkpoint.path}, of epoch {checkpoint.meta['epoch']}"
