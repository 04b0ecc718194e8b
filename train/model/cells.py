"""The chain of cells that the settings describe, with its initial weights."""

from __future__ import annotations

from typing import Any

import flax.linen as nn
from jax.nn.initializers import Initializer, variance_scaling

import flax_snn as snn
from train.settings import NetworkConfig

_EULER = snn.dynamics.Discretization("euler", "unit", "leak")

HIDDEN_RATE = 20.0
"""Firing rate in Hz that `--init fluctuation` expects of hidden neurons."""

XI = 2.0
"""Distance of a resting membrane from threshold, in its standard deviations, at which
`--init fluctuation` aims."""

RECURRENT_SHARE = 0.1
"""Share of the variance of a membrane that `--init fluctuation` leaves to recurrent input."""


def chain_of(config: NetworkConfig, outputs: int, dt: float, input_rate: float) -> snn.Chain:
    """Returns the cells of a network: the hidden layers, then the output neurons.

    Args:
      config: settings of the network.
      outputs: output neurons.
      dt: length of a time step in seconds.
      input_rate: mean firing rate of an input in Hz, which `--init fluctuation` goes by.

    Raises:
      TypeError, ValueError: settings that the cells refuse.
    """
    neuron = neuron_of(config, dt)
    hidden = _hidden_cells(config, neuron, input_rate)
    return snn.Chain([*hidden, _readout_cell(config, neuron, outputs, dt)])


def neuron_of(config: NetworkConfig, dt: float) -> snn.LIFDynamics:
    """Returns the neuron of the hidden layers, which spiking output neurons are too."""
    if config.neuron == "tutorial":
        return snn.conventions.tutorial(slope=config.surrogate_slope, dt=dt)
    surrogate = snn.surrogate.superspike(config.surrogate_slope)
    if config.neuron == "portable":
        parameters = snn.dynamics.LIFParameters(tau_mem=config.tau_mem, tau_syn=config.tau_syn)
        rule = snn.dynamics.Rule(discretization=_EULER, entry="new", channels=1)
        return snn.LIFDynamics.from_parts(parameters, dt, rule, surrogate=surrogate)
    return snn.LIFDynamics(
        tau_mem=config.tau_mem, tau_syn=config.tau_syn or None, dt=dt, surrogate=surrogate
    )


def learned_times(config: NetworkConfig) -> tuple[str, ...]:
    """Returns the time constants that hidden LIF neurons learn."""
    names = ("tau_mem", "tau_syn") if config.tau_syn else ("tau_mem",)
    return names if config.learn_tau else ()


def _hidden_cells(
    config: NetworkConfig, neuron: snn.LIFDynamics, input_rate: float
) -> list[nn.RNNCellBase]:
    cells: list[nn.RNNCellBase] = []
    share = 1.0 - RECURRENT_SHARE if config.recurrent else 1.0
    for k, size in enumerate(config.hidden):
        gain, rate = (config.layer_gain, HIDDEN_RATE) if k else (config.input_gain, input_rate)
        fields: dict[str, Any] = {
            "dynamics": neuron,
            "kernel_init": _kernel_init(config, neuron, gain, rate, share),
            "learn": learned_times(config),
        }
        if config.recurrent:
            recurrent = _recurrent_init(config, neuron)
            cells.append(snn.RecurrentLIFCell(size, recurrent_kernel_init=recurrent, **fields))
        else:
            cells.append(snn.LIFCell(size, **fields))
    return cells


def _readout_cell(
    config: NetworkConfig, neuron: snn.LIFDynamics, neurons: int, dt: float
) -> nn.RNNCellBase:
    if config.readout in ("spikes", "first"):
        init = _kernel_init(config, neuron, config.readout_gain, HIDDEN_RATE)
        return snn.LIFCell(neurons, dynamics=neuron, kernel_init=init)
    integrator = _integrator(config, dt)
    init = _kernel_init(config, integrator, config.readout_gain, HIDDEN_RATE)
    return snn.LeakyIntegratorReadout(neurons, dynamics=integrator, kernel_init=init)


def _integrator(config: NetworkConfig, dt: float) -> snn.LIDynamics:
    if config.neuron != "portable":
        return snn.LIDynamics(tau_mem=config.tau_mem, tau_syn=config.tau_syn or None, dt=dt)
    parameters = snn.dynamics.LIFParameters(tau_mem=config.tau_mem, tau_syn=config.tau_syn)
    rule = snn.dynamics.Rule(
        discretization=_EULER, entry="new", channels=1, fire="none", reset="none"
    )
    return snn.LIDynamics.from_parts(parameters, dt, rule)


def _kernel_init(
    config: NetworkConfig,
    dynamics: snn.LIFDynamics | snn.LIDynamics,
    gain: float,
    rate: float,
    share: float = 1.0,
) -> Initializer:
    if config.init != "fluctuation":
        return _normal(gain)
    return snn.initializers.fluctuation_driven(dynamics, rate=rate, xi=XI, share=share)


def _recurrent_init(config: NetworkConfig, dynamics: snn.LIFDynamics) -> Initializer:
    if config.init != "fluctuation":
        return _normal(config.recurrent_gain)
    return snn.initializers.fluctuation_driven(
        dynamics,
        rate=HIDDEN_RATE,
        xi=XI,
        share=RECURRENT_SHARE,
        recurrent=True,
    )


def _normal(gain: float) -> Initializer:
    """Weights N(0, gain^2 / fan in)."""
    if gain == 0.0:
        return nn.initializers.zeros_init()
    return variance_scaling(gain**2, "fan_in", "normal")
