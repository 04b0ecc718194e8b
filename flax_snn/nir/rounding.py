"""Values of a file in the dtype of the network: floats are rounded, whole numbers are not."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np

from flax_snn.nir.error import fail


def without_rounding(array: np.ndarray, dtype: Any, where: str) -> np.ndarray:
    """Returns an array in a floating dtype, to which whole numbers are never rounded.

    Floating-point numbers are rounded to the dtype, as the reader of a file asked for. Whole
    numbers are exact in the file, such as codes of a device, and would change without a sign.

    Args:
      array: real numbers.
      dtype: the floating dtype.
      where: node and field, for the error.

    Raises:
      NIRError: a whole number that the dtype does not have.
    """
    array = np.asarray(array)
    with np.errstate(over="ignore"):
        found = array.astype(dtype)
    if array.dtype.kind not in "iu":
        return found
    size = array.astype(np.uint64)
    size = np.where(array < 0, np.uint64(0) - size, size)
    # Without the zeros at its end, a number has to fit into the significand.
    odd = size // np.maximum(size & (np.uint64(0) - size), np.uint64(1))
    about = jnp.finfo(dtype)
    wrong = (odd >= np.uint64(2) ** np.uint64(about.nmant + 1)) | ~np.isfinite(found)
    if wrong.any():
        raise fail(
            where,
            f"whole numbers that {np.dtype(dtype).name} can hold",
            str(array[wrong].flat[0]),
            "write floating-point numbers if they may be rounded, or pass a param_dtype with more"
            " digits",
        )
    return found
