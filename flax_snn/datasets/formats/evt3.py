"""Reads Prophesee's raw files in the format EVT 3.0: 16-bit words, little-endian.

A word changes the state of the decoder, or is a pixel event of the state:

    bits 15-12   0 row y (bits 10-0)               6 low 12 bits of the time
                 2 pixel event (bits 10-0 x)       8 high 12 bits of the time
                 3 first column of a vector        10 trigger, 14 others, 7 and 15 continued
                 4 vector of 12, 5 vector of 8: bit k set is an event at first column + k
    bit 11       polarity of words 2 and 3

A vector moves the first column on by its length. A word with new high bits of the time sets the
low ones to 0; they wrap together after 2^24 microseconds. Pixel events before the first row and
the first high bits of the time are left out, as Prophesee's decoders do.

All words are decoded at once: what a word of state says is repeated for each event up to the next
word of its kind.

Source: Prophesee, EVT 3.0 Format (Metavision SDK documentation).
"""

from __future__ import annotations

import os
from typing import Any, NamedTuple

import numpy as np

from flax_snn import checks
from flax_snn.datasets.events.recording import Events
from flax_snn.datasets.formats.evt2 import check_kinds, read_words, wraps
from flax_snn.datasets.formats.header import sensor_of
from flax_snn.datasets.formats.pixel_blocks import Columns, events_of_blocks
from flax_snn.datasets.recorded.sources import named
from flax_snn.typing import Num

_Y, _X, _BASE, _VECTOR12, _VECTOR8, _LOW, _HIGH = 0, 2, 3, 4, 5, 6, 8
_KNOWN = np.isin(np.arange(16), (_Y, _X, _BASE, _VECTOR12, _VECTOR8, _LOW, 7, _HIGH, 10, 14, 15))
_UNKNOWN = np.flatnonzero(~_KNOWN).astype(np.uint8)
_LENGTH = np.zeros(16, np.uint32)
_LENGTH[[_VECTOR12, _VECTOR8]] = 12, 8
_ON, _SHIFT = 1 << 11, 20  # polarity in a word, and from there to bit 31
_MASK = ((1 << _LENGTH) - 1).astype(np.uint16)


