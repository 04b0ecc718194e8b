"""A full disk, said once: which folder, how much room is left, and what to do."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from collections.abc import Iterator

from flax_snn import checks

_FULL = (errno.ENOSPC, errno.EDQUOT)


def is_full(error: BaseException) -> bool:
    """Returns whether an error says that the disk, or the user's share of it, is full."""
    # HDF5 wraps the number of the error in its text.
    return isinstance(error, OSError) and (error.errno in _FULL or "No space left" in str(error))


@contextlib.contextmanager
def disk_explained(folder: str | os.PathLike[str], what: str, remedy: str) -> Iterator[None]:
    """Says what to do where the disk is full.

    Args:
      folder: where something is written.
      what: what there is no room for, such as "the prepared data".
      remedy: what to do, and what became of the half of it.

    Raises:
      OSError: the disk is full; the text names the folder and the bytes that are free.
    """
    try:
        yield
    except OSError as error:
        if not is_full(error):
            raise
        raise OSError(
            errno.ENOSPC,
            checks.error_text(
                os.fspath(folder),
                f"room on the disk for {what}",
                f"{shutil.disk_usage(folder).free} bytes free",
                remedy,
            ),
        ) from error
