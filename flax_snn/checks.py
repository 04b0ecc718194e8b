"""The checks of numbers, choices, types and shapes that the whole library shares.

Every check takes the name of an argument and its value, returns the value, and raises one form of
error, which says what was expected, what came and what to do about it:

    NAME: expected WHAT, got VALUE; REMEDY

A name may say where the argument belongs, as in ``"Device: g_max"``. A value of the wrong type is
a TypeError, and a value outside its range is a ValueError. Nothing is rounded, clipped or cast on
the way, except that a number comes back as a Python ``float`` or ``int``.
"""

from __future__ import annotations

import difflib
import math
import numbers
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt

__all__ = [
    "argument_names",
    "boolean",
    "choice",
    "error_text",
    "fields",
    "finite_array",
    "floating",
    "in_range",
    "index",
    "instance",
    "integers",
    "is_whole_number",
    "known_values",
    "non_negative",
    "number",
    "positive",
    "rank",
    "real_array",
    "shape",
    "shown",
    "whole_number",
]


def __dir__() -> list[str]:
    return __all__


T = TypeVar("T")


def error_text(name: str, what: str, value: Any, remedy: str = "") -> str:
    """Returns the sentence of an error: what was expected, what came and what to do.

    Args:
      name: name of the argument.
      what: what was expected, such as ``a finite number > 0``.
      value: what came, as it is to be shown.
      remedy: what to do, or nothing where what was expected says it already.
    """
    return f"{name}: expected {what}, got {value}" + (f"; {remedy}" if remedy else "")


def shown(value: Any) -> str:
    """Returns a value as an error shows it: arrays by their shape, other things cut to a line."""
    if isinstance(value, np.ndarray | jax.Array) and value.shape:
        return f"an array of shape {value.shape}"
    text = " ".join(repr(value).split())
    return text if len(text) <= 80 else f"{text[:77]}..."


def number(
    name: str, value: Any, *, unit: str = "", remedy: str = "", noun: str = "a finite number"
) -> float:
    """Returns a finite real number as a float.

    Args:
      name: name of the argument.
      value: a number of Python or NumPy, or an array without axes whose value is known.
      unit: unit of the number, for the error.
      remedy: what to do, for the error.
      noun: what the number is, for the error.

    Raises:
      TypeError: no real number; a bool is none.
      ValueError: NaN or infinite.
    """
    what = f"{noun} of {unit}" if unit else noun
    result = _as_float(name, value, what, remedy)
    if not math.isfinite(result):
        raise ValueError(error_text(name, what, repr(value), remedy))
    return result


def positive(name: str, value: Any, *, unit: str = "", remedy: str = "") -> float:
    """Returns a finite number above 0 as a float; arguments and errors are those of `in_range`."""
    return in_range(name, value, 0.0, None, low_allowed=False, unit=unit, remedy=remedy)


def non_negative(name: str, value: Any, *, unit: str = "", remedy: str = "") -> float:
    """Returns a finite number from 0 on as a float; arguments and errors are as in `in_range`."""
    return in_range(name, value, 0.0, None, unit=unit, remedy=remedy)


def in_range(
    name: str,
    value: Any,
    low: float | None,
    high: float | None,
    *,
    low_allowed: bool = True,
    high_allowed: bool = True,
    unit: str = "",
    remedy: str = "",
    noun: str = "a finite number",
) -> float:
    """Returns a finite number between two bounds as a float.

    Args:
      name: name of the argument.
      value: the number, as `number` takes it.
      low: lower bound, or None for no bound.
      high: upper bound, or None for no bound.
      low_allowed: whether the lower bound itself is allowed.
      high_allowed: whether the upper bound itself is allowed.
      unit: unit of the number, for the error.
      remedy: what to do, for the error.
      noun: what the number is, for the error.

    Raises:
      TypeError: no real number; a bool is none.
      ValueError: NaN, infinite or outside the bounds.
    """
    what = f"{noun} of {unit}" if unit else noun
    if low is not None and high is not None:
        left, right = "[" if low_allowed else "(", "]" if high_allowed else ")"
        what += f" in {left}{low:g}, {high:g}{right}"
    elif low is not None:
        what += f" {'>=' if low_allowed else '>'} {low:g}"
    elif high is not None:
        what += f" {'<=' if high_allowed else '<'} {high:g}"
    result = _as_float(name, value, what, remedy)
    too_low = low is not None and (result < low or (result == low and not low_allowed))
    too_high = high is not None and (result > high or (result == high and not high_allowed))
    if not math.isfinite(result) or too_low or too_high:
        raise ValueError(error_text(name, what, repr(value), remedy))
    return result


def whole_number(name: str, value: Any, at_least: int = 1, *, remedy: str = "") -> int:
    """Returns a whole number as an int.

    Args:
      name: name of the argument.
      value: an integer of Python or NumPy.
      at_least: smallest number allowed.
      remedy: what to do, for the error.

    Raises:
      TypeError: no real number; a bool is none.
      ValueError: a number that is not an integer, such as 2.5 or 2.0, or is below the smallest.
    """
    what = f"a whole number >= {at_least}"
    if not is_whole_number(value):
        _as_float(name, value, what, remedy or "give an int")
        raise ValueError(error_text(name, what, repr(value), remedy or "give an int"))
    if int(value) < at_least:
        raise ValueError(error_text(name, what, repr(value), remedy))
    return int(value)


