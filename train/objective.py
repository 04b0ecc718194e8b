"""What a network is trained for: the loss and the score of its readout, for each sample."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp

from flax_snn import losses
from flax_snn.typing import Array, Float, Int

UNIFORM_VARIANCE = 1.0 / 12.0
"""Variance of a coordinate that is uniform on [0, 1], as those of Randman are."""


@dataclasses.dataclass(frozen=True)
class Objective:
    """Meaning of what the readout gives, ``z (B, ...)`` or a tuple of these, against the labels.

    Attributes:
      score: name of the score, of which more is better: ``accuracy``, ``r2``.
      label_shape: shape of one label.
      label_dtype: dtype of labels.
      loss: loss of each sample, from z, labels and the label smoothing, which evaluation leaves at
        0.
      points: score of each sample, whose mean is the score.
      predict: predictions from ``z``.
    """

    score: str
    label_shape: tuple[int, ...]
    label_dtype: Any
    loss: Callable[[Any, Array, float], Float[Array, "B"]]
    points: Callable[[Any, Array], Float[Array, "B"]]
    predict: Callable[[Any], Array]


def _class(logits: Float[Array, "B C"]) -> Int[Array, "B"]:
    return jnp.argmax(logits, axis=-1).astype(jnp.int32)


def _correct(logits: Float[Array, "B C"], labels: Int[Array, "B"]) -> Float[Array, "B"]:
    return (_class(logits) == labels).astype(jnp.float32)


def _cross_entropy(
    logits: Float[Array, "B C"], labels: Int[Array, "B"], smoothing: float
) -> Float[Array, "B"]:
    return losses.softmax_cross_entropy(logits, labels, label_smoothing=smoothing, per_sample=True)


CLASSIFICATION = Objective(
    score="accuracy",
    label_shape=(),
    label_dtype=jnp.int32,
    loss=_cross_entropy,
    points=_correct,
    predict=_class,
)
"""Cross-entropy of logits in nats; the score is the share of samples classified correctly."""


def regression(dim: int) -> Objective:
    """Squared error of ``dim`` coordinates, each uniform on [0, 1].

    The loss of a sample is its mean squared error over the coordinates; its score is the share of
    the variance of a uniform coordinate, 1/12, that the prediction explains: ``1 - 12 loss``.

    Args:
      dim: number of coordinates.

    Returns:
      The objective, with the score ``r2``.
    """

    def loss(z: Array, labels: Array, smoothing: float) -> Array:
        del smoothing  # there are no classes to spread a target over
        return losses.mean_squared_error(z, labels, per_sample=True)

    return Objective(
        score="r2",
        label_shape=(dim,),
        label_dtype=jnp.float32,
        loss=loss,
        points=lambda z, labels: 1.0 - loss(z, labels, 0.0) / UNIFORM_VARIANCE,
        predict=lambda z: z,
    )
