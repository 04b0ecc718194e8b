"""From samples as they are stored to what a runner takes: rasters, or spikes with their times.

An encoder also makes a training sample anew in each epoch, with spikes that come a little early or
late.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Protocol

import jax
import jax.numpy as jnp

from flax_snn import event
from flax_snn.datasets.events.raster import EventBatch
from flax_snn.encode import spatio_temporal
from flax_snn.typing import Array, Float, Num
from train.data.augment import jitter


class Encoder(Protocol):
    """What a model asks of its encoder."""

    @property
    def features(self) -> int:
        """Number of inputs F of the network."""

    @property
    def sample(self) -> Any:
        """Shape and dtype of one stored sample, a tree of ``jax.ShapeDtypeStruct``."""

    def __call__(self, inputs: Any) -> Num[Array, "B T F"] | event.Spikes:
        """Returns a batch of samples as the runner takes it."""

    def augment(self, inputs: Any, key: Array, deviation: float) -> Any:
        """Returns training samples with input spikes that come a little early or late.

        Args:
          inputs: a batch of samples.
          key: random key.
          deviation: standard deviation of the shifts in seconds; 0: none.

        Returns:
          Samples, in the dtype of the inputs.
        """

    def spikes(self, inputs: Any) -> event.Spikes:
        """Returns the input spikes with their times and units; not under ``jit``."""


@dataclasses.dataclass(frozen=True)
class Rasters:
    """Samples that are rasters ``(B, T, F)`` already.

    Attributes:
      steps: time steps T.
      features: input units F.
      dt: length of a step in seconds.
      dtype: dtype of stored samples; spike counts take one byte.
    """

    steps: int
    features: int
    dt: float
    dtype: Any = jnp.uint8

    @property
    def sample(self) -> jax.ShapeDtypeStruct:
        """Shape and dtype of one sample."""
        return jax.ShapeDtypeStruct((self.steps, self.features), self.dtype)

    def __call__(self, inputs: Num[Array, "B T F"]) -> Num[Array, "B T F"]:
        """Returns the rasters; the runner converts bytes on the device."""
        return inputs

    def augment(
        self, inputs: Num[Array, "B T F"], key: Array, deviation: float
    ) -> Num[Array, "B T F"]:
        """Shifts the input of each unit by a random whole number of steps; see `jitter`."""
        return jitter(inputs, key, deviation / self.dt)

    def spikes(self, inputs: Num[Array, "B T F"]) -> event.Spikes:
        """Returns the input spikes with their times and units."""
        return event.from_raster(jnp.asarray(inputs), dt=self.dt)


@dataclasses.dataclass(frozen=True)
class SpikeLists:
    """Samples that are lists of spikes, in compact form until they are on the device.

    A sample is ``{"step": (K,), "unit": (K,)}``; entries behind the last spike have the step T, as
    in `flax_snn.datasets.event_batch`.

    Attributes:
      steps: time steps T.
      features: input units F.
      dt: length of a step in seconds.
      capacity: entries K of the longest sample.
    """

    steps: int
    features: int
    dt: float
    capacity: int

    @property
    def sample(self) -> dict[str, jax.ShapeDtypeStruct]:
        """Shape and dtype of one sample."""
        entry = jax.ShapeDtypeStruct((self.capacity,), jnp.uint16)
        return {"step": entry, "unit": entry}

    def __call__(self, inputs: dict[str, Array]) -> Float[Array, "B T F"]:
        """Returns the numbers of spikes as a raster."""
        none = jnp.zeros(len(inputs["step"]), jnp.int32)
        batch = EventBatch(
            step=inputs["step"],
            unit=inputs["unit"],
            lengths=none,
            dropped=none,
            steps=self.steps,
            shape=(self.features,),
        )
        return batch.raster()

    def augment(self, inputs: dict[str, Array], key: Array, deviation: float) -> dict[str, Array]:
        """Shifts the spikes of each unit by a random whole number of steps; see `jitter`.

        A spike that is shifted out of the sample is lost.
        """
        if not deviation:
            return inputs
        step, unit = inputs["step"].astype(jnp.int32), inputs["unit"].astype(jnp.int32)
        normal = jax.random.normal(key, (len(step), self.features))
        shifts = jnp.round(deviation / self.dt * normal).astype(jnp.int32)
        moved = step + jnp.take_along_axis(shifts, unit, axis=1)
        lost = (step == self.steps) | (moved < 0) | (moved >= self.steps)
        return {
            "step": jnp.where(lost, self.steps, moved).astype(jnp.uint16),
            "unit": inputs["unit"],
        }

    def spikes(self, inputs: dict[str, Array]) -> event.Spikes:
        """Returns the input spikes with their times and units."""
        return event.from_raster(self(jax.tree.map(jnp.asarray, inputs)), dt=self.dt)


@dataclasses.dataclass(frozen=True)
class Latencies:
    """Points ``(B, V)`` with values in [0, 1], each of which becomes the time of a spike.

    Attributes:
      values: values V of a point.
      window: time in seconds of the spike of the value 1; that of the value 0 is at time 0.
      bias: whether one more input spikes at time 0 in each sample.
    """

    values: int
    window: float
    bias: bool

    @property
    def features(self) -> int:
        """Number of inputs of the network."""
        return self.values + self.bias

    @property
    def sample(self) -> jax.ShapeDtypeStruct:
        """Shape and dtype of one sample."""
        return jax.ShapeDtypeStruct((self.values,), jnp.float32)

    def times(self, points: Float[Array, "B V"]) -> Float[Array, "B F"]:
        """Returns the spike times of the inputs in seconds, that of the bias last."""
        return spatio_temporal(
            points,
            t_early=0.0,
            t_late=self.window,
            mirror=False,
            bias_time=0.0 if self.bias else None,
        )

    def __call__(self, inputs: Float[Array, "B V"]) -> event.Spikes:
        """Returns the spikes of the inputs."""
        return event.from_times(self.times(inputs))

    def augment(
        self, inputs: Float[Array, "B V"], key: Array, deviation: float
    ) -> Float[Array, "B V"]:
        """Shifts each input spike but that of the bias by a normal number of seconds.

        Shifts are reflected at the ends of the window: no spike is lost, and a value stays one.
        """
        if not deviation:
            return inputs
        noise = jax.random.normal(key, inputs.shape, inputs.dtype)
        return reflect(inputs + deviation / self.window * noise)

    def spikes(self, inputs: Float[Array, "B V"]) -> event.Spikes:
        """Returns the spikes of the inputs."""
        return self(jnp.asarray(inputs))


def reflect(values: Float[Array, "*B"]) -> Float[Array, "*B"]:
    """Folds numbers into [0, 1] by reflecting them at both ends, as often as needed."""
    return jnp.abs(jnp.mod(values + 1.0, 2.0) - 1.0)
