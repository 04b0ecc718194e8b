"""Arrays that can be drawn: checked, of the expected shape and in float64."""

from __future__ import annotations

import math
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from flax_snn import checks

Extent: TypeAlias = tuple[float, float, float, float]
"""Edges of a part of the plane: x low, x high, y low, y high."""


def sequence(name: str, values: npt.ArrayLike, sample: int | None) -> np.ndarray:
    """Returns ``(T, N)`` in float64: the array itself, or one sample of ``(B, T, N)``.

    Raises:
      TypeError: not numbers.
      ValueError: another rank, no entries, not finite, or a sample outside the batch or missing.
    """
    array = checks.real_array(name, values)
    if array.ndim != (2 if sample is None else 3):
        wanted = "(T, N)" if sample is None else "(B, T, N) with a sample index"
        raise ValueError(
            f"{name}: expected shape {wanted}, got {array.shape}; pass sample=... for a batch, and"
            " only then"
        )
    if 0 in array.shape:
        raise ValueError(
            f"{name}: expected at least one time step and one neuron, got shape {array.shape}"
        )
    if sample is not None:
        array = array[checks.index("sample", sample, len(array))]
    return checks.finite_array(name, array)


def spike_counts(name: str, spikes: npt.ArrayLike, sample: int | None) -> np.ndarray:
    """Returns numbers of spikes ``(T, N)``, which are not negative; otherwise as `sequence`."""
    spikes_TxN = sequence(name, spikes, sample)
    if (spikes_TxN < 0.0).any():
        raise ValueError(
            f"{name}: expected numbers of spikes >= 0, got {spikes_TxN.min():g}; draw potentials"
            " with plot.membrane"
        )
    return spikes_TxN


def classes(
    name: str, values: npt.ArrayLike, shape: tuple[int, ...] | None = None, lowest: int = 0
) -> np.ndarray:
    """Returns classes as int64, if they have the shape that is given.

    Raises:
      TypeError: not integers.
      ValueError: another shape, or a class below the lowest.
    """
    array = np.asarray(values)
    if shape is not None:
        checks.shape(name, array, shape)
    checks.integers(name, array, noun="classes as integers")
    if array.size and array.min() < lowest:
        raise ValueError(f"{name}: expected classes >= {lowest}, got {array.min()}")
    return array.astype(np.int64)


def check_extent(extent: Extent) -> None:
    """Checks that an extent is two rising pairs of finite numbers."""
    rising = len(extent) == 4 and extent[0] < extent[1] and extent[2] < extent[3]
    if not (rising and all(map(math.isfinite, extent))):
        raise ValueError(
            f"extent: expected (x low, x high, y low, y high), each low below its high, got"
            f" {extent!r}"
        )
