"""Failures that Orbax and TensorStore tell of beside, or after, the one that they raise.

Several arrays are read or written at a time. The first that fails is raised, and Orbax closes its
event loop; each of the others then finds it closed, in a thread where nobody can catch the
exception, or is logged by a thread of Orbax. What is raised says it all, so these stay off the
screen, and are waited for before anybody is told of the first one.
"""

from __future__ import annotations

import logging
import sys
import threading
import time
from types import TracebackType
from typing import Any

_TURN, _TURNS = 0.05, 10
"""Seconds of a turn, and turns without another failure after which all have failed."""

_PATIENCE = 100
"""Turns after which those that are still at work are left alone, and stay off the screen."""


class LateFailures:
    """Keeps late failures off the screen, from ``__enter__`` to ``__exit__``.

    Attributes:
      failed: whether something has failed already, beside what ``__exit__`` is told.
    """

    def __init__(self) -> None:
        self.failed = False
        self._late = 0

    def __enter__(self) -> LateFailures:
        self._show, self._hook = sys.unraisablehook, self._caught
        sys.unraisablehook = self._hook
        _log.addFilter(self._told)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        failed = self.failed or (kind is not None and issubclass(kind, Exception))
        if failed and not self._all_failed():
            return  # what is still to come stays off the screen
        # Of several in threads, another one may have put its own in front.
        if sys.unraisablehook is self._hook:
            sys.unraisablehook = self._show
        _log.removeFilter(self._told)

    def _caught(self, caught: Any) -> None:
        if "Event loop is closed" in str(caught.exc_value):
            self._late += 1
        else:
            self._show(caught)

    def _told(self, record: logging.LogRecord) -> bool:
        """Returns False for what Orbax logs of an exception that it raises too."""
        late = bool(record.exc_info) and "orbax" in record.pathname
        self._late += late
        return not late

    def _all_failed(self) -> bool:
        """Waits until nothing fails any more; returns False if that takes too long."""
        quiet, known = 0, self._late
        for _ in range(_PATIENCE):
            time.sleep(_TURN)
            still = self._late == known and not _at_work()
            quiet, known = quiet + 1 if still else 0, self._late
            if quiet == _TURNS:
                return True
        return False


_log = logging.getLogger("absl")


def _at_work() -> bool:
    """Returns whether a thread of Orbax has not ended."""
    return any(type(thread).__module__.startswith("orbax.") for thread in threading.enumerate())
