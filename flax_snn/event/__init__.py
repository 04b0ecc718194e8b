"""Spiking neurons in continuous time, with exact spike times and exact gradients."""

from flax_snn.event.membrane import Membrane
from flax_snn.event.raster import from_raster, to_raster
from flax_snn.event.runner import RNN
from flax_snn.event.simulation import first_spikes, simulate
from flax_snn.event.spikes import Spikes, from_times, merge
from flax_snn.event.substrate import disturbed, mismatched, quantized

__all__ = [
    "RNN",
    "Membrane",
    "Spikes",
    "disturbed",
    "first_spikes",
    "from_raster",
    "from_times",
    "merge",
    "mismatched",
    "quantized",
    "simulate",
    "to_raster",
]


def __dir__() -> list[str]:
    return __all__
