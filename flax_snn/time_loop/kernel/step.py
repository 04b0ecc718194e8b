"""One step of a tile of neurons, and its derivative, as the kernels are traced from them.

What is elementwise is the neuron's own step. Between neurons stands one product, that of the spikes
fed back with the recurrent weights, which the whole width of a layer in the tile makes possible.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from flax_snn.products import feed_back
from flax_snn.time_loop.kernel.memory import Memory
from flax_snn.time_loop.layer import Layer
from flax_snn.time_loop.states import floating, others, rejoined
from flax_snn.typing import Array

Feedback = Callable[[Array], tuple[Array, ...]]
"""From the spikes fed back, of a tile, to the currents that they cause, one for each channel."""


@dataclasses.dataclass(frozen=True)
class Weights:
    """The recurrent weights of a tile.

    Attributes:
      kernels: ``(width, width)`` for each channel that is fed, zero beyond the neurons.
      dtype: dtype of the products.
      real: which entries of the tile are neurons, None: all of them.
    """

    kernels: tuple[Array, ...]
    dtype: Any
    real: Array | None

    def __call__(self, spikes: Array) -> tuple[Array, ...]:
        """Returns the currents that spikes cause."""
        # What is no neuron may hold NaN, which a product would spread.
        spikes = self._of_neurons(spikes)
        return tuple(
            self._of_neurons(feed_back(spikes, kernel, self.dtype)) for kernel in self.kernels
        )

    def _of_neurons(self, values: Array) -> Array:
        return values if self.real is None else jnp.where(self.real, values, 0)


def weights_of(memory: Memory, refs: tuple[Any, ...], dtype: Any) -> Weights | None:
    """Returns the recurrent product of a program, its weights read once; None without weights."""
    return Weights(tuple(map(memory.whole, refs)), dtype, memory.mask) if refs else None


def one_step(
    layer: Layer,
    coefficients: Any,
    state: Any,
    currents: tuple[Array, ...],
    feedback: Feedback | None = None,
) -> tuple[Any, Array, Array]:
    """Returns the state after a step, the output, and the membrane."""

    def recurrent(spikes: Array) -> Any:
        assert feedback is not None
        caused = feedback(spikes)
        return caused[0] if len(caused) == 1 else caused

    after, output = layer.integrate(
        coefficients, state, currents, None if feedback is None else recurrent
    )
    return after, output, layer.neuron.membrane(after)


def derivative(
    layer: Layer,
    coefficients: Any,
    state: Any,
    currents: tuple[Array, ...],
    learned: Any,
    feedback: Feedback | None = None,
    channels: int = 0,
) -> tuple[Any, Callable[[Any], Any], Array | None]:
    """Runs a step and returns its derivative.

    Args:
      layer: the layer.
      coefficients: numbers of the step.
      state: state before the step.
      currents: currents of the step.
      learned: for each coefficient whether it has a gradient.
      feedback: the recurrent product, None without recurrent weights.
      channels: currents that it returns.

    Returns:
      Floating part of the state after the step, output, and membrane; what turns cotangents of
      these into those of the floating part of the state before, of the currents, of the
      coefficients that are learned, and of the recurrent currents; and the spikes that were fed
      back, or None.
    """
    rest = others(state)
    moving = jax.tree.map(lambda c, yes: c if yes else None, coefficients, learned)
    # Added to the recurrent currents, so that these have a cotangent of their own.
    nothing = tuple(jnp.zeros_like(layer.neuron.membrane(state)) for _ in range(channels))

    def outcome(part: Any, currents: Any, moving: Any, added: tuple[Array, ...]) -> Any:
        numbers = rejoined(moving, coefficients)
        fed: list[Array] = []

        def seen(spikes: Array) -> tuple[Array, ...]:
            assert feedback is not None
            fed.append(spikes)
            return tuple(map(jnp.add, feedback(spikes), added))

        after, output, membrane = one_step(
            layer, numbers, rejoined(part, rest), currents, None if feedback is None else seen
        )
        return (floating(after), output, membrane), (fed[0] if fed else None)

    return jax.vjp(outcome, floating(state), currents, moving, nothing, has_aux=True)
