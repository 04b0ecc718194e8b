"""Reads the event files of N-MNIST (and N-Caltech101): five bytes an event, nothing else.

    byte 0       column x
    byte 1       row y
    bytes 2-4    bit 23: polarity (1 = ON), bits 22-0: time in microseconds; highest byte first

A row of 240 marks an overflow of the recorder's 13-bit timer, as the readers of the authors have
it: the marker is no event, and the times from there on are 2^13 microseconds later.

Source: Orchard et al., Converting static image datasets to spiking neuromorphic datasets using
saccades, Frontiers in Neuroscience 9, 2015.
"""

from __future__ import annotations

import os

import numpy as np

from flax_snn import checks
from flax_snn.datasets.events.recording import Events
from flax_snn.datasets.recorded.sources import content_of, named

_BYTES = 5
_OVERFLOW_ROW = 240
_OVERFLOW = 1 << 13  # microseconds
_MOST_OVERFLOWS = (2**31 - 2**23) // _OVERFLOW  # beyond, times do not fit into an int32


def read_nmnist(path: str | os.PathLike[str], *, height: int = 34, width: int = 34) -> Events:
    """Reads one recording of N-MNIST.

    Args:
      path: the file, such as Train/5/00001.bin.
      height: rows of the sensor, 34 by default.
      width: columns of the sensor, 34 by default.

    Returns:
      Events of shape (height, width, 2) with times in microseconds, int32.

    Raises:
      FileNotFoundError: no such file.
      ValueError: a size that is 0 or no multiple of 5, an event outside the sensor, or times that
        fall.
    """
    path, found = content_of(path, what="N-MNIST events")
    if not found or len(found) % _BYTES:
        raise ValueError(
            checks.error_text(
                path,
                f"whole events of {_BYTES} bytes, at least one",
                f"{len(found)} bytes",
                "the file is cut or of another format: download it again",
            )
        )
    bytes_Kx5 = np.frombuffer(found, np.uint8).reshape(-1, _BYTES)
    x, y = bytes_Kx5[:, 0], bytes_Kx5[:, 1]
    # The last four bytes are one number, highest byte first: y, polarity, time.
    words = np.ndarray(len(y), ">u4", found, offset=1, strides=(_BYTES,)).astype(np.uint32)
    times = (words & np.uint32(0x7FFFFF)).view(np.int32)
    polarity = (words >> np.uint32(23)).astype(np.uint8) & np.uint8(1)
    markers = y == _OVERFLOW_ROW
    if markers.sum() > _MOST_OVERFLOWS:
        raise ValueError(
            checks.error_text(
                path,
                f"at most {_MOST_OVERFLOWS} overflows of the timer, 35 minutes",
                int(markers.sum()),
                "is it another format?",
            )
        )
    if markers.any():
        times = times + np.cumsum(markers, dtype=np.int32) * _OVERFLOW
        times, x, y, polarity = (each[~markers] for each in (times, x, y, polarity))
    with named(path):
        return Events.from_pixels(times, x=x, y=y, polarity=polarity, height=height, width=width)
