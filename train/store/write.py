"""Saving: after epochs in the background, or within one when a streamed run is stopped."""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers as managers

from train.store.contents import FORMAT_VERSION, ONE_AT_A_TIME, arrays, validation_score, versions
from train.store.layout import CHECKPOINTS, DELETED, INTERRUPTED


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
    """

    def __init__(
        self,
        run: Path,
        settings: Mapping[str, Any],
        score: str,
        every: float = 0.0,
        alone: bool = True,
    ):
        self._alone = alone
        self._every, self._saved = every, -math.inf
        self._latest: _Held | None = None
        self._best: _Held | None = None
        self._settings = dict(settings)
        self._score = score
        self._folder = (run / CHECKPOINTS).absolute()
        self._interrupted = (run / INTERRUPTED).absolute()
        shutil.rmtree(self._folder / DELETED, ignore_errors=True)
        keep = [managers.LatestN(1), managers.BestN(get_metric_fn=_best_metric, n=1)]
        with ONE_AT_A_TIME:
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
        """Save one epoch, now or with a later one; returns as soon as the arrays are copied.

        Args:
          epoch: number of the epoch, from 1: the name of the checkpoint.
          state: the state after it.
          data: where the run stands, for JSON.
          metrics: metrics of the epoch, for JSON, the validation score among them.
        """
        meta = self._meta(epoch, state, metrics)
        self._latest = _Held(epoch, state, data, meta, validation_score(meta))
        if self._best is None or self._latest.score >= self._best.score:
            self._best = self._latest
        if time.monotonic() - self._saved >= self._every:
            self._save_held()

    def _save_held(self) -> None:
        with ONE_AT_A_TIME:
            self._save_both()
            if self._alone:
                return
            self._manager.wait_until_finished()

    def _save_both(self) -> None:
        held = {h.epoch: h for h in (self._best, self._latest) if h is not None}
        for _, (epoch, state, data, meta, score) in sorted(held.items()):
            self._manager.wait_until_finished()
            shutil.rmtree(self._folder / DELETED, ignore_errors=True)
            self._manager.save(epoch, args=_items(state, data, meta), metrics={_BEST: score})
        if held and self._interrupted.exists():  # the latest epoch contains it
            self._manager.wait_until_finished()
            _remove(self._interrupted)
        self._latest = self._best = None
        self._saved = time.monotonic()

    def save_within(self, epoch: int, state: Any, data: Mapping[str, Any]) -> None:
        """Save in the middle of an epoch, and wait until it is on disk.

        Args:
          epoch: number of the epoch that is not finished.
          state: the state so far.
          data: where the run stands, for JSON.
        """
        self._save_held()
        with ONE_AT_A_TIME, ocp.CheckpointManager(self._interrupted) as manager:
            meta = self._meta(epoch, state, {})
            manager.save(int(state.step), args=_items(state, data, meta))
            manager.wait_until_finished()
        _forget_place(self._interrupted)

    def __enter__(self) -> CheckpointWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Save what is held, and wait until everything is on disk, whatever happened."""
        self._save_held()
        with ONE_AT_A_TIME:
            self._manager.wait_until_finished()
            self._manager.close()
        shutil.rmtree(self._folder / DELETED, ignore_errors=True)
        _forget_place(self._folder)

    def _meta(self, epoch: int, state: Any, metrics: Mapping[str, Any]) -> dict[str, Any]:
        return {
            "format_version": FORMAT_VERSION,
            "epoch": epoch,
            "updates": int(state.step),
            "score": self._score,
            "settings": self._settings,
            "metrics": dict(metrics),
            "versions": versions(),
        }


class _Held(NamedTuple):
    """An epoch that is not yet saved."""

    epoch: int
    state: Any
    data: Mapping[str, Any]
    meta: Mapping[str, Any]
    score: float


_BEST = "validation_score"


def _best_metric(metrics: Mapping[str, Any]) -> float:
    return float(metrics[_BEST])


def _items(state: Any, data: Mapping[str, Any], meta: Mapping[str, Any]) -> Any:
    return ocp.args.Composite(
        state=ocp.args.StandardSave(arrays(state)),
        data=ocp.args.JsonSave(dict(data)),
        meta=ocp.args.JsonSave(dict(meta)),
    )


def _remove(folder: Path) -> None:
    """Remove a folder of checkpoints so that no half of one is ever seen."""
    aside = folder.with_name(f"{folder.name}.{DELETED}")
    shutil.rmtree(aside, ignore_errors=True)
    folder.rename(aside)
    shutil.rmtree(aside, ignore_errors=True)


def _forget_place(folder: Path) -> None:
    """Take the absolute path out of Orbax's commit notes, so that a run can be given away.

    Orbax looks at most at whether the note is there, never into it.
    """
    for note in folder.rglob("commit_success.txt"):
        note.write_text("Checkpoint commit was successful")
