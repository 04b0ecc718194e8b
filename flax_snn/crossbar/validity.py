"""Checks of the numbers that describe a device."""

from __future__ import annotations

import math
from typing import Any


def number(where: str, name: str, value: Any, *, least: float = 0.0, above: bool = False) -> None:
    """Refuse what is not a finite number from ``least`` on.

    Args:
      where: class that has the field.
      name: field.
      value: its value.
      least: smallest number allowed.
      above: whether ``least`` itself is refused.

    Raises:
      ValueError: so it is.
    """
    real = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not real or not math.isfinite(value) or value < least or (above and value == least):
        raise ValueError(
            f"{where}: {name}: expected a finite number {'>' if above else '>='} {least:g}, got"
            f" {value!r}"
        )


def whole(where: str, name: str, value: Any, least: int) -> None:
    """Refuse what is not a whole number from ``least`` on.

    Args:
      where: class that has the field.
      name: field.
      value: its value.
      least: smallest number allowed.

    Raises:
      ValueError: so it is.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ValueError(f"{where}: {name}: expected a whole number >= {least}, got {value!r}")


def instance(where: str, name: str, value: Any, kind: type) -> None:
    """Refuse what is neither ``None`` nor of a class.

    Args:
      where: class that has the field.
      name: field.
      value: its value.
      kind: the class.

    Raises:
      TypeError: so it is.
    """
    if value is not None and not isinstance(value, kind):
        raise TypeError(
            f"{where}: {name}: expected a {kind.__name__}, or None to switch it off, got {value!r}"
        )
