"""A model that classifies points by spike times: values become times, first spikes a class."""

from __future__ import annotations

import dataclasses
import math
from typing import Any, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp

import flax_snn as snn
from flax_snn import event, losses
from flax_snn.encode import spatio_temporal
from flax_snn.typing import Array, Float
from train.analog import Crossbars, crossbars_of
from train.config import NO_CROSSBAR, CrossbarConfig, SpikeTimeLoss, TrainingConfig, YinYangNetwork
from train.errors import ConfigError
from train.health import Remedies
from train.model import Model, Output
from train.objective import CLASSIFICATION
from train.point_network import EventNetwork, GridNetwork, Layers, PointNetwork
from train.raster_model import rate_penalty
from train.spike_time_objective import FirstSpikes, spike_time_objective


@dataclasses.dataclass(frozen=True, eq=False)
class PointModel(Model):
    """A network whose inputs are points ``(B, F)`` with values in [0, 1], each a spike time.

    Activity is the number of spikes per sample: a slot is the whole sample.

    Attributes:
      network: layers in continuous time or on a grid, over the same parameters.
      config: settings of the network.
      loss: settings of the loss.
      crossbars: which layers lie on crossbars.

    The other attributes are those of `Model`.
    """

    network: PointNetwork
    config: YinYangNetwork
    loss: SpikeTimeLoss
    crossbars: Crossbars | None = None

    input_dtype: ClassVar[Any] = jnp.float32
    slot_name: ClassVar[str] = "sample"
    remedies: ClassVar[Remedies] = Remedies(
        silent="raise the mean of the weights to it (--input-mean, --layer-mean, --readout-mean)",
        saturated=None,
        vanished="wake the layers in front of the output, raise --input-mean or --layer-mean, or"
        " --continuation-slope",
    )

    @property
    def bounded(self) -> bool:
        """Whether a layer has room for a limited number of spikes."""
        return self.config.method == "eventprop"

    @property
    def depth(self) -> int:
        """Number of hidden layers."""
        return len(self.config.hidden)

    def init(self, key: Array) -> Any:
        """Return fresh parameters."""
        return self.network.init(key, self.times(jnp.zeros((1, *self.input_shape))))

    def times(self, points: Float[Array, "B F"]) -> Float[Array, "B _"]:
        """Return the spike times of the inputs in seconds, that of the bias last."""
        return spatio_temporal(
            points,
            t_early=0.0,
            t_late=self.config.window,
            mirror=False,
            bias_time=0.0 if self.config.bias else None,
        )

    def augment(
        self, inputs: Float[Array, "B F"], key: Array, deviation: float
    ) -> Float[Array, "B F"]:
        """Shift each input spike but that of the bias by a normal number of seconds.

        Shifts are reflected at the ends of the window: no spike is lost, and a value stays one.
        """
        if not deviation:
            return inputs
        noise = jax.random.normal(key, inputs.shape, inputs.dtype)
        return reflect(inputs + deviation / self.config.window * noise)

    def apply(self, params: Any, inputs: Float[Array, "B F"], noise_key: Array) -> Output:
        """Run the network."""
        found = self.network.run(params, self.times(inputs), noise_key)
        z: Any
        if found.times is None:
            z = self.loss.max_scale * found.v_max
        else:
            z = FirstSpikes(found.times, self._continued(found.times, found.v_max))
        return Output(z, found.spikes, found.counts, found.lost)

    def settle(self, params: Any) -> Any:
        """Return parameters after an update."""
        return params if self.crossbars is None else self.crossbars.settle(params)

    @property
    def parts(self) -> tuple[str, ...]:
        """Names of the layers."""
        return tuple(f"layers_{k}" for k in range(self.depth + 1))

    def without_crossbars(self) -> PointModel:
        """Return the model as its weights say."""
        if self.crossbars is None:
            return self
        assert isinstance(self.network, GridNetwork)
        network = self.network.without_crossbars()
        return dataclasses.replace(self, network=network, crossbars=None)

    def with_crossbars(self, crossbars: Crossbars) -> Model:
        """Return the model with layers on crossbars; refused in continuous time."""
        if not isinstance(self.network, GridNetwork):
            return super().with_crossbars(crossbars)
        network = self.network.with_crossbars(crossbars)
        return dataclasses.replace(self, network=network, crossbars=crossbars)

    def program(self, params: Any, key: Array, fault_key: Array) -> Any:
        """Return chips with these weights."""
        assert isinstance(self.network, GridNetwork)
        sources = self.input_shape[0] + self.config.bias
        return self.network.program(params, sources, key, fault_key)

    def on_chips(self, chips: Any) -> PointModel:
        """Return the model with its weights on chips."""
        assert isinstance(self.network, GridNetwork)
        network = dataclasses.replace(self.network, constants={"crossbar": chips})
        return dataclasses.replace(self, network=network)

    def penalty(self, config: TrainingConfig, output: Output) -> Array | float:
        """Return the firing-rate penalty, which a network on a grid may have."""
        return rate_penalty(config, output.spikes, self.config.dt)

    def spikes(self, params: Any, inputs: Float[Array, "B F"]) -> tuple[event.Spikes, ...]:
        """Return the spikes of the input and of each layer that spikes, as times and neurons."""
        # Op by op, the first call of an event layer takes longer than to compile it as a whole.
        output = jax.jit(self.apply)(params, inputs, jax.random.key(0))
        return (
            event.from_times(self.times(inputs)),
            *(self.network.events(layer) for layer in output.spikes),
        )

    def on_grid(self, inputs: Float[Array, "B F"]) -> tuple[nn.Module, Float[Array, "B T F"]]:
        """Return the layers as their weights say, and their input; refused in continuous time."""
        if not isinstance(self.network, GridNetwork):
            return super().on_grid(inputs)
        return self.network.plain, self.network.raster(self.times(jnp.asarray(inputs)))

    def _continued(self, times: Array, v_max: Array) -> Array:
        return losses.wake_silent(
            times,
            v_max,
            threshold=self.config.threshold,
            cap=self.config.duration,
            slope=self.loss.continuation_slope,
        )


