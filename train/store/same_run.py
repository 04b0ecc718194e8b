"""Whether the files of a run directory belong to one run."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from train import processes
from train.errors import RunDirectoryError, RunWarning
from train.store import environment, run_directory
from train.store.checkpoint import Checkpoint
from train.store.layout import CONFIG
from train.store.settings_json import flat, upgraded


def check_same_run(run: Path, kind: type[Any], checkpoint: Checkpoint) -> None:
    """Refuses a checkpoint that is not of the run whose settings stand beside it.

    Args:
      run: the run directory.
      kind: dataclass of the settings of its task.
      checkpoint: a checkpoint of it.

    Raises:
      RunDirectoryError: the message says what differs.
    """
    config, theirs = run_directory.stored_settings(run), checkpoint.meta.get("run")
    remedy = f"restore it, or name the checkpoint itself: {checkpoint.path}"
    if config is None:
        if theirs is None:  # a release that did not name its runs, and a copy of a part of one
            return
        raise RunDirectoryError(f"{run} has no {CONFIG}, though its checkpoint has; {remedy}")
    ours = run_directory.run_id(run)
    if theirs is not None and theirs != ours:
        raise RunDirectoryError(
            f"{run / CONFIG} is of another run: its id is {ours!r}, that of {checkpoint.path} is"
            f" {theirs!r}; {remedy}"
        )
    known = (upgraded(kind, each) for each in (config, checkpoint.meta["settings"]))
    now, then = (dict(flat(each)) for each in known)
    _allow_more_epochs(now, then)
    names = [name for name in {**now, **then} if now.get(name) != then.get(name)]
    if names:
        words = "; ".join(f"{n} is {now.get(n)!r}, was {then.get(n)!r}" for n in names)
        raise RunDirectoryError(
            f"{run / CONFIG} has other settings than {checkpoint.path}: {words:.300}; {remedy}"
        )


def warn_of_damage(run: Path) -> None:
    """Warns of other files that are damaged, where nothing depends on them.

    Args:
      run: the run directory.
    """
    readers = (run_directory.read_metrics, run_directory.read_result, environment.read)
    for read in readers:
        try:
            read(run)
        except RunDirectoryError as error:
            if processes.first():
                warnings.warn(f"{error}; not needed here", RunWarning, stacklevel=3)


def _allow_more_epochs(now: Mapping[str, Any], then: dict[str, Any]) -> None:
    """Lets a run that was extended have checkpoints from before."""
    if then.get("epochs") in (now.get("extended-from") or ()):
        then.update({name: now[name] for name in ("epochs", "extended-from")})
