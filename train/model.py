"""The network of a run: hidden layers of LIF neurons, then one readout neuron per class."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jax.nn.initializers import Initializer, variance_scaling

import flax_snn as snn
from flax_snn import losses
from flax_snn.typing import Array, Float, Num
from train.config import NetworkConfig
from train.errors import ConfigError


@dataclasses.dataclass(frozen=True, eq=False)
class Model:
    """A network with the meaning of its output.

    Attributes:
      network: maps input ``(B, T, F)`` to output ``(B, T, C)``: spikes or membranes.
      logits: maps the output to logits ``(B, C)``; their argmax is the predicted class.
      input_shape: shape of one sample, ``(T, F)``.
      dt: length of a time step in seconds.
      layers: names of the layers that spike, in order.
    """

    network: nn.Module
    logits: Callable[[Array], Array]
    input_shape: tuple[int, int]
    dt: float
    layers: tuple[str, ...]

    def init(self, key: Array) -> Any:
        """Return fresh parameters."""
        return self.network.init(key, jnp.zeros((1, *self.input_shape)))["params"]

    def apply(
        self, params: Any, inputs: Num[Array, "B T F"], noise_key: Array
    ) -> tuple[Float[Array, "B C"], Float[Array, "B L"]]:
        """Run the network.

        Args:
          params: parameters, as `init` returns them.
          inputs: spikes; uint8 is converted here, on the device.
          noise_key: random key of the membrane noise.

        Returns:
          Logits, and the share of slots with a spike, for each sample and each of the L layers
          that spike.
        """
        output, traces = self.network.apply(
            {"params": params},
            inputs.astype(jnp.float32),
            rngs={"noise": noise_key},
            mutable=["intermediates"],
        )
        cells = traces["intermediates"]["cell"]
        spikes = [cells[f"cells_{k}"]["spikes"][0] for k in range(len(self.layers))]
        activity = [jnp.mean(s, axis=(1, 2)) for s in spikes]
        return self.logits(output), jnp.stack(activity, axis=-1)


def build_network(
    config: NetworkConfig, *, steps: int, units: int, classes: int, dt: float
) -> Model:
    """Build the network that the settings describe.

    Args:
      config: settings of the network.
      steps: time steps T of a sample.
      units: input features F.
      classes: classes C.
      dt: length of a time step in seconds.

    Returns:
      The model, without parameters.

    Raises:
      ConfigError: settings that the cells refuse.
    """
    try:
        cells = [*_hidden_cells(config, dt), _readout_cell(config, classes, dt)]
    except (TypeError, ValueError) as error:
        raise ConfigError(f"network: {error}") from error
    layers = [f"hidden_{k + 1}" for k in range(len(config.hidden))]
    spiking = config.readout == "spikes"
    return Model(
        network=snn.RNN(snn.Chain(cells)),
        logits=_logits(config),
        input_shape=(steps, units),
        dt=dt,
        layers=(*layers, "output") if spiking else tuple(layers),
    )


def _hidden_cells(config: NetworkConfig, dt: float) -> list[nn.RNNCellBase]:
    neuron, init = _neuron(config, dt), _normal(config.input_gain)
    if not config.recurrent:
        return [snn.LIFCell(n, dynamics=neuron, kernel_init=init) for n in config.hidden]
    recurrent = _normal(config.recurrent_gain)
    return [
        snn.RecurrentLIFCell(n, dynamics=neuron, kernel_init=init, recurrent_kernel_init=recurrent)
        for n in config.hidden
    ]


def _readout_cell(config: NetworkConfig, classes: int, dt: float) -> nn.RNNCellBase:
    init = _normal(config.readout_gain)
    if config.readout == "spikes":
        return snn.LIFCell(classes, dynamics=_neuron(config, dt), kernel_init=init)
    integrator = snn.LIDynamics(tau_mem=config.tau_mem, tau_syn=config.tau_syn, dt=dt)
    return snn.LeakyIntegratorReadout(classes, dynamics=integrator, kernel_init=init)


def _neuron(config: NetworkConfig, dt: float) -> snn.LIFDynamics:
    surrogate = snn.surrogate.superspike(config.surrogate_slope)
    return snn.LIFDynamics(
        tau_mem=config.tau_mem, tau_syn=config.tau_syn, dt=dt, surrogate=surrogate
    )


def _logits(config: NetworkConfig) -> Callable[[Array], Array]:
    if config.readout == "spikes":
        return lambda spikes: losses.spike_count_logits(spikes, scale=config.count_scale)
    reduce, scale = config.readout, config.membrane_scale
    return lambda v: losses.membrane_logits(v, reduce=reduce, scale=scale)


def _normal(gain: float) -> Initializer:
    """Weights N(0, gain^2 / fan in)."""
    if gain == 0.0:
        return nn.initializers.zeros_init()
    return variance_scaling(gain**2, "fan_in", "normal")
