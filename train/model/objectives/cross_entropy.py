"""Cross-entropy of logits, in nats."""

from __future__ import annotations

from flax_snn import losses
from flax_snn.typing import Array, Float, Int
from train.model.objectives.objective import Objective, classifier

KIND = "classes"


def make(outputs: int) -> Objective:
    """Returns the objective, for any number of classes."""
    del outputs
    return CLASSIFICATION


def _loss(
    logits: Float[Array, "B C"], labels: Int[Array, "B"], smoothing: float
) -> Float[Array, "B"]:
    return losses.softmax_cross_entropy(logits, labels, label_smoothing=smoothing, per_sample=True)


CLASSIFICATION = classifier(_loss, "cross-entropy (nats)")
"""Cross-entropy of logits; the score is the share of samples classified correctly."""
