"""A run from settings to an evaluated checkpoint.

Order of things: check everything, make the data in a thread while XLA compiles, and only when
training can begin write to the run directory. While the device trains epoch n + 1, the host saves
and reports epoch n.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TextIO

import jax

from train import processes
from train.errors import InputError, NotFiniteError
from train.progress.health import Health, lost_spikes
from train.progress.report import MetricsFile, Progress, farewell, format_score
from train.progress.tensorboard import check_installed, open_events
from train.run import compilation_cache
from train.run.early_stopping import Patience
from train.run.environment import record_environment
from train.run.epochs import Epoch, Epochs
from train.run.finish import finish
from train.run.optimizer import learning_rate
from train.run.prepare import Run, prepare
from train.run.record import activity_of, epoch_record, rates_hz, share
from train.run.resume import (
    Start,
    check_settings,
    extend,
    find_start,
    position,
    with_time_loop_of_run,
)
from train.run.signals import Stop, stop_on_signal
from train.settings import NO_CROSSBAR, RunOptions
from train.settings.checks import check_crossbar_flags, check_options
from train.settings.numbers import check_numbers
from train.settings.size import check_size
from train.store import run_directory
from train.store.lock import locked
from train.tasks.task import Task


class LostSpikesError(InputError):
    """Layers have too little room for their spikes before training has begun."""


def run_task(task: Task, settings: Any, options: RunOptions) -> int:
    """Trains, saves and evaluates; see the module.

    Args:
      task: what to train.
      settings: its settings.
      options: where the run goes, how it is fed and how it is shown.

    Returns:
      Exit code: 0 when finished; 129, 130 or 143 when SIGHUP, Ctrl-C or SIGTERM ended it early.

    Raises:
      InputError: settings, data, a directory or a loss with which the run cannot go on.
    """
    started = time.time()
    if not processes.first():
        options = dataclasses.replace(options, quiet=True, tensorboard=False, plots=False)
    settings = checked(task, settings, options)
    path = _directory(task, options)
    with _locked(path):
        return _run_in(path, task, settings, options, started)


def _run_in(path: Path, task: Task, settings: Any, options: RunOptions, started: float) -> int:
    """Trains, saves and evaluates, in a directory that is locked."""
    flags = {"overwrite": options.overwrite, "resume": options.resume}
    processes.from_first(lambda: run_directory.check_free(path, **flags))
    stored = run_directory.stored_settings(path) if options.resume else None
    before = settings.training.epochs
    if stored is not None:
        before = check_settings(task, settings, stored, path)
        options = with_time_loop_of_run(path, options)
    extended = before < settings.training.epochs
    if extended:
        settings = extend(settings, before, path, _say(options))
    elif stored is not None and (result := run_directory.read_result(path)) is not None:
        _print(f"{path}: this run is finished\n{farewell(path, result)}")
        return 0
    for words in task.remarks(settings):
        _say(options)(words)
    if options.cache:
        compilation_cache.enable(options.cache_dir)
    run = prepare(task, settings, options, path)
    with Progress(run.training.epochs, options.quiet) as progress:
        with stop_on_signal(run.feed.unit, progress.note) as stop:
            start = begin(run, task, stored is not None, progress)
            if extended and processes.first():
                run_directory.reopen(path, run.settings)
            code, begun = train(run, start, progress, options, stop)
    if code:
        _print(
            f"stopped early; all that was computed is saved\ngo on: {task.command}"
            f" --resume --workdir {path}{_feeding(options)}",
            file=sys.stderr,
        )
        return code
    processes.wait("the last checkpoint")
    result = finish(run, task, options, started, begun)
    if processes.first():
        print(farewell(path, result))
    return 0


def checked(task: Task, settings: Any, options: RunOptions) -> Any:
    """Returns settings that are complete and can work, before anything is computed or written.

    Args:
      task: the task.
      settings: its settings.
      options: how they are run.

    Raises:
      InputError: the message names the flag and the remedy.
    """
    check_options(options, task.on_disk, task.reads_files)
    if options.tensorboard:
        check_installed()
    check_numbers(settings)
    settings = task.complete(task.with_data(settings, options))
    task.check(settings)
    check_size(task.size(settings), limit=options.size_limit, streamed=options.data == "tfds")
    check_crossbar_flags(getattr(settings, "crossbar", NO_CROSSBAR))
    return settings


def _directory(task: Task, options: RunOptions) -> Path:
    """Returns the run directory, the same for all processes."""

    def place() -> str:
        return str(run_directory.place(options.workdir, task.name, resume=options.resume))

    return Path(processes.from_first(place))


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Keeps other runs out of a directory; the first process has the lock for all of this one."""
    with contextlib.ExitStack() as lock:
        processes.from_first(lambda: lock.enter_context(locked(path)))
        yield


