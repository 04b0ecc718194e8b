"""Samples prepared once: what files became lies in the user's cache, named by their contents.

The name of a prepared file is a SHA-256 sum of the raw files and of the settings that decide what
becomes of them. A run stores the sum of its raw files, so that it can be evaluated or resumed where
they are gone, and never on others.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO

import numpy as np

from flax_snn.datasets.unreadable_npz import UNREADABLE_NPZ
from train.errors import ConfigError

Arrays = Mapping[str, np.ndarray]


def prepared_path(task: str, digest: str, encoding: object) -> Path:
    """Returns where the samples that some settings make of some files lie, or will lie.

    Args:
      task: name of the task.
      digest: sum of the raw files.
      encoding: the settings, an object whose ``repr`` says all of them.
    """
    name = hashlib.sha256(f"{digest} {encoding!r}".encode()).hexdigest()[:24]
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache, "flax_snn", "data", f"{task}-{name}.npz")


def read_prepared(path: Path) -> Arrays | None:
    """Returns prepared samples, or None if they are not there or damaged: each array has a sum."""
    try:
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as arrays:
            found = {name: arrays[name] for name in arrays.files}
    except UNREADABLE_NPZ:
        return None
    # Of a member that is no array NumPy gives the bytes.
    return found if all(isinstance(each, np.ndarray) for each in found.values()) else None


def write_prepared(path: Path, arrays: Arrays) -> None:
    """Writes prepared samples; the file appears when it is whole.

    Raises:
      ConfigError: it cannot be written; nothing is left.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_halves(path.parent)
        handle, name = tempfile.mkstemp(dir=path.parent, suffix=_HALF)
    except OSError as error:
        raise _unwritable(path, error) from error
    try:
        with os.fdopen(handle, "wb") as file:
            _lock(file)
            np.savez_compressed(file, **dict(arrays))  # type: ignore[arg-type]
        os.replace(name, path)
    except OSError as error:
        raise _unwritable(path, error) from error
    finally:
        Path(name).unlink(missing_ok=True)


def prepared(path: Path, make: Callable[[], Arrays]) -> Arrays:
    """Returns prepared samples; they are made and written where they are not there yet."""
    found = read_prepared(path)
    if found is None:
        found = make()
        write_prepared(path, found)
    return found


_HALF = ".part"

_FRESH = 60.0
"""Seconds in which a process has locked the file that it has made."""


def _remove_halves(folder: Path) -> None:
    """Removes files that a killed process had not written to their end: nobody has them locked."""
    for half in folder.glob(f"*{_HALF}"):
        with contextlib.suppress(OSError), open(half, "rb") as file:
            old = time.time() - os.fstat(file.fileno()).st_mtime > _FRESH
            if old and _lock(file):
                half.unlink()


def _lock(file: IO[bytes]) -> bool:
    """Locks a file until it is closed, or its process ends; returns whether that worked."""
    try:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (ImportError, OSError):  # someone else has it, or the disk knows no locks
        return False
    return True


def _unwritable(path: Path, error: OSError) -> ConfigError:
    return ConfigError(
        f"{path}: prepared samples cannot be written ({error}); make room there, or name another"
        " directory with XDG_CACHE_HOME"
    )
