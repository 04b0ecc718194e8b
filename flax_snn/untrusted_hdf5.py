"""What an HDF5 file of a stranger may do beside holding numbers, and how it is seen before.

A file can lead its reader elsewhere, by links to other files, data stored in other files and data
put together from other files; and it can declare an array of any size and store next to nothing.
h5py follows all of it.

Source: The HDF Group, HDF5 File Format Specification Version 3.0 (links, external data files,
virtual datasets, filters).
"""

from __future__ import annotations

from typing import Any

__all__ = [
    "RATIO",
    "SLACK",
    "check_stored",
    "foreign_link",
    "stored_elsewhere",
]

SLACK = 2**16
"""Bytes that an array may declare without storing them: they are filled with a constant."""

RATIO = 1100
"""Bytes that one stored byte may become; gzip compresses at most 1032 to 1."""


def foreign_link(group: Any, name: str) -> str | None:
    """Returns the kind of a link that is not to data of the group itself, or None.

    Args:
      group: a group of h5py.
      name: name of a member; None is returned if there is no such member.
    """
    import h5py

    link = group.get(name, getlink=True)
    return None if link is None or isinstance(link, h5py.HardLink) else type(link).__name__


def stored_elsewhere(data: Any) -> bool:
    """Returns whether the values of a data set lie in other files."""
    return bool(data.is_virtual or data.external)


def check_stored(data: Any, size: int) -> str | None:
    """Returns what is wrong with the size of a data set, or None.

    Args:
      data: a data set of h5py.
      size: bytes of its elements, as it declares them.
    """
    stored = int(data.id.get_storage_size())
    if size > RATIO * stored + SLACK:
        return f"{size} bytes declared and {stored} stored"
    return None


def __dir__() -> list[str]:
    return __all__
