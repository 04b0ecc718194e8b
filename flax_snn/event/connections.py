"""A layer of event-driven neurons, and the arrivals over its connections."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax.numpy as jnp

from flax_snn.event.physics import Physics
from flax_snn.typing import Array, Float, Int


class Layer(NamedTuple):
    """A layer and its input: all arrays that have a gradient.

    Attributes:
      numbers: the neurons.
      time: input spike times in seconds, ``(B, M)``.
      kernel: weights ``(F, N)``.
      delay: delays in seconds: ``(F, N)``, ``(F, 1)`` of axons, ``(1, N)`` of dendrites, or
        ``None``.
      recurrent_kernel: weights within the layer ``(N, N)``, (pre, post), or ``None``.
      recurrent_delay: delays within the layer, as ``delay``.
    """

    numbers: Physics
    time: Array
    kernel: Array
    delay: Any = None
    recurrent_kernel: Any = None
    recurrent_delay: Any = None


class Events(NamedTuple):
    """Spikes of a layer whose times are known.

    Attributes:
      source: input sources ``(B, M)``, -1 for none.
      time: spike times of the layer in seconds, ``(B, K)``, ``+inf`` for none, in order.
      index: their neurons, -1 for none; ``None`` where slot n is that of neuron n.
      current: synaptic currents of these neurons at these times, in units of potential; ``None``
        where they are not known.
    """

    source: Array
    time: Array
    index: Any
    current: Any = None


def over(
    kernel: Float[Array, "F N"],
    delay: Float[Array, "_ _"] | None,
    time: Float[Array, "B M"],
    source: Int[Array, "B M"],
    neuron: Int[Array, "B L"] | None,
) -> tuple[Float[Array, "B M _"], Float[Array, "B M _"]]:
    """Returns the arrivals at neurons over one set of connections.

    Args:
      kernel: weights.
      delay: delays in seconds, as in `Layer`.
      time: spike times of the sources.
      source: their indices, -1 for none.
      neuron: the neuron of each lane; ``None`` where lane n is neuron n.

    Returns:
      Arrival times, ``+inf`` for none, and weights, 0 for none; each ``(B, M, L)``, or
      ``(B, M, 1)`` where all are the same.
    """
    real = (jnp.isfinite(time) & (source >= 0))[:, :, None]
    source = jnp.maximum(source, 0)
    arrival = jnp.where(real, jnp.where(real, time[:, :, None], 0.0), jnp.inf)
    if delay is not None:
        arrival = arrival + _between(delay, source, neuron)
    return arrival, jnp.where(real, _between(kernel, source, neuron), 0.0)


def _between(
    matrix: Float[Array, "_ _"], source: Int[Array, "B M"], neuron: Int[Array, "B L"] | None
) -> Float[Array, "_ _ _"]:
    """Returns entries ``(source, neuron)`` of a matrix whose axes of length 1 are shared."""
    rows, columns = matrix.shape
    if neuron is None or columns == 1:
        # Whole rows: far cheaper than entries, here and in the reverse pass.
        return matrix[source] if rows > 1 else matrix[None]
    if rows == 1:
        return matrix[0, neuron][:, None, :]
    return matrix[source[:, :, None], neuron[:, None, :]]
