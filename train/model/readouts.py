"""What is read from a network: a function from what it did to logits, values or first spikes."""

from __future__ import annotations

from collections.abc import Callable

from flax_snn import losses
from flax_snn.typing import Array
from train.model.runner import Pass
from train.settings import NetworkConfig

READING = {
    "spikes": "number of spikes",
    "first": "first spike",
    "max": "maximum over time",
    "mean": "mean over time",
    "last": "last step",
}
"""What is read from an output neuron, in words for the pictures."""


def readout_of(config: NetworkConfig, values: bool, dt: float) -> Callable[[Pass], Array]:
    """Returns the readout that the settings describe, for outputs ``(B, T, C * population)``.

    Args:
      config: settings of the network.
      values: whether values are to be predicted, not classes.
      dt: length of a time step in seconds.

    Returns:
      A function to ``z (B, C)``; steps that are padding do not count.
    """
    reduce, population = config.readout, config.population
    if reduce == "spikes":
        scale = config.count_scale
        return lambda run: losses.spike_count_logits(
            run.output, scale=scale, population=population, seq_lengths=run.lengths
        )
    if reduce == "first":
        tau = config.tau_syn
        return lambda run: losses.first_spike_logits(
            losses.first_spike_times(run.output, dt=dt, seq_lengths=run.lengths),
            tau=tau,
            population=population,
        )
    if values:
        return lambda run: losses.membrane_readout(
            run.output, reduce=reduce, seq_lengths=run.lengths
        )
    scale = config.membrane_scale
    return lambda run: losses.membrane_logits(
        run.output, reduce=reduce, scale=scale, population=population, seq_lengths=run.lengths
    )
