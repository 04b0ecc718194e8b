"""Checks of numbers, choices, names of arguments, classes and fields."""

from __future__ import annotations

import difflib
import math
import numbers
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from flax_snn.checks.sentences import error_text, shown

T = TypeVar("T")


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
