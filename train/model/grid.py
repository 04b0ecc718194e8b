"""The chain in time steps, with surrogate gradients."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from flax_snn import crossbar, event, losses
from flax_snn.sequence_mask import TimeSteps, time_steps
from flax_snn.typing import Array, Float, Int, Num
from train.errors import ConfigError
from train.model.crossbars import Crossbars, chain_on, streams
from train.model.runner import cells_of
from train.settings import TrainingConfig


@dataclasses.dataclass(frozen=True, eq=False)
class GridPass:
    """What a network does with a batch, in time steps; see `train.model.runner.Pass`.

    Attributes:
      output: spikes or membranes ``(B, T, C)``.
      spikes: rasters ``(B, T, N)`` of the layers that spike.
      cells: what each cell sowed: ``v``, and ``spikes`` where it spikes.
      dt: length of a step in seconds.
      lengths: steps of each sample that are not padding, ``(B,)``; ``None`` for all.
    """

    output: Float[Array, "B T C"]
    spikes: tuple[Float[Array, "B T _"], ...]
    cells: list[Any]
    dt: float
    lengths: Any = None

    def counts(self) -> tuple[Float[Array, "B _"], ...]:
        """Returns the number of spikes of each neuron, padding left out."""
        return tuple(self._time(s).sum(s) for s in self.spikes)

    def first_times(self) -> Float[Array, "B C"]:
        """Returns the first spike of each output neuron in seconds, infinity for a silent one."""
        raster = self._time(self.spikes[-1]).without_padding(self.spikes[-1])
        times = losses.first_spike_times(raster, dt=self.dt, seq_lengths=self.lengths)
        return jnp.where(jnp.any(raster > 0, axis=1), times, jnp.inf)

    def v_max(self) -> Float[Array, "B C"]:
        """Returns the highest membrane potential of each output neuron."""
        v = self.cells[-1]["v"][0]
        return self._time(v).max(v)

    def lost(self) -> Int[Array, "B"]:
        """Returns zeros: a raster has room for all spikes."""
        return jnp.zeros(len(self.output), jnp.int32)

    def rate_penalty(self, training: TrainingConfig) -> Array | float:
        """Returns the firing-rate penalty of all layers that spike, as it enters the loss."""
        if not training.rate_strength:
            return 0.0
        lower, upper = training.lower_rate, training.upper_rate or float("inf")
        each = [
            losses.spike_rate_regularizer(
                s, self.dt, lower=lower, upper=upper, seq_lengths=self.lengths
            )
            for s in self.spikes
        ]
        return training.rate_strength * sum(each[1:], each[0])

    def _time(self, x: Float[Array, "B T _"]) -> TimeSteps:
        """Returns the time axis of an array, and which of its steps are data."""
        return time_steps("traces", x, time_axis=1, seq_lengths=self.lengths)


@dataclasses.dataclass(frozen=True, eq=False)
class GridRunner:
    """Runs a chain in time steps.

    Attributes:
      network: ``snn.RNN`` over the chain, or another network that maps ``(B, T, F)`` to
        ``(B, T, C)`` and sows what its cells do.
      dt: length of a step in seconds.
      steps: number of steps T of a sample.
      spiking_output: whether the output neurons spike.
      constants: collections of variables besides the parameters: of networks from elsewhere, or of
        programmed chips.
      crossbars: which layers lie on crossbars.
      digital: the network without them, where there are any.
    """

    network: Any
    dt: float
    steps: int
    spiking_output: bool
    constants: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    crossbars: Crossbars | None = None
    digital: Any = None
    bounded: bool = dataclasses.field(default=False, init=False)

    @property
    def plain(self) -> Any:
        """The network without crossbars."""
        return self.network if self.digital is None else self.digital

    def init(self, key: Array, x: Any) -> Any:
        """Returns fresh parameters."""
        return self.network.init(key, self.raster(x).astype(jnp.float32))["params"]

    def run(self, params: Any, x: Any, noise_key: Array, lengths: Any = None) -> GridPass:
        """Runs the network on rasters or spikes."""
        output, traces = self.network.apply(
            {"params": params, **self.constants},
            self.raster(x),
            rngs=streams(noise_key),
            mutable=["intermediates"],
        )
        cells = cells_of(traces.get("intermediates", {}))
        spikes = tuple(cell["spikes"][0] for cell in cells if "spikes" in cell)
        return GridPass(output, spikes, cells, self.dt, lengths)

    def raster(self, x: Any) -> Num[Array, "B T F"]:
        """Returns the input in time steps."""
        if isinstance(x, event.Spikes):
            return event.to_raster(x, dt=self.dt, steps=self.steps)
        return x

    def events(self, spikes: Num[Array, "B T N"]) -> event.Spikes:
        """Returns a raster as times and neurons."""
        return event.from_raster(jnp.asarray(spikes), dt=self.dt)

    def on_grid(self, x: Any) -> tuple[nn.Module, Float[Array, "B T F"]]:
        """Returns the network as its weights say, and its input in floating point."""
        return self.plain, jnp.asarray(self.raster(x), jnp.float32)

    def with_time_loop(self, implementation: str) -> GridRunner:
        """Returns the runner with another loop over time steps.

        Raises:
          ConfigError: a loop that cannot run its crossbars.
        """
        if (
            implementation == "fused"
            and self.crossbars is not None
            and not self.crossbars.device.linear
        ):
            raise ConfigError(
                "--time-loop fused: the fused loop runs crossbars without converters and noise of"
                " the circuit only; take --time-loop auto or scan, or --crossbar ideal"
            )
        network, digital = (
            None if each is None else each.clone(implementation=implementation)
            for each in (self.network, self.digital)
        )
        return dataclasses.replace(self, network=network, digital=digital)

    def with_network(self, network: nn.Module, constants: Mapping[str, Any]) -> GridRunner:
        """Returns the runner with another network for the same input and output.

        Args:
          network: maps ``(B, T, F)`` to ``(B, T, C)``, and sows what its cells do.
          constants: its variables besides the parameters.
        """
        return dataclasses.replace(
            self, network=network, constants=constants, crossbars=None, digital=None
        )

    def with_crossbars(self, crossbars: Crossbars | None) -> GridRunner:
        """Returns the runner with layers on crossbars, or with none."""
        network, digital = self.plain, None
        if crossbars is not None:
            network, digital = chain_on(self.plain, crossbars), self.plain
        constants = self.constants if crossbars is self.crossbars else {}
        return dataclasses.replace(
            self, network=network, digital=digital, crossbars=crossbars, constants=constants
        )

    def program(self, params: Any, features: int, key: Array, fault_key: Array) -> Any:
        """Returns chips with these weights."""
        one_step = jnp.zeros((1, 1, features))
        made = crossbar.program(
            self.network, {"params": params}, key, one_step, fault_key=fault_key
        )
        return made["crossbar"]

    def on_chips(self, chips: Any) -> GridRunner:
        """Returns the runner with its weights on chips."""
        return dataclasses.replace(self, constants={"crossbar": chips})

    def check(self, params: Any, features: int, outputs: int, layers: int) -> None:
        """Checks that a network from elsewhere fits the input and the output.

        Args:
          params: its parameters.
          features: inputs F.
          outputs: output neurons C.
          layers: number of layers that spike.

        Raises:
          ConfigError: it does not fit.
        """
        inputs = jax.ShapeDtypeStruct((1, self.steps, features), jnp.float32)
        expected = (1, self.steps, outputs)

        def traced(params: Any, inputs: Any, key: Any) -> Any:
            found = self.run(params, inputs, key)
            return found.output, found.spikes

        try:
            found, spikes = jax.eval_shape(traced, params, inputs, jax.random.key(0))
        except (TypeError, ValueError) as error:
            raise ConfigError(
                f"the network does not take inputs {inputs.shape[1:]}: {error}"
            ) from error
        if found.shape != expected or len(spikes) != layers:
            raise ConfigError(
                f"expected a network with outputs {expected[1:]} and {layers} layers that"
                f" spike, got outputs {found.shape[1:]} and {len(spikes)}"
            )
