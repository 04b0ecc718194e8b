"""Squared errors of predicted coordinates.

    L_b = mean_d (y_bd - target_bd)^2,      L = mean_b L_b

in the squared unit of the targets: nothing is rescaled. What ``time_axis``, ``seq_lengths`` and
``mask`` mean stands in `flax_snn.sequence_mask`.
"""

from __future__ import annotations

import jax.numpy as jnp

from flax_snn import checks
from flax_snn.losses.cross_entropy import optional_steps
from flax_snn.losses.input_checks import check_not_empty
from flax_snn.losses.readout import Reduction, membrane_readout
from flax_snn.losses.reduction_dtype import reduction_dtype
from flax_snn.sequence_mask import SequenceLengths, StepMask, time_steps
from flax_snn.typing import Array, Float


def membrane_mean_squared_error(
    v: Float[Array, "..."],
    targets: Float[Array, "..."],
    *,
    reduce: Reduction = "last",
    per_sample: bool = False,
    time_axis: int | None = None,
    seq_lengths: SequenceLengths | None = None,
    mask: StepMask | None = None,
) -> Float[Array, "..."]:
    """Mean squared error of coordinates read from membranes that do not spike.

        y = v_T   (or mean_t v_t, or max_t v_t),      L = mean_bd (y_bd - target_bd)^2

    >>> import jax.numpy as jnp
    >>> v = jnp.array([[[0.0, 0.0], [0.5, 1.0]]])  # one sample, two steps, two coordinates
    >>> print(membrane_mean_squared_error(v, jnp.array([[0.5, 3.0]])))
    2.0

    Args:
      v: membrane potential of the readout neurons ``(B, T, *D)``, one per coordinate.
      targets: coordinates of each sample ``(B, *D)``, in units of the membrane.
      reduce: the ``last`` step (default), ``mean`` over time, or ``max`` over time.
      per_sample: return the error of each sample instead of the mean.
      time_axis: the time axis of ``v``, as a rule 1, see `flax_snn.sequence_mask`; all axes after
        it are coordinates, such as those of an image.
      seq_lengths: number of steps of each sample, ``(B,)``; all by default.
      mask: which steps are data, ``(B, T)``, instead of lengths.

    Returns:
      The loss in squared units of the targets, float32 or wider. The mean leaves samples without
      data out.

    Raises:
      TypeError: membranes or targets not floating.
      ValueError: no time axis, T = 0, shapes, lengths or a mask that do not fit, no samples or
        coordinates, an unknown reduction.
    """
    checks.floating("membranes", v)
    steps = time_steps("membranes", v, time_axis=time_axis, seq_lengths=seq_lengths, mask=mask)
    predictions = membrane_readout(
        v, reduce=reduce, time_axis=time_axis, seq_lengths=seq_lengths, mask=mask
    )
    squared = _squared_errors(predictions, targets)
    loss_B = jnp.mean(squared, axis=tuple(range(steps.axis, squared.ndim)))
    return steps.mean_over_samples(loss_B, per_sample=per_sample)


def mean_squared_error(
    predictions: Float[Array, "*B D"],
    targets: Float[Array, "*B D"],
    *,
    per_sample: bool = False,
    time_axis: int | None = None,
    seq_lengths: SequenceLengths | None = None,
    mask: StepMask | None = None,
) -> Float[Array, "..."]:
    """Mean over samples and coordinates of ``(prediction - target)^2``.

    Where each time step has a target of its own, ``time_axis`` says so: the error of a sample is
    then the mean over its steps.

    Args:
      predictions: coordinates of each sample ``(*B, D)``, or ``(*B, T, D)`` with a time axis.
      targets: what they should be, in the same unit and shape.
      per_sample: return the error of each sample, its mean over coordinates, instead of the mean.
      time_axis: the time axis, such as -2; all axes after it are coordinates. None (default):
        there is none, and coordinates are the last axis.
      seq_lengths: number of steps of each sample, ``(*B,)``, with a time axis; all by default.
      mask: which steps are data, ``(*B, T)``, instead of lengths.

    Returns:
      The loss in squared units of the targets, float32 or wider. The mean leaves samples without
      data out.

    Raises:
      TypeError: predictions or targets not floating.
      ValueError: shapes that differ, lengths or a mask that do not fit, no samples or coordinates,
        lengths or a mask without a time axis.
    """
    checks.floating("predictions", predictions)
    steps = optional_steps("predictions", predictions, time_axis, seq_lengths, mask)
    if steps is None:
        loss_B = jnp.mean(_squared_errors(predictions, targets), axis=-1)
        return loss_B if per_sample else jnp.mean(loss_B)
    if targets.shape == predictions.shape:
        predictions, targets = steps.without_padding(predictions), steps.without_padding(targets)
    squared = _squared_errors(predictions, targets)
    loss_BxT = jnp.mean(squared, axis=tuple(range(steps.axis + 1, squared.ndim)))
    return steps.mean_over_samples(steps.mean(loss_BxT), per_sample=per_sample)


def _squared_errors(predictions: Array, targets: Array) -> Array:
    checks.floating("targets", targets)
    check_not_empty("predictions", predictions, "(*B, D)", at_least="sample and coordinate")
    remedy = "give one target for each prediction; coordinates are the last axis"
    checks.shape("targets", targets, predictions.shape, remedy=remedy)
    dtype = reduction_dtype(predictions, targets)
    return jnp.square(predictions.astype(dtype) - targets.astype(dtype))
