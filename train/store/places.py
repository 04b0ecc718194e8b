"""Which paths a run directory may have: those that all who read and write it take as they are."""

from __future__ import annotations

import os
from pathlib import Path

from train.errors import CheckpointError, InputError, RunDirectoryError

PATTERNS = "*?[]\\"
"""Characters of patterns: Orbax looks for what it has written by one that begins with the path."""

_BELOW = 250
"""Room in bytes for the names of files below a run directory; the longest ones are below 200."""

_LONGEST = 4096
"""Bytes of a path, where the operating system does not say."""


def check_new_place(path: Path) -> None:
    """Refuses a path where a run could not be written, before anything is.

    Args:
      path: the run directory, which need not exist.

    Raises:
      RunDirectoryError: the message says which character or name.
    """
    check_readable_place(path, RunDirectoryError, "choose another --workdir")
    whole = os.fspath(path.absolute())
    found = sorted(set(whole) & set(PATTERNS))
    if found:
        raise RunDirectoryError(
            f"{whole!r}: expected a path without any of {' '.join(PATTERNS)}, which checkpoints"
            f" are looked for by, got {' '.join(found)}; choose another --workdir"
        )
    longest = _limit(path, "PC_PATH_MAX", _LONGEST) - _BELOW
    if (size := len(os.fsencode(whole))) > longest:
        raise RunDirectoryError(
            f"{_short(whole)}: expected a path of at most {longest} bytes, so that there is room"
            f" for the names below it, got {size}; choose another --workdir"
        )


def check_readable_place(path: Path, error: type[InputError], remedy: str) -> None:
    """Refuses a path that no file can have.

    Args:
      path: the path.
      error: the class of what is raised.
      remedy: what to do.

    Raises:
      InputError: of the class `error`.
    """
    if "\0" in os.fspath(path):
        raise error(f"{_short(os.fspath(path))!r}: expected a path without NUL, got one; {remedy}")
    longest = _limit(path, "PC_NAME_MAX", 255)
    for name in path.parts:
        if (size := len(os.fsencode(name))) > longest:
            raise error(
                f"{_short(name)}: expected names of at most {longest} bytes, got {size}; {remedy}"
            )


def check_checkpoint_place(path: Path) -> None:
    """Refuses a path of which no checkpoint can be read.

    Raises:
      CheckpointError: the message says why.
    """
    check_readable_place(path, CheckpointError, "give the directory of a run")


def _limit(path: Path, name: str, default: int) -> int:
    """Returns a limit of the file system that a path is, or would be, on."""
    for folder in path.absolute().parents:
        try:
            found = os.pathconf(folder, name)
        except (OSError, ValueError, AttributeError):
            continue
        return found if found > 0 else default
    return default


def _short(text: str) -> str:
    return text if len(text) <= 60 else f"{text[:60]}..."
