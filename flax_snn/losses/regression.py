"""Squared errors of predicted coordinates.

    L_b = mean_d (y_bd - target_bd)^2,      L = mean_b L_b

in the squared unit of the targets: nothing is rescaled.
"""

from __future__ import annotations

import jax.numpy as jnp

from flax_snn.losses.precision import wide
from flax_snn.losses.readout import Reduction, membrane_readout
from flax_snn.losses.validity import check_floating
from flax_snn.typing import Array, Float


def membrane_mean_squared_error(
    v: Float[Array, "*B T D"],
    targets: Float[Array, "*B D"],
    *,
    reduce: Reduction = "last",
    per_sample: bool = False,
) -> Float[Array, "*B"] | Float[Array, ""]:
    """Mean squared error of coordinates read from membranes that do not spike.

        y = v_T   (or mean_t v_t, or max_t v_t),      L = mean_bd (y_bd - target_bd)^2

    >>> import jax.numpy as jnp
    >>> v = jnp.array([[[0.0, 0.0], [0.5, 1.0]]])  # one sample, two steps, two coordinates
    >>> print(membrane_mean_squared_error(v, jnp.array([[0.5, 3.0]])))
    2.0

    Args:
      v: membrane potential of the readout neurons, one per coordinate.
      targets: coordinates of each sample, in units of the membrane.
      reduce: the ``last`` step (default), ``mean`` over time, or ``max`` over time.
      per_sample: return the error of each sample instead of the mean.

    Returns:
      The loss in squared units of the targets, float32 or wider.

    Raises:
      TypeError: membranes or targets not floating.
      ValueError: no time axis, T = 0, shapes that do not fit, no samples or coordinates, an
        unknown reduction.
    """
    predictions = membrane_readout(v, reduce=reduce)
    return mean_squared_error(predictions, targets, per_sample=per_sample)


def mean_squared_error(
    predictions: Float[Array, "*B D"], targets: Float[Array, "*B D"], *, per_sample: bool = False
) -> Float[Array, "*B"] | Float[Array, ""]:
    """Mean over samples and coordinates of ``(prediction - target)^2``.

    Args:
      predictions: coordinates of each sample.
      targets: what they should be, in the same unit and shape.
      per_sample: return the error of each sample, its mean over coordinates, instead of the mean.

    Returns:
      The loss in squared units of the targets, float32 or wider.

    Raises:
      TypeError: predictions or targets not floating.
      ValueError: shapes that differ, no samples or coordinates.
    """
    check_floating("predictions", predictions)
    check_floating("targets", targets)
    if predictions.ndim < 1 or predictions.size == 0:
        raise ValueError(
            f"expected predictions (*B, D) with no empty axis, got shape {predictions.shape}; give"
            " at least one sample and coordinate"
        )
    if targets.shape != predictions.shape:
        raise ValueError(
            f"expected targets of shape {predictions.shape}, one per prediction, got"
            f" {targets.shape}; give the coordinates an axis of their own, the last"
        )
    dtype = wide(predictions, targets)
    error = predictions.astype(dtype) - targets.astype(dtype)
    loss_B = jnp.mean(jnp.square(error), axis=-1)
    return loss_B if per_sample else jnp.mean(loss_B)
