"""What encoders refuse: values of another type or outside their range, and bad settings.

An intensity is refused with an error where its value is known; under a transformation, where it
is not, its spikes are NaN.
"""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from flax_snn.typing import Array


def check_features(x: Array) -> None:
    """Raise unless the array is floating and has a feature axis.

    Raises:
      TypeError: another type.
      ValueError: a number without axes.
    """
    check_floating("x", x.dtype)
    if x.ndim < 1:
        raise ValueError("expected x of shape (*B, F), got a number; give it a feature axis")


def check_intensities(x: Array) -> None:
    """Raise unless the array is floating, has a feature axis and, where known, is >= 0.

    Raises:
      TypeError: another type.
      ValueError: a number without axes, a negative or NaN intensity.
    """
    check_features(x)
    if is_known(x) and not (np.asarray(x) >= 0).all():
        raise ValueError(
            f"expected intensities >= 0, got {np.min(x)}; shift or rectify them, mind NaN"
        )


def check_floating(name: str, dtype: jnp.dtype) -> None:
    """Raise TypeError unless the dtype is floating."""
    if not jnp.issubdtype(dtype, jnp.floating):
        raise TypeError(
            f"expected {name} to be of a floating type, got {dtype}; convert it, and scale "
            "8-bit pixels by 1/255"
        )


def check_settings(steps: int = 1, **positive: float) -> None:
    """Raise ValueError unless steps is a whole number >= 1 and all others are finite and > 0."""
    if isinstance(steps, bool) or not isinstance(steps, int) or steps < 1:
        raise ValueError(f"expected steps to be a whole number >= 1, got {steps!r}; pass an int")
    for name, value in positive.items():
        if not 0 < value < math.inf:
            raise ValueError(f"expected {name} to be > 0, got {value!r}; pass a finite float")


def is_known(x: Any) -> bool:
    """Return whether the values can be looked at, which under a transformation they cannot."""
    return not isinstance(x, jax.core.Tracer)


def poisoned(values: Array, allowed: Array) -> Array:
    """Return the values, NaN where they are not allowed."""
    return jnp.where(allowed, values, jnp.nan)
