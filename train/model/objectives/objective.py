"""The loss and the score of what a network returns, for each sample."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp

from flax_snn.typing import Array, Float, Int


@dataclasses.dataclass(frozen=True)
class Objective:
    """Meaning of what the readout returns, ``z (B, ...)`` or a tuple of these, against the labels.

    Attributes:
      score: name of the score, of which more is better: ``accuracy``, ``r2``.
      label_shape: shape of one label.
      label_dtype: dtype of labels.
      loss: loss of each sample, from z, labels and the label smoothing, which evaluation leaves at
        0.
      points: score of each sample, whose mean is the score.
      predict: predictions from ``z``.
      unit: the loss and its unit in words, for the pictures.
    """

    score: str
    label_shape: tuple[int, ...]
    label_dtype: Any
    loss: Callable[[Any, Array, float], Float[Array, "B"]]
    points: Callable[[Any, Array], Float[Array, "B"]]
    predict: Callable[[Any], Array]
    unit: str


def classifier(loss: Callable[[Any, Array, float], Float[Array, "B"]], unit: str) -> Objective:
    """Returns an objective of logits ``(B, C)``; the score is the share of right classes.

    Args:
      loss: loss of each sample, from logits, labels and label smoothing.
      unit: the loss and its unit in words.
    """
    return Objective(
        score="accuracy",
        label_shape=(),
        label_dtype=jnp.int32,
        loss=loss,
        points=lambda logits, labels: (_class(logits) == labels).astype(jnp.float32),
        predict=_class,
        unit=unit,
    )


def _class(logits: Float[Array, "B C"]) -> Int[Array, "B"]:
    return jnp.argmax(logits, axis=-1).astype(jnp.int32)
