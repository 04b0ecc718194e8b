"""The same neurons in continuous time: exact spike times, exact gradients."""

from flax_snn.event.layers import first_spikes, simulate
from flax_snn.event.spikes import Spikes, from_times, merge

__all__ = ["Spikes", "first_spikes", "from_times", "merge", "simulate"]
