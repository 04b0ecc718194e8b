"""What metrics are given: known arrays, and which of their entries are data."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

from flax_snn import checks
from flax_snn.sequence_mask import SequenceLengths, StepMask, step_mask
from flax_snn.typing import Bool


def known(name: str, values: Any) -> np.ndarray:
    """Returns values as an array of NumPy.

    Raises:
      TypeError: values that a transformation of JAX hides.
    """
    if any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(values)):
        remedy = "call metrics on what a function under jit, grad or vmap returns"
        raise TypeError(checks.error_text(name, "known values", "a traced array", remedy))
    return np.asarray(values)


def data_mask(
    name: str,
    predicted: np.ndarray,
    true: np.ndarray,
    seq_lengths: SequenceLengths | None,
    mask: StepMask | None,
    *,
    coordinates: bool,
) -> Bool[np.ndarray, "*S"]:
    """Returns which entries are data, ``(S,)``, or ``(S, T)`` with lengths or a mask.

    Args:
      name: name of the second argument, for errors.
      predicted: the predictions.
      true: the labels or targets.
      seq_lengths: number of steps of each sequence, or None.
      mask: which steps are data, or None.
      coordinates: whether an axis of coordinates may follow.
    """
    axes = ["S"] if seq_lengths is None and mask is None else ["S", "T"]
    shapes = [f"({', '.join(axes)}{',' if len(axes) == 1 else ''})"]
    if coordinates:
        shapes.append(f"({', '.join([*axes, 'D'])})")
    if not len(axes) <= true.ndim <= len(axes) + coordinates or true.size == 0:
        what = f"shape {' or '.join(shapes)} with at least one sample"
        raise ValueError(checks.error_text(name, what, f"shape {true.shape}"))
    if predicted.shape != true.shape:
        what, remedy = f"the shape {true.shape} of {name}", "give one prediction for each of them"
        raise ValueError(checks.error_text("predictions", what, predicted.shape, remedy))
    if len(axes) == 1:
        return np.ones(true.shape[:1], np.bool_)
    found = step_mask(true.shape[:1], true.shape[1], seq_lengths=seq_lengths, mask=mask)
    is_data = known("seq_lengths, mask", found)
    if not is_data.any():
        what, remedy = "at least one step with data", "leave out batches that are all padding"
        raise ValueError(checks.error_text("seq_lengths, mask", what, "none", remedy))
    return is_data
