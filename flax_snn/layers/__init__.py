"""Layers beside the neurons: delays, normalisation, dropout, residual blocks and pooling."""

from flax_snn.layers.delay_taps import clip_delays, delay_taps, rounded_taps
from flax_snn.layers.delay_width import annealed_sigma, with_sigma
from flax_snn.layers.delayed_dense import DelayedConnections, DelayedDense, DelayedDenseCell
from flax_snn.layers.delayed_recurrent import DelayedRecurrentCell, DelayedState
from flax_snn.layers.pooling import AvgPool, MaxPool, SumPool
from flax_snn.layers.sequence_dropout import SequenceDropout, SequenceDropoutCell
from flax_snn.layers.spiking_residual import SpikingResidual
from flax_snn.layers.threshold_norm import ThresholdNorm, fold_norms

__all__ = [
    "AvgPool",
    "DelayedConnections",
    "DelayedDense",
    "DelayedDenseCell",
    "DelayedRecurrentCell",
    "DelayedState",
    "MaxPool",
    "SequenceDropout",
    "SequenceDropoutCell",
    "SpikingResidual",
    "SumPool",
    "ThresholdNorm",
    "annealed_sigma",
    "clip_delays",
    "delay_taps",
    "fold_norms",
    "rounded_taps",
    "with_sigma",
]


def __dir__() -> list[str]:
    return __all__
