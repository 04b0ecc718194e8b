"""A folder that was written elsewhere holds plain files and folders, and no way out of it."""

from __future__ import annotations

import os
from pathlib import Path

from flax_snn.checks import error_text
from flax_snn.regular_file import check_regular
from train.errors import CheckpointError

_MOST = 100_000


def check_tree(folder: Path) -> int:
    """Refuses a folder with anything but regular files and folders, at any depth.

    The readers of arrays would wait for ever for a pipe, and follow a symbolic link to wherever it
    leads. The folder itself may be a link: its user has named it.

    Args:
      folder: the folder, of a checkpoint.

    Returns:
      The size of all files, in bytes.

    Raises:
      CheckpointError: a link, a pipe, a socket or a device, a folder that cannot be listed, or
        more entries than any checkpoint has.
    """
    size, entries, waiting = 0, 0, [os.fspath(folder)]
    try:
        while waiting:
            with os.scandir(waiting.pop()) as found:
                for entry in found:
                    entries += 1
                    if entries > _MOST:
                        raise CheckpointError(
                            error_text(str(folder), f"at most {_MOST} files", "more")
                        )
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(entry.path)
                        continue
                    about = entry.stat(follow_symlinks=False)
                    _check_file(entry.path, about.st_mode)
                    size += about.st_size
    except OSError as error:
        raise CheckpointError(f"{error.filename} cannot be read ({error.strerror})") from None
    return size


def _check_file(path: str, mode: int) -> None:
    try:
        check_regular(mode)
    except ValueError as error:
        raise CheckpointError(
            f"{path}: {str(error).partition(': ')[2]}; copy the files themselves"
        ) from None
