r"""Reads AEDAT 3.1, the format of DVS128 Gesture: a header of text, then packets of events.

    #!AER-DAT3.1\r\n ... #!END-HEADER\r\n
    packet: uint16 type, uint16 source, uint32 size of an event, offset of its time, times wrapped,
            capacity, number of events, number of valid ones; then the events
    event:  uint32: bits 31-17 x, bits 16-2 y, bit 1 polarity, bit 0 valid;  uint32 time

all little-endian, times in microseconds plus 2^31 for each wrap. Packets of other types than 1
(polarity) are skipped, and events that are marked as not valid are left out.

Source: iniVation, AEDAT 3.1 file format; Amir et al., A low power, fully event-based gesture
recognition system, CVPR 2017.
"""

from __future__ import annotations

import os
import struct
from typing import NamedTuple

import numpy as np

from flax_snn import checks
from flax_snn.datasets.events.recording import Events
from flax_snn.datasets.recorded.sources import content_of, named

_PACKET = struct.Struct("<HHIIIIII")
_POLARITY = 1
_EVENT = 8
_MOST_WRAPS = 2**31  # 146 000 years; a time in int64 can hold no more
_VERSION, _END = b"#!AER-DAT3.1", b"#!END-HEADER"


class _Packet(NamedTuple):
    kind: int
    source: int
    size: int
    offset: int
    wraps: int
    capacity: int
    number: int
    valid: int


def read_aedat3(path: str | os.PathLike[str], *, height: int = 128, width: int = 128) -> Events:
    """Reads the polarity events of an AEDAT 3.1 file.

    Args:
      path: the file.
      height: rows of the sensor, 128 by default.
      width: columns of the sensor, 128 by default.

    Returns:
      Events of shape (height, width, 2) with times in microseconds, int64.

    Raises:
      FileNotFoundError: no such file.
      ValueError: another version, a header without end, a packet that is cut or contradicts itself,
        no event, an event outside the sensor, or times that fall.
    """
    path, content = content_of(path, what="AEDAT 3.1 events")
    position = _header(path, content)
    words, times = [], []
    number = 0
    while position < len(content):
        packet = _packet(path, content, position, number)
        first = position + _PACKET.size
        if packet.kind == _POLARITY:
            found = np.frombuffer(content, "<u4", 2 * packet.number, first).reshape(-1, 2)
            words.append(found[:, 0])
            times.append(found[:, 1].astype(np.int64) + (packet.wraps << 31))
        position = first + packet.capacity * packet.size
        number += 1
    word, time = (
        np.concatenate(each) if each else np.zeros(0, np.uint32) for each in (words, times)
    )
    valid = (word & np.uint32(1)).astype(bool)
    if not valid.all():
        word, time = word[valid], time[valid]
    if not word.size:
        raise ValueError(
            checks.error_text(
                path, "polarity events", f"none in {number} packets", "download it again"
            )
        )
    with named(path):
        return Events.from_pixels(
            time,
            x=(word >> np.uint32(17)).astype(np.uint16),
            y=((word >> np.uint32(2)) & np.uint32(0x7FFF)).astype(np.uint16),
            polarity=((word >> np.uint32(1)) & np.uint32(1)).astype(np.uint8),
            height=height,
            width=width,
        )


def _header(path: str, content: bytes) -> int:
    """Returns where the packets begin."""
    if not content.startswith(_VERSION):
        raise ValueError(
            checks.error_text(
                f"{path}, byte 0",
                f"{_VERSION.decode()!r}",
                repr(content[: len(_VERSION)].decode("latin-1")),
                "give an AEDAT 3.1 file",
            )
        )
    position = 0
    while content[position : position + 1] == b"#":
        stop = content.find(b"\n", position)
        line = content[position:stop] if stop >= 0 else content[position:]
        position = stop + 1 if stop >= 0 else len(content)
        if line.strip() == _END:
            return position
    raise ValueError(
        checks.error_text(
            f"{path}, byte {position}",
            f"a header that ends in {_END.decode()!r}",
            "the end of the text",
            "the file is cut: download it again",
        )
    )


def _packet(path: str, content: bytes, position: int, number: int) -> _Packet:
    """Returns the header of the packet at a position, which fits what follows it."""
    where = f"{path}, packet {number} at byte {position}"
    left = len(content) - position - _PACKET.size
    if left < 0:
        raise ValueError(
            checks.error_text(
                where,
                f"a header of {_PACKET.size} bytes",
                f"{len(content) - position} bytes",
                "the file is cut: download it again",
            )
        )
    packet = _Packet(*_PACKET.unpack_from(content, position))
    if packet.kind == _POLARITY and packet.size != _EVENT:
        raise ValueError(checks.error_text(where, "polarity events of 8 bytes", packet.size))
    if packet.kind == _POLARITY and packet.wraps >= _MOST_WRAPS:
        raise ValueError(
            checks.error_text(
                where,
                f"times that wrapped fewer than {_MOST_WRAPS} times",
                packet.wraps,
                "the file is damaged: download it again",
            )
        )
    if packet.number > packet.capacity:
        raise ValueError(
            checks.error_text(
                where,
                f"at most {packet.capacity} events, its capacity",
                packet.number,
                "the file is damaged: download it again",
            )
        )
    if packet.capacity * packet.size > left:
        raise ValueError(
            checks.error_text(
                where,
                f"{packet.capacity * packet.size} bytes of events",
                f"{left} bytes",
                "the file is cut: download it again",
            )
        )
    return packet
