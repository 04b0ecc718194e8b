"""Where a run begins: at its first update, or where it was stopped or killed."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np

from train.errors import RunDirectoryError
from train.run.step import Sums, TrainState
from train.store import run_directory
from train.store.layout import METRICS
from train.store.read import latest_checkpoint
from train.store.settings_json import flat, from_json, to_json, upgraded
from train.tasks import Task


@dataclasses.dataclass(frozen=True)
class Start:
    """Where a run goes on.

    Attributes:
      state: the state there.
      epochs: epochs that are done.
      batches: batches of the next epoch that are done.
      sums: sums over these batches, ``None`` for none.
      stream: state of the stream of samples, where the run was streamed.
      seconds: training time up to there.
      records: metrics of the epochs that are done.
    """

    state: TrainState
    epochs: int = 0
    batches: int = 0
    sums: Sums | None = None
    stream: dict[str, Any] | None = None
    seconds: float = 0.0
    records: tuple[dict[str, Any], ...] = ()


def find_start(path: Path, task: Task, first: TrainState, note: Callable[[str], None]) -> Start:
    """Return where the run in a directory goes on.

    Epochs of the metrics file that no checkpoint holds are run again, and leave the file first.

    Args:
      path: the run directory.
      task: the task of the run.
      first: the state before the first update.
      note: shows the user a line of text.

    Returns:
      The furthest checkpoint of the run, or its beginning where none was saved.

    Raises:
      CheckpointError: a checkpoint is damaged, or of another model.
      RunDirectoryError: the metrics file is damaged, or lacks epochs that were trained.
    """
    records = run_directory.read_metrics(path)
    checkpoint = latest_checkpoint(path)
    if checkpoint is None:
        note(f"{path}: no epoch was saved; beginning at the first")
        run_directory.write_metrics(path, [])
        return Start(first)
    data = checkpoint.data
    done = data["epochs_done"]
    kept = tuple(record for record in records if record["epoch"] <= done)
    if [record["epoch"] for record in kept] != list(range(1, done + 1)):
        raise RunDirectoryError(
            f"{path / METRICS} does not hold the {done} epochs that were trained;"
            " restore it, or train again with --overwrite"
        )
    run_directory.write_metrics(path, kept)
    within = f" and {data['batches_done']} batches" if data["batches_done"] else ""
    note(f"{path}: going on after {done} epochs{within} ({checkpoint.path})")
    return Start(
        state=checkpoint.restore(first, task.older_parameters(checkpoint.settings_version)),
        epochs=done,
        batches=data["batches_done"],
        sums=_sums(data["sums"]),
        stream=data["stream"],
        seconds=data["seconds"],
        records=kept,
    )


def position(
    *, epochs: int, batches: int, stream: Any, sums: Sums | None, seconds: float
) -> dict[str, Any]:
    """Return where a run stands, for JSON; what `find_start` reads."""
    plain = None if sums is None else jax.tree.map(lambda x: np.asarray(x).tolist(), sums)._asdict()
    return {
        "epochs_done": epochs,
        "batches_done": batches,
        "stream": stream,
        "sums": plain,
        "seconds": seconds,
    }


def check_settings(task: Task, settings: Any, stored: Any, path: Path) -> int:
    """Refuse to resume a run with other settings than its own, but for more epochs.

    Args:
      task: the task.
      settings: settings asked for.
      stored: what the run directory holds.
      path: the run directory.

    Returns:
      Epochs of the run so far; fewer than those asked for where the run is to be extended.

    Raises:
      RunDirectoryError: they differ; the message names each difference.
    """
    before = int(from_json(task.settings, stored).training.epochs)
    if before < settings.training.epochs:
        training = dataclasses.replace(settings.training, epochs=before)
        settings = dataclasses.replace(settings, training=training)
    wanted = to_json(task.name, settings)
    stored = upgraded(task.settings, stored)
    differences = [
        f"--{name} was {old!r}, is {new!r}"
        for (name, old), (_, new) in zip(
            flat(stored["config"]),
            flat(wanted["config"]),
            strict=True,
        )
        if old != new
    ]
    if differences:
        raise RunDirectoryError(
            f"{path}: a resumed run keeps its settings, these differ: {'; '.join(differences)};"
            " leave the flags out, or train anew in another --workdir"
        )
    return before


def extend(settings: Any, before: int, path: Path, note: Callable[[str], None]) -> Any:
    """Take a run up again that goes on for more epochs than it was to have.

    Args:
      settings: settings of the run, with more epochs.
      before: epochs that it was to have.
      path: the run directory, whose settings are replaced; it is no longer finished.
      note: shows the user a line of text.

    Returns:
      The settings, which remember what the run was.
    """
    training = settings.training
    marks = (*training.extended_from, before)
    training = dataclasses.replace(training, extended_from=marks)
    if training.schedule == "constant":
        words = "the learning rate stays what it was"
    else:
        words = (
            f"the {training.schedule} schedule of {before} epochs is left for that of"
            f" {training.epochs}, which is further up: not the run that --epochs {training.epochs}"
            " gives from its beginning; a new run with --init-from has a schedule to itself"
        )
    note(f"{path}: going on to {training.epochs} epochs; {words}")
    return dataclasses.replace(settings, training=training)


def _sums(stored: dict[str, Any] | None) -> Sums | None:
    if stored is None:
        return None
    activity = [np.asarray(layer) for layer in stored["activity"]]
    numbers = {name: np.asarray(x) for name, x in stored.items() if name != "activity"}
    # Releases before the event networks lost no spikes, and did not count any.
    fields: dict[str, Any] = {"lost": np.zeros(()), **numbers, "activity": tuple(activity)}
    return Sums(**fields)
