"""Networks on rasters as the settings describe them: cells, initial weights, readout."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import flax.linen as nn
from jax.nn.initializers import Initializer, variance_scaling

import flax_snn as snn
from flax_snn import losses
from flax_snn.typing import Array
from train.analog import crossbars_of
from train.config import NO_CROSSBAR, CrossbarConfig, NetworkConfig
from train.errors import ConfigError
from train.objective import Objective
from train.raster_model import RasterModel

_EULER = snn.dynamics.Discretization("euler", "unit", "leak")

HIDDEN_RATE = 20.0
"""Firing rate in Hz that `--init fluctuation` expects of hidden neurons."""

XI = 2.0
"""Distance of a resting membrane from threshold, in its standard deviations, at which
`--init fluctuation` aims."""

RECURRENT_SHARE = 0.1
"""Share of the variance of a membrane that `--init fluctuation` leaves to recurrent input."""


def build_network(
    config: NetworkConfig,
    objective: Objective,
    *,
    steps: int,
    units: int,
    outputs: int,
    dt: float,
    input_rate: float,
    crossbar: CrossbarConfig = NO_CROSSBAR,
) -> RasterModel:
    """Build the network that the settings describe.

    Args:
      config: settings of the network.
      objective: what its readout is trained for.
      steps: time steps T of a sample.
      units: input features F.
      outputs: classes, or values to predict.
      dt: length of a time step in seconds.
      input_rate: mean firing rate of an input in Hz, which `--init fluctuation` goes by.
      crossbar: which layers lie on crossbars.

    Returns:
      The model, without parameters.

    Raises:
      ConfigError: settings that the cells refuse.
    """
    try:
        neuron = _neuron(config, dt)
        hidden = _hidden_cells(config, neuron, input_rate)
        cells = [*hidden, _readout_cell(config, neuron, outputs * config.population, dt)]
    except (TypeError, ValueError) as error:
        raise ConfigError(f"network: {error}") from error
    layers = [f"hidden_{k + 1}" for k in range(len(config.hidden))]
    spiking = config.readout in ("spikes", "first")
    model = RasterModel(
        network=snn.RNN(snn.Chain(cells)),
        readout=_readout(config, objective, dt),
        objective=objective,
        input_shape=(steps, units),
        slot=dt,
        layers=(*layers, "output") if spiking else tuple(layers),
        threshold=float(neuron.coefficients().theta),
        spiking_output=spiking,
        population=config.population,
        outputs=outputs * config.population,
        rescaled=config.init_spread if config.init == "lsuv" else None,
    )
    crossbars = crossbars_of(crossbar, model.parts)
    return model if crossbars is None else model.with_crossbars(crossbars)


def _neuron(config: NetworkConfig, dt: float) -> snn.LIFDynamics:
    if config.neuron == "tutorial":
        return snn.conventions.tutorial(slope=config.surrogate_slope, dt=dt)
    surrogate = snn.surrogate.superspike(config.surrogate_slope)
    if config.neuron == "portable":
        parameters = snn.dynamics.LIFParameters(tau_mem=config.tau_mem, tau_syn=config.tau_syn)
        rule = snn.dynamics.Rule(discretization=_EULER, entry="new", channels=1)
        return snn.LIFDynamics.from_parts(parameters, dt, rule, surrogate=surrogate)
    return snn.LIFDynamics(
        tau_mem=config.tau_mem, tau_syn=config.tau_syn, dt=dt, surrogate=surrogate
    )


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
            "learn": ("tau_mem", "tau_syn") if config.learn_tau else (),
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
        return snn.LIDynamics(tau_mem=config.tau_mem, tau_syn=config.tau_syn, dt=dt)
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


def _readout(config: NetworkConfig, objective: Objective, dt: float) -> Callable[[Array], Array]:
    """Map from outputs ``(B, T, C * population)`` to ``z (B, C)``."""
    reduce, population = config.readout, config.population
    if reduce == "spikes":
        scale = config.count_scale
        return lambda s: losses.spike_count_logits(s, scale=scale, population=population)
    if reduce == "first":
        tau = config.tau_syn
        return lambda s: losses.first_spike_logits(
            losses.first_spike_times(s, dt=dt), tau=tau, population=population
        )
    if objective.score == "r2":
        return lambda v: losses.membrane_readout(v, reduce=reduce)
    scale = config.membrane_scale
    return lambda v: losses.membrane_logits(v, reduce=reduce, scale=scale, population=population)


def _normal(gain: float) -> Initializer:
    """Weights N(0, gain^2 / fan in)."""
    if gain == 0.0:
        return nn.initializers.zeros_init()
    return variance_scaling(gain**2, "fan_in", "normal")
