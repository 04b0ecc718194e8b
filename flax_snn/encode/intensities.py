"""Intensities that encoders turn into spikes: floating, with a feature axis, within their range.

An intensity outside its range is an error where its value is known. Inside ``jax.jit``, where it is
not, the spikes of that intensity are NaN.
"""

from __future__ import annotations

import math

import jax.numpy as jnp
import numpy as np

from flax_snn import checks
from flax_snn.typing import Array

SCALE_PIXELS = "convert it with .astype(jnp.float32), and scale 8-bit pixels by 1/255"


def check_intensities(x: Array, highest: float = math.inf) -> None:
    """Checks type and axes of intensities, and, where they are known, their values.

    Args:
      x: intensities ``(*B, F)``.
      highest: largest value allowed; the smallest is 0.

    Raises:
      TypeError: not of a floating type.
      ValueError: no feature axis, or a value that is NaN or outside the range.
    """
    checks.floating("x", x, remedy=SCALE_PIXELS)
    checks.rank("x", x, "(*B, F)", remedy="give it a feature axis")
    values = checks.known_values(x)
    if values is not None and not ((values >= 0) & (values <= highest)).all():
        wanted = "intensities >= 0" if math.isinf(highest) else f"values in [0, {highest:g}]"
        raise ValueError(
            checks.error_text(
                "x",
                wanted,
                f"{np.min(values)} to {np.max(values)}",
                "shift and scale them into that range, and look for NaN",
            )
        )


def nan_where_not(allowed: Array, values: Array) -> Array:
    """Returns the values, and NaN where they are not allowed."""
    return jnp.where(allowed, values, jnp.nan)
