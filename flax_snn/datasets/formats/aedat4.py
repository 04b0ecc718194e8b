"""Reads AEDAT 4 files, whose packets are compressed, through the package `faery`.

It is an extra: ``pip install 'flax-snn[events]'``.

Source: iniVation, AEDAT 4.0 file format.
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from flax_snn import checks
from flax_snn.datasets.events.recording import Events
from flax_snn.datasets.recorded.sources import existing, named


def read_aedat4(path: str | os.PathLike[str]) -> Events:
    """Reads the events of an AEDAT 4 file, which holds those of one camera.

    Args:
      path: the file.

    Returns:
      Events of shape (height, width, 2) with times in microseconds, int64, as the camera counts
      them: often since 1970, see `Events.from_first`.

    Raises:
      FileNotFoundError: no such file.
      ImportError: `faery` is not installed.
      ValueError: no AEDAT 4 file, a damaged or cut one, not one stream of events, no event, fewer
        than its table of contents announces, an event outside the sensor, or times that fall.
    """
    path = existing(path, what="AEDAT 4 events")
    packets, (height, width) = _packets(path, _decoder())
    if not packets:
        raise ValueError(checks.error_text(path, "events", "none", "record it again"))
    columns = {name: np.concatenate([p[name] for p in packets]) for name in ("t", "x", "y", "on")}
    with named(path):
        return Events.from_pixels(
            columns["t"].astype(np.int64),
            x=columns["x"],
            y=columns["y"],
            polarity=columns["on"],
            height=height,
            width=width,
        )


def _decoder() -> Any:
    try:
        from faery import aedat
    except ImportError as error:
        raise ImportError(
            f"expected the package faery for AEDAT 4 files, got {error}; install it with pip"
            " install 'flax-snn[events]'"
        ) from error
    return aedat.Decoder


def _packets(path: str, open_decoder: Any) -> tuple[list[np.ndarray], tuple[int, int]]:
    """Returns the packets of events of the only camera of a file, and its height and width."""
    try:
        with open_decoder(path) as decoder:
            cameras = [track for track in decoder.tracks() if track.data_type == "events"]
            if len(cameras) != 1:
                raise ValueError(f"expected one stream of events, got {len(cameras)}")
            (camera,) = cameras
            packets = [packet for track, packet in decoder if track.id == camera.id]
            parts = decoder.file_data_definitions()
    except Exception as error:  # faery raises RuntimeError and others at damage
        if isinstance(error, MemoryError | PermissionError):
            raise
        raise ValueError(
            checks.error_text(
                path,
                "an AEDAT 4 file with the events of one camera",
                f"{type(error).__name__}: {error}",
                "copy or record it again",
            )
        ) from error
    announced = sum(part.elements_count for part in parts if part.track_id == camera.id)
    found = sum(map(len, packets))
    if found != announced:
        raise ValueError(
            checks.error_text(
                path,
                f"{announced} events, as its table of contents says",
                found,
                "the file is cut: copy it again",
            )
        )
    width, height = camera.dimensions
    return packets, (height, width)
