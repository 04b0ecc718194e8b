"""Checks of the types, shapes and entries of arrays."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt

from flax_snn.checks.sentences import error_text, shown


def floating(name: str, array: Any, *, remedy: str = "convert it with .astype(jnp.float32)") -> Any:
    """Returns an array, or a dtype, that is of a floating type; bfloat16 is one.

    Raises:
      TypeError: of another type.
    """
    dtype = _dtype_of(array)
    if dtype is None or not jnp.issubdtype(dtype, jnp.floating):
        raise TypeError(error_text(name, "a floating dtype", dtype or shown(array), remedy))
    return array


def integers(name: str, array: Any, *, noun: str = "integers", remedy: str = "") -> Any:
    """Returns an array, or a dtype, that is of an integer type, which bool is not.

    Raises:
      TypeError: of another type.
    """
    dtype = _dtype_of(array)
    if dtype is None or not jnp.issubdtype(dtype, jnp.integer):
        raise TypeError(error_text(name, noun, dtype or shown(array), remedy))
    return array


def rank(name: str, array: Any, axes: str, *, exactly: int | None = None, remedy: str = "") -> Any:
    """Returns an array that has the axes.

    Args:
      name: name of the argument.
      array: the array.
      axes: the axes as the docstrings write them, such as ``(B, T, N)``; ``*B`` stands for any
        number of axes.
      exactly: number of axes, where the axes do not say it.
      remedy: what to do, for the error.

    Raises:
      ValueError: another number of axes.
    """
    named = [axis for axis in axes.strip("()").replace(",", " ").split() if axis]
    count = len([axis for axis in named if axis[0] not in "*."]) if exactly is None else exactly
    ndim = np.ndim(array)
    any_more = exactly is None and count < len(named)
    if ndim < count or (ndim > count and not any_more):
        raise ValueError(error_text(name, f"shape {axes}", f"shape {np.shape(array)}", remedy))
    return array


def shape(name: str, array: Any, expected: tuple[Any, ...], *, remedy: str = "") -> Any:
    """Returns an array that has the shape: sizes (ints, symbolic dimensions), None for any size.

    Raises:
      ValueError: another shape.
    """
    came = np.shape(array)
    fits = len(came) == len(expected) and all(
        size is None or size == other for size, other in zip(expected, came, strict=True)
    )
    if not fits:
        sizes = ", ".join("any" if size is None else str(size) for size in expected)
        written = f"({sizes},)" if len(expected) == 1 else f"({sizes})"
        raise ValueError(error_text(name, f"shape {written}", f"shape {came}", remedy))
    return array


def real_array(name: str, values: npt.ArrayLike, *, remedy: str = "") -> np.ndarray:
    """Returns real numbers or bools as an array of NumPy, in the dtype that they have.

    Raises:
      TypeError: other values than real numbers or bools.
    """
    array = np.asarray(values)
    # JAX knows bfloat16 as a floating type, NumPy does not.
    if not any(jnp.issubdtype(array.dtype, kind) for kind in (np.bool_, np.integer, np.floating)):
        raise TypeError(error_text(name, "real numbers or bool", array.dtype, remedy))
    return array


def finite_array(name: str, values: npt.ArrayLike, *, remedy: str = "") -> np.ndarray:
    """Returns real, finite numbers as an array of NumPy in float64.

    Raises:
      TypeError: other values than real numbers or bools.
      ValueError: entries that are NaN or infinite.
    """
    array = real_array(name, values).astype(np.float64)
    bad = int((~np.isfinite(array)).sum())
    if bad:
        came = f"{bad} entries that are NaN or inf"
        raise ValueError(error_text(name, "finite numbers", came, remedy))
    return array


def known_values(x: Any) -> np.ndarray | None:
    """Returns the values of an array in NumPy, or None if a transformation hides them.

    Under ``jit``, ``grad`` or ``vmap`` arguments are tracers without values; constants keep
    theirs, but what JAX computes from a constant there does not, which is why this is NumPy.
    """
    return None if isinstance(x, jax.core.Tracer) else np.asarray(x)


def _dtype_of(value: Any) -> np.dtype | None:
    """Returns the dtype of an array, or that a value names, or None if it names none."""
    try:
        # A scalar type, such as np.float32, has a descriptor of this name.
        return jnp.dtype(value if isinstance(value, type) else getattr(value, "dtype", value))
    except TypeError:
        return None
