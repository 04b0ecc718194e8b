"""The network on rasters: hidden layers of LIF neurons, then readout neurons, in time steps."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.nn.initializers import Initializer, variance_scaling

import flax_snn as snn
from flax_snn import event, losses
from flax_snn.typing import Array, Float, Num
from train.augment import jitter
from train.config import NetworkConfig, TrainingConfig
from train.errors import ConfigError
from train.model import Model, Output
from train.objective import Objective

HIDDEN_RATE = 20.0
"""Firing rate in Hz that `--init fluctuation` expects of hidden neurons."""

XI = 2.0
"""Distance of a resting membrane from threshold, in its standard deviations, at which
`--init fluctuation` aims."""

RECURRENT_SHARE = 0.1
"""Share of the variance of a membrane that `--init fluctuation` leaves to recurrent input."""


@dataclasses.dataclass(frozen=True, eq=False)
class RasterModel(Model):
    """A network on rasters ``(B, T, F)``, all layers of which share their time steps.

    Activity is the share of steps with a spike: a slot is a step.

    Attributes:
      readout: maps the output ``(B, T, C)``, spikes or membranes, to ``z (B, C)``: logits, or
        predicted values.
      threshold: firing threshold of the neurons.
      spiking_output: whether the output is spikes.
      population: output neurons per class.
      rescaled: spread of the membranes to which the weights are rescaled on data before training
        (`--init lsuv`); ``None`` leaves them.

    The other attributes are those of `Model`.
    """

    readout: Callable[[Array], Array]
    threshold: float
    spiking_output: bool
    population: int
    rescaled: float | None

    input_dtype: ClassVar[Any] = jnp.uint8

    def init(self, key: Array) -> Any:
        """Return fresh parameters."""
        return self.network.init(key, jnp.zeros((1, *self.input_shape)))["params"]

    @property
    def depth(self) -> int:
        """Number of hidden layers."""
        return len(self.layers) - self.spiking_output

    @property
    def dt(self) -> float:
        """Length of a time step in seconds."""
        return self.slot

    def with_time_loop(self, implementation: str) -> RasterModel:
        """Return the model with another loop over time steps."""
        network = self.network.clone(implementation=implementation)
        return dataclasses.replace(self, network=network)

    def begin(
        self, params: Any, batch: Callable[[], Num[np.ndarray, "B T F"]]
    ) -> tuple[Any, list[str]]:
        """Return parameters rescaled on data, if asked for, and in words what was done."""
        if self.rescaled is None:
            return params, []
        scaled, words = self.rescale(params, batch(), self.rescaled)
        return scaled, [f"lsuv: {line}" for line in words.splitlines()]

    def rescale(
        self, params: Any, inputs: Num[np.ndarray, "B T F"], spread: float
    ) -> tuple[Any, str]:
        """Return parameters rescaled layer by layer, but for those of the output neurons.

        Args:
          params: parameters, as `init` returns them.
          inputs: a batch of training samples.
          spread: standard deviation of the free membranes in units of the threshold.

        Returns:
          The parameters, and in words what was done to each hidden layer.
        """
        batch = jnp.asarray(inputs, jnp.float32)
        variables, report = snn.initializers.lsuv(
            self.network, {"params": params}, batch, target=spread
        )
        # Output neurons that fire before they know anything are silenced, and learn slowly.
        readout = f"cells_{self.depth}"
        scaled = {"cell": variables["params"]["cell"] | {readout: params["cell"][readout]}}
        return scaled, "\n".join(str(layer) for layer in report.layers[: self.depth])

    def augment(
        self, inputs: Num[Array, "B T F"], key: Array, deviation: float
    ) -> Num[Array, "B T F"]:
        """Shift the spikes of each unit by a random whole number of steps; see `train.augment`."""
        return jitter(inputs, key, deviation / self.dt)

    def apply(self, params: Any, inputs: Num[Array, "B T F"], noise_key: Array) -> Output:
        """Run the network; uint8 is converted here, on the device.

        The spikes of the output are rasters ``(B, T, N)``.
        """
        output, cells = self.trace(params, inputs, noise_key)
        spikes = tuple(c["spikes"][0] for c in cells[: len(self.layers)])
        return Output(
            z=self.readout(output),
            spikes=spikes,
            activity=tuple(jnp.mean(s, axis=1) for s in spikes),
            lost=jnp.zeros(len(inputs), jnp.int32),
        )

    def penalty(self, config: TrainingConfig, output: Output) -> Array | float:
        """Return the firing-rate penalty of all layers that spike."""
        return rate_penalty(config, output.spikes, self.dt)

    def spikes(self, params: Any, inputs: Num[Array, "B T F"]) -> tuple[event.Spikes, ...]:
        """Return the spikes of the input and of each layer that spikes, as times and neurons."""
        output = self.apply(params, inputs, jax.random.key(0))
        rasters = (jnp.asarray(inputs), *output.spikes)
        return tuple(event.from_raster(raster, dt=self.dt) for raster in rasters)

    def on_grid(self, inputs: Num[Array, "B T F"]) -> tuple[nn.Module, Float[Array, "B T F"]]:
        """Return the network, and the rasters in floating point."""
        return self.network, jnp.asarray(inputs, jnp.float32)

    def trace(
        self, params: Any, inputs: Num[Array, "B T F"], noise_key: Array
    ) -> tuple[Float[Array, "B T C"], list[Any]]:
        """Return the output, and what each cell sowed: ``v``, and ``spikes`` where it spikes."""
        output, traces = self.network.apply(
            {"params": params},
            inputs,
            rngs={"noise": noise_key},
            mutable=["intermediates"],
        )
        cells = traces["intermediates"]["cell"]
        return output, [cells[f"cells_{k}"] for k in range(len(cells))]


def build_network(
    config: NetworkConfig,
    objective: Objective,
    *,
    steps: int,
    units: int,
    outputs: int,
    dt: float,
    input_rate: float,
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
    return RasterModel(
        network=snn.RNN(snn.Chain(cells)),
        readout=_readout(config, objective, dt),
        objective=objective,
        input_shape=(steps, units),
        slot=dt,
        layers=(*layers, "output") if spiking else tuple(layers),
        threshold=float(neuron.coefficients().theta),
        spiking_output=spiking,
        population=config.population,
        rescaled=config.init_spread if config.init == "lsuv" else None,
    )


def rate_penalty(config: TrainingConfig, spikes: tuple[Array, ...], dt: float) -> Array | float:
    """Firing-rate penalty of layers of spikes ``(B, T, N)``, as it enters the training loss."""
    if not config.rate_strength:
        return 0.0
    lower, upper = config.lower_rate, config.upper_rate or float("inf")
    each = [losses.spike_rate_regularizer(s, dt, lower=lower, upper=upper) for s in spikes]
    return config.rate_strength * sum(each[1:], each[0])


def _neuron(config: NetworkConfig, dt: float) -> snn.LIFDynamics:
    if config.neuron == "tutorial":
        return snn.conventions.tutorial(slope=config.surrogate_slope, dt=dt)
    surrogate = snn.surrogate.superspike(config.surrogate_slope)
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
    integrator = snn.LIDynamics(tau_mem=config.tau_mem, tau_syn=config.tau_syn, dt=dt)
    init = _kernel_init(config, integrator, config.readout_gain, HIDDEN_RATE)
    return snn.LeakyIntegratorReadout(neurons, dynamics=integrator, kernel_init=init)


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
