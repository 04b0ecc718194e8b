"""A run repeated from its settings, and compared with what it left."""

from __future__ import annotations

import contextlib
import dataclasses
import shutil
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import tyro

from train.errors import ConfigError, RunDirectoryError
from train.progress.report import Progress
from train.settings import RunOptions
from train.store import environment, run_directory
from train.store.layout import CONFIG, RESULT
from train.store.lock import locked
from train.store.settings_json import from_json, task_of
from train.tasks import Task, find_task


@dataclasses.dataclass(frozen=True)
class ReproduceOptions:
    """What to repeat, and where."""

    run: tyro.conf.Positional[Path]
    """A run directory."""
    epochs: int | None = None
    """Repeat only so many epochs, with the learning rates of the whole run; by default all that
    were trained."""
    workdir: Path | None = None
    """Directory of the repeated run, which is kept. By default one that is deleted where it is the
    same, and kept where it is not."""
    data_dir: Path | None = None
    """Folder of the files of a task on recorded data, or of data prepared by tfds."""
    json: bool = False
    """Print one JSON object instead of text."""
    quiet: bool = False
    """Show no progress, only what was found."""
    cache: bool = True
    """Keep compiled functions on disk, as a run does."""
    cache_dir: Path | None = None
    """Where they are kept."""


@dataclasses.dataclass(frozen=True)
class Stage:
    """A part of a run between two times at which it was extended.

    Attributes:
      settings: the settings it had then.
      until: the epoch after which it ends.
    """

    settings: Any
    until: int


def reproduce(options: ReproduceOptions) -> dict[str, Any]:
    """Repeats a run, and compares.

    Args:
      options: which run.

    Returns:
      ``same``; ``epochs`` that were repeated; ``difference``, the first one: ``where``, ``key``,
      ``run``, ``now``, or None; ``checkpoints``, for each epoch whose arrays both runs have saved
      the number of ``arrays`` and those that are ``different``; whether the ``result`` was
      compared; ``environment``, names with the value in the run and the one now, and whether all of
      it is ``environment_known`` or only the versions; ``workdir`` where the repeated run is kept,
      or None.

    Raises:
      InputError: no run, one of a task that is not here, or whose data are others now.
    """
    task, settings = _stored(options.run)
    records = run_directory.read_metrics(options.run)
    done = len(records)
    epochs = done if options.epochs is None else options.epochs
    if not done:
        raise RunDirectoryError(f"{options.run} has no finished epoch; there is nothing to compare")
    if not 1 <= epochs <= done:
        raise ConfigError(
            f"--epochs: expected 1 to {done}, the epochs that {options.run} has finished, got"
            f" {epochs}"
        )
    entries = environment.read(options.run)
    with _directory(options.workdir) as path, locked(path):
        now, finished = repeat(task, stages(settings, entries, epochs), path, entries, options)
        report = _compared(task, settings, options.run, path, epochs, finished)
        report["environment"] = [
            list(each)
            for each in environment.differences(_recorded(options.run, entries, now), now)
        ]
        report["environment_known"] = bool(entries)
        report["workdir"] = str(path)
        if report["same"] and options.workdir is None:
            shutil.rmtree(path)
            report["workdir"] = None
    return report


def stages(settings: Any, entries: Sequence[Mapping[str, Any]], epochs: int) -> list[Stage]:
    """Returns the parts of a run: one, or, where it was extended, one more for each time.

    Args:
      settings: its settings.
      entries: its environments, which say after which epoch it was extended; without them it is
        taken to have ended before.
      epochs: epochs that are repeated.
    """
    training = settings.training
    plans = [*training.extended_from, training.epochs]
    found = []
    for k, planned in enumerate(plans):
        after = [e["epochs_done"] for e in entries if e["epochs"] in plans[k + 1 : k + 2]]
        until = min(planned, epochs, *after[:1])
        marks = training.extended_from[:k]
        part = dataclasses.replace(training, epochs=planned, extended_from=marks)
        found.append(Stage(dataclasses.replace(settings, training=part), until))
        if until == epochs:
            break
    return found


def repeat(
    task: Task,
    parts: Sequence[Stage],
    path: Path,
    entries: Sequence[Mapping[str, Any]],
    options: ReproduceOptions,
) -> tuple[dict[str, Any], bool]:
    """Trains again.

    Args:
      task: the task.
      parts: the parts of the run.
      path: where.
      entries: the environments of the run, which say how it was fed; none where it has none.
      options: how.

    Returns:
      The environment, and whether the run has come to its end and has a result.
    """
    from train.run import compilation_cache
    from train.run.finish import finish
    from train.run.loop import begin, checked, train
    from train.run.prepare import prepare
    from train.run.resume import with_time_loop_of_run
    from train.run.signals import stop_on_signal

    started = time.time()
    feeding = with_time_loop_of_run(
        options.run, _as_before(entries[0] if entries else {}, path, options)
    )
    if options.cache:
        compilation_cache.enable(options.cache_dir)
    code, ended = 0, False
    for k, part in enumerate(parts):
        settings = checked(task, part.settings, feeding)
        run = prepare(task, settings, feeding, path)
        run = dataclasses.replace(run, until=part.until)
        if not k:
            _check_samples(run.data, entries, options.run)
        with Progress(part.until, options.quiet) as progress:
            with stop_on_signal(run.feed.unit, progress.note) as stop:
                start = begin(run, task, bool(k), progress)
                if k:
                    run_directory.reopen(path, run.settings)
                code, begun = train(run, start, progress, feeding, stop)
        if code:
            print("stopped early; nothing was compared", file=sys.stderr)
            raise SystemExit(code)
        ended = part.until == settings.training.epochs or _ended_early(path, part.until)
    if ended and (options.run / RESULT).exists():
        finish(run, task, feeding, started, begun)
    else:
        ended = False
    return environment.read(path)[-1], ended


