"""One process at a time in a run directory: a lock that ends with its process, however it ends."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import socket
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from train.errors import RunDirectoryError, RunWarning
from train.store.layout import LOCK

_TAKEN = (errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES)

_MOST = 4096


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Keeps other processes, and other threads of this one, out of a run directory.

    The lock is one of the operating system on a file of the directory, so it is free as soon as
    its process has ended. The file is removed at the end, and so is the directory if nothing else
    has come into it.

    Args:
      path: the run directory, which need not exist.

    Raises:
      RunDirectoryError: someone works in it, or it cannot be written to.
    """
    made = _made(path)
    try:
        file = _taken(path)
        try:
            yield
        finally:
            # Removed while it is still locked: nobody can have locked it in between.
            with contextlib.suppress(OSError):
                (path / LOCK).unlink()
            os.close(file)
    finally:
        for folder in made:
            with contextlib.suppress(OSError):  # not empty: there is a run in it now
                folder.rmdir()


def _made(path: Path) -> list[Path]:
    """Makes a directory; returns which ones were made for it, the innermost first."""
    missing = [p for p in (path, *path.parents) if not p.exists()]
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _unwritable(path, error) from error
    return missing


def _taken(path: Path) -> int:
    """Returns the open file of a lock that is taken."""
    while True:
        try:
            file = os.open(path / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise _unwritable(path, error) from error
        try:
            _lock(file, path)
            if _is_still(file, path / LOCK):
                holder = {"pid": os.getpid(), "host": socket.gethostname(), "since": time.time()}
                os.ftruncate(file, 0)
                os.pwrite(file, json.dumps(holder).encode(), 0)
                return file
        except OSError as error:
            os.close(file)
            raise _unwritable(path, error) from error
        except BaseException:
            os.close(file)
            raise
        os.close(file)  # its last holder has removed it: another file has the name by now


def _lock(file: int, path: Path) -> None:
    try:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (ImportError, OSError) as error:
        if isinstance(error, OSError) and error.errno in _TAKEN:
            raise RunDirectoryError(
                f"{path} is in use by {_holder(file)}; wait until it has ended, or stop it (Ctrl-C,"
                " SIGTERM), or choose another --workdir"
            ) from None
        warnings.warn(
            f"{path}: this file system has no locks ({error}), so nothing keeps a second process"
            " out of the directory; make sure that there is none",
            RunWarning,
            stacklevel=2,
        )


def _is_still(file: int, name: Path) -> bool:
    """Whether an open file is the one that has this name now."""
    try:
        now, here = os.stat(name), os.fstat(file)
    except FileNotFoundError:
        return False
    return (now.st_dev, now.st_ino) == (here.st_dev, here.st_ino)


def _holder(file: int) -> str:
    """Returns who holds a lock, as it wrote itself down."""
    try:
        found: Any = json.loads(os.pread(file, _MOST, 0))
        since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(found["since"]))
        return f"process {found['pid']:d} on {found['host']} since {since}"
    except (OSError, ValueError, TypeError, LookupError, OverflowError, RecursionError):
        return "another process, whose number is not known"


def _unwritable(path: Path, error: OSError) -> RunDirectoryError:
    return RunDirectoryError(
        f"{path} cannot be written to ({error.strerror}); choose another --workdir"
    )
