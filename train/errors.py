"""Errors that the user can fix: shown as a message, without a traceback."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any, NoReturn

BAD_INPUT = 2
"""Exit code where the input is at fault: flags, a run directory, a checkpoint."""


INTERRUPTED = 130
"""Exit code after Ctrl-C."""

STOPPED = "stopped at once; what was saved before is kept"


class InputError(Exception):
    """Something given to the app cannot be used; the message says what to do."""


class ConfigError(InputError):
    """A setting is outside its range, or settings contradict each other."""


class RunDirectoryError(InputError):
    """A run directory cannot be used for a new run."""


class CheckpointError(InputError):
    """A checkpoint is missing, damaged, or of another model or version."""


class NotFiniteError(InputError):
    """The loss is no longer a number."""


class RunWarning(UserWarning):
    """Something is not as it should be, and the command goes on; the message says how."""


@contextlib.contextmanager
def as_config_error() -> Iterator[None]:
    """Turns the errors of the library's checks into errors of settings."""
    try:
        yield
    except (TypeError, ValueError) as error:
        raise ConfigError(str(error)) from None


def exit_code(command: str, run: Callable[[], int]) -> int:
    """Runs a command; shows what the user can fix as ``command: error: ...``.

    Args:
      command: what was typed, such as ``python -m train.randman``.
      run: the work; returns an exit code.

    Returns:
      The code of ``run``; `BAD_INPUT` after an `InputError`, or where the operating system refuses
      memory, or to read or write a file; 130 after a second Ctrl-C, or one before training began.
    """
    try:
        with _warnings_shown(command):
            return run()
    except InputError as error:
        print(f"{command}: error: {error}", file=sys.stderr)
        return BAD_INPUT
    except BrokenPipeError:
        raise  # whoever read the output has closed it
    except OSError as error:
        # A disk that is full or read-only, a name that is too long: nothing that code can repair.
        if error.errno is None:
            raise
        where = f"{error.filename}: " if error.filename else ""
        print(f"{command}: error: {where}{error.strerror}", file=sys.stderr)
        return BAD_INPUT
    except MemoryError as error:
        print(
            f"{command}: error: the memory of this machine is too small"
            f"{f' ({error})' if str(error) else ''}; use fewer samples, a smaller network or a"
            " smaller batch",
            file=sys.stderr,
        )
        return BAD_INPUT
    except KeyboardInterrupt:
        print(f"\n{command}: {STOPPED}", file=sys.stderr)
        if _is_the_process():
            # Threads that still work are waited for; who does not want to wait needs no traceback.
            signal.signal(signal.SIGINT, lambda number, frame: os._exit(INTERRUPTED))
        return INTERRUPTED


@contextlib.contextmanager
def _warnings_shown(command: str) -> Iterator[None]:
    """Shows each `RunWarning` as ``command: warning: ...``, however quiet the command is."""
    with warnings.catch_warnings():
        warnings.simplefilter("always", RunWarning)
        others = warnings.showwarning

        def show(message: Any, category: Any, *place: Any, **more: Any) -> None:
            if issubclass(category, RunWarning):
                print(f"{command}: warning: {message}", file=sys.stderr)
            else:
                others(message, category, *place, **more)

        warnings.showwarning = show
        yield


def end_at_once(number: int, frame: FrameType | None) -> NoReturn:
    """Ends the process, whatever its threads are doing: a handler for a signal that comes again."""
    os.write(2, f"\n{STOPPED}\n".encode())
    os._exit(INTERRUPTED)


def _is_the_process() -> bool:
    """Whether the process is ``python -m train...``, and ends with its command."""
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    main = threading.current_thread() is threading.main_thread()
    return main and spec is not None and spec.name.partition(".")[0] == "train"