def _print(text: str, file: TextIO | None = None) -> None:
    """Shows a text once, whatever the number of processes."""
    if processes.first():
        print(text, file=file)


def _say(options: RunOptions) -> Callable[[str], None]:
    return lambda text: None if options.quiet else print(text, file=sys.stderr)


def _feeding(options: RunOptions) -> str:
    """Returns the flags that decide how samples come, which a resumed run needs again."""
    default = RunOptions()
    names = ("data", "data_dir", "feed", "chunk", "devices", "model_devices")
    changed = [name for name in names if getattr(options, name) != getattr(default, name)]
    return "".join(f" --{n.replace('_', '-')} {getattr(options, n)}" for n in changed)


def begin(run: Run, task: Task, resumed: bool, progress: Progress) -> Start:
    """Returns where a run begins; of a new one the directory is made.

    Args:
      run: the run.
      task: its task.
      resumed: whether it may have begun before.
      progress: what shows it.
    """
    if resumed:
        start = find_start(run.path, task, run.first, progress.note, run.batches)
        if start.records or start.batches:
            progress.note(_opening(run))
            return start
    start = run.beginning(task, progress.note)
    _check_room(run, start)
    if not resumed and processes.first():
        run_directory.start(run.path, run.settings)
    processes.wait("the run directory")
    progress.note(_opening(run))
    return start


def train(
    run: Run,
    start: Start,
    progress: Progress,
    options: RunOptions,
    stop: Stop,
    alone: bool = True,
) -> tuple[int, float]:
    """Trains until the end, or until a signal comes.

    Args:
      run: the run.
      start: where it begins.
      progress: what shows it.
      options: how it is saved and shown.
      stop: whether a signal came.
      alone: whether no other run of this process saves at the same time.

    Returns:
      Exit code, 0 where the run is to be finished, and when the first step began.
    """
    objective, training = run.model.objective, run.training
    patience = Patience(training.patience, objective.score, start.records)
    with contextlib.closing(run.feed):
        run.feed.seek(start.epochs + 1, start.batches, start.stream)
        progress.begin(start.epochs)
        epochs = Epochs(run, start, stop, patience, progress.tick)
        begun = time.time()
        # The device is at work: time to import Orbax and to compile the evaluation.
        from train.store.write import CheckpointWriter

        if processes.first():
            run_directory.remember_time_loop(run.path, options.time_loop)
            record_environment(run, start.epochs, options, progress.note)
        health = Health(run.model.remedies)
        _say_before(run, start, health, progress)
        writer = CheckpointWriter(
            run.path, run.settings, objective.score, options.save_every, alone, start.records
        )
        events = open_events(run.path, options.tensorboard, start.epochs)
        done = start.epochs
        lines = MetricsFile(run.path) if processes.first() else contextlib.nullcontext()
        with writer, lines as metrics, events as log:
            for epoch in epochs:
                _check_finite(run, epoch)
                seconds = start.seconds + time.time() - begun
                place = _place(run, epoch, seconds)
                if epoch.validation is None:
                    writer.save_within(epoch.number, epoch.state, place)
                    return stop.code, begun
                record, done = _record(run, epoch, seconds), epoch.number
                # In this order: a directory with metrics has had a checkpoint.
                writer.save(done, epoch.state, place, record)
                if metrics is not None:
                    metrics.write(record)
                log.write(record)
                progress.epoch(record, objective.score)
                activity = activity_of(run.model, epoch.sums)
                words = health.findings(activity, record["grad_norm"])
                for said in (*words, *_lost(epoch)):
                    progress.note(f"epoch {done}: {said}")
                patience.see(record)
                if patience.ended():
                    break
    if patience.ended():
        progress.note(patience.words())
        return 0, begun
    return (0 if done == run.last else stop.code), begun


