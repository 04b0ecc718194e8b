"""Reads Prophesee's raw files in the format EVT 2.0: 32-bit words, little-endian.

    bits 31-28  type: 0 pixel OFF, 1 pixel ON, 8 time, 10 trigger, 14 others, 15 continued
    pixel       bits 27-22 low bits of the time, 21-11 x, 10-0 y
    time        bits 27-0 high bits of the time; it wraps after 2^34 microseconds

Pixel events before the first word of time have no time and are left out, as Prophesee's decoders
do.

Source: Prophesee, EVT 2.0 Format (Metavision SDK documentation).
"""

from __future__ import annotations

import os

import numpy as np

from flax_snn import checks
from flax_snn.datasets.events.recording import Events
from flax_snn.datasets.formats.header import read_header, sensor_of
from flax_snn.datasets.formats.pixel_blocks import Columns, events_of_blocks
from flax_snn.datasets.recorded.sources import content_of, named
from flax_snn.typing import Int, Num

_OFF, _ON, _TIME, _TRIGGER, _OTHERS, _CONTINUED = 0, 1, 8, 10, 14, 15
_KNOWN = np.isin(np.arange(16), (_OFF, _ON, _TIME, _TRIGGER, _OTHERS, _CONTINUED))


def read_evt2(path: str | os.PathLike[str], *, sensor: tuple[int, int] | None = None) -> Events:
    """Reads the pixel events of a raw file in the format EVT 2.0.

    Args:
      path: the file.
      sensor: height and width of the sensor, where the header does not say them.

    Returns:
      Events of shape (height, width, 2) with times in microseconds, int64.

    Raises:
      FileNotFoundError: no such file.
      ValueError: another format, a word of an unknown type, a cut file, no event, an event outside
        the sensor, or times that fall.
    """
    path, words, lines = read_words(path, "2.0", "<u4")
    others = np.flatnonzero(words >= np.uint32((_ON + 1) << 28))
    kinds = (words[others] >> np.uint32(28)).astype(np.uint8)
    check_kinds(path, kinds, _KNOWN, others)
    clock = kinds == _TIME
    at = others[clock]
    highs = (words[at] & np.uint32(0xFFFFFFF)).astype(np.int64)
    highs += wraps(highs, 1 << 28)
    # Pixel events up to each word of time, hence between it and the next one.
    before = np.append(at - np.flatnonzero(clock), len(words) - len(others))
    is_pixel = words < np.uint32((_ON + 1) << 28)
    is_pixel[: at[0] if at.size else None] = False
    pixels = words[is_pixel]
    if not pixels.size:
        raise ValueError(checks.error_text(path, "pixel events", "none", "record it again"))
    times = np.repeat(highs << 6, np.diff(before))
    height, width = sensor_of(path, lines, sensor)

    def columns(block: slice) -> Columns:
        some = pixels[block]
        # The low bits of the times are unpacked with the columns.
        times[block] |= (some >> np.uint32(22)) & np.uint32(0x3F)
        row = some & np.uint32(0x7FF)
        return (some >> np.uint32(11)) & np.uint32(0x7FF), row, some >> np.uint32(28)

    with named(path):
        return events_of_blocks(times, columns, height=height, width=width)


def read_words(
    path: str | os.PathLike[str], version: str, dtype: str
) -> tuple[str, np.ndarray, dict[str, str]]:
    """Reads the words behind the header of a raw file, and the lines of the header.

    Returns:
      The path as text, the words, and the lines.

    Raises:
      FileNotFoundError: no such file.
      ValueError: the header announces another format, or the file is empty or cut.
    """
    path, content = content_of(path, what=f"EVT {version} events")
    lines, begin = read_header(content)
    announced = version_of(lines)
    if announced != version:
        raise ValueError(
            checks.error_text(
                path,
                f"a header that announces EVT {version}",
                f"EVT {announced}" if announced else "none",
                "read it with `read_events`, or give the file that was meant",
            )
        )
    size = len(content) - begin
    if not size or size % np.dtype(dtype).itemsize:
        raise ValueError(
            checks.error_text(
                path,
                f"whole words of {np.dtype(dtype).itemsize} bytes behind the header, at least one",
                f"{size} bytes",
                "the file is cut: copy it again",
            )
        )
    return path, np.frombuffer(content, dtype, offset=begin), lines


def version_of(lines: dict[str, str]) -> str | None:
    """Returns the version that a header announces, "2.0", "2.1" or "3.0", or None."""
    if "evt" in lines:
        return lines["evt"]
    name = lines.get("format", "").split(";")[0].upper()
    return {"EVT2": "2.0", "EVT21": "2.1", "EVT3": "3.0"}.get(name)


def check_kinds(
    path: str,
    kinds: Num[np.ndarray, "n"],
    known: np.ndarray,
    words: Num[np.ndarray, "n"] | None = None,
) -> None:
    """Raises ValueError if a word is of a type that the format does not have.

    Args:
      path: the file.
      kinds: types of words.
      known: whether the format has each of the 16 types.
      words: which words these are, all of them by default.
    """
    if not known[kinds].all():
        k = int(np.flatnonzero(~known[kinds])[0])
        raise ValueError(
            checks.error_text(
                f"{path}, word {k if words is None else words[k]}",
                f"a type among {np.flatnonzero(known).tolist()}",
                kinds[k],
                "the file is damaged: copy it again",
            )
        )


def wraps(highs: Int[np.ndarray, "n"], period: int) -> Int[np.ndarray, "n"]:
    """Returns what the high bits of the time are to grow by after each wrap of the counter.

    A fall of half the period or more is a wrap; a smaller one is left to the check of the order.
    """
    fell = highs[:-1] - highs[1:] >= period // 2
    return np.concatenate([[0], np.cumsum(fell, dtype=np.int64)])[: len(highs)] * period
