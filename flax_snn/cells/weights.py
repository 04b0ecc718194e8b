"""Weights of a cell: input weights and recurrent weights, and what their initialisers aim at.

Each is a small module that shares the scope of its cell, so that parameters are named ``kernel``,
``bias``, ``recurrent_kernel`` without a level between.
"""

from __future__ import annotations

import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.linen.dtypes import promote_dtype
from jax.nn.initializers import Initializer

from flax_snn.cells.fluctuation import fluctuating
from flax_snn.dynamics import Neuron
from flax_snn.products import as_kernel, feed_back, project
from flax_snn.typing import Array, Currents, Shape

INPUT_ACTIVITY = 0.02
"""Share of time steps in which an input channel is expected to be active."""

RECURRENT_ACTIVITY = 0.1
"""Share of time steps in which a neuron of a layer is expected to spike."""

RECURRENT_SPREAD = 0.3
"""Part that recurrent spikes have in the spread of the membrane, whose distance is 1."""


class Projection(nn.Module):
    """Input weights: ``inputs @ kernel (+ bias)``."""

    features: int
    kernel_init: Initializer
    use_bias: bool
    bias_init: Initializer
    dtype: Any
    param_dtype: Any
    dot_general: Any

    @nn.compact
    def of(self, inputs: Array) -> Array:
        """Projects ``(*B, F)`` to ``(*B, features)``."""
        if inputs.ndim == 0:
            raise ValueError("expected inputs with a feature axis, got a scalar")
        if inputs.shape[-1] == 0:
            raise ValueError(f"expected at least one input feature, got shape {inputs.shape}")
        _check_features(self, "kernel", inputs.shape[-1])
        shape = (inputs.shape[-1], self.features)
        kernel = self.param("kernel", self.kernel_init, shape, self.param_dtype)
        bias = None
        if self.use_bias:
            bias = self.param("bias", self.bias_init, (self.features,), self.param_dtype)
        return project(inputs, kernel, bias, self.dtype, self.param_dtype, self.dot_general)

    @nn.nowrap
    def arrays(self, features: int) -> tuple[Array, Array | None]:
        """Returns the kernel and bias that the product uses, if they fit the number of features."""
        _check_features(self, "kernel", features)
        kernel = as_kernel(self.dot_general, _array(self, "kernel"))
        return kernel, _array(self, "bias") if self.use_bias else None


class Recurrence(nn.Module):
    """Recurrent weights: ``spikes @ recurrent_kernel``, (pre, post).

    Called with spikes in the dtype of the state, and returns currents in that dtype.
    """

    blocks: int
    kernel_init: Initializer
    dtype: Any
    param_dtype: Any
    dot_general: Any

    @nn.compact
    def of(self, spikes: Array, prepared: Any = None) -> Currents:
        """Projects ``(*B, N)`` to ``(*B, N)``, or to a tuple with one per synaptic channel.

        Args:
          spikes: spikes in the dtype of the state.
          prepared: what `prepare` returned, where it was called before the loop.
        """
        _check_features(self, "recurrent_kernel", spikes.shape[-1])
        shape = (spikes.shape[-1], spikes.shape[-1] * self.blocks)
        kernel = self.param("recurrent_kernel", self.kernel_init, shape, self.param_dtype)
        if prepared is None:
            out = feed_back(spikes, kernel, self.dtype, self.dot_general)
        else:
            inputs, _ = promote_dtype(spikes, kernel, dtype=self.dtype)
            out = self.dot_general.multiply(inputs, prepared).astype(spikes.dtype)
        return out if self.blocks == 1 else tuple(jnp.split(out, self.blocks, axis=-1))

    @nn.nowrap
    def prepare(self, features: int) -> Any:
        """Returns what the product computes once for all steps, or None for nothing."""
        if not hasattr(self.dot_general, "prepare"):
            return None
        _check_features(self, "recurrent_kernel", features)
        kernel = _array(self, "recurrent_kernel")
        return self.dot_general.prepare(kernel if self.dtype is None else kernel.astype(self.dtype))

    @nn.nowrap
    def array(self, features: int) -> Array:
        """Returns the kernel that the product uses, if it fits the number of neurons."""
        _check_features(self, "recurrent_kernel", features)
        return as_kernel(self.dot_general, _array(self, "recurrent_kernel"))