def _stored(path: Path) -> tuple[Task, Any]:
    """Returns task and settings of a run."""
    stored = run_directory.stored_settings(path) if path.is_dir() else None
    if stored is None:
        raise RunDirectoryError(
            f"{path} is not a run directory: it has no {CONFIG}; give one that"
            " python -m train.randman --workdir names"
        )
    task: Task = find_task(task_of(stored))
    return task, from_json(task.settings, stored)


@contextlib.contextmanager
def _directory(workdir: Path | None) -> Any:
    """Yields where the run is repeated; a directory of its own is deleted after an error."""
    if workdir is not None:
        if workdir.exists() and (not workdir.is_dir() or any(workdir.iterdir())):
            raise RunDirectoryError(
                f"{workdir} is not an empty directory; choose another --workdir"
            )
        yield workdir
        return
    path = Path(tempfile.mkdtemp(prefix="reproduce_"))
    try:
        yield path
    except BaseException:
        shutil.rmtree(path, ignore_errors=True)
        raise


def _as_before(entry: Mapping[str, Any], path: Path, options: ReproduceOptions) -> RunOptions:
    """Returns options with which samples come as they did then."""
    feeding, mesh = entry.get("feeding", {}), entry.get("mesh", {})
    chunk = feeding.get("chunk")
    return RunOptions(
        workdir=path,
        data=feeding.get("data", "memory"),
        data_dir=options.data_dir,
        feed=feeding.get("feed", "auto"),
        chunk=RunOptions().chunk if chunk is None else chunk,
        devices=mesh.get("data", 1) * mesh.get("model", 1),
        model_devices=mesh.get("model", 1),
        plots=False,
        quiet=options.quiet,
        cache=options.cache,
        cache_dir=options.cache_dir,
    )


def _check_samples(data: Any, entries: Sequence[Mapping[str, Any]], run: Path) -> None:
    """Refuses to go on with other samples than those of the run."""
    from train.data.digest import samples_digest

    before = entries[0].get("samples", {}) if entries else {}
    for name, part in zip(data._fields, data, strict=True):
        known, found = before.get(name), samples_digest(part)
        if known and found and known != found:
            raise ConfigError(
                f"the {name} samples are not those of {run} (SHA-256 {found[:12]}..., was"
                f" {known[:12]}...); restore the data, or the code that makes them, of then"
            )


def _ended_early(path: Path, until: int) -> bool:
    """Whether a run was ended by its patience before this epoch."""
    return len(run_directory.read_metrics(path)) < until


def _recorded(
    run: Path, entries: Sequence[Mapping[str, Any]], now: Mapping[str, Any]
) -> Mapping[str, Any]:
    """Returns the last environment of a run; of an older one, what its checkpoint says of it."""
    if entries:
        return entries[-1]
    from train.restored.difference import saved_epochs
    from train.store.layout import CHECKPOINTS
    from train.store.read import open_checkpoint

    known: Mapping[str, Any] = {}
    for epoch in saved_epochs(run)[-1:]:
        known = open_checkpoint(run / CHECKPOINTS / str(epoch)).meta.get("versions", {})
    versions = {name: known.get(name, value) for name, value in now["versions"].items()}
    return {**now, "versions": versions}


def _compared(
    task: Task, settings: Any, run: Path, again: Path, epochs: int, finished: bool
) -> dict[str, Any]:
    """Returns the report, but for environment and place."""
    from train.restored.difference import (
        arrays_differ,
        metrics_differ,
        results_differ,
        saved_epochs,
    )

    both = [run_directory.read_metrics(each) for each in (run, again)]
    differences = [metrics_differ(both[0], both[1], epochs)]
    checkpoints = {}
    for epoch in sorted(set(saved_epochs(run)) & set(saved_epochs(again))):
        if epoch > epochs:
            continue
        arrays, different = arrays_differ(task, settings, run, again, epoch)
        checkpoints[str(epoch)] = {"arrays": arrays, "different": [d.key for d in different]}
        differences += different[:1]
    results = [run_directory.read_result(each) for each in (run, again)] if finished else []
    if finished:
        differences.append(results_differ(results[0] or {}, results[1] or {}))
    first = next((each for each in differences if each is not None), None)
    found = None
    if first is not None:
        found = {"where": first.where, "key": first.key, "run": first.first, "now": first.second}
    return {
        "same": first is None,
        "epochs": epochs,
        "difference": found,
        "checkpoints": checkpoints,
        "result": finished,
    }