def build_point_model(
    config: YinYangNetwork,
    loss: SpikeTimeLoss,
    *,
    features: int,
    classes: int,
    crossbar: CrossbarConfig = NO_CROSSBAR,
) -> Model:
    """Build the network that the settings describe.

    Args:
      config: settings of the network.
      loss: what its output neurons are trained for.
      features: values of a point.
      classes: number of output neurons.
      crossbar: which layers lie on crossbars.

    Returns:
      The model, without parameters.

    Raises:
      ConfigError: settings that the layers refuse.
    """
    spiking = loss.loss != "max"
    try:
        cells = _cells(config, classes, spiking)
        make = _on_grid if config.method == "surrogate" else _in_continuous_time
        network: PointNetwork = make(config, cells, spiking)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"network: {error}") from error
    layers = tuple(f"hidden_{k + 1}" for k in range(len(config.hidden)))
    model = PointModel(
        network=network,
        objective=spike_time_objective(loss) if spiking else CLASSIFICATION,
        input_shape=(features,),
        layers=(*layers, "output") if spiking else layers,
        slot=config.duration,
        config=config,
        loss=loss,
    )
    crossbars = crossbars_of(crossbar, model.parts)
    return model if crossbars is None else model.with_crossbars(crossbars)


def reflect(values: Float[Array, "*B"]) -> Float[Array, "*B"]:
    """Fold numbers into [0, 1] by reflecting them at both ends, as often as needed."""
    return jnp.abs(jnp.mod(values + 1.0, 2.0) - 1.0)


def _cells(config: YinYangNetwork, classes: int, spiking: bool) -> list[nn.RNNCellBase]:
    neuron = snn.LIFDynamics(
        tau_mem=config.tau_mem,
        tau_syn=config.tau_syn,
        threshold=config.threshold,
        dt=config.dt,
        surrogate=snn.surrogate.superspike(config.surrogate_slope),
    )
    integrator = snn.LIDynamics(tau_mem=config.tau_mem, tau_syn=config.tau_syn, dt=config.dt)
    weights = [(config.input_mean, config.input_std)]
    weights += [(config.layer_mean, config.layer_std)] * (len(config.hidden) - 1)
    cells: list[nn.RNNCellBase] = [
        snn.LIFCell(size, dynamics=neuron, kernel_init=_normal(mean, std))
        for size, (mean, std) in zip(config.hidden, weights, strict=True)
    ]
    init = _normal(config.readout_mean, config.readout_std)
    if spiking:
        return [*cells, snn.LIFCell(classes, dynamics=neuron, kernel_init=init)]
    return [*cells, snn.LeakyIntegratorReadout(classes, dynamics=integrator, kernel_init=init)]


def _on_grid(config: YinYangNetwork, cells: list[nn.RNNCellBase], spiking: bool) -> GridNetwork:
    layers = Layers(tuple(snn.RNN(cell) for cell in cells))
    return GridNetwork(layers, spiking, config.dt, round(config.duration / config.dt))


def _in_continuous_time(
    config: YinYangNetwork, cells: list[nn.RNNCellBase], spiking: bool
) -> EventNetwork:
    options: dict[str, Any] = {
        "method": config.method,
        "duration": config.duration,
        "slope_floor": config.slope_floor,
        "delays": None if config.delays == "none" else config.delays,
    }

    room: dict[str, Any] = {}
    if config.method == "eventprop":
        room = {"max_spikes": config.max_spikes or None}

    def hidden(cell: Any) -> nn.Module:
        budget = math.ceil(config.budget * cell.features) if room else None
        return event.RNN(cell, budget=budget, **room, **options)

    *front, last = cells
    # Of an output neuron only the first spike is read.
    output = event.RNN(last, max_spikes=1 if room and spiking else None, **options)
    arguments = (("return_membrane", True),) if spiking else ()
    layers = Layers((*(hidden(cell) for cell in front), output), arguments)
    return EventNetwork(layers, spiking)


def _normal(mean: float, std: float) -> Any:
    def init(key: Array, shape: tuple[int, ...], dtype: Any = jnp.float32) -> Array:
        return mean + std * jax.random.normal(key, shape, dtype)

    return init
