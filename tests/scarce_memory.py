"""A C function like malloc that has memory for so many calls only."""

from __future__ import annotations

import ctypes
from collections.abc import Callable

import pytest

NUMBER = ctypes.c_int64

Allocate = Callable[[int], None]


def scarce_memory(monkeypatch: pytest.MonkeyPatch, name: str) -> Allocate:
    """Lets native loops that are compiled from here on allocate by a function of this name.

    Returns:
      A function that says how many pieces of memory there are from now on. It must live as long as
      the loops are called.
    """
    from llvmlite import binding

    from flax_snn.products.native import vectors

    left = [0]

    def allocate(size: int) -> int:
        left[0] -= 1
        return 0 if left[0] < 0 else system(size)

    system = ctypes.CFUNCTYPE(NUMBER, NUMBER)(("malloc", ctypes.CDLL(None)))
    callback = ctypes.CFUNCTYPE(NUMBER, NUMBER)(allocate)
    binding.add_symbol(name, ctypes.cast(callback, ctypes.c_void_p).value)
    monkeypatch.setattr(vectors, "ALLOCATE", name)

    def pieces(count: int, kept: object = callback) -> None:
        left[0] = count

    return pieces
