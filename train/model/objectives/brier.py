"""Squared distance between the probabilities of a softmax and the true class.

Unlike the cross-entropy it is bounded, by 2, so that a few samples with wrong labels cannot lead
the training.

Reference: Brier, *Verification of forecasts expressed in terms of probability*, 1950.
"""

from __future__ import annotations

import jax

from flax_snn import losses
from flax_snn.typing import Array, Float, Int
from train.model.objectives.objective import Objective, classifier

KIND = "classes"


def make(outputs: int) -> Objective:
    """Returns the objective for a number of classes."""

    def loss(
        logits: Float[Array, "B C"], labels: Int[Array, "B"], smoothing: float
    ) -> Float[Array, "B"]:
        hot = jax.nn.one_hot(labels, outputs, dtype=logits.dtype)
        targets = (1.0 - smoothing) * hot + smoothing / outputs
        probabilities = jax.nn.softmax(logits, axis=-1)
        # A mean over classes, of which the sum is asked for.
        return outputs * losses.mean_squared_error(probabilities, targets, per_sample=True)

    return classifier(loss, "Brier score")
