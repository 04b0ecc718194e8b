"""HDF5 files as trees of plain values, read as untrusted input.

The library nir reads whatever h5py returns. Here no link is followed, the declared size of an array
is compared with what is stored before it is read, and only numbers and strings are accepted.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from flax_snn.nir.error import NIRError, fail
from flax_snn.untrusted_hdf5 import check_stored, endless_heap, foreign_link, stored_elsewhere

MAX_BYTES = 2**31
"""Largest total size of all arrays of a file, in bytes."""

_MAX_OBJECTS = 30_000  # some 5000 nodes; reading one takes about half a millisecond
_MAX_DEPTH = 32
_MAX_STRING = 2**20


def read_tree(path: str | os.PathLike[str], max_bytes: int = MAX_BYTES) -> dict[str, Any]:
    """Returns the root graph of a NIR file as nested dicts of arrays, strings and numbers.

    Args:
      path: the file.
      max_bytes: largest total size of all its arrays, in bytes.

    Raises:
      NIRError: the file is not HDF5, is damaged, has no graph, or contains links, types or sizes
        that are refused.
      FileNotFoundError: there is no such file.
      ModuleNotFoundError: h5py is not installed.
    """
    try:
        import h5py
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "flax_snn.nir reads files with the library h5py; install it with"
            " pip install 'flax-snn[nir]', or -e '.[nir]' in a clone"
        ) from error
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file; expected a NIR file")
    try:
        with h5py.File(path, "r") as file:
            if wrong := endless_heap(file):
                raise fail(str(path), "heaps that end", wrong, "export the network again")
            if _child(file, "node", "/") is None:
                raise fail(
                    str(path),
                    "a group '/node', the root graph",
                    f"only {sorted(file)[:8]}",
                    "is it a NIR file?",
                )
            reader = _Reader(max_bytes)
            tree = reader.read(_child(file, "node", "/"), "/node", 0)
    except NIRError:
        raise
    except (OSError, RuntimeError, KeyError, ValueError, TypeError, MemoryError) as error:
        raise fail(
            str(path),
            "a readable HDF5 file",
            f"{type(error).__name__}: {error}",
            "the file is empty, truncated, damaged or of another format: export the network again",
        ) from error
    if not isinstance(tree, dict):
        raise fail(f"{path}: /node", "a group", "a single value", "is it a NIR file?")
    return tree


def _child(group: Any, name: str, where: str) -> Any:
    """Returns a member of a group, or None if there is none. Links are refused."""
    if group.get(name, getlink=True) is None:
        return None
    if kind := foreign_link(group, name):
        raise fail(
            f"{where.rstrip('/')}/{name}",
            "data",
            f"a {kind}",
            "links are not followed, as they may lead to other files: write the data itself",
        )
    return group[name]


class _Reader:
    def __init__(self, max_bytes: int) -> None:
        self.left, self.objects = max_bytes, _MAX_OBJECTS
        self.max_bytes = max_bytes

    def read(self, item: Any, where: str, depth: int) -> Any:
        import h5py

        self.objects -= 1
        if self.objects < 0 or depth > _MAX_DEPTH:
            limit = f"at most {_MAX_OBJECTS} objects, {_MAX_DEPTH} deep"
            raise fail(where, limit, "more", "does a group contain itself?")
        if isinstance(item, h5py.Group):
            return {
                name: self.read(_child(item, name, where), f"{where}/{name}", depth + 1)
                for name in item
            }
        if not isinstance(item, h5py.Dataset):
            raise fail(where, "a group or a data set", type(item).__name__)
        return self.value(item, where)

    def value(self, data: Any, where: str) -> Any:
        import h5py

        if data.shape is None:
            raise fail(where, "a value", "an empty data set")
        if stored_elsewhere(data):
            raise fail(
                where, "data in this file", "data in another one", "write them into this file"
            )
        if h5py.check_string_dtype(data.dtype) is not None:
            return self.strings(data, where)
        if data.dtype.kind not in "fiubc":  # complex numbers are refused with their field
            raise fail(where, "numbers or strings", f"HDF5 type {data.dtype}")
        self.spend(data.size * data.dtype.itemsize, data, where)
        return data[()]

    def strings(self, data: Any, where: str) -> Any:
        size = data.dtype.itemsize if data.dtype.kind == "S" else 16
        self.spend(data.size * size, data, where)

        def text(value: Any) -> str:
            self.left -= len(value)
            if len(value) > _MAX_STRING or self.left < 0:
                raise fail(where, f"at most {_MAX_STRING} characters", f"{len(value)}")
            return value.decode("utf8", "replace") if isinstance(value, bytes) else str(value)

        if data.ndim == 0:
            return text(data[()])
        if data.ndim == 1:
            return [text(data[k]) for k in range(data.shape[0])]
        if data.ndim == 2 and data.shape[1] == 2:
            # Read one at a time, since many elements may share one long string that is stored once.
            return [(text(data[k, 0]), text(data[k, 1])) for k in range(data.shape[0])]
        raise fail(where, "a string, a list of them, or pairs", f"an array of shape {data.shape}")

    def spend(self, size: int, data: Any, where: str) -> None:
        """Counts bytes that are about to be read; raises if they exceed what is allowed."""
        if wrong := check_stored(data, size):
            raise fail(
                where,
                "stored values",
                wrong,
                "the file is damaged, or was made to exhaust the memory",
            )
        self.left -= size
        if self.left < 0:
            raise fail(
                where,
                f"at most {self.max_bytes} bytes in all",
                "more",
                "pass a larger max_bytes if the network is meant to have this size",
            )
