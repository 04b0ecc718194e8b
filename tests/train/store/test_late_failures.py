"""Failures beside the one that is raised: not shown, waited for, and others left alone."""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from train.store import late_failures
from train.store.late_failures import LateFailures

CLOSED = RuntimeError("Event loop is closed")


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Any]]:
    """Exceptions that nobody could catch, as far as they are shown."""
    found: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda caught: found.append(caught.exc_value))
    yield found


def fail(error: Exception) -> None:
    sys.unraisablehook(SimpleNamespace(exc_value=error))  # type: ignore[arg-type]


def log(pathname: str, error: Exception | None) -> bool:
    """Logs as Orbax does; returns whether it would be shown."""
    caught = None if error is None else (type(error), error, None)
    record = logging.LogRecord("absl", logging.ERROR, pathname, 1, "words", (), caught)
    return bool(logging.getLogger("absl").filter(record))


def test_only_what_follows_from_the_first_failure_is_kept_off(shown: list[Any]) -> None:
    before, other = sys.unraisablehook, ValueError("mine")
    with LateFailures():
        fail(CLOSED)
        fail(other)
        assert not log("/x/orbax/checkpoint/future.py", CLOSED)
        assert log("/x/orbax/checkpoint/future.py", None)
        assert log("/x/flax/core.py", CLOSED)
    assert shown == [other]
    assert sys.unraisablehook is before
    assert log("/x/orbax/checkpoint/future.py", CLOSED)


def after(seconds: float, function: Callable[[], Any]) -> threading.Thread:
    thread = threading.Timer(seconds, function)
    thread.start()
    return thread


def test_failures_are_waited_for(shown: list[Any]) -> None:
    threads = []
    with pytest.raises(ValueError, match="the first"), LateFailures():
        threads = [after(seconds, lambda: fail(CLOSED)) for seconds in (0.1, 0.4, 0.7)]
        raise ValueError("the first")
    assert not any(thread.is_alive() for thread in threads)
    assert shown == []


def test_threads_of_orbax_are_waited_for(shown: list[Any]) -> None:
    class Writing(threading.Thread):
        __module__ = "orbax.checkpoint.futures"

    thread = Writing(target=time.sleep, args=(0.8,))
    late = LateFailures()
    with late:
        thread.start()
        late.failed = True
    assert not thread.is_alive()


def test_success_waits_for_nobody(shown: list[Any]) -> None:
    began = time.monotonic()
    for _ in range(100):
        with LateFailures():
            pass
    assert time.monotonic() - began < late_failures._TURN * late_failures._TURNS


def test_what_never_ends_is_left_alone_and_stays_off_the_screen(
    shown: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(late_failures, "_PATIENCE", 3)
    late = LateFailures()
    with pytest.raises(ValueError), late:
        raise ValueError
    try:
        fail(CLOSED)
        assert shown == [] and not log("/x/orbax/future.py", CLOSED)
    finally:
        logging.getLogger("absl").removeFilter(late._told)
