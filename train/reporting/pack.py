"""Arrays as text: bytes in base64 for the script of the report, and pictures for its page."""

from __future__ import annotations

import base64
import struct
import zlib
from typing import Any

import numpy as np


def packed(values: Any, dtype: str) -> dict[str, Any]:
    """Returns an array as base64, little-endian, with its shape.

    Args:
      values: numbers, which the dtype must be able to hold.
      dtype: ``uint16`` or ``float32``.

    Returns:
      ``dtype``, ``shape``, ``data``.

    Raises:
      ValueError: a whole number that the dtype has no room for.
    """
    array = np.asarray(values)
    if dtype == "uint16" and array.size and not 0 <= array.min() <= array.max() <= 65535:
        raise ValueError(
            f"values: expected whole numbers from 0 to 65535, got {array.min()} to {array.max()};"
            " pack them as float32"
        )
    data = np.ascontiguousarray(array, np.dtype(dtype).newbyteorder("<")).tobytes()
    return {
        "dtype": dtype,
        "shape": list(array.shape),
        "data": base64.b64encode(data).decode("ascii"),
    }


def quantised(values: Any) -> dict[str, Any]:
    """Returns floating-point curves as 16-bit steps between their smallest and largest value.

    The error is at most half a step, 1/131070 of the range, which is less than a pixel.

    Args:
      values: finite numbers of any shape.

    Returns:
      What `packed` returns, with ``low`` and ``high``.
    """
    array = np.asarray(values, np.float64)
    low, high = (float(array.min()), float(array.max())) if array.size else (0.0, 0.0)
    steps = np.rint((array - low) / ((high - low) or 1.0) * 65535.0)
    return {**packed(steps, "uint16"), "low": low, "high": high}


def png(image: Any) -> str:
    """Returns a picture ``(H, W, 3)`` of bytes as a ``data:`` address."""
    pixels = np.asarray(image, np.uint8)
    height, width, _ = pixels.shape
    rows = np.concatenate([np.zeros((height, 1), np.uint8), pixels.reshape(height, -1)], axis=1)
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(rows.tobytes(), 9)), (b"IEND", b"")]
    data = b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in chunks
    )
    return "data:image/png;base64," + base64.b64encode(data).decode("ascii")
