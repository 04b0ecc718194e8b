"""The one form of an error, and how an error shows a value."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np


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
