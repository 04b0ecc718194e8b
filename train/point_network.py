"""One network of LIF layers, run in continuous time or on a time grid over the same parameters.

    params   layers_0/cell/kernel, layers_1/cell/kernel, ...    (+ layers_0/log_delay, ...)

Both runners take spike times of the inputs and give a `Pass`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

import flax.linen as nn
import jax.numpy as jnp

from flax_snn import crossbar, event, losses
from flax_snn.typing import Array, Float, Int
from train.analog import Crossbars, layers_on, streams


class Pass(NamedTuple):
    """What a network does with a batch.

    Attributes:
      spikes: spikes of each layer that spikes: rasters, or `flax_snn.event.Spikes`.
      counts: number of spikes of each neuron, ``(B, N)`` for each of these layers.
      times: first spike of each output neuron in seconds, infinity for a silent one; ``None``
        where the output neurons do not spike.
      v_max: highest potential of each output neuron.
      lost: spikes that found no room, ``(B,)``.
    """

    spikes: tuple[Any, ...]
    counts: tuple[Float[Array, "B _"], ...]
    times: Float[Array, "B C"] | None
    v_max: Float[Array, "B C"]
    lost: Int[Array, "B"]


class PointNetwork(Protocol):
    """Runs a network on the spike times of its inputs."""

    @property
    def layers(self) -> nn.Module:
        """The layers, one behind the other."""

    def init(self, key: Array, times: Float[Array, "B F"]) -> Any:
        """Return fresh parameters."""

    def run(self, params: Any, times: Float[Array, "B F"], noise_key: Array) -> Pass:
        """Run the network; a time of infinity is no spike."""

    def events(self, spikes: Any) -> event.Spikes:
        """Return spikes of a `Pass` as times and neurons."""


class Layers(nn.Module):
    """Layers one behind the other; gives what each of them gives, and the last one's membranes.

    Attributes:
      layers: the layers.
      arguments: of the call of the last layer, as pairs.
    """

    layers: tuple[nn.Module, ...]
    arguments: tuple[tuple[str, Any], ...] = ()

    def __call__(self, x: Any) -> tuple[Any, ...]:
        """Return the output of each layer."""
        outputs = []
        *front, last = self.layers
        for layer in front:
            x = layer(x)
            outputs.append(x)
        return (*outputs, last(x, **dict(self.arguments)))


@dataclasses.dataclass(frozen=True, eq=False)
class EventNetwork:
    """A network in continuous time.

    Attributes:
      layers: `Layers` of ``snn.event.RNN``.
      spiking_output: whether the output neurons spike.
    """

    layers: Layers
    spiking_output: bool

    def init(self, key: Array, times: Float[Array, "B F"]) -> Any:
        """Return fresh parameters."""
        return self.layers.init(key, event.from_times(times))["params"]

    def run(self, params: Any, times: Float[Array, "B F"], noise_key: Array) -> Pass:
        """Run the network; see `PointNetwork`."""
        del noise_key  # there is none in continuous time
        outputs: Any = self.layers.apply({"params": params}, event.from_times(times))
        *spikes, last = outputs
        output, membrane = last if self.spiking_output else (None, last)
        if output is not None:
            spikes.append(output)
        return Pass(
            spikes=tuple(spikes),
            counts=tuple(s.counts().astype(times.dtype) for s in spikes),
            times=None if output is None else output.first_times(),
            v_max=membrane.maximum(),
            lost=spikes[-1].lost(),
        )

    def events(self, spikes: event.Spikes) -> event.Spikes:
        """Return the spikes as they are."""
        return spikes


@dataclasses.dataclass(frozen=True, eq=False)
class GridNetwork:
    """A network in time steps, with surrogate gradients.

    Attributes:
      layers: `Layers` of ``snn.RNN``.
      spiking_output: whether the output neurons spike.
      dt: length of a step in seconds.
      steps: number of steps.
      constants: collections of variables besides the parameters: programmed chips.
      digital: the layers without crossbars, where some lie on them.
    """

    layers: Layers
    spiking_output: bool
    dt: float
    steps: int
    constants: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    digital: Layers | None = None

    @property
    def plain(self) -> Layers:
        """The layers without crossbars."""
        return self.layers if self.digital is None else self.digital

    def with_crossbars(self, crossbars: Crossbars) -> GridNetwork:
        """Return the network with layers on crossbars."""
        placed = self.plain.clone(layers=layers_on(self.plain.layers, crossbars))
        return dataclasses.replace(self, layers=placed, digital=self.plain, constants={})

    def without_crossbars(self) -> GridNetwork:
        """Return the network as its weights say."""
        return dataclasses.replace(self, layers=self.plain, digital=None, constants={})

    def program(self, params: Any, sources: int, key: Array, fault_key: Array) -> Any:
        """Return chips with these weights, for so many inputs."""
        one_step = jnp.zeros((1, 1, sources))
        made = crossbar.program(self.layers, {"params": params}, key, one_step, fault_key=fault_key)
        return made["crossbar"]

    def init(self, key: Array, times: Float[Array, "B F"]) -> Any:
        """Return fresh parameters."""
        return self.layers.init(key, self.raster(times))["params"]

    def run(self, params: Any, times: Float[Array, "B F"], noise_key: Array) -> Pass:
        """Run the network; see `PointNetwork`."""
        outputs, traces = self.layers.apply(
            {"params": params, **self.constants},
            self.raster(times),
            rngs=streams(noise_key),
            mutable=["intermediates"],
        )
        spikes = outputs if self.spiking_output else outputs[:-1]
        (v,) = traces["intermediates"][f"layers_{len(outputs) - 1}"]["cell"]["v"]
        return Pass(
            spikes=spikes,
            counts=tuple(jnp.sum(s, axis=1) for s in spikes),
            times=self._first(spikes[-1]) if self.spiking_output else None,
            v_max=jnp.max(v, axis=1),
            lost=jnp.zeros(len(times), jnp.int32),
        )

    def raster(self, times: Float[Array, "B F"]) -> Float[Array, "B T F"]:
        """Return input spikes in time steps."""
        return event.to_raster(event.from_times(times), dt=self.dt, steps=self.steps)

    def events(self, spikes: Float[Array, "B T N"]) -> event.Spikes:
        """Return a raster as times and neurons."""
        return event.from_raster(spikes, dt=self.dt)

    def _first(self, spikes: Float[Array, "B T C"]) -> Float[Array, "B C"]:
        times = losses.first_spike_times(spikes, dt=self.dt)
        return jnp.where(jnp.any(spikes > 0, axis=1), times, jnp.inf)
