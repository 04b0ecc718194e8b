"""Samples prepared once: what files became lies in the user's cache, named by their contents.

The name of a prepared file is a SHA-256 sum of the raw files and of the settings that decide what
becomes of them. A run stores the sum of its raw files, so that it can be evaluated or resumed where
they are gone, and never on others.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

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
            return {name: arrays[name] for name in arrays.files}
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error):
        return None


def write_prepared(path: Path, arrays: Arrays) -> None:
    """Writes prepared samples; the file appears when it is whole.

    Raises:
      ConfigError: it cannot be written; nothing is left.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, suffix=".part")
    except OSError as error:
        raise _unwritable(path, error) from error
    try:
        with os.fdopen(handle, "wb") as file:
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


def _unwritable(path: Path, error: OSError) -> ConfigError:
    return ConfigError(
        f"{path}: prepared samples cannot be written ({error}); make room there, or name another"
        " directory with XDG_CACHE_HOME"
    )
