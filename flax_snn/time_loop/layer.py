"""A layer of neurons as data: what of it is an array, what is not, and its step."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct

from flax_snn.dynamics import Neuron
from flax_snn.products import feed_back, project
from flax_snn.surrogate import Surrogate
from flax_snn.typing import Array, Currents


@struct.dataclass
class LayerWeights:
    """The arrays of a layer; all have gradients.

    Attributes:
      coefficients: numbers of the step, as `dynamics.aligned` returns them for one batch axis.
      kernel: input weights ``(F, M)``; ``None`` where the input is the current.
      bias: ``(M,)`` or ``None``.
      recurrent_kernel: ``(N, M')`` or ``None``.
    """

    coefficients: Any
    kernel: Array | None = None
    bias: Array | None = None
    recurrent_kernel: Array | None = None


@dataclasses.dataclass(frozen=True)
class Layer:
    """What of a layer is no array.

    Attributes:
      neuron: the kind of neuron.
      surrogate: derivative of the spike; ``None`` for leaky integrators.
      dtype: dtype of the products; ``None``: that of inputs and weights.
      param_dtype: dtype of the parameters.
      state_dtype: dtype of the state.
      dot_general: the product of inputs or spikes with a kernel; one that has ``kernel_gradient``
        says how the gradient of the kernel is made, too.
    """

    neuron: Neuron
    surrogate: Surrogate | None
    dtype: Any
    param_dtype: Any
    state_dtype: Any
    dot_general: Any = jax.lax.dot_general

    @property
    def event_driven(self) -> bool:
        """Whether its products cost what the spikes cost, and say so by a ``kernel_gradient``."""
        return hasattr(self.dot_general, "kernel_gradient")

    @property
    def dense(self) -> Layer:
        """The layer with dense products."""
        return dataclasses.replace(self, dot_general=jax.lax.dot_general)

    @property
    def fires(self) -> bool:
        """Whether the output is spikes."""
        return self.neuron.spikes

    @property
    def output_dtype(self) -> Any:
        """Dtype of the output: that of the products for spikes, of the state for membranes."""
        return (self.dtype or self.param_dtype) if self.fires else self.state_dtype

    def project(self, inputs: Array, weights: LayerWeights) -> Array:
        """Turns inputs into currents, any number of leading axes."""
        return project(
            inputs, weights.kernel, weights.bias, self.dtype, self.param_dtype, self.dot_general
        )

    def integrate(
        self,
        coefficients: Any,
        state: Any,
        current: Currents,
        recurrent: Callable[[Array], Currents] | None = None,
        noise: Array | None = None,
    ) -> tuple[Any, Array]:
        """Advances the neurons by one step: where cells and loops meet the dynamics.

        Args:
          coefficients: numbers of the step, which broadcast against the state.
          state: state before the step, ``(*B, N)``.
          current: what the input weights made of the input of the step: ``(*B, M)``, one block of
            N after the other where neurons take several currents, or a tuple of these.
          recurrent: maps the spikes that are fed back to the currents they cause.
          noise: unit Gaussian noise ``(*B, N)``, for a neuron that takes it.

        Returns:
          The state after the step, and the output ``(*B, N)``.
        """
        neuron = self.neuron
        dtype = neuron.membrane(state).dtype
        if isinstance(current, tuple):
            parts = tuple(part.astype(dtype) for part in current)
            currents: Currents = parts[0] if neuron.blocks == 1 else parts
        else:
            currents = in_blocks(current.astype(dtype), neuron.blocks)
        state, output = neuron.step(
            coefficients,
            state,
            currents,
            self.surrogate,
            recurrent=recurrent,
            noise=noise,
        )
        return state, output.astype(self.output_dtype)

    def step(
        self, weights: LayerWeights, state: Any, current: Array, feedback: Array | None = None
    ) -> tuple[Any, Array, tuple[Any, Any]]:
        """Advances the layer by one step.

        Args:
          weights: arrays of the layer.
          state: state before the step.
          current: what the input weights made of the input of the step.
          feedback: recurrent current, where it is known already.

        Returns:
          The state, the output, and the recurrent spikes with the current that they caused.
        """
        kernel = weights.recurrent_kernel
        seen: list[Any] = [None, None]

        def recurrent(spikes: Array) -> Currents:
            assert kernel is not None
            value = feedback
            if value is None:
                value = feed_back(spikes, kernel, self.dtype, self.dot_general)
            seen[:] = spikes, value
            return in_blocks(value, value.shape[-1] // spikes.shape[-1])

        state, output = self.integrate(
            weights.coefficients, state, current, None if kernel is None else recurrent
        )
        return state, output, (seen[0], seen[1])


def in_blocks(current: Array, blocks: int) -> Currents:
    """Returns a current as it is, or as a tuple of equal parts of its last axis."""
    return current if blocks == 1 else tuple(jnp.split(current, blocks, axis=-1))
