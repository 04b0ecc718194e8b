"""The epochs of a run, one after the other, while the device never waits for Python.

A chunk of batches is dispatched before the one in front of it is looked at; the first chunk of an
epoch runs while the epoch before is saved and reported.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import numpy as np

from train import processes
from train.run.early_stopping import Patience
from train.run.prepare import Run
from train.run.resume import Start
from train.run.signals import Stop
from train.run.step import Sums, TrainState


class Epoch(NamedTuple):
    """An epoch that has ended, or one that a signal has cut short after a chunk.

    Attributes:
      number: from 1.
      state: the state after its last batch.
      sums: sums over its training batches, float64 on the host.
      validation: sums over the validation part after it, ``None`` where it was cut short.
      batches: batches that are done where it was cut short, else 0.
      stream: state of the stream of samples, where there is one.
    """

    number: int
    state: TrainState
    sums: Sums
    validation: Sums | None
    batches: int
    stream: dict[str, Any] | None


class Epochs:
    """Iterates over the epochs of a run; the first chunk is started at once.

    The last epoch is that of the run, one that a signal ends or cuts short, or one after which
    the caller looks no further.

    Args:
      run: the run.
      start: where to begin.
      stop: whether a signal came; the running chunk is then the last.
      patience: when a run may end early: the next epoch is not begun ahead of that.
      tick: called several times a second with the epochs that are done, a fraction among them.
    """

    def __init__(
        self, run: Run, start: Start, stop: Stop, patience: Patience, tick: Callable[[float], None]
    ):
        self._run, self._start, self._stop = run, start, stop
        self._patience, self._tick = patience, tick
        self._work = _dispatched(run, start)
        self._running = None if patience.ended() else next(self._work, None)

    def __iter__(self) -> Iterator[Epoch]:
        sums, batches = self._start.sums, self._start.batches
        while self._running is not None:
            running = self._running
            ends = running.batches == self._run.batches
            following = None if ends or self._stopping() else next(self._work)
            done = running.epoch - 1 + batches / self._run.batches
            self._wait(running.sums, done)
            sums, batches = _add(sums, running.sums), running.batches
            if ends:
                yield from self._ended(running, sums)
                sums, batches = None, 0
            elif following is None:
                yield Epoch(running.epoch, running.state, sums, None, batches, running.stream)
                return
            else:
                self._running = following

    def _ended(self, running: _Running, sums: Sums) -> Iterator[Epoch]:
        """Yields the epoch that ends with this chunk; starts the first chunk of the next one."""
        run, number = self._run, running.epoch
        scored = run.score(running.state.params, run.data.validation)
        last = self._stopping() or number == run.last
        may_end = self._patience.may_end(number)
        self._running = None if last or may_end else next(self._work)
        self._wait(scored, number)
        validation = _host(scored.sums)
        yield Epoch(number, running.state, sums, validation, 0, running.stream)
        if may_end and not last and not self._stopping():
            self._running = next(self._work)

    def _stopping(self) -> bool:
        """Returns whether the run is to stop: all of its processes, or none."""
        code = processes.stop_code(self._stop.code)
        if code:
            self._stop.code = code
        return bool(code)

    def _wait(self, arrays: Any, done: float) -> None:
        """Waits for arrays in Python, where signals arrive and the bar goes on."""
        while not all(array.is_ready() for array in jax.tree.leaves(arrays)):
            time.sleep(0.01)
            self._tick(done)


class _Running(NamedTuple):
    """A chunk that the device works on."""

    epoch: int
    state: TrainState
    sums: Sums
    batches: int  # of the epoch, done after it
    stream: dict[str, Any] | None


def _dispatched(run: Run, start: Start) -> Iterator[_Running]:
    """Starts a chunk with each ``next``; its arrays are still computed when it is returned."""
    state = start.state
    for epoch in range(start.epochs + 1, run.last + 1):
        batches = start.batches if epoch == start.epochs + 1 else 0
        for chunk in run.feed.chunks(epoch, batches):
            state, sums = run.train(state, chunk.samples, chunk.order)
            batches += chunk.batches
            yield _Running(epoch, state, sums, batches, run.feed.state())


def _add(before: Sums | None, more: Sums) -> Sums:
    return _host(more) if before is None else jax.tree.map(np.add, before, _host(more))


def _host(sums: Sums) -> Sums:
    """Returns sums in float64 on the host, where they add up without rounding of note."""
    return jax.tree.map(lambda x: np.asarray(x, np.float64), sums)
