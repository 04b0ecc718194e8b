"""Encoders: from spike events or analog values to rasters and spike times, and back.

A raster has the axes (*B, T, F), batch-major: one cell per sample, time step and unit.
`times_to_raster` and `raster_to_times` work on the host in NumPy and are exact; `latency`, `rate`
and `spatio_temporal` turn intensities into spikes in JAX and may be jitted, `cochlea` and
`mel_crossings` sounds; `cochlea_times` and `mel_crossing_times` list the spikes of one sound on the
host. An intensity or sound that an encoder must refuse raises when its value is known; inside
`jax.jit`, where it is not, its spikes are NaN.
"""

from __future__ import annotations

from flax_snn.encode.cochlea import SpikeTimes, cochlea, cochlea_times
from flax_snn.encode.cochlea_bushy_cell import BushyCell
from flax_snn.encode.cochlea_hair_cell import HairCell
from flax_snn.encode.cochlea_membrane import BasilarMembrane
from flax_snn.encode.latency import latency, latency_times
from flax_snn.encode.mel_crossings import mel_crossing_times, mel_crossings
from flax_snn.encode.mel_energies import log_mel, mel_filters
from flax_snn.encode.raster import RasterEvents, raster_to_times, times_to_raster
from flax_snn.encode.rate import rate
from flax_snn.encode.spatio_temporal import spatio_temporal

__all__ = [
    "BasilarMembrane",
    "BushyCell",
    "RasterEvents",
    "HairCell",
    "SpikeTimes",
    "cochlea",
    "cochlea_times",
    "latency",
    "latency_times",
    "log_mel",
    "mel_crossing_times",
    "mel_crossings",
    "mel_filters",
    "raster_to_times",
    "rate",
    "spatio_temporal",
    "times_to_raster",
]


def __dir__() -> list[str]:
    return __all__
