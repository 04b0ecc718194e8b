"""Runs of one task side by side in one process: data, compiled functions and cores are shared.

Runs that differ in their seed alone are one compilation. Each has its own directory, as if it had
been started alone, with the same numbers: what runs at the same time is whole runs, in threads.
(Ten seeds of Randman on 2 cores: one after the other 1.0, in two threads 0.54, as one batched
computation of all seeds 1.5 times the time, for the products of one run do not fill two cores and
those of ten do not fit into the cache.)
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any, NamedTuple

import jax

from train.errors import InputError
from train.progress.report import Progress, format_score
from train.run import compilation_cache
from train.run.devices import check_several
from train.run.finish import finish
from train.run.loop import begin, checked, train
from train.run.prepare import Run, prepare
from train.run.resume import check_settings, with_time_loop_of_run
from train.run.signals import Stop, stop_on_signal
from train.settings import RunOptions
from train.settings.checks import check_options
from train.store import run_directory
from train.store.layout import CONFIG
from train.store.lock import locked
from train.tasks import Dataset, Task


class Job(NamedTuple):
    """One run of a fleet.

    Attributes:
      name: what it is called in the table, such as ``seed 3``.
      settings: its settings.
      path: its directory.
    """

    name: str
    settings: Any
    path: Path


def run_fleet(task: Task, jobs: Sequence[Job], options: RunOptions, together: int = 0) -> int:
    """Trains and evaluates runs, some of them at the same time.

    Args:
      task: the task.
      jobs: the runs.
      options: how they are fed and shown; ``workdir`` is that of each job.
      together: most runs at the same time; 0: as many as this process has cores.

    Returns:
      0 when all are finished, 2 where some could not be, 130 or 143 after Ctrl-C or SIGTERM.

    Raises:
      InputError: settings or directories of one of them; nothing was written then.
    """
    check_options(options, task.on_disk, task.reads_files)
    check_several(options, together)
    if options.devices > 1:
        together = 1
    with contextlib.ExitStack() as locks:
        for job in jobs:
            locks.enter_context(locked(run_directory.place(job.path, task.name, resume=False)))
        return _run_locked(task, jobs, options, together)


def _run_locked(task: Task, jobs: Sequence[Job], options: RunOptions, together: int) -> int:
    """Trains and evaluates runs whose directories are locked."""
    checked = [_checked(task, job, options) for job in jobs]
    options = _with_time_loop(checked, options)
    if not options.quiet:
        for words in dict.fromkeys(w for job in checked for w in task.remarks(job.settings)):
            print(words, file=sys.stderr)
    if options.cache:
        compilation_cache.enable(options.cache_dir)
    waiting = [job for job in checked if not _finished(job, options)]
    shared = _Shared(task, options)
    board = _Board(jobs, len(waiting), options.quiet)
    errors: dict[str, InputError] = {}

    def work(job: Job) -> None:
        _run(task, job, options, shared, board, stop)

    with board, stop_on_signal("epoch of each run", board.note) as stop:
        for job, failure in _results(waiting, together or _cores(), work, stop):
            if failure is not None:
                errors[job.name] = failure
                board.note(f"{job.name}: {failure}")
    if stop:
        return stop.code
    return 2 if errors else 0


def _run(
    task: Task, job: Job, options: RunOptions, shared: _Shared, board: _Board, stop: Stop
) -> None:
    """Trains one run, and evaluates it; in a thread of its own."""
    if stop:
        return
    started = time.time()
    run = shared.run(job)
    if stop:
        return
    progress = _Silent(job, board)
    start = begin(run, task, options.resume and (job.path / CONFIG).exists(), progress)
    code, begun = train(run, start, progress, options, stop, alone=False)
    if code:
        return
    result = finish(run, task, options, started, begun)
    score = result["score"]
    board.ended(job, f"test {score} {format_score(score, result[f'test_{score}'], 2)}")


class _Shared:
    """What runs share: data, and compiled functions of those that differ in their seed alone."""

    def __init__(self, task: Task, options: RunOptions):
        self._task, self._options = task, options
        self._lock = threading.Lock()
        self._locks: dict[Any, threading.Lock] = {}
        self._prepared: dict[Any, Run] = {}
        self._data: dict[Any, Dataset] = {}

    def run(self, job: Job) -> Run:
        """Returns the run of a job, ready to begin."""
        training = dataclasses.replace(job.settings.training, seed=0)
        key = repr(dataclasses.replace(job.settings, training=training))
        with self._lock:
            lock = self._locks.setdefault(key, threading.Lock())
        with lock:
            if key not in self._prepared:
                data = self._load(job.settings)
                self._prepared[key] = prepare(
                    self._task, job.settings, self._options, job.path, data
                )
        return self._prepared[key].again(self._task, job.settings, job.path)

    def _load(self, settings: Any) -> Dataset:
        """Returns the data, which follow from neither network nor training."""
        names = [f.name for f in dataclasses.fields(settings)]
        left = [name for name in names if name not in ("network", "training", "crossbar", "loss")]
        key = repr([getattr(settings, name) for name in left])
        with self._lock:
            if key not in self._data:
                self._data[key] = self._task.dataset(settings, self._options)
            return self._data[key]


class _Board:
    """Shows several runs as one: a bar of all epochs, and a line for each run that ends."""

    def __init__(self, jobs: Sequence[Job], waiting: int, quiet: bool):
        epochs = sum(job.settings.training.epochs for job in jobs)
        self._progress = Progress(epochs, quiet)
        self._lock = threading.Lock()
        self._done: dict[str, float] = {}
        self._waiting, self._begun, self._ended = waiting, time.monotonic(), 0

    def __enter__(self) -> _Board:
        self._progress.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._progress.__exit__(*error)

    def tick(self, job: Job, done: float) -> None:
        """Takes note of the epochs of a run that are done."""
        with self._lock:
            self._done[job.name] = done
            self._progress.tick(sum(self._done.values()))

    def ended(self, job: Job, words: str) -> None:
        """Shows that a run has ended."""
        with self._lock:
            self._ended += 1
            seconds = time.monotonic() - self._begun
            left = seconds / self._ended * (self._waiting - self._ended)
            self._progress.note(
                f"{job.name}: {words}; {self._ended} of {self._waiting} runs, {left:.0f} s left"
            )

    def note(self, text: str) -> None:
        """Shows a line of text."""
        with self._lock:
            self._progress.note(text)


class _Silent(Progress):
    """Progress of one of several runs: it goes into the common bar."""

    def __init__(self, job: Job, board: _Board):
        super().__init__(job.settings.training.epochs, quiet=True)
        self._job, self._board = job, board

    def begin(self, done: int) -> None:
        """Begins at an epoch."""
        self._board.tick(self._job, done)

    def tick(self, done: float) -> None:
        """Lets the common bar go on."""
        self._board.tick(self._job, done)

    def epoch(self, record: Mapping[str, Any], score: str) -> None:
        """Lets the common bar go on."""
        self._board.tick(self._job, record["epoch"])


def _checked(task: Task, job: Job, options: RunOptions) -> Job:
    """Returns a job whose settings are complete, before anything is written."""
    settings = checked(task, job.settings, options)
    path = run_directory.choose(
        job.path, task.name, overwrite=options.overwrite, resume=options.resume
    )
    stored = run_directory.stored_settings(path) if options.resume else None
    if stored is not None and check_settings(task, settings, stored, path) < (
        settings.training.epochs
    ):
        raise InputError(
            f"{path}: a run of several keeps its --epochs; extend it alone, with --workdir {path}"
        )
    return job._replace(settings=settings, path=path)


def _with_time_loop(jobs: Sequence[Job], options: RunOptions) -> RunOptions:
    """Returns options with the time loop that the runs began with, if they go on."""
    if not options.resume:
        return options
    begun = [job.path for job in jobs if run_directory.time_loop(job.path) is not None]
    found = {with_time_loop_of_run(path, options).time_loop for path in begun}
    if len(found) > 1:
        raise InputError(
            f"expected runs that began with the same --time-loop, got {', '.join(sorted(found))};"
            " resume them one by one, each with its --workdir"
        )
    return dataclasses.replace(options, time_loop=found.pop()) if found else options


def _finished(job: Job, options: RunOptions) -> bool:
    return options.resume and run_directory.read_result(job.path) is not None


def _results(
    jobs: Sequence[Job], together: int, work: Callable[[Job], None], stop: Stop
) -> Iterator[tuple[Job, InputError | None]]:
    """Yields jobs as they end, with what went wrong; signals arrive in between.

    What is not the user's to correct is raised, after the other runs have saved what they have.
    """
    if together == 1:
        for job in jobs:
            yield job, _failure(functools.partial(work, job))
        return
    with ThreadPoolExecutor(together, thread_name_prefix="run") as pool:
        waiting = {pool.submit(work, job): job for job in jobs}
        while waiting:
            for future in wait(waiting, timeout=0.2, return_when=FIRST_COMPLETED).done:
                job = waiting.pop(future)
                try:
                    yield job, _failure(future.result)
                except BaseException:
                    stop.code = stop.code or 1
                    raise


def _failure(work: Callable[[], None]) -> InputError | None:
    try:
        work()
    except InputError as error:
        return error
    return None


def _cores() -> int:
    """Returns how many runs gain from running at the same time."""
    if jax.default_backend() != "cpu":
        return 1
    return max(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1, 1)
