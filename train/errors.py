"""Errors that are the user's to mend: shown as a message, without a traceback."""

from __future__ import annotations

import sys
from collections.abc import Callable

BAD_INPUT = 2
"""Exit code where the input is at fault: flags, a run directory, a checkpoint."""


class InputError(Exception):
    """Something given to the app cannot be used; the message says what to do."""


class ConfigError(InputError):
    """A setting is outside its range, or settings contradict each other."""


class RunDirectoryError(InputError):
    """A run directory cannot be used for a new run."""


class CheckpointError(InputError):
    """A checkpoint is missing, damaged, or of another model or version."""


def exit_code(command: str, run: Callable[[], int]) -> int:
    """Run a command; show what the user can mend as ``command: error: ...``.

    Args:
      command: what was typed, such as ``python -m train.randman``.
      run: the work; returns an exit code.

    Returns:
      The code of ``run``; `BAD_INPUT` after an `InputError`; 130 after a second Ctrl-C, or one
      before training began.
    """
    try:
        return run()
    except InputError as error:
        print(f"{command}: error: {error}", file=sys.stderr)
        return BAD_INPUT
    except KeyboardInterrupt:
        print(f"\n{command}: stopped at once; what was saved before is kept", file=sys.stderr)
        return 130
