"""What is said where the operating system refuses to write a checkpoint."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from train.errors import InputError, RunDirectoryError

_REFUSED = [
    os.strerror(number)
    for number in (
        errno.ENOSPC,
        errno.EDQUOT,
        errno.EFBIG,
        errno.EROFS,
        errno.EACCES,
        errno.EPERM,
        errno.EIO,
        errno.ENAMETOOLONG,
    )
]


@contextlib.contextmanager
def disk_explained(run: Path) -> Iterator[None]:
    """Turns what Orbax and TensorStore raise at a disk that is full or read-only into a sentence.

    Args:
      run: the run directory.

    Raises:
      RunDirectoryError: the message says why, and how many bytes are free.
    """
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        words = _words(error)
        if words is None:
            raise
        raise RunDirectoryError(
            f"{run}: a checkpoint cannot be written ({words}; {_free(run)} bytes free); those that"
            " were saved before are kept: make room, or make it writable, then go on with --resume"
        ) from error


def _words(error: BaseException | None) -> str | None:
    """Returns why the operating system refused, ``None`` if something else went wrong."""
    while error is not None:
        # TensorStore has no OSError: it has the words of the system in its text.
        for words in _REFUSED:
            if words in str(error) or getattr(error, "strerror", None) == words:
                return words
        error = error.__cause__ or error.__context__
    return None


def _free(run: Path) -> str:
    try:
        return str(shutil.disk_usage(run).free)
    except OSError:
        return "an unknown number of"
