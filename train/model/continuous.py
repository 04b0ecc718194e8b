"""The chain in continuous time, with exact gradients."""

from __future__ import annotations

import dataclasses
from typing import Any

import flax.linen as nn

from flax_snn import event
from flax_snn.typing import Array, Float, Int
from train.errors import ConfigError
from train.model.crossbars import Crossbars
from train.model.runner import cells_of
from train.settings import TrainingConfig


@dataclasses.dataclass(frozen=True, eq=False)
class EventPass:
    """What a network does with a batch, in continuous time; see `train.model.runner.Pass`.

    Attributes:
      output: the last layer's `flax_snn.event.Spikes`, or its membrane where it does not spike.
      spikes: spikes of the layers that spike.
      membrane: membrane of the output neurons.
    """

    output: Any
    spikes: tuple[event.Spikes, ...]
    membrane: Any
    lengths: Any = None

    def counts(self) -> tuple[Float[Array, "B _"], ...]:
        """Returns the number of spikes of each neuron."""
        return tuple(s.counts().astype(s.time.dtype) for s in self.spikes)

    def first_times(self) -> Float[Array, "B C"]:
        """Returns the first spike of each output neuron in seconds, infinity for a silent one."""
        return self.spikes[-1].first_times()

    def v_max(self) -> Float[Array, "B C"]:
        """Returns the highest membrane potential of each output neuron."""
        return self.membrane.maximum()

    def lost(self) -> Int[Array, "B"]:
        """Returns the spikes that found no room, at least so many."""
        return self.spikes[-1].lost()

    def rate_penalty(self, training: TrainingConfig) -> float:
        """Returns 0.

        Raises:
          ConfigError: a penalty is asked for.
        """
        if training.rate_strength:
            raise ConfigError(
                "--rate-strength: the number of spikes has no gradient in continuous time; run the"
                " network in time steps (--method surrogate), or leave it out"
            )
        return 0.0


@dataclasses.dataclass(frozen=True, eq=False)
class EventRunner:
    """Runs a chain in continuous time.

    Attributes:
      network: ``snn.event.RNN`` over the chain.
      spiking_output: whether the output neurons spike.
      bounded: whether a layer has room for a limited number of spikes.
    """

    network: Any
    spiking_output: bool
    bounded: bool
    crossbars: None = dataclasses.field(default=None, init=False)

    def init(self, key: Array, x: event.Spikes) -> Any:
        """Returns fresh parameters."""
        return self.network.init(key, x)["params"]

    def run(self, params: Any, x: event.Spikes, noise_key: Array, lengths: Any = None) -> EventPass:
        """Runs the network on spikes."""
        del noise_key  # there is none in continuous time
        if lengths is not None:
            raise ConfigError(
                "samples of different lengths are run in time steps; add --method surrogate"
            )
        more = {"return_membrane": True} if self.spiking_output else {}
        found, traces = self.network.apply({"params": params}, x, mutable=["intermediates"], **more)
        cells = cells_of(traces["intermediates"])
        spikes = tuple(cell["spikes"][0] for cell in cells if "spikes" in cell)
        output, membrane = found if self.spiking_output else (found, found)
        return EventPass(output, spikes, membrane)

    def events(self, spikes: event.Spikes) -> event.Spikes:
        """Returns the spikes as they are."""
        return spikes

    def on_grid(self, x: Any) -> tuple[nn.Module, Float[Array, "B T F"]]:
        """Refuses: there are no time steps.

        Raises:
          ConfigError: always.
        """
        raise ConfigError(
            "--diagnose looks at membranes in time steps, this network has none; add --method"
            " surrogate, which runs the same weights in time steps"
        )

    def with_time_loop(self, implementation: str) -> EventRunner:
        """Refuses: there are no time steps.

        Raises:
          ConfigError: always.
        """
        raise ConfigError(
            f"--time-loop {implementation}: expected a network on time steps, this one runs in"
            " continuous time; leave the flag out"
        )

    def with_crossbars(self, crossbars: Crossbars | None) -> EventRunner:
        """Returns the runner where there are no crossbars.

        Raises:
          ConfigError: there are some.
        """
        if crossbars is not None:
            raise _no_steps()
        return self

    def program(self, params: Any, features: int, key: Array, fault_key: Array) -> Any:
        """Refuses: there are no time steps.

        Raises:
          ConfigError: always.
        """
        raise _no_steps()

    def on_chips(self, chips: Any) -> EventRunner:
        """Refuses: there are no time steps.

        Raises:
          ConfigError: always.
        """
        raise _no_steps()


def _no_steps() -> ConfigError:
    return ConfigError(
        "--crossbar: crossbars multiply in time steps, this network has none; add --method"
        " surrogate, which runs the same weights in time steps"
    )
