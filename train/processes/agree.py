"""What the processes of a run agree on, through the coordinator that `jax.distributed` starts.

All of them run the same program and call these functions in the same order. What decides where
that program goes, and is not the same for all of them (a clock, a signal, a random number, what a
folder holds), is decided by the first process and told to the others. In a run of one process
nothing is exchanged.

No array is involved: a device that works on a long computation keeps nobody waiting.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from train.errors import ConfigError, InputError

_PATIENCE = 7 * 24 * 3600 * 1000
"""Milliseconds to wait for a process that is alive; one that has died ends all, see `started`."""

_SOON = 10 * 1000
"""Milliseconds in which processes that end with the same error are expected to meet."""

_STOP, _ERRORS = "flax_snn/stop", "flax_snn/errors"

_KEPT = 256
"""Answers of the first process that the coordinator keeps at most, and as many again."""


class _Group(NamedTuple):
    """The processes of the run that this one belongs to."""

    number: int = 0
    size: int = 1
    client: Any = None


_group = _Group()
_barriers: Iterator[int] = itertools.count()
_answers: Iterator[int] = itertools.count()


def join(index: int, count: int, client: Any) -> None:
    """Makes this process one of several.

    Args:
      index: its number, from 0.
      count: number of processes.
      client: its connection to the coordinator.
    """
    global _group
    _group = _Group(index, count, client)


def count() -> int:
    """Returns the number of processes of the run."""
    return _group.size


def index() -> int:
    """Returns the number of this process, from 0."""
    return _group.number


def first() -> bool:
    """Returns whether this process prints, and writes what is not an array."""
    return _group.number == 0


def wait(what: str) -> None:
    """Waits until all processes are here.

    Args:
      what: what they have done, in words, for messages.
    """
    if _group.size > 1:
        _group.client.wait_at_barrier(f"flax_snn/{next(_barriers)}: {what}", _PATIENCE)


def from_first(function: Callable[[], Any]) -> Any:
    """Returns what a function returns in the first process; the others do not call it.

    Args:
      function: returns a value for JSON.

    Returns:
      The value, in every process.

    Raises:
      InputError: the function raised one in the first process; all raise it.
    """
    if _group.size == 1:
        return function()
    number = next(_answers)
    if number % _KEPT == 0 and number:
        wait("reading the answers so far")
        if first():
            _group.client.key_value_delete(f"flax_snn/answers/{number // _KEPT - 1}")
    name = f"flax_snn/answers/{number // _KEPT}/{number}"
    if not first():
        return _said(_group.client.blocking_key_value_get(name, _PATIENCE))
    try:
        value = function()
        told = json.dumps({"value": value})
    except InputError as error:
        _group.client.key_value_set(name, json.dumps({"error": str(error)}))
        raise
    _group.client.key_value_set(name, told)
    return json.loads(told)["value"]


def stop_code(own: int) -> int:
    """Returns the exit code with which all processes stop, 0 as long as they go on.

    A signal that only one of them got stops all, at once or the next time that they ask.

    Args:
      own: exit code of the signal that this process got, 0 for none.
    """
    if _group.size == 1:
        return own
    if own and not first():
        _group.client.key_value_set(f"{_STOP}/{index()}", str(own), allow_overwrite=True)
    return int(from_first(lambda: own or _code_of_another()))


def all_met(error: Exception) -> bool:
    """Returns whether all processes end with the same error, so that one has to show it.

    Args:
      error: the error of this process.
    """
    if _group.size == 1:
        return True
    try:
        _group.client.key_value_set(f"{_ERRORS}/{index()}", str(error), allow_overwrite=True)
        _group.client.wait_at_barrier(_ERRORS, _SOON)
        return len({text for _, text in _group.client.key_value_dir_get(_ERRORS)}) == 1
    except RuntimeError:
        return False  # some go on, or are gone


def _said(text: str) -> Any:
    told = json.loads(text)
    if "error" in told:
        raise ConfigError(told["error"])
    return told["value"]


def _code_of_another() -> int:
    """Returns the code of a signal that another process got, 0 for none."""
    return max((int(code) for _, code in _group.client.key_value_dir_get(_STOP)), default=0)
