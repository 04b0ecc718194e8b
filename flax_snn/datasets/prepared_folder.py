"""What is said of a folder of a prepared data set that is damaged or incomplete."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator


@contextlib.contextmanager
def damage_explained(folder: str, what: str) -> Iterator[None]:
    """Turns errors of TFDS, JSON, protobuf and ArrayRecord at a damaged folder into a sentence."""
    try:
        yield
    except Exception as error:
        if isinstance(error, MemoryError) or not os.path.exists(folder):
            raise
        raise damaged(folder, what, f"{type(error).__name__}: {error}") from error


def damaged(folder: str, what: str, found: str) -> ValueError:
    """Returns the error for a folder that cannot be used."""
    return ValueError(
        f"expected a complete {what} data set in {folder}, got {found}; delete that folder and "
        "prepare it again"
    )
