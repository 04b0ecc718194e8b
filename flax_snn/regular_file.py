"""Files that were named by someone: read if they are files, and never waited for."""

from __future__ import annotations

import os
import stat

from flax_snn import checks

__all__ = [
    "check_regular",
    "read_regular",
]


def read_regular(path: str | os.PathLike[str], max_bytes: int | None = None) -> bytes:
    """Returns the content of a regular file.

    A directory, a device, a socket or a pipe is refused, not waited for.

    Args:
      path: the file.
      max_bytes: largest size, in bytes; None for any.

    Raises:
      FileNotFoundError: there is no such file.
      OSError: it cannot be read.
      ValueError: no regular file, or a larger one.
    """
    # Opening a pipe that nobody writes to would wait for ever.
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    handle = os.open(path, flags)
    try:
        check_regular(os.fstat(handle).st_mode)
        with os.fdopen(handle, "rb", closefd=False) as file:
            content = file.read(-1 if max_bytes is None else max_bytes + 1)
    finally:
        os.close(handle)
    if max_bytes is not None and len(content) > max_bytes:
        raise ValueError(checks.error_text("the file", f"at most {max_bytes} bytes", "more"))
    return content


def check_regular(mode: int) -> None:
    """Refuses what is no regular file.

    Args:
      mode: ``st_mode`` of `os.stat`.

    Raises:
      ValueError: a directory, a pipe, a socket or a device.
    """
    if stat.S_ISREG(mode):
        return
    kinds = {
        "a directory": stat.S_ISDIR,
        "a pipe": stat.S_ISFIFO,
        "a socket": stat.S_ISSOCK,
        "a symbolic link": stat.S_ISLNK,
    }
    found = next((kind for kind, test in kinds.items() if test(mode)), "a device")
    raise ValueError(checks.error_text("the file", "a regular file", found))


def __dir__() -> list[str]:
    return __all__
