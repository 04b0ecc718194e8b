"""What can be drawn: arrays as float64 of the expected shape, or an error that names them."""

from __future__ import annotations

import math
from typing import Any, TypeAlias

import jax.numpy as jnp
import numpy as np
import numpy.typing as npt

Extent: TypeAlias = tuple[float, float, float, float]
"""Edges of a part of the plane: x low, x high, y low, y high."""


def numbers(name: str, values: npt.ArrayLike) -> np.ndarray:
    """Return an array of NumPy, of the dtype that it has.

    Raises:
      TypeError: not real numbers or bool.
    """
    array = np.asarray(values)
    real = (np.bool_, np.integer, np.floating)
    # JAX knows bfloat16 as a floating type, NumPy does not.
    if not any(jnp.issubdtype(array.dtype, kind) for kind in real):
        raise TypeError(f"{name}: expected real numbers or bool, got {array.dtype}")
    return array


def finite(name: str, array: np.ndarray, remedy: str = "") -> np.ndarray:
    """Return the array in float64.

    Raises:
      ValueError: entries that are not finite; the message ends with the remedy.
    """
    array = array.astype(np.float64)
    if not np.isfinite(array).all():
        bad = int((~np.isfinite(array)).sum())
        raise ValueError(
            f"{name}: expected finite numbers, got {bad} entries that are NaN or inf"
            + (f"; {remedy}" if remedy else "")
        )
    return array


def sequence(name: str, values: npt.ArrayLike, sample: int | None) -> np.ndarray:
    """Return ``(T, N)`` in float64: the array itself, or one sample of ``(B, T, N)``.

    Raises:
      TypeError: not numbers.
      ValueError: another rank, nothing in it, not finite, a sample that is missing or not there.
    """
    array = numbers(name, values)
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
        if not is_index(sample, len(array)):
            raise ValueError(f"sample: expected an index in [0, {len(array)}), got {sample!r}")
        array = array[sample]
    return finite(name, array)


def spike_counts(name: str, spikes: npt.ArrayLike, sample: int | None) -> np.ndarray:
    """Return numbers of spikes ``(T, N)``; as `sequence`, and refuse negative ones."""
    spikes_TxN = sequence(name, spikes, sample)
    if (spikes_TxN < 0.0).any():
        raise ValueError(
            f"{name}: expected numbers of spikes >= 0, got {spikes_TxN.min():g}; draw potentials"
            " with plot.membrane"
        )
    return spikes_TxN


def is_index(value: Any, size: int) -> bool:
    """Whether `value` is an integer from 0 to size - 1."""
    return isinstance(value, int | np.integer) and 0 <= int(value) < size


def check_dt(dt: float) -> None:
    """Refuse all but a finite number of seconds > 0."""
    if not (math.isfinite(dt) and dt > 0.0):
        raise ValueError(f"dt: expected a step in seconds > 0, got {dt!r}")


def classes(
    name: str, values: npt.ArrayLike, shape: tuple[int, ...] | None = None, lowest: int = 0
) -> np.ndarray:
    """Return classes as int64; of the shape, where one is given.

    Raises:
      TypeError: not integers.
      ValueError: another shape, or a class below the lowest.
    """
    array = np.asarray(values)
    if shape is not None and array.shape != shape:
        raise ValueError(f"{name}: expected shape {shape}, got {array.shape}")
    if not np.issubdtype(array.dtype, np.integer):
        raise TypeError(f"{name}: expected classes as integers, got {array.dtype}")
    if array.size and array.min() < lowest:
        raise ValueError(f"{name}: expected classes >= {lowest}, got {array.min()}")
    return array.astype(np.int64)


def check_extent(extent: Extent) -> None:
    """Refuse all but two rising pairs of finite numbers."""
    rising = len(extent) == 4 and extent[0] < extent[1] and extent[2] < extent[3]
    if not (rising and all(map(math.isfinite, extent))):
        raise ValueError(
            f"extent: expected (x low, x high, y low, y high), each low below its high, got"
            f" {extent!r}"
        )
