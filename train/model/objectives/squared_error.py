"""Mean squared error of values; the score is R2, the share of their variance that is explained."""

from __future__ import annotations

import jax.numpy as jnp

from flax_snn import losses
from flax_snn.typing import Array, Float
from train.model.objectives.objective import Objective

KIND = "values"

UNIFORM_VARIANCE = 1.0 / 12.0
"""Variance of a coordinate that is uniform on [0, 1], as those of Randman are."""


def make(outputs: int, variance: float = UNIFORM_VARIANCE) -> Objective:
    """Returns the objective of a number of values.

    The loss of a sample is its mean squared error over the values; its score is
    ``1 - loss / variance``, whose mean is R2.

    Args:
      outputs: number of values D.
      variance: variance of a value over the samples; by default that of a uniform number.
    """

    def loss(z: Float[Array, "B D"], labels: Float[Array, "B D"], smoothing: float) -> Array:
        del smoothing  # there are no classes to spread a target over
        return losses.mean_squared_error(z, labels, per_sample=True)

    return Objective(
        score="r2",
        label_shape=(outputs,),
        label_dtype=jnp.float32,
        loss=loss,
        points=lambda z, labels: 1.0 - loss(z, labels, 0.0) / variance,
        predict=lambda z: z,
        unit="mean squared error",
    )
