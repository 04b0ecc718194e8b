"""Events: the spikes or the pixel events of one recording, as compact arrays.

One type serves every sensor. An event is a time and a unit, and a sensor is an array of units:

    700 channels of a cochlea                      shape (700,)
    a camera of H x W pixels and two polarities    shape (H, W, 2), channel last as in `nn.Conv`

`units` numbers the units of that array row by row, as `numpy.ravel_multi_index` does, so that one
small integer says where an event was, whatever the number of axes:

    unit = (y * W + x) * 2 + polarity              polarity 1 is a rise in brightness (ON)

Letters: K events of a recording.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import numpy.typing as npt

from flax_snn import checks
from flax_snn.typing import Num

MICROSECOND = 1e-6
"""Unit of time of event cameras in seconds."""


@dataclasses.dataclass(frozen=True, eq=False)
class Events:
    """The events of one recording, in the order of their times.

    Args:
      times: time of each event in multiples of `tick`, (K,), of any integer or floating type.
        They do not fall; two events may have one time. Integers are exact however large they are.
      units: unit of each event, (K,), integers from 0 to the number of units. They are stored in
        the smallest unsigned type that holds all units of the shape.
      shape: shape of the array of units, ``(700,)`` or ``(height, width, 2)``.
      tick: unit of time in seconds: 1.0 (the default) for times in seconds, 1e-6 for the
        microseconds of cameras.

    Raises:
      TypeError: times that are no real numbers, or units that are no integers.
      ValueError: arrays that are not of the same length K, a shape or tick that is not positive, a
        time that is NaN, infinite or below the one before it, or a unit outside the shape.

    Example:
      >>> import numpy as np
      >>> from flax_snn.datasets import Events
      >>> spikes = Events(np.array([0.0, 2e-3, 2.5e-3]), np.array([5, 0, 5]), shape=(700,))
      >>> len(spikes), spikes.units.dtype
      (3, dtype('uint16'))
      >>> camera = Events.from_pixels(
      ...     np.array([0, 40]), x=np.array([3, 0]), y=np.array([1, 2]), polarity=np.array([0, 1]),
      ...     height=4, width=4,
      ... )
      >>> camera.shape, camera.units.tolist(), camera.pixels().x.tolist()
      ((4, 4, 2), [14, 17], [3, 0])
    """

    times: Num[np.ndarray, "K"]
    units: Num[np.ndarray, "K"]
    shape: tuple[int, ...]
    tick: float = 1.0

    def __post_init__(self) -> None:
        shape = tuple(checks.whole_number("shape", size) for size in self.shape)
        if not shape:
            raise ValueError(checks.error_text("shape", "at least one axis", "()", "give (units,)"))
        tick = checks.positive("tick", self.tick, unit="seconds")
        units_count = math.prod(shape)
        if units_count >= 2**63:
            raise ValueError(checks.error_text("shape", "fewer than 2^63 units", f"{shape}"))
        units = np.asarray(self.units)
        times = np.asarray(self.times)
        _check_arrays(times, units)
        _check_order(times)
        if units.size:
            _check_range("unit", units, units_count)
        for name, value in (
            ("times", times),
            ("units", units.astype(unit_dtype(shape), copy=False)),
            ("shape", shape),
            ("tick", tick),
        ):
            object.__setattr__(self, name, value)

    def __len__(self) -> int:
        """Number of events."""
        return len(self.times)

    def __eq__(self, other: object) -> bool:
        """Returns whether two recordings have the same events of the same sensor."""
        if not isinstance(other, Events):
            return NotImplemented
        return (
            (self.shape, self.tick) == (other.shape, other.tick)
            and np.array_equal(self.times, other.times)
            and np.array_equal(self.units, other.units)
        )

    __hash__ = None  # type: ignore[assignment]  # holds arrays

    @classmethod
    def from_pixels(
        cls,
        times: npt.ArrayLike,
        *,
        x: npt.ArrayLike,
        y: npt.ArrayLike,
        polarity: npt.ArrayLike,
        height: int,
        width: int,
        tick: float = MICROSECOND,
    ) -> Events:
        """Makes the events of a camera.

        Args:
          times: time of each event in multiples of `tick`, (K,).
          x: column of each event, (K,), integers below the width.
          y: row of each event, (K,), integers below the height.
          polarity: 1 or True for a rise in brightness, 0 or False for a fall, (K,).
          height: number of rows of the sensor.
          width: number of columns of the sensor.
          tick: unit of time in seconds, 1e-6 by default.

        Raises:
          TypeError: coordinates that are no integers.
          ValueError: an event outside the sensor, and what `Events` refuses.
        """
        columns = {"x": np.asarray(x), "y": np.asarray(y), "polarity": np.asarray(polarity)}
        shape = (height, width, 2)
        times = np.asarray(times)
        for (name, values), size in zip(columns.items(), (width, height, 2), strict=True):
            if values.dtype.kind not in "iub":
                checks.integers(name, values)
            if values.shape != times.shape:
                checks.shape(name, values, times.shape, remedy="give one entry for each event")
            if values.size:
                _check_range(name, values, size)
        kind: Any = unit_dtype(shape)
        row, column, sign = (columns[name].astype(kind) for name in ("y", "x", "polarity"))
        row *= kind.type(width)
        row += column
        row += row
        row |= sign
        return cls(times, row, shape, tick)

    def coordinates(self) -> tuple[Num[np.ndarray, "K"], ...]:
        """Returns the position of each event along every axis of the shape, (K,) each."""
        if len(self.shape) == 1:
            return (self.units.astype(np.int64),)
        return np.unravel_index(self.units, self.shape)

    def pixels(self) -> Pixels:
        """Returns column, row and polarity of each event of a camera.

        Raises:
          ValueError: the shape is not (height, width, 2).
        """
        if len(self.shape) != 3 or self.shape[2] != 2:
            raise ValueError(
                checks.error_text(
                    "pixels",
                    "events of a camera, shape (height, width, 2)",
                    f"shape {self.shape}",
                    "read the positions with coordinates()",
                )
            )
        y, x, polarity = self.coordinates()
        return Pixels(x, y, polarity)

    @property
    def begin(self) -> float:
        """Time of the first event in seconds, 0 if there is none."""
        return float(self.times[0]) * self.tick if len(self) else 0.0

    @property
    def end(self) -> float:
        """Time of the last event in seconds, 0 if there is none."""
        return float(self.times[-1]) * self.tick if len(self) else 0.0

    def take(self, which: np.ndarray | slice) -> Events:
        """Returns the events that a mask, a slice or rising indices pick."""
        return dataclasses.replace(self, times=self.times[which], units=self.units[which])

    def from_first(self) -> Events:
        """Returns the events with times that count from the first of them."""
        if not len(self):
            return self
        return dataclasses.replace(self, times=self.times - self.times[0])


@dataclasses.dataclass(frozen=True)
class Pixels:
    """Where the events of a camera were.

    Attributes:
      x: columns, (K,).
      y: rows, (K,).
      polarity: 1 for a rise in brightness, 0 for a fall, (K,).
    """

    x: Num[np.ndarray, "K"]
    y: Num[np.ndarray, "K"]
    polarity: Num[np.ndarray, "K"]


def unit_dtype(shape: tuple[int, ...]) -> np.dtype:
    """Returns the smallest unsigned type that numbers all units of a shape."""
    return np.min_scalar_type(math.prod(shape) - 1)


def _check_arrays(times: np.ndarray, units: np.ndarray) -> None:
    if times.ndim == 1 and units.shape == times.shape:
        if times.dtype.kind in "iuf" and units.dtype.kind in "iu":
            return  # The checks below, which say what is wrong, take longer.
    checks.real_array("times", times)
    if times.dtype == np.bool_:
        raise TypeError(checks.error_text("times", "real numbers", "bool", "convert it"))
    checks.rank("times", times, "(K,)")
    checks.integers("units", units)
    checks.shape("units", units, times.shape, remedy="give one unit for each time")


def _check_order(times: np.ndarray) -> None:
    """Raises if a time is not finite or below the one before it."""
    ordered = times[1:] >= times[:-1]  # False at NaN
    if times.dtype.kind == "f":
        # In the order, only the ends can be infinite.
        ends_finite = not times.size or bool(np.isfinite(times[[0, -1]]).all())
        if not ends_finite or not ordered.all():
            bad = np.flatnonzero(~np.isfinite(times))
            if bad.size:
                _refuse_event("a finite time", times, int(bad[0]))
    if not ordered.all():
        k = int(np.flatnonzero(~ordered)[0]) + 1
        _refuse_event(
            f"a time >= {times[k - 1]}, that of the event before",
            times,
            k,
            remedy="sort times and units together: order = numpy.argsort(times, kind='stable')",
        )


def _check_range(name: str, values: np.ndarray, size: int) -> None:
    """Raises if a value of an array that is not empty lies outside [0, size)."""
    if values.dtype == np.bool_ and size >= 2:
        return
    if values.max() >= size or (values.dtype.kind == "i" and values.min() < 0):
        k = int(np.flatnonzero((values >= size) | (values < 0))[0])
        _refuse_event(f"{name} in [0, {size})", values, k)


def _refuse_event(what: str, values: Any, k: int, remedy: str = "") -> None:
    raise ValueError(checks.error_text(f"event {k}", what, values[k], remedy))
