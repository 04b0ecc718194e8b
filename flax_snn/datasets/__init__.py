"""Data sets: generators and loaders that return points, spike times, rasters and labels."""

from __future__ import annotations

from flax_snn.datasets.batches import batches
from flax_snn.datasets.labelled_points import Points
from flax_snn.datasets.manifold import (
    randman_cutoff,
    randman_manifold,
    randman_spike_times,
    randman_standardise,
)
from flax_snn.datasets.planes import (
    Constant,
    circle,
    circle_class,
    constant,
    linear,
    linear_class,
)
from flax_snn.datasets.randman import Randman, RandmanSettings, RandmanSplit, randman
from flax_snn.datasets.yin_yang import YinYangSplits, yin_yang, yin_yang_class, yin_yang_splits

__all__ = [
    "Constant",
    "Points",
    "Randman",
    "RandmanSettings",
    "RandmanSplit",
    "YinYangSplits",
    "batches",
    "circle",
    "circle_class",
    "constant",
    "linear",
    "linear_class",
    "randman",
    "randman_cutoff",
    "randman_manifold",
    "randman_spike_times",
    "randman_standardise",
    "yin_yang",
    "yin_yang_class",
    "yin_yang_splits",
]


def __dir__() -> list[str]:
    return __all__
