"""Neurons of Rockpool (version 3.1.0)."""

from __future__ import annotations

from flax_snn.dynamics import Discretization, LIDynamics, LIFDynamics, LIFParameters, Rule
from flax_snn.surrogate import step_pwl


def rockpool(
    tau_mem: float = 20e-3,
    tau_syn: float | tuple[float, ...] = 20e-3,
    bias: float = 0.0,
    threshold: float = 1.0,
    dt: float = 1e-3,
) -> LIFDynamics:
    """Builds ``LIFJax`` of Rockpool: input decays in the step it arrives, several spikes per step.

        i <- beta (i + x),   v <- alpha v + i + bias,   s = floor(v / threshold),   v <- v - s threshold

    At most 2^16 spikes in a step, as in Rockpool. With a tuple of time constants a neuron has
    several synapses, whose currents add up; the input of a cell then holds one block of N values
    per synapse (Rockpool interleaves them: index neuron * S + synapse). ``noise_std`` of Rockpool
    is left out. Recurrent weights are (pre, post), as here.

    Args:
      tau_mem: membrane time constant in seconds.
      tau_syn: synaptic time constant in seconds, or a tuple.
      bias: constant added to the membrane in each step.
      threshold: threshold, above 0.
      dt: length of a step in seconds.

    Raises:
      ValueError: a time constant or threshold that is not above 0.
    """  # noqa: E501
    tau_syn = tuple(tau_syn) if isinstance(tau_syn, list) else tau_syn
    channels = len(tau_syn) if isinstance(tau_syn, tuple) else 1
    rule = Rule(
        discretization=Discretization("exponential", "decay", "unit"),
        entry="new",
        channels=channels,
        fire="floor",
        max_spikes=2**16,
        reset="soft",
        reset_gradient="flow",
    )
    parameters = LIFParameters(tau_mem=tau_mem, tau_syn=tau_syn, bias=bias, threshold=threshold)
    return LIFDynamics.from_parts(parameters, dt, rule, surrogate=step_pwl(0.5))


def rockpool_torch(
    tau_mem: float = 20e-3,
    tau_syn: float | tuple[float, ...] = 20e-3,
    bias: float = 0.0,
    threshold: float = 1.0,
    dt: float = 1e-3,
) -> LIFDynamics:
    """Builds ``LIFTorch`` of Rockpool: the same neuron as `rockpool`.

    Args:
      tau_mem: membrane time constant in seconds.
      tau_syn: synaptic time constant in seconds, or a tuple.
      bias: constant added to the membrane in each step.
      threshold: threshold, above 0.
      dt: length of a step in seconds.

    Raises:
      ValueError: a time constant or threshold that is not above 0.
    """
    return rockpool(tau_mem, tau_syn, bias, threshold, dt)


def rockpool_exp_syn(tau: float = 20e-3, dt: float = 1e-3) -> LIDynamics:
    """Builds ``ExpSyn`` of Rockpool, a synapse as a readout: ``v <- alpha (v + x)``.

    Args:
      tau: time constant in seconds.
      dt: length of a step in seconds.

    Raises:
      ValueError: a time constant that is not above 0.
    """
    rule = Rule(
        discretization=Discretization("exponential", "unit", "decay"), fire="none", reset="none"
    )
    return LIDynamics.from_parts(LIFParameters(tau_mem=tau), dt, rule)
