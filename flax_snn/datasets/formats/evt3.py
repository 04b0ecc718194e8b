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

The state before every word is found for all words at once: what the latest word of each kind said.

Source: Prophesee, EVT 3.0 Format (Metavision SDK documentation).
"""

from __future__ import annotations

import os

import numpy as np

from flax_snn import checks
from flax_snn.datasets.events import Events
from flax_snn.datasets.formats.evt2 import check_kinds, read_words, wraps
from flax_snn.datasets.formats.header import sensor_of
from flax_snn.datasets.sources import named
from flax_snn.typing import Num

_Y, _X, _BASE, _VECTOR12, _VECTOR8, _LOW, _HIGH = 0, 2, 3, 4, 5, 6, 8
_KNOWN = np.isin(np.arange(16), (_Y, _X, _BASE, _VECTOR12, _VECTOR8, _LOW, 7, _HIGH, 10, 14, 15))
_LENGTH = np.zeros(16, np.int8)
_LENGTH[[_VECTOR12, _VECTOR8]] = 12, 8
_MASK = ((1 << _LENGTH.astype(np.int32)) - 1).astype(np.uint16)


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
    check_kinds(path, kinds, _KNOWN)
    # Words that are events: single ones, and vectors as a mask of columns from the first one on.
    at, first, polarity, masks = _groups(words, kinds)
    rows, times = _latest(kinds == _Y, at), _times(words, kinds, at)
    known = (rows >= 0) & (times >= 0)
    if not known.all():
        at, first, polarity, masks, rows, times = (
            each[known] for each in (at, first, polarity, masks, rows, times)
        )
    which = np.repeat(np.arange(len(at)), np.bitwise_count(masks))
    if not which.size:
        raise ValueError(checks.error_text(path, "pixel events", "none", "record it again"))
    x = first[which]
    wide = masks != 1  # The one event of any other mask is at its first column.
    some = masks[np.flatnonzero(wide)].view(np.uint8).reshape(-1, 2)
    bits = np.unpackbits(some, axis=1, bitorder="little")
    x[np.flatnonzero(wide[which])] += (np.flatnonzero(bits) & 15).astype(x.dtype)  # 16 a mask
    y = (words[np.flatnonzero(kinds == _Y)] & np.uint16(0x7FF))[rows]
    height, width = sensor_of(path, lines, sensor)
    with named(path):
        return Events.from_pixels(
            times[which],
            x=x,
            y=y[which],
            polarity=polarity[which],
            height=height,
            width=width,
        )


def _groups(
    words: np.ndarray, kinds: np.ndarray
) -> tuple[Num[np.ndarray, "G"], Num[np.ndarray, "G"], Num[np.ndarray, "G"], Num[np.ndarray, "G"]]:
    """Returns word, first column, polarity and mask of columns of each group of events.

    A group is a word that stands for events: a single one, or a vector of which some bit is set.
    """
    at = np.flatnonzero((kinds == _X) | (kinds == _VECTOR12) | (kinds == _VECTOR8))
    vectors = np.flatnonzero(kinds[at] != _X)
    is_base = kinds == _BASE
    bases = _latest(is_base, at[vectors])
    if (bases < 0).any():  # before the first column is known
        unknown = int((bases < 0).sum())
        at, bases = np.delete(at, vectors[:unknown]), bases[unknown:]
        vectors = vectors[unknown:] - unknown
    own = words[at]
    first = (own & np.uint16(0x7FF)).astype(np.int32)
    polarity = (own >> np.uint16(11)).astype(np.uint8) & np.uint8(1)
    masks = np.ones(len(at), "<u2")
    if vectors.size:
        word = at[vectors]
        states = np.flatnonzero(is_base)
        state = words[states[bases]]
        lengths = _LENGTH[kinds[word]]
        # Columns that vectors have passed since the latest first column.
        passed = np.concatenate([[0], np.cumsum(lengths, dtype=np.int32)])
        since = passed[:-1] - passed[np.searchsorted(word, states)][bases]
        first[vectors] = (state & np.uint16(0x7FF)) + since
        polarity[vectors] = (state >> np.uint16(11)) & np.uint16(1)
        masks[vectors] = own[vectors] & _MASK[kinds[word]]
    return at, first, polarity, masks


def _times(words: np.ndarray, kinds: np.ndarray, at: Num[np.ndarray, "K"]) -> Num[np.ndarray, "K"]:
    """Returns the time at each of the words `at` in microseconds, -1 where it is not known."""
    is_low, is_high = kinds == _LOW, kinds == _HIGH
    clock = np.flatnonzero(is_low | is_high)
    if not is_high.any():
        return np.full(len(at), -1, np.int64)
    payload = (words[clock] & np.uint16(0xFFF)).astype(np.int64)
    high_here = is_high[clock]
    highs = payload[high_here]
    highs += wraps(highs, 1 << 12)
    changed = np.concatenate([[True], highs[1:] != highs[:-1]])
    latest_high = np.cumsum(high_here) - 1
    # The low bits are those of the latest word that set them: a low word, or new high bits, to 0.
    sets = ~high_here
    sets[high_here] = changed
    lows = np.where(high_here, 0, payload)[sets]
    latest_set = np.cumsum(sets) - 1
    time = (highs[latest_high] << 12) | np.where(latest_set >= 0, lows[latest_set], 0)
    time[latest_high < 0] = -1
    latest = _latest(is_low | is_high, at)
    return np.where(latest >= 0, time[latest], -1)


def _latest(here: np.ndarray, at: Num[np.ndarray, "K"]) -> Num[np.ndarray, "K"]:
    """Returns which of the words marked in `here` is the latest before each word, -1 if none."""
    return np.cumsum(here, dtype=np.int32)[at] - 1
