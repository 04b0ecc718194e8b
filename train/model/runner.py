"""What a model asks of its runner, which runs the chain in time steps or in continuous time."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

import flax.linen as nn

from flax_snn import event
from flax_snn.typing import Array, Float, Int
from train.settings import TrainingConfig

if TYPE_CHECKING:
    from train.model.crossbars import Crossbars


class Pass(Protocol):
    """What a network does with a batch; the readout makes logits, values or times of it."""

    @property
    def output(self) -> Any:
        """What the chain returns.

        Spikes or membranes ``(B, T, C)`` on a grid; in continuous time `flax_snn.event.Spikes`, or
        a membrane.
        """

    @property
    def spikes(self) -> tuple[Any, ...]:
        """Spikes of each layer that spikes, in the form in which the runner has them."""

    @property
    def lengths(self) -> Any:
        """Steps of each sample that are not padding, ``(B,)``; ``None`` for all."""

    def counts(self) -> tuple[Float[Array, "B _"], ...]:
        """Returns the number of spikes of each neuron, for each layer that spikes."""

    def first_times(self) -> Float[Array, "B C"]:
        """Returns the first spike of each output neuron in seconds, infinity for a silent one."""

    def v_max(self) -> Float[Array, "B C"]:
        """Returns the highest membrane potential of each output neuron."""

    def lost(self) -> Int[Array, "B"]:
        """Returns the spikes of each sample that found no room in a layer, at least so many."""

    def rate_penalty(self, training: TrainingConfig) -> Array | float:
        """Returns the firing-rate penalty of all layers that spike, as it enters the loss."""


class Runner(Protocol):
    """Runs one chain of cells."""

    @property
    def network(self) -> Any:
        """The chain in its runner, a Linen module."""

    @property
    def spiking_output(self) -> bool:
        """Whether the output neurons spike."""

    @property
    def bounded(self) -> bool:
        """Whether a layer has room for a limited number of spikes, so that some may be lost."""

    @property
    def crossbars(self) -> Crossbars | None:
        """Which layers lie on crossbars."""

    def init(self, key: Array, x: Any) -> Any:
        """Returns fresh parameters."""

    def run(self, params: Any, x: Any, noise_key: Array, lengths: Any = None) -> Pass:
        """Runs the chain on a batch.

        Args:
          params: parameters, as `init` returns them.
          x: what the encoder returned.
          noise_key: random key of membrane noise, and of crossbars.
          lengths: steps of each sample that are not padding; ``None`` for all.
        """

    def events(self, spikes: Any) -> event.Spikes:
        """Returns spikes of a `Pass` as times and neurons; not under ``jit``."""

    def on_grid(self, x: Any) -> tuple[nn.Module, Float[Array, "B T F"]]:
        """Returns the network as its weights say, and its input in time steps.

        Raises:
          ConfigError: it runs in continuous time.
        """

    def with_time_loop(self, implementation: str) -> Runner:
        """Returns the runner with another loop over time steps, as ``snn.RNN`` names them."""

    def with_crossbars(self, crossbars: Crossbars | None) -> Runner:
        """Returns the runner with layers on crossbars, or with none."""

    def program(self, params: Any, features: int, key: Array, fault_key: Array) -> Any:
        """Returns chips with these weights: the collection ``crossbar``."""

    def on_chips(self, chips: Any) -> Runner:
        """Returns the runner with its weights on chips, as they were last looked at."""


def cells_of(traces: Mapping[str, Any]) -> list[Any]:
    """Returns what each cell sowed, in the order of the network: cells_2 before cells_10."""
    if "v" in traces:
        return [traces]
    names = sorted(traces, key=lambda name: [int(n) for n in re.findall(r"\d+", name)])
    return [cell for name in names for cell in cells_of(traces[name])]
