"""Sequences of different lengths in one batch: which time steps are data and which are padding.

What reduces a sequence over time takes one of two arguments that say which steps are data:

    seq_lengths   integers of the shape of the batch axes, 0 to T: the first steps are data, the
                  rest is padding, as in ``nn.RNN``
    mask          booleans of the shape of the batch axes and T: True where a step is data

Padding never counts: a padded batch with its lengths gives the numbers that its samples give
alone, whatever the padding holds, NaN and infinity included, and the gradient of padding is exactly
zero. Steps that a mask leaves out of the middle count as if they were cut out of the sequence.

Mean over a batch: each sample is reduced over its own steps first, and what results is averaged
over the samples, so that a long sample weighs as much as a short one.

A sequence without data, of length 0 or with all steps masked, has no numbers. A mean over samples
leaves it out (and is 0 if no sample has data); a value of its own, such as its logits or, with
``per_sample=True``, its loss, is 0. Its gradient is 0.

Lengths below 0 or above T are a ValueError. Under ``jit``, where values cannot be checked, they
count as 0 and as T.

Which axes: all axes before the time axis are batch axes and all axes after it are feature axes,
``(B, T, N)`` or, behind a convolution, ``(B, T, H, W, C)``. The time axis comes after the axes of
the labels where there are labels, or else after those of ``seq_lengths``; without either there is
one batch axis, or none in a single sequence ``(T, N)``. ``time_axis`` says it for everything else,
such as 2 for two batch axes ``(A, B, T, N)`` or 0 for a single sequence ``(T, H, W, C)``. An array
with time first, ``(T, B, N)``, is to be turned before, with ``jnp.swapaxes(x, 0, 1)``.
"""

from __future__ import annotations

import dataclasses
from typing import Any, TypeAlias

import jax.numpy as jnp
import numpy as np
from jax import lax

from flax_snn import checks
from flax_snn.typing import Array, Bool, Int, Shape

__all__ = ["SequenceLengths", "StepMask", "TimeSteps", "step_mask", "time_steps"]


def __dir__() -> list[str]:
    return __all__


SequenceLengths: TypeAlias = Int[Array | np.ndarray, "..."]
"""Number of time steps of each sequence, of the shape of the batch axes."""

StepMask: TypeAlias = Bool[Array | np.ndarray, "..."]
"""Whether each time step of each sequence is data, of the shape of the batch axes and T."""


@dataclasses.dataclass(frozen=True)
class TimeSteps:
    """The time axis of an array, and which of its steps are data.

    Attributes:
      axis: the time axis, counted from the front; as many batch axes come before it.
      mask: whether each step is data, bool ``(*B, T)``, or None if all steps are.
    """

    axis: int
    mask: Array | None

    @property
    def has_data(self) -> Array | None:
        """Whether each sample has a step with data, bool ``(*B,)``, or None if all samples do."""
        return None if self.mask is None else jnp.any(self.mask, axis=-1)

    def without_padding(self, x: Array, fill: float = 0.0) -> Array:
        """Returns the array with another value in place of its padding, whatever that holds."""
        if self.mask is None:
            return x
        return jnp.where(_with_axes(self.mask, x.ndim), x, jnp.asarray(fill, x.dtype))

    def is_data(self, shape: Shape) -> Array | None:
        """Returns the mask for an array of that shape, or None if all steps are data."""
        if self.mask is None:
            return None
        return jnp.broadcast_to(_with_axes(self.mask, len(shape)), shape)

    def count(self, x: Array) -> Array | int:
        """Returns the number of steps with data, as a divisor of a sum of x over time.

        It is at least 1, so that the sum over no steps, 0, is divided as well.
        """
        if self.mask is None:
            return x.shape[self.axis]
        steps = jnp.sum(self.mask, axis=-1, dtype=jnp.int32)
        return _with_axes(jnp.maximum(steps, 1), x.ndim - 1).astype(x.dtype)

    def sum(self, x: Array) -> Array:
        """Returns the sum over the steps with data; 0 for a sequence without any."""
        return jnp.sum(self.without_padding(x), axis=self.axis)

    def mean(self, x: Array) -> Array:
        """Returns the mean over the steps with data; 0 for a sequence without any."""
        if self.mask is None:
            return jnp.mean(x, axis=self.axis)
        return self.sum(x) / self.count(x)

    def max(self, x: Array) -> Array:
        """Returns the maximum over the steps with data; 0 for a sequence without any."""
        largest = jnp.max(self.without_padding(x, -jnp.inf), axis=self.axis)
        if self.has_data is None:
            return largest
        return jnp.where(_with_axes(self.has_data, largest.ndim), largest, 0.0)

    def last(self, x: Array) -> Array:
        """Returns the last step with data; 0 for a sequence without any."""
        if self.mask is None:
            return lax.index_in_dim(x, -1, self.axis, keepdims=False)
        behind = jnp.argmax(jnp.flip(self.mask, axis=-1), axis=-1, keepdims=True)
        index = _with_axes(x.shape[self.axis] - 1 - behind, x.ndim)
        x = self.without_padding(x)
        return jnp.take_along_axis(x, index, axis=self.axis).squeeze(self.axis)

    def mean_over_samples(self, values: Array, *, per_sample: bool = False) -> Array:
        """Returns the mean over the samples that have data, or with ``per_sample`` each value.

        Args:
          values: one value for each sample, ``(*B, ...)``; further axes are averaged as well.
          per_sample: return the values, with 0 for samples without data, instead of the mean.
        """
        if self.has_data is None:
            return values if per_sample else jnp.mean(values)
        has_data = jnp.broadcast_to(_with_axes(self.has_data, values.ndim), values.shape)
        values = jnp.where(has_data, values, 0.0)
        if per_sample:
            return values
        samples = jnp.maximum(jnp.sum(has_data, dtype=jnp.int32), 1)
        return jnp.sum(values) / samples.astype(values.dtype)


