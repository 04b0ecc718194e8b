"""Nodes of NIR that Flax has no module for, over sequences ``(*B, T, *features)``, channels last.

All but `Delay` treat each time step alone. They can be used between other layers in
``nn.Sequential``; `to_nir` writes them and `from_nir` returns them.
"""

from __future__ import annotations

import math
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jax import lax

from flax_snn.dynamics import fire
from flax_snn.layers.pooling import AvgPool, SumPool
from flax_snn.surrogate import Surrogate, superspike
from flax_snn.typing import Array, Shaped

Inputs = Shaped[Array | np.ndarray, "..."]

__all__ = ["AvgPool", "Delay", "Flatten", "Scale", "SumPool", "Threshold"]


class Flatten(nn.Module):
    """Joins feature axes, ``(*B, T, H, W, C)`` to ``(*B, T, H * W * C)``.

    >>> import flax_snn as snn, jax.numpy as jnp
    >>> snn.nir.Flatten().apply({}, jnp.ones((2, 10, 4, 6, 3))).shape
    (2, 10, 72)

    Attributes:
      feature_axes: number of trailing axes that are features. ``None`` (default): all axes after
        the time axis of inputs with one batch axis, ``(B, T, *features)``.
      channels_first: move the channels to the front first, so that the result has the order
        (C, H, W), as in frameworks with channels first. Default: False.
      start: first feature axis that is joined, counted with channels first. Default: 0.
      end: last feature axis that is joined; -1 (default) stands for the last one.
    """

    feature_axes: int | None = None
    channels_first: bool = False
    start: int = 0
    end: int = -1

    def __call__(self, inputs: Inputs) -> Array:
        """Joins the feature axes."""
        inputs = jnp.asarray(inputs)
        axes = self.feature_axes or inputs.ndim - 2
        lead, features = inputs.shape[: inputs.ndim - axes], inputs.shape[inputs.ndim - axes :]
        if not self.channels_first:
            return inputs.reshape((*lead, math.prod(features)))
        inputs = jnp.moveaxis(inputs, -1, len(lead))
        shape = inputs.shape[len(lead) :]
        end = self.end % axes
        start = self.start % axes
        joined = (*shape[:start], math.prod(shape[start : end + 1]), *shape[end + 1 :])
        out = inputs.reshape((*lead, *joined))
        return jnp.moveaxis(out, len(lead), -1) if len(joined) > 1 else out


class Scale(nn.Module):
    """Multiplies each feature by a factor, the parameter ``scale``.

    Attributes:
      features: shape of the features, channels last.
      param_dtype: dtype of the parameter.
    """

    features: tuple[int, ...]
    param_dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, inputs: Inputs) -> Array:
        """Scale ``(*B, *features)``."""
        inputs = jnp.asarray(inputs)
        scale = self.param("scale", nn.initializers.ones, self.features, self.param_dtype)
        return inputs * lax.broadcast(scale, inputs.shape[: inputs.ndim - scale.ndim])


class Threshold(nn.Module):
    """Returns 1 where the input is above a threshold, else 0.

    Attributes:
      features: shape of the features, channels last.
      surrogate: surrogate derivative, superspike(10) by default.
      param_dtype: dtype of the thresholds, which are in the collection ``neuron``.
    """

    features: tuple[int, ...]
    surrogate: Surrogate = superspike()
    param_dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, inputs: Inputs) -> Array:
        """Compares ``(*B, *features)`` with the thresholds."""
        inputs = jnp.asarray(inputs)
        theta = self.variable("neuron", "threshold", jnp.ones, self.features, self.param_dtype)
        shape = inputs.shape[: inputs.ndim - theta.value.ndim]
        return fire(">", None, self.surrogate, inputs, lax.broadcast(theta.value, shape))


class Delay(nn.Module):
    """Returns the input of an earlier step, and zeros before there is one.

    >>> import flax_snn as snn, jax.numpy as jnp
    >>> snn.nir.Delay(steps=1, dt=1e-3).apply({}, jnp.ones((1, 3, 2)))[0].tolist()
    [[0.0, 0.0], [1.0, 1.0], [1.0, 1.0]]

    Attributes:
      steps: delay in time steps, one number or one per flattened feature.
      dt: length of a step in seconds, with which `to_nir` writes the delay in seconds.
      feature_axes: number of trailing axes that are features, as in `Flatten`.
    """

    steps: int | tuple[int, ...]
    dt: float
    feature_axes: int | None = None

    def __call__(self, inputs: Inputs) -> Array:
        """Delay ``(*B, T, *features)``."""
        inputs = jnp.asarray(inputs)
        axes = self.feature_axes or inputs.ndim - 2
        time = inputs.ndim - axes - 1
        length, features = inputs.shape[time], inputs.shape[time + 1 :]
        flat = inputs.reshape((*inputs.shape[: time + 1], math.prod(features)))
        each = self.steps if isinstance(self.steps, tuple) else (self.steps,) * flat.shape[-1]
        if len(each) != flat.shape[-1]:
            raise ValueError(
                f"Delay: expected {len(each)} features, one for each number in steps, got"
                f" {flat.shape[-1]}; pass one number for all, or one per feature"
            )
        out = jnp.zeros_like(flat)
        for steps in sorted(set(each)):
            if steps >= length:
                continue
            early = lax.slice_in_dim(flat, 0, length - steps, axis=time)
            sides = [(steps, 0) if axis == time else (0, 0) for axis in range(flat.ndim)]
            late = jnp.pad(early, sides)
            selected = jnp.asarray([n == steps for n in each])
            out = jnp.where(lax.broadcast(selected, out.shape[:-1]), late, out)
        return out.reshape(inputs.shape)
