"""Compiled loops as functions that XLA calls, through its C interface for foreign functions.

A call frame is a C struct that XLA fills; the offsets below are those of ``xla/ffi/api/c_api.h``,
in units of 8 bytes. They are known for the versions in `KNOWN_VERSIONS` only.
"""

from __future__ import annotations

import ctypes
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, no_type_check

import jax
import numba
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

KNOWN_VERSIONS = ((0, 3), (0, 4), (0, 5))
"""Versions of the interface whose structs were compared with the offsets here."""

EXTENSION, ARGUMENTS, RESULTS = 1, 9, 14  # in a call frame
DATA, DIMENSIONS = 3, 5  # in a buffer
KIND, METADATA = 1, 3  # in an extension
MAJOR, MINOR, TRAITS = 6, 7, 8  # in metadata, in units of 4 bytes
IS_METADATA = 1


def version() -> tuple[int, int] | None:
    """Return the version of the interface of the installed XLA, None without its header."""
    header = Path(jax.ffi.include_dir(), "xla", "ffi", "api", "c_api.h")
    if not header.exists():
        return None
    text = header.read_text()
    found = [re.search(rf"#define XLA_FFI_API_{part} (\d+)", text) for part in ("MAJOR", "MINOR")]
    if found[0] is None or found[1] is None:
        return None
    return int(found[0][1]), int(found[1][1])


@no_type_check  # Numba compiles what is inside
def register(name: str, loop: Callable[..., int]) -> None:
    """Make a loop known to XLA on CPUs.

    Args:
      name: name for `jax.ffi.ffi_call`, whose operands are ``x (rows, features)``, a matrix with as
        many columns as the result, and the limit as int32 ``(1,)``; its results are a matrix and an
        int32 ``(1,)``, which is 1 if there were more entries than the limit allows.
      loop: one of `flax_snn.products.native.kernels.Loops`.
    """
    major, minor = version() or KNOWN_VERSIONS[0]

    @numba.cfunc(types.int64(types.CPointer(types.int64)))
    def call(frame: Any) -> int:
        if frame[EXTENSION] != 0:
            extension = _longs(frame[EXTENSION])
            if (extension[KIND] & 0xFFFFFFFF) == IS_METADATA:
                metadata = _ints(extension[METADATA])
                metadata[MAJOR] = major
                metadata[MINOR] = minor
                metadata[TRAITS] = 0
                return 0
        arguments, results = _longs(frame[ARGUMENTS]), _longs(frame[RESULTS])
        x, matrix, limit = _longs(arguments[0]), _longs(arguments[1]), _longs(arguments[2])
        out, gave_up = _longs(results[0]), _longs(results[1])
        shape, columns = _longs(x[DIMENSIONS]), _longs(matrix[DIMENSIONS])
        _ints(gave_up[DATA])[0] = loop(
            x[DATA], shape[0], shape[1], matrix[DATA], columns[1], _ints(limit[DATA])[0], out[DATA]
        )
        return 0

    _CALLS.append(call)
    make = ctypes.pythonapi.PyCapsule_New
    make.restype = ctypes.py_object
    make.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]
    jax.ffi.register_ffi_target(name, make(call.address, None, None), platform="cpu", api_version=1)


_CALLS: list[Any] = []
"""Compiled functions, which must live as long as the process."""


@no_type_check  # Numba compiles what is inside
def _pointer_from(width: int, integer: Any) -> Any:
    @intrinsic
    def pointer(typing: Any, address: Any) -> Any:
        def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            return builder.inttoptr(arguments[0], ir.IntType(width).as_pointer())

        return types.CPointer(integer)(types.int64), code

    return pointer


_longs = _pointer_from(64, types.int64)
_ints = _pointer_from(32, types.int32)
