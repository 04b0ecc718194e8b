"""Ctrl-C, SIGTERM and SIGHUP: finish what is running, save, leave with the signal's exit code.

SIGHUP comes when the terminal is closed, or the connection to it lost. A run that was started to
survive that, with ``nohup``, ignores it as before.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from train.errors import end_at_once

EXIT_CODES = {signal.SIGINT: 130, signal.SIGTERM: 143}
_HANG_UP = getattr(signal, "SIGHUP", None)  # Windows has none
if _HANG_UP is not None:
    EXIT_CODES[_HANG_UP] = 129


class Stop:
    """Whether a signal has asked the run to stop.

    Attributes:
      code: exit code of the signal that came, 0 if none did.
    """

    def __init__(self) -> None:
        self.code = 0

    def __bool__(self) -> bool:
        return self.code != 0


@contextmanager
def stop_on_signal(unit: str, notify: Callable[[str], None]) -> Iterator[Stop]:
    """Catches the first signal; a second Ctrl-C raises KeyboardInterrupt, a third ends the process.

    The second one leaves time to save the epochs that are done. What is saved is whole at any time,
    as after a SIGKILL.

    Args:
      unit: what is finished before the run ends, in words: ``epoch``.
      notify: shows the user a line of text.

    Yields:
      What to look at in between.
    """
    stop = Stop()
    terminals = [number for number in (1, 2) if os.isatty(number)]

    def handle(number: int, frame: FrameType | None) -> None:
        if stop and number == signal.SIGINT:
            # Raised a second time it would tear through the saving, in the middle of Orbax, which
            # would also report the first one as a failure of its own.
            signal.signal(signal.SIGINT, end_at_once)
            logging.disable(logging.CRITICAL)
            raise KeyboardInterrupt
        stop.code = EXIT_CODES[signal.Signals(number)]
        if number == _HANG_UP:
            _write_nowhere(terminals)
        notify(f"finishing the running {unit}, then saving; Ctrl-C again stops at once")

    # Python delivers signals to the main thread only.
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    disabled = logging.root.manager.disable
    before = {n: signal.signal(n, handle) for n in EXIT_CODES if not _is_ignored(n)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        logging.disable(disabled)


def _is_ignored(number: int) -> bool:
    """Whether the process was told to ignore that its terminal is closed."""
    return number == _HANG_UP and signal.getsignal(number) == signal.SIG_IGN


def _write_nowhere(streams: list[int]) -> None:
    """Lets output go nowhere where its terminal is gone: writing to that would be an error."""
    with contextlib.suppress(OSError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        for stream in streams:
            os.dup2(nowhere, stream)
        os.close(nowhere)
