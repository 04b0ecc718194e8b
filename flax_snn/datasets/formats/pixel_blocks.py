"""Events of a camera from packed words, block by block.

A block is small enough for its columns to stay in the cache of the processor; columns of a whole
recording would go to memory and come back once for each operation. What comes out is what
`Events.from_pixels` makes of the whole columns, and so is what is refused.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from flax_snn.datasets.events.recording import MICROSECOND, Events, unit_dtype
from flax_snn.typing import Num

_BLOCK = 1 << 15
"""Events of a block."""

Columns = tuple[Num[np.ndarray, "k"], Num[np.ndarray, "k"], Num[np.ndarray, "k"]]


def events_of_blocks(
    times: Num[np.ndarray, "K"],
    columns: Callable[[slice], Columns],
    *,
    height: int,
    width: int,
) -> Events:
    """Returns the events of a camera, whose columns are unpacked block by block.

    Args:
      times: time of each event in microseconds, (K,).
      columns: returns x, y and polarity of some of the events, unsigned integers.
      height: rows of the sensor.
      width: columns of the sensor.

    Raises:
      ValueError: an event outside the sensor, or times that fall.
    """
    shape = (height, width, 2)
    units = np.empty(len(times), unit_dtype(shape))
    kind: Any = np.result_type(units.dtype, np.uint16)
    for begin in range(0, len(times), _BLOCK):
        block = slice(begin, begin + _BLOCK)
        x, y, polarity = columns(block)
        if x.max() >= width or y.max() >= height or polarity.max() > 1:
            x, y, polarity = columns(slice(None))  # Its error counts from the first event.
            return Events.from_pixels(
                times, x=x, y=y, polarity=polarity, height=height, width=width
            )
        unit = y.astype(kind)
        unit *= kind.type(width)
        unit += x.astype(kind, copy=False)
        unit += unit
        unit |= polarity.astype(kind, copy=False)
        units[block] = unit
    return Events(times, units, shape, MICROSECOND)