def time_steps(
    name: str,
    x: Any,
    *,
    time_axis: int | None = None,
    seq_lengths: Any = None,
    mask: Any = None,
    labels: Any = None,
    axes: str = "(B, T, *N)",
) -> TimeSteps:
    """Returns the time axis of an array and which of its steps are data.

    Args:
      name: name of the array, for errors.
      x: the array, with at least one step and at least one axis after the time axis.
      time_axis: the time axis, counted from the front, or, if negative, from the back. None: as the
        top of this file says.
      seq_lengths: integers of the shape of the batch axes, or None.
      mask: booleans of the shape of the batch axes and T, or None.
      labels: labels of the samples, whose axes are the batch axes, or None.
      axes: the axes of the array as the docstring writes them, for errors.

    Raises:
      TypeError: a time axis that is not an integer; see also `step_mask`.
      ValueError: no such axis, no feature axis after it, no time steps; see also `step_mask`.
    """
    shape = np.shape(x)
    if time_axis is None:
        time_axis = _default_time_axis(len(shape), seq_lengths, mask, labels)
    if not checks.is_whole_number(time_axis):
        given = repr(time_axis)
        raise TypeError(checks.error_text("time_axis", "an integer", given, "number the axis"))
    axis = time_axis + len(shape) if time_axis < 0 else time_axis
    if not 0 <= axis < len(shape) - 1:
        remedy = f"time_axis={time_axis} is to be the axis of time, with one of features after it"
        raise ValueError(checks.error_text(name, f"shape {axes}", f"shape {shape}", remedy))
    if shape[axis] == 0:
        raise ValueError(
            checks.error_text(name, "at least one time step", f"T = 0 in shape {shape}")
        )
    batch = tuple(shape[:axis])
    return TimeSteps(axis, step_mask(batch, shape[axis], seq_lengths=seq_lengths, mask=mask))


def _default_time_axis(ndim: int, seq_lengths: Any, mask: Any, labels: Any) -> int:
    """Returns the number of batch axes that the other arguments show."""
    usual = 0 if ndim == 2 else 1
    if labels is not None:
        batch_axes = np.ndim(labels)
    elif ndim < 4 or (seq_lengths is None and mask is None):
        return usual
    else:
        batch_axes = np.ndim(mask) - 1 if seq_lengths is None else np.ndim(seq_lengths)
    # What cannot be is left to the checks of shapes, whose errors say what is wrong.
    return batch_axes if 0 <= batch_axes < ndim - 1 else usual


def step_mask(
    batch: Shape, steps: int, *, seq_lengths: Any = None, mask: Any = None
) -> Array | None:
    """Returns which steps are data, bool ``(*B, T)``, or None if neither argument is given.

    Args:
      batch: sizes of the batch axes.
      steps: number of time steps T.
      seq_lengths: integers of the shape of the batch axes, or None.
      mask: booleans of the shape of the batch axes and T, or None.

    Raises:
      TypeError: lengths that are not integers, a mask that is not boolean.
      ValueError: both, another shape, lengths below 0 or above T where their values are known.
    """
    if seq_lengths is not None and mask is not None:
        both = "both"
        remedy = "give one of them: lengths for padding at the end, a mask for any other"
        raise ValueError(checks.error_text("seq_lengths, mask", "one of the two", both, remedy))
    if mask is not None:
        remedy = "give True where a step is data, for example with `mask > 0`"
        if getattr(mask, "dtype", None) != np.bool_:
            what = getattr(mask, "dtype", type(mask).__name__)
            raise TypeError(checks.error_text("mask", "an array of booleans", what, remedy))
        checks.shape("mask", mask, (*batch, steps), remedy="its axes are the batch and time")
        return jnp.asarray(mask)
    if seq_lengths is None:
        return None
    remedy = "give an array with the number of steps of each sequence, such as int32"
    checks.integers("seq_lengths", seq_lengths, remedy=remedy)
    checks.shape("seq_lengths", seq_lengths, batch, remedy="give one length for each sequence")
    known = checks.known_values(seq_lengths)
    if known is not None and known.size and not (0 <= known.min() and known.max() <= steps):
        what = f"0 to {steps}, the number of time steps"
        came = f"{known.min()} to {known.max()}"
        raise ValueError(checks.error_text("seq_lengths", what, came, "count steps, not indices"))
    lengths = jnp.asarray(seq_lengths)
    if lengths.dtype in (np.uint32, np.int64, np.uint64):  # which int32 cannot hold
        lengths = jnp.clip(lengths, 0, np.iinfo(np.int32).max)
    counts = jnp.arange(steps, dtype=jnp.int32).reshape((1,) * len(batch) + (steps,))
    return counts < lengths.astype(jnp.int32)[..., None]


def _with_axes(x: Array, ndim: int) -> Array:
    """Returns an array with axes of size 1 behind its own, up to a number of axes."""
    return x.reshape(*x.shape, *(1,) * (ndim - x.ndim))
