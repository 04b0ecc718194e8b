"""What output neurons are trained for whose first spike names the class.

Sources: Göltz et al., Fast and energy-efficient neuromorphic deep learning with first-spike times,
Nature Machine Intelligence 3, 2021; Wunderlich and Pehle, Event-based backpropagation can compute
exact gradients for spiking neural networks, Scientific Reports 11, 2021.
"""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp

from flax_snn import losses
from flax_snn.typing import Array, Float, Int
from train.model.objectives.objective import Objective
from train.tasks.yin_yang.settings import SpikeTimeLoss


class FirstSpikes(NamedTuple):
    """First spikes of the output neurons.

    Attributes:
      times: their times in seconds, infinity for a silent neuron, ``(B, C)``.
      continued: what they count as in a loss, finite: see `flax_snn.losses.wake_silent`.
    """

    times: Float[Array, "B C"]
    continued: Float[Array, "B C"]


def spike_time_objective(config: SpikeTimeLoss) -> Objective:
    """Returns the objective of first spike times: the score is the share of right classes.

    The predicted class is that of the earliest spike. Where no output neuron spikes it is that of
    the neuron that came closest to its threshold. Of equals, the lower class is taken.

    Args:
      config: the loss, ``ttfs`` or ``mse``.

    Returns:
      An objective whose ``z`` is `FirstSpikes`.
    """

    def cross_entropy(z: FirstSpikes, labels: Array, smoothing: float) -> Array:
        return losses.first_spike_cross_entropy(
            z.continued,
            labels,
            tau=config.loss_tau,
            late_penalty=config.late_penalty,
            late_tau=config.late_tau,
            label_smoothing=smoothing,
            per_sample=True,
        )

    def distance(z: FirstSpikes, labels: Array, smoothing: float) -> Array:
        del smoothing  # there are no odds to spread
        early, late = config.target_early, config.target_late
        targets = losses.target_times(labels, z.times.shape[1], early=early, late=late)
        return losses.mean_squared_spike_time(
            z.continued, targets, tau=config.loss_tau, per_sample=True
        )

    return Objective(
        score="accuracy",
        label_shape=(),
        label_dtype=jnp.int32,
        loss=cross_entropy if config.loss == "ttfs" else distance,
        points=lambda z, labels: (_earliest(z) == labels).astype(jnp.float32),
        predict=_earliest,
        unit="loss (nats)" if config.loss == "ttfs" else "squared distance (loss_tau²)",
    )


def _earliest(z: FirstSpikes) -> Int[Array, "B"]:
    silent = jnp.all(jnp.isposinf(z.times), axis=-1, keepdims=True)
    return jnp.argmin(jnp.where(silent, z.continued, z.times), axis=-1).astype(jnp.int32)
