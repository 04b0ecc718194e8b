"""SHA-256 sums of files, by which a run knows the data that it was trained on."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

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