def read_evt3(path: str | os.PathLike[str], *, sensor: tuple[int, int] | None = None) -> Events:
    """Reads the pixel events of a raw file in the format EVT 3.0.

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
    path, words, lines = read_words(path, "3.0", "<u2")
    kinds = (words >> np.uint16(12)).astype(np.uint8)
    if any((kinds == unknown).any() for unknown in _UNKNOWN):
        check_kinds(path, kinds, _KNOWN)
    vectors = _vectors(words, kinds)
    counts = (kinds == _X).view(np.uint8)
    counts[vectors.at] = np.bitwise_count(vectors.masks)
    until = np.cumsum(counts, dtype=np.int32)  # events up to each word
    clock, times = _clock(words, kinds)
    rows = np.flatnonzero(kinds == _Y)
    begin = max(until[rows[0]], until[clock[0]]) if rows.size and clock.size else until[-1]
    if until[-1] == begin:
        raise ValueError(checks.error_text(path, "pixel events", "none", "record it again"))
    times = _repeated(times, until, clock, begin)
    y = _repeated(words[rows] & np.uint16(0x7FF), until, rows, begin)
    singles = words[np.flatnonzero(kinds == _X)]
    places = _places(singles, vectors, until)[begin:]
    height, width = sensor_of(path, lines, sensor)

    def columns(block: slice) -> Columns:
        some = places[block]
        return some & np.uint32(0x7FFFFFFF), y[block], some >> np.uint32(31)

    with named(path):
        return events_of_blocks(times, columns, height=height, width=width)


class _Vectors(NamedTuple):
    """Words that stand for several columns, those before the first column is known left out.

    Attributes:
      at: which words they are, (V,).
      firsts: first column of each and, in bit 31, its polarity, (V,) uint32.
      masks: which of the columns from the first one on have an event, (V,) uint16.
    """

    at: Num[np.ndarray, "V"]
    firsts: Num[np.ndarray, "V"]
    masks: Num[np.ndarray, "V"]


def _vectors(words: np.ndarray, kinds: np.ndarray) -> _Vectors:
    """Returns the vectors among the words."""
    at = np.flatnonzero((kinds >= _BASE) & (kinds <= _VECTOR8))
    some = kinds[at]
    is_base = some == _BASE
    known = slice(int(np.argmax(is_base)) if is_base.any() else len(at), None)
    at, some, is_base = at[known], some[known], is_base[known]
    # Columns that vectors have passed, of which those since the latest first column count.
    passed = np.cumsum(_LENGTH[some], dtype=np.uint32) - _LENGTH[some]
    base = np.cumsum(is_base)[~is_base] - 1
    firsts = (_place(words[at[is_base]]) - passed[is_base])[base] + passed[~is_base]
    at = at[~is_base]
    return _Vectors(at, firsts, words[at] & _MASK[some[~is_base]])


def _places(
    singles: Num[np.ndarray, "n"], vectors: _Vectors, until: Num[np.ndarray, "W"]
) -> Num[np.ndarray, "K"]:
    """Returns column and, in bit 31, polarity of each event, (K,) uint32.

    Args:
      singles: words that are one event.
      vectors: words that are several.
      until: events up to each of all words.
    """
    if not vectors.at.size:
        return _place(singles)
    some = np.flatnonzero(vectors.masks)
    masks = vectors.masks[some]
    counts = np.bitwise_count(masks)
    bits = np.flatnonzero(np.unpackbits(masks.view(np.uint8), bitorder="little").view(np.bool_))
    wide = np.repeat(vectors.firsts[some], counts)
    wide += (bits & 15).astype(np.uint32)  # 16 bits a mask
    # Where the events of vectors are among all, and among those of vectors.
    behind = until[vectors.at[some]] - np.cumsum(counts, dtype=np.int32)
    at = np.repeat(behind, counts) + np.arange(len(wide), dtype=np.int32)
    is_single = np.ones(until[-1], np.bool_)
    is_single[at] = False
    places = np.empty(until[-1], np.uint32)
    places[is_single] = _place(singles)
    places[at] = wide
    return places


def _place(words: Num[np.ndarray, "n"]) -> Num[np.ndarray, "n"]:
    """Returns column and, moved to bit 31, polarity of words that have them, uint32."""
    signs = (words & np.uint16(1 << 11)).astype(np.uint32)
    signs <<= np.uint32(20)
    signs |= words & np.uint16(0x7FF)
    return signs


def _clock(
    words: np.ndarray, kinds: np.ndarray
) -> tuple[Num[np.ndarray, "n"], Num[np.ndarray, "n"]]:
    """Returns the words that set the time, from the first high bits on, and what it is then.

    Returns:
      Which words, and the time in microseconds, int64.
    """
    at = np.flatnonzero((kinds == _LOW) | (kinds == _HIGH))
    is_high = kinds[at] == _HIGH
    payload = (words[at] & np.uint16(0xFFF)).astype(np.int64)
    highs = payload[is_high]
    if not highs.size:
        return at[:0], highs
    highs += wraps(highs, 1 << 12)
    # The low bits are those of the latest word that set them: a low word, or new high bits, to 0.
    sets = ~is_high
    sets[is_high] = np.concatenate([[True], highs[1:] != highs[:-1]])
    lows = np.where(is_high, 0, payload)[sets]
    known = slice(int(np.argmax(is_high)), None)
    latest_high, latest_low = (np.cumsum(each)[known] - 1 for each in (is_high, sets))
    return at[known], (highs[latest_high] << 12) | lows[latest_low]


def _repeated(
    states: Num[np.ndarray, "n"],
    until: Num[np.ndarray, "W"],
    at: Num[np.ndarray, "n"],
    begin: Any,
) -> Num[np.ndarray, "K"]:
    """Returns the state of each event from number `begin` on.

    Args:
      states: what words of state say; each holds until the next one.
      until: events up to each of all words.
      at: which of them are the words of state; the first one comes before the event `begin`.
      begin: number of an event.
    """
    ends = np.append(until[at], until[-1])
    return np.repeat(states, np.diff(np.maximum(ends, begin)))
