"""Spike events to rasters and back, on the host and exactly.

A raster has the axes (B, T, F), batch-major: one cell per sample, time step and unit.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from flax_snn import checks
from flax_snn.time_grid import steps_of_times
from flax_snn.typing import Bool, Int, Num

__all__ = ["RasterEvents", "raster_to_times", "times_to_raster"]


class RasterEvents(NamedTuple):
    """Spikes as a list, ordered by sample, then step, then unit; each field (K,) int64."""

    sample: Int[np.ndarray, "K"]
    time: Int[np.ndarray, "K"]
    unit: Int[np.ndarray, "K"]


def times_to_raster(
    sample: npt.ArrayLike,
    time: npt.ArrayLike,
    unit: npt.ArrayLike,
    *,
    shape: tuple[int, int, int],
    dtype: npt.DTypeLike = np.uint8,
) -> Num[np.ndarray, "B T F"] | Bool[np.ndarray, "B T F"]:
    """Counts events into a raster: raster[sample, step of time, unit] += 1 for each of them.

    A time belongs to the step that it lies in, and a time that is k up to rounding to step k
    (`flax_snn.time_grid`). Nothing is lost: the raster sums to the number of events, or the call
    raises.

    Args:
      sample: sample of each event, integer.
      time: time of each event in steps from 0, integer or float; divide seconds by dt.
      unit: unit of each event, integer. The three broadcast against each other.
      shape: samples, steps and units of the raster.
      dtype: type of the counts, uint8 by default. bool or any other type that cannot hold a
        count is refused when one turns up.

    Raises:
      TypeError: sample or unit is not of an integer type, or time not of a real one.
      ValueError: an event lies outside the raster (also at a NaN), or a count does not fit.

    Example:
      >>> from flax_snn.encode import times_to_raster
      >>> times_to_raster([0, 0, 1], [0.2, 2.9, 2.0], [1, 0, 1], shape=(2, 3, 2)).tolist()
      [[[0, 1], [0, 0], [1, 0]], [[0, 0], [0, 0], [0, 1]]]
    """
    checks.shape("shape", shape, (3,), remedy="give (samples, steps, units)")
    for name, size in zip(("samples", "steps", "units"), shape, strict=True):
        checks.whole_number(f"shape: {name}", size, 0)
    axes = {"sample": np.asarray(sample), "time": np.asarray(time), "unit": np.asarray(unit)}
    for (name, value), types in zip(axes.items(), ("iu", "iuf", "iu"), strict=True):
        if value.size and value.dtype.kind not in types:
            what = "integers" if types == "iu" else "integers or floating numbers"
            raise TypeError(checks.error_text(name, what, value.dtype, "convert it beforehand"))
    indices = [
        _indices(name, value, size, shape)
        for (name, value), size in zip(axes.items(), shape, strict=True)
    ]
    try:
        events = np.broadcast_arrays(*indices)
    except ValueError:
        shapes = ", ".join(f"{name} of shape {value.shape}" for name, value in axes.items())
        raise ValueError(
            "times_to_raster: expected sample, time and unit of shapes that broadcast, got"
            f" {shapes}; give one entry of each for each event"
        ) from None
    cells, counts = np.unique(np.ravel_multi_index(events, shape), return_counts=True)
    raster = np.zeros(math.prod(shape), dtype)
    raster[cells] = counts.astype(dtype)
    if (raster[cells] != counts).any():
        raise ValueError(
            f"dtype: expected one that holds every count, got {raster.dtype} for {counts.max()}"
            " events of one unit in one step; choose a wider dtype, or more steps"
        )
    return raster.reshape(shape)


def raster_to_times(raster: Num[np.ndarray, "B T F"] | Bool[np.ndarray, "B T F"]) -> RasterEvents:
    """Lists the events of a raster, the inverse of `times_to_raster` for whole steps.

    Args:
      raster: whole numbers >= 0 of any type, usually 0 and 1; a count of k gives k equal events.

    Raises:
      ValueError: not of three axes, or not all whole numbers >= 0.

    Example:
      >>> import numpy as np
      >>> from flax_snn.encode import raster_to_times
      >>> sample, time, unit = raster_to_times(np.array([[[0, 1], [0, 0], [1, 0]]]))
      >>> time.tolist(), unit.tolist()
      ([0, 2], [1, 0])
    """
    raster = np.asarray(raster)
    cells = np.nonzero(raster)
    values = raster[cells]
    whole = np.isfinite(values) & (values > 0) & (np.floor(values) == values)
    if raster.ndim != 3 or not whole.all():
        raise ValueError(
            "raster: expected shape (sample, time, unit) with whole numbers >= 0, got shape"
            f" {raster.shape} and dtype {raster.dtype}; add missing axes, and do not pass rates"
        )
    return RasterEvents(*(np.repeat(index, values.astype(np.int64)) for index in cells))


def _indices(
    name: str, value: np.ndarray, size: int, shape: tuple[int, int, int]
) -> Int[np.ndarray, "..."]:
    """Returns the indices of events along one axis of the raster.

    Raises:
      ValueError: an index outside the axis, or NaN.
    """
    near = (value > -1) & (value < size)  # False for NaN; keeps what int64 cannot hold away
    indices = steps_of_times(np.where(near, value, -1))
    outside = ~near | (indices < 0) | (indices >= size)
    if outside.any():
        raise ValueError(
            f"{name}: expected every one in [0, {size}), got {outside.sum()} outside, the first"
            f" {value[outside][0]}; raise that size of shape={shape}, or leave these events out"
        )
    return indices