def active_init(dynamics: Neuron) -> Initializer:
    """Returns an initialiser with which ordinary input makes neurons neither silent nor saturated.

    Normal with variance ``scale / F``, where scale makes the standard deviation of the membrane
    equal to its distance from threshold for inputs active in 2 % of the steps. Zero mean bounds
    the activity: input of any strength drives half of the neurons down.

    Args:
      dynamics: the neuron, whose response to input sets the scale.

    Returns:
      An initialiser for kernels ``(F, N)``.
    """
    return fluctuating(dynamics, spread=1.0, power=INPUT_ACTIVITY)


def recurrent_init(dynamics: Neuron) -> Initializer:
    """Returns an initialiser of recurrent weights that are weaker than the input.

    Normal with variance ``scale / N``, where scale makes the recurrent part of the membrane's
    standard deviation 0.3 of its distance from threshold for neurons active in 10 % of the steps.

    Args:
      dynamics: the neuron, whose response to input sets the scale.

    Returns:
      An initialiser for kernels ``(N, N)``.
    """
    return fluctuating(dynamics, spread=RECURRENT_SPREAD, power=RECURRENT_ACTIVITY, recurrent=True)


def check_current(current: Array | jax.ShapeDtypeStruct, v: Array, blocks: int) -> None:
    """Checks that the current of a step fits the state of the neurons."""
    expected = (*v.shape[:-1], v.shape[-1] * blocks)
    if current.shape != expected:
        raise ValueError(
            f"expected a current of shape {expected} for a state of shape {v.shape}"
            f"{f' and {blocks} synaptic channels' if blocks > 1 else ''}, got {current.shape};"
            " initialise the carry for this batch"
        )
    if jnp.finfo(current.dtype).bits > jnp.finfo(v.dtype).bits:
        raise TypeError(
            f"expected a current no wider than the {v.dtype} state, got {current.dtype}; set"
            f" state_dtype={current.dtype} or convert the input"
        )


def state_shape(cell: Any, input_shape: Shape) -> Shape:
    """Returns the shape of the state of a cell for inputs of one step.

    Raises:
      ValueError: too few axes, or channels that do not divide the features.
    """
    if len(input_shape) < cell.feature_axes:
        raise ValueError(
            f"expected an input of one step with at least {cell.feature_axes} axes, got shape"
            f" {tuple(input_shape)}"
        )
    if cell.features is not None:
        return (*input_shape[:-1], cell.features)
    blocks = cell.dynamics.blocks
    if input_shape[-1] % blocks:
        raise ValueError(
            f"expected a last axis of {blocks} equal blocks, one per synaptic channel, got shape"
            f" {tuple(input_shape)}"
        )
    return (*input_shape[:-1], input_shape[-1] // blocks)


def full(
    value: float | tuple[float, ...], shape: Shape, dtype: Any, feature_axes: int = 1
) -> Array:
    """Returns an array of one value, of one per entry of the last axis, or of one per neuron.

    Raises:
      ValueError: another number of values than neurons.
    """
    if isinstance(value, tuple):
        features = shape[len(shape) - feature_axes :]
        if len(value) not in (shape[-1], math.prod(features)):
            raise ValueError(
                f"v_init: expected one value per neuron, {math.prod(features)}, got {len(value)}"
                " values"
            )
        axes = features if len(value) == math.prod(features) else features[-1:]
        return jnp.broadcast_to(
            jnp.asarray(value, dtype).reshape((1,) * (len(shape) - len(axes)) + axes), shape
        )
    return jnp.full(shape, value, dtype)


def _check_features(module: nn.Module, name: str, features: int) -> None:
    if module.has_variable("params", name):
        kernel: Any = nn.unbox(module.get_variable("params", name))
        if kernel.shape[0] != features:
            raise ValueError(
                f"expected {kernel.shape[0]} features on the last axis, as {name} was made for, got"
                f" {features}"
            )


def _array(module: nn.Module, name: str) -> Any:
    return nn.unbox(module.get_variable("params", name))


def product_of_loops(cell: Any) -> Any:
    """Returns the product of a cell in loops: the one it has if event-driven, else dense."""
    found = [getattr(cell, f"{part}_dot_general", None) for part in ("input", "recurrent")]
    return next((p for p in found if hasattr(p, "kernel_gradient")), jax.lax.dot_general)
