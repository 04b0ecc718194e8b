"""Data sets: generators and loaders that return spike times, rasters and labels."""

from __future__ import annotations

from flax_snn.datasets.manifold import (
    randman_cutoff,
    randman_manifold,
    randman_spike_times,
    randman_standardise,
)
from flax_snn.datasets.randman import Randman, RandmanSettings, RandmanSplit, randman

__all__ = [
    "Randman",
    "RandmanSettings",
    "RandmanSplit",
    "randman",
    "randman_cutoff",
    "randman_manifold",
    "randman_spike_times",
    "randman_standardise",
]