def index(name: str, value: Any, size: int, *, noun: str = "an index", remedy: str = "") -> int:
    """Returns an index from 0 to ``size - 1`` as an int; the error calls it by the noun.

    Raises:
      TypeError: no real number; a bool is none.
      ValueError: a number that is not an integer, or lies outside the range.
    """
    what = f"{noun} in [0, {size})"
    if not (is_whole_number(value) and 0 <= int(value) < size):
        _as_float(name, value, what, remedy)
        raise ValueError(error_text(name, what, repr(value), remedy))
    return int(value)


def is_whole_number(value: Any) -> bool:
    """Returns whether a value is an integer of Python or NumPy; a bool is none."""
    return isinstance(value, numbers.Integral) and not isinstance(value, bool | np.bool_)


def boolean(name: str, value: Any, *, remedy: str = "") -> bool:
    """Returns a switch.

    Raises:
      TypeError: neither True nor False.
    """
    if not isinstance(value, bool | np.bool_):
        raise TypeError(error_text(name, "True or False", repr(value), remedy))
    return bool(value)


def choice(name: str, value: T, options: Sequence[Any], *, remedy: str = "") -> T:
    """Returns a value that is one of several.

    Raises:
      ValueError: none of them.
    """
    # An array compares element by element.
    if isinstance(value, np.ndarray | jax.Array) or not any(value == o for o in options):
        listed = ", ".join(map(repr, options))
        raise ValueError(error_text(name, f"one of {listed}", repr(value), remedy))
    return value


def argument_names(name: str, given: Iterable[str], known: Sequence[str]) -> None:
    """Checks that ``name`` takes arguments of the given names.

    Raises:
      TypeError: an unknown one; the error lists the known ones and suggests the nearest.
    """
    for each in given:
        if each not in known:
            likeness = [difflib.SequenceMatcher(None, each, k).ratio() for k in known]
            best = max(likeness, default=0.0)
            remedy = f"did you mean {known[likeness.index(best)]!r}?" if best >= 0.6 else ""
            raise TypeError(error_text(name, f"names among {', '.join(known)}", repr(each), remedy))


def instance(
    name: str, value: T, kinds: type | tuple[type, ...], *, what: str = "", remedy: str = ""
) -> T:
    """Returns a value of given classes.

    Args:
      name: name of the argument.
      value: the value.
      kinds: the class, or several.
      what: what is expected, for the error; by default the names of the classes.
      remedy: what to do, for the error.

    Raises:
      TypeError: of another class.
    """
    if not isinstance(value, kinds):
        several = kinds if isinstance(kinds, tuple) else (kinds,)
        what = what or " or ".join(
            "None" if kind is type(None) else f"a {kind.__name__}" for kind in several
        )
        raise TypeError(error_text(name, what, shown(value), remedy))
    return value


def fields(instance: Any, check: Callable[..., Any], *names: str, **options: Any) -> None:
    """Checks fields of a frozen dataclass, and stores what the check returns in their place.

    So ``25``, ``numpy.float32(25)`` and ``25.0`` make equal and hashable instances.

    Args:
      instance: the dataclass; its class names the fields in errors, as in ``Device: g_max``.
      check: a check of this module.
      *names: names of the fields.
      **options: further arguments of the check.
    """
    for name in names:
        value = check(f"{type(instance).__name__}: {name}", getattr(instance, name), **options)
        object.__setattr__(instance, name, value)


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


def shape(name: str, array: Any, expected: tuple[int | None, ...], *, remedy: str = "") -> Any:
    """Returns an array that has the shape; None stands for any size.

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


def _as_float(name: str, value: Any, what: str, remedy: str) -> float:
    if isinstance(value, jax.core.Tracer):
        remedy = "give a number that is known outside jit"
        raise TypeError(error_text(name, what, f"a traced value {value}", remedy))
    if not _is_real(value):
        raise TypeError(error_text(name, what, shown(value), remedy))
    try:
        return float(value)
    except OverflowError:  # An int of Python that no float can hold.
        return math.inf


def _is_real(value: Any) -> bool:
    if isinstance(value, np.ndarray | np.generic | jax.Array):
        number_type = jnp.issubdtype(value.dtype, jnp.number)  # bfloat16 too, and bool not
        return value.shape == () and number_type and not jnp.iscomplexobj(value)
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def _dtype_of(value: Any) -> np.dtype | None:
    """Returns the dtype of an array, or that a value names, or None if it names none."""
    try:
        # A scalar type, such as np.float32, has a descriptor of this name.
        return jnp.dtype(value if isinstance(value, type) else getattr(value, "dtype", value))
    except TypeError:
        return None
