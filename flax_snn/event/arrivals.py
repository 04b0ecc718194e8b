"""What reaches a layer: input spikes, weights, delays.

A delay is that of the synapse ``(F, N)``, of the axon of the source ``(F, 1)``, or of the dendrite
of the target ``(1, N)``. Only with delays of synapses do spikes reach each neuron in an order of
its own.
"""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp

from flax_snn.typing import Array, Float, Int


class Arrivals(NamedTuple):
    """Input spikes in the order in which they reach the neurons.

    Attributes:
      time: arrival times in seconds, ``+inf`` for none; ``(B, M + 1, 1)`` where they are the same
        for all neurons, else ``(B, M + 1, N)``; the last is infinite.
      source: their sources, 0 for none, in the same shape.
      kernel: weights ``(F, N)``.
    """

    time: Array
    source: Array
    kernel: Array

    @property
    def batch(self) -> int:
        """Number of samples B."""
        return self.time.shape[0]

    @property
    def neurons(self) -> int:
        """Number of neurons N."""
        return self.kernel.shape[1]

    def next(self, arrived: Int[Array, "B N"]) -> tuple[Array, Array]:
        """Returns time and weight of the next arrival at each neuron, after so many."""
        row = jnp.arange(self.batch, dtype=jnp.int32)[:, None]
        column = jnp.arange(self.neurons, dtype=jnp.int32)[None, :]
        lane = column if self.time.shape[2] > 1 else jnp.zeros_like(column)
        source = self.source[row, arrived, lane]
        return self.time[row, arrived, lane], self.kernel[source, column]

    def weights(self) -> Float[Array, "B M N"]:
        """Returns the weights of all arrivals at all neurons, 0 for none."""
        source, time = self.source[:, :-1], self.time[:, :-1]
        if source.shape[2] == 1:
            weights = self.kernel[source[:, :, 0]]
        else:
            weights = self.kernel[source, jnp.arange(self.neurons, dtype=jnp.int32)[None, None, :]]
        return jnp.where(jnp.isfinite(time), weights, 0.0)


class Recurrence(NamedTuple):
    """How the neurons of a layer feed each other.

    Attributes:
      kernel: weights ``(N, N)``, (pre, post).
      delay: delays in seconds, ``(N, N)``, ``(N, 1)``, ``(1, N)`` or ``None`` for none.
    """

    kernel: Array
    delay: Array | None

    @property
    def shortest(self) -> Array:
        """The shortest delay in seconds."""
        if self.delay is None:
            return jnp.zeros((), self.kernel.dtype)
        return jnp.min(self.delay)

    def weight(self, source: Int[Array, "B N"]) -> Float[Array, "B N"]:
        """Returns the weights from one source to each neuron; arbitrary ones for source -1."""
        column = jnp.arange(self.kernel.shape[1], dtype=jnp.int32)[None, :]
        return self.kernel[jnp.maximum(source, 0), column]

    def reaches(self, time: Float[Array, "B 1"], source: Int[Array, "B"]) -> Float[Array, "B N"]:
        """Returns the time at which a spike reaches each neuron."""
        shape = (len(source), self.kernel.shape[1])
        if self.delay is None:
            return jnp.broadcast_to(time, shape)
        delay = self.delay[source] if self.delay.shape[0] > 1 else self.delay
        return jnp.broadcast_to(time + delay, shape)


def arrivals(
    time: Float[Array, "B M"],
    source: Int[Array, "B M"],
    kernel: Float[Array, "F N"],
    delay: Array | None,
) -> Arrivals:
    """Returns input spikes in the order in which they reach the neurons.

    Args:
      time: spike times in seconds, sorted, ``+inf`` for none.
      source: their sources, -1 for none.
      kernel: weights.
      delay: delays in seconds as in the head of this file, or ``None`` for none.
    """
    real = jnp.isfinite(time) & (source >= 0)
    time = jnp.where(real, time, jnp.inf)
    time = jnp.pad(time, ((0, 0), (0, 1)), constant_values=jnp.inf)[:, :, None]
    source = jnp.pad(jnp.where(real, source, 0), ((0, 0), (0, 1)))[:, :, None]
    if delay is not None:
        time = time + (delay[source[:, :, 0]] if delay.shape[0] > 1 else delay[None])
        source = jnp.broadcast_to(source, time.shape)
        if delay.shape[0] > 1:
            order = jnp.argsort(time, axis=1, stable=True)
            time = jnp.take_along_axis(time, order, axis=1)
            source = jnp.take_along_axis(source, order, axis=1)
    return Arrivals(time, source, kernel)
