"""What an HDF5 file of a stranger may do beside holding numbers, and how it is seen before.

A file can lead its reader elsewhere, by links to other files, data stored in other files and data
put together from other files; and it can declare an array of any size and store next to nothing.
h5py follows all of it.
And a heap whose objects have no size, be it by one damaged byte, is read for ever by the library
HDF5, up to 2.0 at least, in C code that no signal to Python ends.

Source: The HDF Group, HDF5 File Format Specification Version 3.0 (links, external data files,
virtual datasets, filters, III.E global heap).
"""

from __future__ import annotations

import mmap
import os
from typing import Any

import numpy as np

__all__ = [
    "RATIO",
    "SLACK",
    "check_stored",
    "endless_heap",
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
    longest, file_size = _longest_list(data), os.path.getsize(data.file.filename)
    if longest > file_size:
        return f"a list or text of {longest} bytes declared in a file of {file_size}"
    return None


def _longest_list(data: Any) -> int:
    """Returns the bytes of the longest list or text that a contiguous data set declares, or 0.

    HDF5 takes memory for it before it looks for it in the file.
    """
    import h5py

    row = h5py.check_vlen_dtype(data.dtype)  # also of texts of any length
    place = data.id.get_offset() if data.dtype.kind == "O" else None
    if row is None or place is None:
        return 0
    step = 8 + data.file.id.get_create_plist().get_sizes()[0]  # length, address, number
    with open(data.file.filename, "rb") as raw:
        raw.seek(place)
        stored = raw.read(data.size * step)
    whole = stored[: len(stored) // step * step]
    lengths = np.frombuffer(whole, np.dtype([("length", "<u4"), ("rest", f"V{step - 4}")]))
    width = row.itemsize if isinstance(row, np.dtype) else 1
    return int(lengths["length"].max(initial=0)) * width


_SIGNATURE = b"GCOL\x01"
_HEADER = 16
"""Bytes of the header of a heap, and of each of its objects, with their padding."""

_LEAST = 4096
"""Bytes of a heap, of which HDF5 refuses smaller ones."""


def endless_heap(file: Any) -> str | None:
    """Returns what is wrong with the heaps of a file, which hold its texts and lists, or None.

    To be asked before any of them is read. The whole file is searched, at the speed of the disk.

    Args:
      file: a file of h5py that was just opened.
    """
    width = file.id.get_create_plist().get_sizes()[1]
    with open(file.filename, "rb") as raw, mmap.mmap(raw.fileno(), 0, access=mmap.ACCESS_READ) as m:
        left = len(m) // _HEADER  # of heaps that do not overlap there are no more objects
        at = m.find(_SIGNATURE)
        while at >= 0:
            end = at + int.from_bytes(m[at + 8 : at + 8 + width], "little")
            place = at + _HEADER
            # One that is too small, or goes on behind the file, is refused by HDF5.
            while end - at >= _LEAST and place + _HEADER <= end <= len(m):
                step = _step(m[place : place + _HEADER], width)
                left -= 1
                if not step or left < 0:
                    what = "overlaps with others" if step else f"has no size at byte {place}"
                    return f"a heap at byte {at} that {what}, which HDF5 would read for ever"
                place += step
            at = m.find(_SIGNATURE, at + 1)
    return None


def _step(header: bytes, width: int) -> int:
    """Returns how far it is from an object of a heap to the next one, as HDF5 counts it."""
    size = int.from_bytes(header[8 : 8 + width], "little")
    if not int.from_bytes(header[:2], "little"):  # free space, its header included
        return size
    return (_HEADER + (size + 7) // 8 * 8) % 2**64


def __dir__() -> list[str]:
    return __all__
