"""Which time loops a program takes, for a record of how it ran."""

from __future__ import annotations

import contextlib
import contextvars
from collections.abc import Iterator

_NOTED: contextvars.ContextVar[list[str] | None] = contextvars.ContextVar("noted", default=None)


@contextlib.contextmanager
def loops_noted() -> Iterator[list[str]]:
    """Yields a list that gets the name of each loop that is taken within the context.

    Loops are taken while a function is traced, not while it runs: what ``jit`` has compiled
    before takes none.

    Yields:
      Names of `LOOPS` in the order in which they were first taken, each once.
    """
    names: list[str] = []
    token = _NOTED.set(names)
    try:
        yield names
    finally:
        _NOTED.reset(token)


def note_loop(name: str) -> None:
    """Notes that a loop is taken, where someone writes it down."""
    names = _NOTED.get()
    if names is not None and name not in names:
        names.append(name)
