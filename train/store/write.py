"""Saving: after epochs in the background, or within one when a streamed run is stopped.

The first checkpoint is read back before training goes on: what cannot be read is noticed when it
costs an epoch, not at the end of a run.
"""

from __future__ import annotations

import contextlib
import math
import shutil
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers as managers

from train import processes
from train.errors import CheckpointError, InputError, RunDirectoryError
from train.store import run_directory
from train.store.checkpoint import open_checkpoint
from train.store.checksum import LinesSum, arrays_sum
from train.store.contents import (
    ONE_AT_A_TIME,
    arrays,
    by_name,
    not_finite,
    validation_score,
    versions,
)
from train.store.disk import disk_explained
from train.store.items import BEST, tied
from train.store.late_failures import LateFailures
from train.store.layout import CHECKPOINTS, DELETED, INTERRUPTED
from train.store.lines import metrics_line


class CheckpointWriter:
    """Saves epochs in the background; keeps the best and the latest.

    Takes up a run that was stopped: its best checkpoint stays the best until it is beaten, and
    what a killed process left half-written is cleared away.

    Args:
      run: the run directory.
      settings: what `settings_json.to_json` returned for the run.
      score: name of the score, of which the best is kept: ``accuracy``, ``r2``.
      every: least time in seconds from one save to the next. Epochs in between are held in memory,
        as far as they are the latest or the best; they are saved in the end, whatever happens but
        a SIGKILL.
      alone: whether no other thread of the process saves; else a save is waited for.
      records: metrics of the epochs that are done.

    Raises:
      RunDirectoryError: in use, by any of its methods: the disk is full or cannot be written to.
    """

    def __init__(
        self,
        run: Path,
        settings: Mapping[str, Any],
        score: str,
        every: float = 0.0,
        alone: bool = True,
        records: Iterable[Mapping[str, Any]] = (),
    ):
        self._run, self._id = run, run_directory.run_id(run)
        self._lines = LinesSum(metrics_line(record) for record in records)
        self._read_back = False
        self._alone = alone
        self._every, self._saved = every, -math.inf
        self._latest: _Held | None = None
        self._best: _Held | None = None
        self._settings = dict(settings)
        self._score = score
        self._folder = (run / CHECKPOINTS).absolute()
        self._interrupted = (run / INTERRUPTED).absolute()
        self._clear()
        keep = [managers.LatestN(1), managers.BestN(get_metric_fn=_best_metric, n=1)]
        self._late = LateFailures()
        with ONE_AT_A_TIME, disk_explained(run):
            self._manager = self._managed(keep)

    def _managed(self, keep: list[Any]) -> ocp.CheckpointManager:
        return ocp.CheckpointManager(
            self._folder,
            options=ocp.CheckpointManagerOptions(
                # Without best_fn Orbax writes no metrics, and forgets the best after a restart.
                best_fn=_best_metric,
                best_mode="max",
                preservation_policy=managers.AnyPreservationPolicy(keep),
                # Deleting takes time, renaming does not: a kill leaves no half of a checkpoint.
                todelete_subdir=DELETED,
                cleanup_tmp_directories=True,
            ),
        )

    def save(
        self, epoch: int, state: Any, data: Mapping[str, Any], metrics: Mapping[str, Any]
    ) -> None:
        """Saves one epoch, now or with a later one; returns as soon as the arrays are copied.

        Args:
          epoch: number of the epoch, from 1: the name of the checkpoint.
          state: the state after it.
          data: where the run stands, for JSON.
          metrics: metrics of the epoch, for JSON, the validation score among them.

        Raises:
          CheckpointError: parameters are not finite; or what was saved first cannot be read back.
        """
        self._check_finite(epoch, state)
        self._lines.add(metrics_line(metrics))
        meta = self._meta(epoch, state, metrics)
        self._latest = _Held(epoch, state, data, meta, validation_score(meta))
        if self._best is None or self._latest.score >= self._best.score:
            self._best = self._latest
        if processes.from_first(lambda: time.monotonic() - self._saved >= self._every):
            self._save_held()

    def _save_held(self) -> None:
        with ONE_AT_A_TIME, disk_explained(self._run):
            self._save_both()
            if not self._alone:
                self._manager.wait_until_finished()

    def _save_both(self) -> None:
        held = {h.epoch: h for h in (self._best, self._latest) if h is not None}
        for epoch, (_, state, data, meta, score) in sorted(held.items()):
            self._manager.wait_until_finished()
            self._clear()
            items = self._items(state, data, meta)
            self._manager.save(epoch, args=items, metrics={BEST: score})
            if not self._read_back:
                self._manager.wait_until_finished()
                _check_saved(self._folder / str(epoch))
                self._read_back = True
        if processes.from_first(lambda: bool(held) and self._interrupted.exists()):
            self._manager.wait_until_finished()  # the latest epoch contains it
            if processes.first():
                _remove(self._interrupted)
            processes.wait("removing what a later checkpoint contains")
        self._latest = self._best = None
        self._saved = time.monotonic()

    def save_within(self, epoch: int, state: Any, data: Mapping[str, Any]) -> None:
        """Saves in the middle of an epoch, and waits until it is on disk.

        Args:
          epoch: number of the epoch that is not finished.
          state: the state so far.
          data: where the run stands, for JSON.

        Raises:
          CheckpointError: parameters are not finite.
        """
        self._check_finite(epoch, state)
        self._save_held()
        with ONE_AT_A_TIME, disk_explained(self._run):
            with ocp.CheckpointManager(self._interrupted) as manager:
                items = self._items(state, data, self._meta(epoch, state, {}))
                manager.save(int(state.step), args=items)
                manager.wait_until_finished()
            _check_saved(self._interrupted / str(int(state.step)))
        _forget_place(self._interrupted)

    def __enter__(self) -> CheckpointWriter:
        self._late.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Saves what is held, and waits until everything is on disk, whatever happened.

        Nothing more is saved where the disk has refused it, nor after an error of one of several
        processes: Orbax would wait for the others.
        """
        refused = kind is not None and issubclass(kind, RunDirectoryError | CheckpointError)
        with contextlib.ExitStack() as late:
            late.push(self._late)
            self._late.failed = refused
            try:
                if kind is None or not (refused or processes.count() > 1):
                    self._save_held()
            finally:
                self._close(quietly=kind is not None)
        self._clear()
        _forget_place(self._folder)

    def _close(self, quietly: bool) -> None:
        if quietly and processes.count() > 1:
            return
        try:
            with ONE_AT_A_TIME, disk_explained(self._run):
                self._manager.wait_until_finished()
                self._manager.close()
        except InputError:
            if not quietly:
                raise

    def _clear(self) -> None:
        """Deletes what has been renamed to be deleted."""
        if processes.first():
            shutil.rmtree(self._folder / DELETED, ignore_errors=True)

    def _check_finite(self, epoch: int, state: Any) -> None:
        words = not_finite(by_name({"params": processes.on_host(state.params)}))
        if words is not None:
            raise CheckpointError(
                f"expected finite parameters, but after epoch {epoch} {words}; the epochs before"
                f" are kept in {self._run}: evaluate the best of them, or lower --learning-rate, or"
                " set --clip-norm 1, and train again with --overwrite"
            )

    def _meta(self, epoch: int, state: Any, metrics: Mapping[str, Any]) -> dict[str, Any]:
        return {
            "epoch": epoch,
            "updates": int(state.step),
            "score": self._score,
            "settings": self._settings,
            "metrics": dict(metrics),
            "versions": versions(),
            "lines": self._lines.value,
        }

    def _items(self, state: Any, data: Mapping[str, Any], meta: Mapping[str, Any]) -> Any:
        named = by_name(processes.on_host(arrays(state)))
        items = tied({**meta, "arrays": arrays_sum(named)}, data, self._id)
        return ocp.args.Composite(
            state=ocp.args.StandardSave(arrays(state)),
            data=ocp.args.JsonSave(items.data),
            meta=ocp.args.JsonSave(items.meta),
        )


class _Held(NamedTuple):
    """An epoch that is not yet saved."""

    epoch: int
    state: Any
    data: Mapping[str, Any]
    meta: Mapping[str, Any]
    score: float


def _best_metric(metrics: Mapping[str, Any]) -> float:
    return float(metrics[BEST])


def _check_saved(path: Path) -> None:
    """Reads a checkpoint back that was just saved.

    Raises:
      CheckpointError: it cannot be read, or is not what was saved.
    """
    try:
        open_checkpoint(path).verify()
    except CheckpointError as error:
        raise CheckpointError(
            f"what was saved cannot be read back, so training ends here: {error}; look after the"
            " disk, or choose another --workdir"
        ) from error


def _remove(folder: Path) -> None:
    """Removes a folder of checkpoints so that no half of one is ever seen."""
    aside = folder.with_name(f"{folder.name}.{DELETED}")
    shutil.rmtree(aside, ignore_errors=True)
    folder.rename(aside)
    shutil.rmtree(aside, ignore_errors=True)


def _forget_place(folder: Path) -> None:
    """Takes the absolute path out of Orbax's commit notes, so that a run can be given away.

    Orbax looks at most at whether the note is there, never into it.
    """
    for note in folder.rglob("commit_success.txt") if processes.first() else ():
        note.write_text("Checkpoint commit was successful")
