"""Checks of a data set's settings: what they refuse, they refuse with a remedy."""

from __future__ import annotations

import math
import numbers
from collections.abc import Callable
from typing import Any


def check_whole(name: str, value: Any, minimum: int) -> None:
    """Refuses all but whole numbers from `minimum` on.

    Raises:
      ValueError: `value` is not an integer (a bool is not one), or is below `minimum`.
    """
    if not is_whole(value) or value < minimum:
        raise ValueError(
            f"expected {name} to be a whole number >= {minimum}, got {value!r}; pass an int"
        )


def check_number(name: str, value: Any, allowed: Callable[[float], bool], wanted: str) -> None:
    """Refuses all but finite numbers for which `allowed` holds; `wanted` says so in words.

    Raises:
      ValueError: `value` is not a real number, not finite, or not allowed.
    """
    is_number = isinstance(value, numbers.Real) and not isinstance(value, bool)
    if not is_number or not math.isfinite(value) or not allowed(value):
        raise ValueError(
            f"expected {name} to be a number {wanted}, got {value!r}; pass a finite float"
        )


def is_whole(value: Any) -> bool:
    """Whether `value` is an integer of Python or NumPy; a bool is not."""
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)
