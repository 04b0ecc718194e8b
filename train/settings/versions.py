r"""Which version of the settings added a field, and how older runs are read without it.

A new setting is one line of a dataclass, with its version:

    width: int = added(5, 128)
    # and its help in a string below it

Runs that were stored by older versions are read as if they had the default; where they behaved
otherwise, ``before`` says how. `VERSION` is raised with the first field that a release adds.
"""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Iterator
from typing import Any

VERSION = 5
"""Version of the settings that this release writes. It reads all versions from `OLDEST` on."""

OLDEST = 2

_SAME: Any = object()


def added(version: int, default: Any, before: Any = _SAME) -> Any:
    """Returns a field of settings that a version added.

    Args:
      version: the first version of the settings that has the field.
      default: value of runs that say nothing else.
      before: value of runs that older versions stored; by default the same.
    """
    before = default if before is _SAME else before
    return dataclasses.field(default=default, metadata={"added": version, "before": before})


def additions(settings: Any, name: str = "") -> Iterator[tuple[int, str, Any]]:
    """Yields the table of a dataclass of settings: version, name of the field, value before it.

    Args:
      settings: the dataclass.
      name: where it stands in another one.
    """
    hints = typing.get_type_hints(settings)
    for field in dataclasses.fields(settings):
        path = f"{name}.{field.name}" if name else field.name
        if "added" in field.metadata:
            yield field.metadata["added"], path, field.metadata["before"]
        if dataclasses.is_dataclass(hints[field.name]):
            yield from additions(hints[field.name], path)
