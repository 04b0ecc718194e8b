"""Reads IDX files, the format of MNIST and Fashion-MNIST.

    bytes 0-1 zero, byte 2 type of the data, byte 3 number of axes, a uint32 for each axis, the data

all numbers with their highest byte first. A file may be compressed by gzip, which its first bytes
tell, not its name.

Source: LeCun, Cortes, Burges, The MNIST database of handwritten digits.
"""

from __future__ import annotations

import gzip
import io
import math
import os
import struct
import zlib

import numpy as np

from flax_snn import checks
from flax_snn.datasets.recorded.sources import content_of
from flax_snn.typing import Num

_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_GZIP = b"\x1f\x8b"


MAX_BYTES = 2**31
"""Largest size of an array, in bytes."""


def read_idx(path: str | os.PathLike[str], *, max_bytes: int = MAX_BYTES) -> Num[np.ndarray, "..."]:
    """Reads the array of an IDX file.

    Args:
      path: the file, compressed by gzip or not.
      max_bytes: largest size of the array in bytes, 2 GiB by default: a compressed file can become
        a thousand times as large.

    Returns:
      The array in the type that the file names; bytes are uint8.

    Raises:
      FileNotFoundError: no such file.
      ValueError: another format, an unknown type, a header that is cut, more or fewer data than it
        announces, or more than ``max_bytes``.
    """
    path, content = _content(path, max_bytes)
    if len(content) < 4 or content[:2] != b"\0\0" or content[2] not in _TYPES or not content[3]:
        raise ValueError(
            checks.error_text(
                f"{path}, byte 0",
                "two zero bytes, a type among "
                f"{', '.join(f'0x{kind:02X}' for kind in _TYPES)}, and a number of axes",
                content[:4].hex(" ") or "an empty file",
                "give an IDX file",
            )
        )
    dtype, axes = np.dtype(_TYPES[content[2]]), content[3]
    begin = 4 + 4 * axes
    if len(content) < begin:
        raise ValueError(
            checks.error_text(
                path, f"a header of {begin} bytes", f"{len(content)} bytes", "download it again"
            )
        )
    shape = struct.unpack_from(f">{axes}I", content, 4)
    expected, found = math.prod(shape) * dtype.itemsize, len(content) - begin
    if expected != found:
        raise ValueError(
            checks.error_text(
                path,
                f"{expected} bytes for an array of shape {shape} and type {dtype.name}",
                f"{found} bytes",
                "the file is cut or damaged: download it again",
            )
        )
    array = np.frombuffer(content, dtype, offset=begin).reshape(shape)
    return array.astype(dtype.newbyteorder("="), copy=False)


def _content(path: str | os.PathLike[str], max_bytes: int) -> tuple[str, bytes]:
    """Returns the path of a file as text, and its bytes, uncompressed."""
    most = max_bytes + 4 + 4 * 255  # with the longest header
    path, content = content_of(path, what="IDX data")
    if content[:2] != _GZIP:
        return path, content
    try:
        with gzip.open(io.BytesIO(content)) as file:
            found = file.read(most + 1)
    except (EOFError, OSError, zlib.error) as error:
        raise ValueError(
            checks.error_text(
                path, "a whole gzip file", f"{type(error).__name__}: {error}", "download it again"
            )
        ) from error
    if len(found) > most:
        raise ValueError(
            checks.error_text(
                path,
                f"an array of at most {max_bytes} bytes",
                "more",
                "pass a larger max_bytes if it is meant to be so large",
            )
        )
    return path, found
