"""Where a run begins: at its first update, or where it was stopped or killed."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from train import processes
from train.errors import CheckpointError, RunDirectoryError, RunWarning
from train.run.step import Sums, TrainState
from train.settings import RunOptions
from train.store import run_directory
from train.store.layout import CHECKPOINTS, METRICS
from train.store.lines import lines_sum
from train.store.read import Checkpoint, Found, furthest, in_its_place
from train.store.same_run import check_same_run
from train.store.settings_json import flat, from_json, to_json, upgraded
from train.store.tidy import clear_leftovers, set_aside
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


def find_start(
    path: Path,
    task: Task,
    first: TrainState,
    note: Callable[[str], None],
    batches: int | None = None,
) -> Start:
    """Returns where the run in a directory goes on, and puts the directory in order.

    Epochs of the metrics file that no checkpoint holds are run again, and leave the file first.
    Checkpoints that are damaged are moved aside; where the furthest one is, the run goes on from
    the one before.

    Args:
      path: the run directory.
      task: the task of the run.
      first: the state before the first update.
      note: shows the user a line of text.
      batches: batches of an epoch, which the number of updates is compared with.

    Returns:
      The furthest checkpoint of the run that is whole, or its beginning where none was saved.

    Raises:
      CheckpointError: no checkpoint is whole, or they are of another model or another run.
      RunDirectoryError: the metrics file is damaged, or lacks epochs that were trained; or it has
        epochs, and there is no checkpoint.
    """
    found = furthest(path)
    records = run_directory.read_metrics(path)
    checkpoint = found.checkpoint
    if checkpoint is None:
        _check_nothing_lost(path, found, records)
        note(f"{path}: no epoch was saved; beginning at the first")
        _in_first(lambda: _put_in_order(path, found, ()))
        return Start(first)
    check_same_run(path, task.settings, checkpoint)
    data = checkpoint.data
    _check_updates(checkpoint, batches)
    kept = _records_of(path, checkpoint, records)
    state = checkpoint.restore(first, task.older_parameters(checkpoint.settings_version))
    _in_first(lambda: _put_in_order(path, found, kept))
    done = data["epochs_done"]
    within = f" and {data['batches_done']} batches" if data["batches_done"] else ""
    note(f"{path}: going on after {done} epochs{within} ({checkpoint.path})")
    return Start(
        state=state,
        epochs=done,
        batches=data["batches_done"],
        sums=_sums(data["sums"]),
        stream=data["stream"],
        seconds=data["seconds"],
        records=kept,
    )


def with_time_loop_of_run(path: Path, options: RunOptions) -> RunOptions:
    """Returns options with which a run goes on in the time loop that it began with.

    Args:
      path: the run directory.
      options: how it is to go on.

    Raises:
      RunDirectoryError: another loop is asked for, which would round otherwise.
    """
    before = run_directory.time_loop(path)
    if before is None or before == options.time_loop:
        return options
    if options.time_loop != "auto":
        raise RunDirectoryError(
            f"{path}: a resumed run keeps its time loop: --time-loop was {before}, is"
            f" {options.time_loop}, which does not give the same numbers bit for bit; leave the"
            " flag out, or train anew in another --workdir"
        )
    return dataclasses.replace(options, time_loop=before)  # type: ignore[arg-type]


def position(
    *, epochs: int, batches: int, stream: Any, sums: Sums | None, seconds: float
) -> dict[str, Any]:
    """Returns where a run stands, for JSON; what `find_start` reads."""
    plain = None if sums is None else jax.tree.map(lambda x: np.asarray(x).tolist(), sums)._asdict()
    return {
        "epochs_done": epochs,
        "batches_done": batches,
        "stream": stream,
        "sums": plain,
        "seconds": seconds,
    }


def check_settings(task: Task, settings: Any, stored: Any, path: Path) -> int:
    """Refuses to resume a run with other settings than its own, but for more epochs.

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
    """Takes a run up again that goes on for more epochs than it was to have.

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


def _in_first(work: Callable[[], None]) -> None:
    """Changes the directory in the first of several processes, once all have read it."""
    processes.wait("reading the run directory")
    processes.from_first(work)


def _put_in_order(path: Path, found: Found, records: Sequence[dict[str, Any]]) -> None:
    """Leaves in the directory what the run goes on with, and says what else there was."""
    for (_, reason), aside in zip(
        found.damaged.items(), set_aside(path, found.damaged), strict=True
    ):
        assert found.checkpoint is not None
        what = str(reason).rpartition("; ")[0] or str(reason)
        words = f"{what}; it lies in {aside} now; {in_its_place(found.checkpoint)}"
        warnings.warn(words, RunWarning, stacklevel=2)
    clear_leftovers(path)
    run_directory.give_id(path)
    run_directory.write_metrics(path, records)


def _check_nothing_lost(path: Path, found: Found, records: Sequence[dict[str, Any]]) -> None:
    """Refuses to begin anew where epochs were trained.

    The first checkpoint is saved before the first line of the metrics is written.
    """
    remedy = (
        f"restore {CHECKPOINTS} from a copy, train again with --overwrite, or begin a new run in"
        " another --workdir"
    )
    if found.damaged:
        reasons = "; ".join(str(r).rpartition("; ")[0] or str(r) for r in found.damaged.values())
        raise CheckpointError(f"{path} has no checkpoint that is whole: {reasons}; {remedy}")
    if records:
        raise RunDirectoryError(
            f"{path / METRICS} has {len(records)} epochs, but no checkpoint of them is left in"
            f" {path / CHECKPOINTS}; {remedy}"
        )


def _check_updates(checkpoint: Checkpoint, batches: int | None) -> None:
    """Refuses a place that is not that of the updates that were done."""
    data, updates = checkpoint.data, checkpoint.meta["updates"]
    if batches is None:
        return
    if (wanted := data["epochs_done"] * batches + data["batches_done"]) != updates:
        raise CheckpointError(
            f"{checkpoint.path}: expected {wanted} updates after {data['epochs_done']} epochs of"
            f" {batches} batches and {data['batches_done']} more, got {updates}; go on with the"
            " data that the run began with, or use another checkpoint"
        )


def _records_of(
    path: Path, checkpoint: Checkpoint, records: Sequence[dict[str, Any]]
) -> tuple[dict[str, Any], ...]:
    """Returns the metrics of the epochs that are done in a checkpoint."""
    done = checkpoint.data["epochs_done"]
    kept = [record for record in records if record["epoch"] <= done]
    # Killed after the checkpoint was saved and before the line was written: it has the line too.
    if len(kept) == done - 1 and checkpoint.meta["metrics"].get("epoch") == done:
        kept.append(dict(checkpoint.meta["metrics"]))
    if [record["epoch"] for record in kept] != list(range(1, done + 1)):
        raise RunDirectoryError(
            f"{path / METRICS} does not hold the {done} epochs that were trained;"
            " restore it, or train again with --overwrite"
        )
    if checkpoint.meta.get("lines", lines_sum(kept)) != lines_sum(kept):
        raise RunDirectoryError(
            f"{path / METRICS} is damaged: its first {done} lines are not those that were written,"
            f" as {checkpoint.path} knows them; restore it, or train again with --overwrite"
        )
    return tuple(kept)


def _sums(stored: dict[str, Any] | None) -> Sums | None:
    if stored is None:
        return None
    activity = [np.asarray(layer) for layer in stored["activity"]]
    numbers = {name: np.asarray(x) for name, x in stored.items() if name != "activity"}
    # Releases before the event networks lost no spikes, and did not count any.
    fields: dict[str, Any] = {"lost": np.zeros(()), **numbers, "activity": tuple(activity)}
    return Sums(**fields)
