"""SHA-256 sums of files and of samples, by which a run knows the data that it was trained on."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from train.data.parts import Part
from train.errors import ConfigError


def file_digest(path: Path, flag: str) -> str:
    """Returns the sum of the contents of a file.

    Args:
      path: the file.
      flag: the flag that named it, for the error.

    Raises:
      ConfigError: it cannot be read.
    """
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ConfigError(f"{flag}: {path} cannot be read ({error})") from error


def digest_of(files: Sequence[Path], flag: str, *, names: bool) -> str:
    """Returns one sum of several files.

    Args:
      files: the files.
      flag: the flag that named them.
      names: whether their names count, and their order does not, as in a folder of recordings.
        Otherwise the sum of a single file is that of its contents.

    Raises:
      ConfigError: one of them cannot be read.
    """
    if not names and len(files) == 1:
        return file_digest(files[0], flag)
    total = hashlib.sha256()
    for path in sorted(files, key=lambda each: each.name) if names else files:
        total.update(f"{path.name if names else ''} {file_digest(path, flag)}\n".encode())
    return total.hexdigest()


def samples_digest(part: Any) -> str | None:
    """Returns one sum of all samples of a part: their values, shapes and dtypes.

    Args:
      part: a `train.data.parts.Part`, with arrays of NumPy or JAX.

    Returns:
      The sum; None for samples that are read only while they are used, that other processes hold
      too, or of more than `MOST_BYTES`.
    """
    if not isinstance(part, Part):
        return None
    leaves = jax.tree_util.tree_flatten_with_path(part)[0]
    arrays = [array for _, array in leaves]
    if any(isinstance(a, jax.Array) and not a.is_fully_addressable for a in arrays):
        return None
    if sum(array.nbytes for array in arrays) > MOST_BYTES:
        return None
    total = hashlib.sha256()
    for path, array in leaves:
        total.update(f"{jax.tree_util.keystr(path)} {array.dtype} {array.shape}\n".encode())
        total.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    return total.hexdigest()


MOST_BYTES = 2**30
"""Most bytes of samples whose sum is taken: a second of one core."""
