"""Labelled points of a plane."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from flax_snn.typing import Float, Int


class Points(NamedTuple):
    """Points of a plane with mirrored coordinates, and their classes; S samples.

    Attributes:
      x: features (x, y, a - x, a - y) from 0 to a, the side of the square that the points lie in,
        1 unless the data set says otherwise: (S, 4) float64.
      labels: class of each point: (S,) int32.
    """

    x: Float[np.ndarray, "S 4"]
    labels: Int[np.ndarray, "S"]


def mirrored(xy: Float[np.ndarray, "S 2"], side: float = 1.0) -> Float[np.ndarray, "S 4"]:
    """Appends a - x and a - y for a square of side a, 1 by default."""
    return np.concatenate([xy, side - xy], axis=-1)


def coordinates(xy: ArrayLike) -> Float[np.ndarray, "*B 2"]:
    """Returns points as an array in float64.

    Raises:
      ValueError: the last axis is not x and y, or a coordinate is not a finite real number.
    """
    array = np.asarray(xy)
    real = array.dtype.kind in "fiu" and np.isfinite(array).all()
    if array.ndim < 1 or array.shape[-1] != 2 or not real:
        raise ValueError(
            f"expected finite points (*B, 2), x and y on the last axis, got shape {array.shape} and"
            f" dtype {array.dtype}; leave out mirrored features, mind NaN"
        )
    return array.astype(np.float64)
