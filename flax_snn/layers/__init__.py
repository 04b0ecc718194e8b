"""Layers beside the neurons: delays, normalisation, dropout, residual blocks and pooling in time."""

from flax_snn.layers.delay_taps import clip_delays, delay_taps, rounded_taps
from flax_snn.layers.delay_width import annealed_sigma, with_sigma
from flax_snn.layers.delayed_dense import DelayedDense, DelayedDenseCell
from flax_snn.layers.delayed_recurrent import DelayedRecurrentCell, DelayedState

__all__ = [
    "DelayedDense",
    "DelayedDenseCell",
    "DelayedRecurrentCell",
    "DelayedState",
    "annealed_sigma",
    "clip_delays",
    "delay_taps",
    "rounded_taps",
    "with_sigma",
]


def __dir__() -> list[str]:
    return __all__
