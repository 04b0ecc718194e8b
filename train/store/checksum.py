"""Sums of what a run writes, stored with it: a bit that flips is noticed by whoever reads it.

The sums are BLAKE2b of 128 bits (Aumasson et al., BLAKE2: simpler, smaller, fast as MD5, 2013):
one over an object of JSON, stored in it as ``checksum``; one over arrays, with their names, shapes
and dtypes; one over the lines of a file that grows.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

CHECKSUM = "checksum"
"""Key of the sum of all the others in an object."""


def sealed(value: Mapping[str, Any]) -> dict[str, Any]:
    """Returns an object of JSON with its sum."""
    plain = {name: v for name, v in value.items() if name != CHECKSUM}
    return {**plain, CHECKSUM: json_sum(plain)}


def is_broken(value: Mapping[str, Any]) -> bool:
    """Returns whether an object has a sum that is not that of its other keys."""
    return CHECKSUM in value and value != sealed(value)


def json_sum(value: Any) -> str:
    """Returns the sum of a value of JSON, however it is laid out in a file."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return _blake2b(text.encode()).hexdigest()


def arrays_sum(arrays: Mapping[str, np.ndarray]) -> str:
    """Returns the sum of named arrays in the host's memory: of names, dtypes, shapes and bytes."""
    total = _blake2b()
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        total.update(f"{name} {array.dtype.name} {arrays[name].shape}\n".encode())
        total.update(array.reshape(-1).view(np.uint8))
    return total.hexdigest()


class LinesSum:
    """The sum of lines so far.

    Args:
      lines: the first of them.
    """

    def __init__(self, lines: Iterable[str] = ()):
        self._total = _blake2b()
        for line in lines:
            self.add(line)

    def add(self, line: str) -> str:
        """Takes one more line; returns the sum with it."""
        self._total.update(line.encode())
        return self.value

    @property
    def value(self) -> str:
        """The sum."""
        return self._total.copy().hexdigest()


def _blake2b(data: bytes = b"") -> Any:
    return hashlib.blake2b(data, digest_size=16)
