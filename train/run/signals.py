"""Ctrl-C and SIGTERM: finish what is running, save, and leave with the signal's exit code."""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from train.errors import end_at_once

EXIT_CODES = {signal.SIGINT: 130, signal.SIGTERM: 143}


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
    """Catch the first signal; a second Ctrl-C raises KeyboardInterrupt, a third ends the process.

    The second one leaves time to save the epochs that are done. What is saved is whole at any time,
    as after a SIGKILL.

    Args:
      unit: what is finished before the run ends, in words: ``epoch``.
      notify: shows the user a line of text.

    Yields:
      What to look at in between.
    """
    stop = Stop()

    def handle(number: int, frame: FrameType | None) -> None:
        if stop and number == signal.SIGINT:
            # Raised a second time it would tear through the saving, in the middle of Orbax, which
            # would also report the first one as a failure of its own.
            signal.signal(signal.SIGINT, end_at_once)
            logging.disable(logging.CRITICAL)
            raise KeyboardInterrupt
        stop.code = EXIT_CODES[signal.Signals(number)]
        notify(f"finishing the running {unit}, then saving; Ctrl-C again stops at once")

    # Python delivers signals to the main thread only.
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    disabled = logging.root.manager.disable
    before = {number: signal.signal(number, handle) for number in EXIT_CODES}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        logging.disable(disabled)
