"""Toy sets: a square cut by a line or a circle, and one spike pattern that never changes.

    linear      class 1 where x < y                                        class 0 elsewhere
    circle      class 1 where (x - 1/2)^2 + (y - 1/2)^2 <= 1 / (2 pi)      class 0 elsewhere

for points drawn evenly from the unit square; each class fills one half of it. They are the sets
of jaxsnn by rule, not by draw: the points come from NumPy's generator of a seed. For a network,
`snn.encode.spatio_temporal` turns them into spike times.

Source: Müller et al., jaxsnn: Event-driven gradient estimation for analog neuromorphic hardware,
NICE 2024, whose package has the three under these names.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from flax_snn import checks
from flax_snn.datasets.generated.labelled_points import Points, coordinates, mirrored
from flax_snn.typing import Float, Int

_CONSTANT_TIMES = (0.1, 0.2, 1.0)
_CONSTANT_UNITS = (0, 1, 0)
_CONSTANT_TARGETS = (0.2, 0.3)


class Constant(NamedTuple):
    """One spike pattern, repeated; times in seconds, S samples.

    Attributes:
      times: times of the three input spikes: (S, 3) float64.
      units: their input units, 0, 1 and 0: (S, 3) int32.
      targets: when each of two output neurons should fire: (S, 2) float64.
    """

    times: Float[np.ndarray, "S 3"]
    units: Int[np.ndarray, "S 3"]
    targets: Float[np.ndarray, "S 2"]


def linear(samples: int, seed: int) -> Points:
    """Draws points of the unit square on either side of its diagonal.

    Args:
      samples: number of points S.
      seed: seed of the draw; `circle` of the same seed has the same points.

    Raises:
      ValueError: samples < 1, or a seed that is not a whole number >= 0.

    Example:
      >>> from flax_snn.datasets import linear
      >>> data = linear(1000, seed=0)
      >>> data.x.shape, int(data.labels.sum())
      ((1000, 4), 468)
    """
    return _points(linear_class, samples, seed)


def circle(samples: int, seed: int) -> Points:
    """Draws points of the unit square in and around a circle of half its area.

    Args:
      samples: number of points S.
      seed: seed of the draw; `linear` of the same seed has the same points.

    Raises:
      ValueError: samples < 1, or a seed that is not a whole number >= 0.

    Example:
      >>> from flax_snn.datasets import circle
      >>> data = circle(1000, seed=0)
      >>> data.x.shape, int(data.labels.sum())
      ((1000, 4), 496)
    """
    return _points(circle_class, samples, seed)


def constant(samples: int, *, duration: float) -> Constant:
    """Returns the same three input spikes and two target times in every sample, for smoke tests.

        input spikes at (0.1, 0.2, 1) * duration from units 0, 1, 0
        targets      at (0.2, 0.3) * duration for output neurons 0, 1

    A network that cannot learn this cannot learn anything.

    Args:
      samples: number of samples S.
      duration: time of the last input spike in seconds.

    Raises:
      ValueError: samples < 1, or a duration that is not a finite number > 0.
    """
    checks.whole_number("samples", samples)
    duration = checks.positive("duration", duration, unit="seconds")
    return Constant(
        times=np.tile(np.array(_CONSTANT_TIMES) * duration, (samples, 1)),
        units=np.tile(np.array(_CONSTANT_UNITS, np.int32), (samples, 1)),
        targets=np.tile(np.array(_CONSTANT_TARGETS) * duration, (samples, 1)),
    )


def linear_class(xy: ArrayLike) -> Int[np.ndarray, "*B"]:
    """Returns the class of any points (*B, 2): 1 where x < y, else 0, int32.

    Raises:
      ValueError: the last axis is not x and y, or a coordinate is not finite.
    """
    x, y = np.moveaxis(coordinates(xy), -1, 0)
    return np.asarray(x < y, np.int32)


def circle_class(xy: ArrayLike) -> Int[np.ndarray, "*B"]:
    """Returns the class of any points (*B, 2): 1 in the circle or on it, else 0, int32.

    Raises:
      ValueError: the last axis is not x and y, or a coordinate is not finite.
    """
    x, y = np.moveaxis(coordinates(xy), -1, 0)
    return np.asarray((x - 0.5) ** 2 + (y - 0.5) ** 2 <= 0.5 / math.pi, np.int32)


def _points(
    class_of: Callable[[ArrayLike], Int[np.ndarray, "S"]], samples: int, seed: int
) -> Points:
    checks.whole_number("samples", samples)
    checks.whole_number("seed", seed, 0)
    xy_Sx2 = np.random.default_rng(seed).random((samples, 2))
    return Points(mirrored(xy_Sx2), class_of(xy_Sx2))
