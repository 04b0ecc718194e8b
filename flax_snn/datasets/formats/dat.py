"""Reads Prophesee's DAT files: decoded events of eight bytes.

After the header two bytes, the type of the events and their size, then for each event

    uint32 time in microseconds;  uint32: bits 13-0 x, bits 27-14 y, bits 31-28 polarity

little-endian, as version 2 of the format has it.

Source: Prophesee, DAT File Format (Metavision SDK documentation).
"""

from __future__ import annotations

import os

import numpy as np

from flax_snn import checks
from flax_snn.datasets.events.recording import Events
from flax_snn.datasets.formats.header import read_header, sensor_of
from flax_snn.datasets.formats.pixel_blocks import Columns, events_of_blocks
from flax_snn.datasets.recorded.sources import content_of, named

_PIXELS = (0x00, 0x0C)  # types of events: 2d, CD


def read_dat(path: str | os.PathLike[str], *, sensor: tuple[int, int] | None = None) -> Events:
    """Reads a DAT file of pixel events.

    Args:
      path: the file.
      sensor: height and width of the sensor; needed where the header does not say them, as in
        N-Cars and the Gen1 detection set.

    Returns:
      Events of shape (height, width, 2) with times in microseconds, uint32.

    Raises:
      FileNotFoundError: no such file.
      ValueError: no DAT file of version 2 with pixel events, a cut file, no event, an event outside
        the sensor, or times that fall.
    """
    path, content = content_of(path, what="DAT events")
    lines, begin = read_header(content)
    kind = content[begin : begin + 2]
    if len(kind) < 2 or kind[0] not in _PIXELS or kind[1] != 8:
        raise ValueError(
            checks.error_text(
                f"{path}, byte {begin}",
                "the type of pixel events (0 or 12) and their size (8)",
                list(kind) or "the end of the file",
                "give a DAT file of pixel events",
            )
        )
    if lines.get("version", "2") != "2":
        raise ValueError(
            checks.error_text(path, "version 2", lines["version"], "convert it to version 2")
        )
    size = len(content) - begin - 2
    if size == 0 or size % 8:
        raise ValueError(
            checks.error_text(
                path,
                "whole events of 8 bytes, at least one",
                f"{size} bytes of events",
                "the file is cut: download it again",
            )
        )
    words = np.frombuffer(content, "<u4", offset=begin + 2).reshape(-1, 2)
    height, width = sensor_of(path, lines, sensor)

    def columns(block: slice) -> Columns:
        place = words[block, 1].astype(np.uint32)
        row = (place >> np.uint32(14)) & np.uint32(0x3FFF)
        return place & np.uint32(0x3FFF), row, place >> np.uint32(28)

    with named(path):
        times = words[:, 0].astype(np.uint32)
        return events_of_blocks(times, columns, height=height, width=width)