def _check_finite(run: Run, epoch: Epoch) -> None:
    loss, gradient = float(epoch.sums.loss), float(epoch.sums.grad_norm)
    validation = 0.0 if epoch.validation is None else float(epoch.validation.loss)
    if not math.isfinite(loss + validation + gradient):
        what = "loss" if math.isfinite(gradient) else "gradient"
        raise NotFiniteError(
            f"the {what} is no longer a number in epoch {epoch.number} (loss, sum over training"
            f" samples {loss}, validation samples {validation}; gradient norm {gradient}); the"
            f" epochs before are kept in {run.path}: evaluate the best of them, or lower"
            " --learning-rate, or set --clip-norm 1, and train again with --overwrite"
        )


def _check_room(run: Run, start: Start) -> None:
    """Refuses a network whose layers have too little room, before anything is replaced."""
    if not run.model.bounded:
        return
    lost = float(run.score(start.state.params, run.data.validation).sums.lost)
    if lost:
        raise LostSpikesError(f"before training: {lost_spikes(lost, 'validation')}")


def _lost(epoch: Epoch) -> list[str]:
    """Returns words for spikes that found no room in an epoch."""
    parts = {"training": epoch.sums, "validation": epoch.validation}
    lost = {name: float(sums.lost) for name, sums in parts.items() if sums is not None}
    return [lost_spikes(count, name) for name, count in lost.items() if count]


def _place(run: Run, epoch: Epoch, seconds: float) -> dict[str, Any]:
    cut = epoch.validation is None
    return position(
        epochs=epoch.number - cut,
        batches=epoch.batches,
        stream=epoch.stream,
        sums=epoch.sums if cut else None,
        seconds=seconds,
    )


def _record(run: Run, epoch: Epoch, seconds: float) -> dict[str, Any]:
    assert epoch.validation is not None
    updates = int(epoch.state.step)
    rate = learning_rate(run.training, run.batches * run.training.epochs, run.model.depth)(
        updates - 1
    )
    return epoch_record(
        run.model,
        epoch=epoch.number,
        updates=updates,
        train=epoch.sums,
        validation=epoch.validation,
        learning_rate=float(rate),
        seconds=seconds,
    )


def _opening(run: Run) -> str:
    size, devices = run.training.batch_size, run.devices
    samples = run.feed.samples
    left = samples % size
    parameters = sum(leaf.size for leaf in jax.tree.leaves(run.first.params))
    return (
        f"{run.path}: {samples} training samples in {samples // size} batches of {size}"
        + (f" ({left} sit out each epoch, others every time)" if left else "")
        + (f", over {devices.data} x {devices.model} devices" if devices.mesh.size > 1 else "")
        + f", {parameters} parameters, epochs: {run.training.epochs}, seed: {run.training.seed}"
    )


def _say_before(run: Run, start: Start, health: Health, progress: Progress) -> None:
    """Says how the network does before its first update."""
    if start.epochs or start.batches:
        return
    sums = run.score(start.state.params, run.data.validation).sums
    rates = ", ".join(f"{name} {hz:.1f} Hz" for name, hz in rates_hz(run.model, sums).items())
    score = format_score(run.model.objective.score, share(sums.points, sums.samples))
    progress.note(f"before training: validation {score}, {rates}")
    for words in health.findings(activity_of(run.model, sums)):
        progress.note(f"before training: {words}")
