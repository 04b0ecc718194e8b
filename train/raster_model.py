"""The network on rasters: hidden layers of LIF neurons, then readout neurons, in time steps."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

import flax_snn as snn
from flax_snn import crossbar, event, losses
from flax_snn.typing import Array, Float, Num
from train.analog import Crossbars, chain_on, streams
from train.augment import jitter
from train.config import TrainingConfig
from train.errors import ConfigError
from train.model import Model, Output


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
      outputs: output neurons C.
      rescaled: spread of the membranes to which the weights are rescaled on data before training
        (`--init lsuv`); ``None`` leaves them.
      constants: collections of variables besides the parameters: of networks from elsewhere, or of
        programmed chips.
      crossbars: which layers lie on crossbars.
      digital: the network without them, where there are any.

    The other attributes are those of `Model`.
    """

    readout: Callable[[Array], Array]
    threshold: float
    spiking_output: bool
    population: int
    outputs: int
    rescaled: float | None
    constants: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    crossbars: Crossbars | None = None
    digital: nn.Module | None = None

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
        """Return the model with another loop over time steps.

        Raises:
          ConfigError: a loop that cannot run its crossbars.
        """
        held = self.crossbars
        if implementation == "fused" and held is not None and not held.device.linear:
            raise ConfigError(
                "--time-loop fused: the fused loop runs crossbars without converters and noise of"
                " the circuit only; take --time-loop auto or scan, or --crossbar ideal"
            )
        network, digital = (
            None if each is None else each.clone(implementation=implementation)
            for each in (self.network, self.digital)
        )
        return dataclasses.replace(self, network=network, digital=digital)

    @property
    def plain(self) -> nn.Module:
        """The network without crossbars."""
        return self.network if self.digital is None else self.digital

    @property
    def parts(self) -> tuple[str, ...]:
        """Names of the cells of the chain."""
        return tuple(f"cells_{k}" for k in range(self.depth + 1))

    def without_crossbars(self) -> RasterModel:
        """Return the model as its weights say."""
        if self.digital is None:
            return self
        return dataclasses.replace(
            self, network=self.digital, digital=None, crossbars=None, constants={}
        )

    def with_crossbars(self, crossbars: Crossbars) -> RasterModel:
        """Return the model with layers on crossbars."""
        network = chain_on(self.plain, crossbars)
        return dataclasses.replace(
            self, network=network, digital=self.plain, crossbars=crossbars, constants={}
        )

    def program(self, params: Any, key: Array, fault_key: Array) -> Any:
        """Return chips with these weights."""
        one_step = jnp.zeros((1, 1, *self.input_shape[1:]))
        made = crossbar.program(
            self.network, {"params": params}, key, one_step, fault_key=fault_key
        )
        return made["crossbar"]

    def on_chips(self, chips: Any) -> RasterModel:
        """Return the model with its weights on chips."""
        return dataclasses.replace(self, constants={"crossbar": chips})

    def settle(self, params: Any) -> Any:
        """Return parameters after an update."""
        return params if self.crossbars is None else self.crossbars.settle(params)

    def with_network(self, network: nn.Module, constants: Mapping[str, Any]) -> RasterModel:
        """Return the model with another network for the same input and output.

        Args:
          network: maps ``(B, T, F)`` to ``(B, T, C)``, and sows what its cells do.
          constants: its variables besides the parameters.
        """
        return dataclasses.replace(
            self, network=network, constants=constants, crossbars=None, digital=None
        )

    def check(self, params: Any) -> None:
        """Check that the network fits the input and the output.

        Raises:
          ConfigError: it does not.
        """
        inputs = jax.ShapeDtypeStruct((1, *self.input_shape), jnp.float32)
        expected = (1, self.input_shape[0], self.outputs)
        try:
            found, cells = jax.eval_shape(self.trace, params, inputs, jax.random.key(0))
        except (TypeError, ValueError) as error:
            raise ConfigError(
                f"the network does not take inputs {self.input_shape}: {error}"
            ) from error
        spiking = sum("spikes" in cell for cell in cells)
        if found.shape != expected or spiking != len(self.layers):
            raise ConfigError(
                f"expected a network with outputs {expected[1:]} and {len(self.layers)} layers that"
                f" spike, got outputs {found.shape[1:]} and {spiking}"
            )

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
            self.plain, {"params": params}, batch, target=spread
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
        """Return the network as its weights say, and the rasters in floating point."""
        return self.plain, jnp.asarray(inputs, jnp.float32)

    def trace(
        self, params: Any, inputs: Num[Array, "B T F"], noise_key: Array
    ) -> tuple[Float[Array, "B T C"], list[Any]]:
        """Return the output, and what each cell sowed: ``v``, and ``spikes`` where it spikes."""
        output, traces = self.network.apply(
            {"params": params, **self.constants},
            inputs,
            rngs=streams(noise_key),
            mutable=["intermediates"],
        )
        return output, _cells(traces.get("intermediates", {}))


def rate_penalty(config: TrainingConfig, spikes: tuple[Array, ...], dt: float) -> Array | float:
    """Firing-rate penalty of layers of spikes ``(B, T, N)``, as it enters the training loss."""
    if not config.rate_strength:
        return 0.0
    lower, upper = config.lower_rate, config.upper_rate or float("inf")
    each = [losses.spike_rate_regularizer(s, dt, lower=lower, upper=upper) for s in spikes]
    return config.rate_strength * sum(each[1:], each[0])


def _cells(traces: Mapping[str, Any]) -> list[Any]:
    """Return what each cell sowed, in the order of the network: cells_2 before cells_10."""
    if "v" in traces:
        return [traces]
    names = sorted(traces, key=lambda name: [int(n) for n in re.findall(r"\d+", name)])
    return [cell for name in names for cell in _cells(traces[name])]
