"""A layer of neurons as data: what of it is an array, what is not, and its step."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax.numpy as jnp
from flax import struct

from flax_snn.dynamics import Coefficients, Rule
from flax_snn.dynamics import step as one_step
from flax_snn.products import feed_back, project
from flax_snn.surrogate import Surrogate
from flax_snn.typing import Array, LIFState


@struct.dataclass
class LayerWeights:
    """The arrays of a layer; all have gradients.

    Attributes:
      coefficients: numbers of the step, as `dynamics.aligned` returns them for one batch axis.
      kernel: input weights ``(F, M)``; ``None`` where the input is the current.
      bias: ``(M,)`` or ``None``.
      recurrent_kernel: ``(N, M')`` or ``None``.
    """

    coefficients: Coefficients
    kernel: Array | None = None
    bias: Array | None = None
    recurrent_kernel: Array | None = None


@dataclasses.dataclass(frozen=True)
class Layer:
    """What of a layer is no array.

    Attributes:
      rule: the switches of the step.
      surrogate: derivative of the spike; ``None`` for leaky integrators.
      dtype: dtype of the products; ``None``: that of inputs and weights.
      param_dtype: dtype of parameters and state.
    """

    rule: Rule
    surrogate: Surrogate | None
    dtype: Any
    param_dtype: Any

    @property
    def fires(self) -> bool:
        """Whether the output is spikes."""
        return self.rule.fire != "none"

    @property
    def output_dtype(self) -> Any:
        """Dtype of the output."""
        return (self.dtype or self.param_dtype) if self.fires else self.param_dtype

    def project(self, inputs: Array, weights: LayerWeights) -> Array:
        """Turn inputs into currents, any number of leading axes."""
        return project(inputs, weights.kernel, weights.bias, self.dtype, self.param_dtype)

    def step(
        self, weights: LayerWeights, state: LIFState, current: Array, fed: Array | None = None
    ) -> tuple[LIFState, Array, tuple[Any, Any]]:
        """Advance the layer by one step.

        Args:
          weights: arrays of the layer.
          state: state before the step.
          current: what the input weights made of the input of the step.
          fed: recurrent current, where it is known already.

        Returns:
          The state, the output, and the recurrent spikes with the current that they caused.
        """
        blocks = max(self.rule.channels, 1)
        current = current.astype(state.v.dtype)
        currents = current if blocks == 1 else tuple(jnp.split(current, blocks, axis=-1))
        kernel = weights.recurrent_kernel
        seen: list[Any] = [None, None]

        def recurrent(spikes: Array) -> Any:
            assert kernel is not None
            value = feed_back(spikes, kernel, self.dtype) if fed is None else fed
            seen[:] = spikes, value
            parts = value.shape[-1] // spikes.shape[-1]
            return value if parts == 1 else tuple(jnp.split(value, parts, axis=-1))

        state, output = one_step(
            self.rule,
            weights.coefficients,
            state,
            currents,
            self.surrogate,
            recurrent=None if kernel is None else recurrent,
        )
        return state, output.astype(self.output_dtype), (seen[0], seen[1])
