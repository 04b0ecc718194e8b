"""Pooling over space: each time step of ``(*B, T, H, W, C)`` alone, time untouched.

sum   spikes of a window, counted
avg   their mean; the zeros of the padding are counted, as in NIR
max   1 where any neuron of a window spikes
"""

from __future__ import annotations

import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax.linen import pooling
from jax import lax

from flax_snn import checks
from flax_snn.products import as_floating, is_explicit
from flax_snn.representation import short_repr
from flax_snn.typing import Array, Shaped

Inputs = Shaped[Array | np.ndarray, "..."]

__all__ = ["AvgPool", "MaxPool", "SumPool"]


class SumPool(nn.Module):
    """Sum over windows of ``(*B, T, H, W, C)``.

    >>> import flax_snn as snn, jax.numpy as jnp
    >>> snn.SumPool((2, 2)).apply({}, jnp.ones((1, 5, 4, 4, 3)))[0, 0, :, :, 0].tolist()
    [[4.0, 4.0], [4.0, 4.0]]

    Attributes:
      window: height and width of a window.
      strides: distance between windows; by default the size of a window.
      padding: rows and columns of zeros that are added on each side.
    """

    window: tuple[int, int]
    strides: tuple[int, int] | None = None
    padding: tuple[int, int] = (0, 0)

    def __post_init__(self) -> None:
        """Checks the sizes when the layer is made."""
        for name, least in (("window", 1), ("strides", 1), ("padding", 0)):
            value = getattr(self, name)
            if value is None and name == "strides":
                continue
            where = f"{type(self).__name__}: {name}"
            if isinstance(value, list):
                setattr(self, name, tuple(value))
            elif not isinstance(value, tuple):
                what = "a pair, height and width"
                raise TypeError(checks.error_text(where, what, checks.shown(value)))
            if len(value) != 2:
                raise ValueError(checks.error_text(where, "height and width", value))
            for each in value:
                checks.whole_number(where, each, least)
        super().__post_init__()

    __repr__ = short_repr

    def __call__(self, inputs: Inputs) -> Array:
        """Pools ``(*B, T, H, W, C)`` to ``(*B, T, H', W', C)``."""
        return self._pooled(inputs, 0.0)

    def _pooled(self, inputs: Inputs, start: float) -> Array:
        name = type(self).__name__
        inputs = as_floating(inputs, jnp.float32)
        if inputs.ndim < 4:
            raise ValueError(
                f"{name}: expected inputs (*B, T, H, W, C), got shape {inputs.shape}: features of"
                " one step are height, width and channels"
            )
        lead, size = inputs.shape[:-3], inputs.shape[-3:-1]
        fits = all(w <= n + 2 * p for w, n, p in zip(self.window, size, self.padding, strict=True))
        if not fits:
            raise ValueError(
                f"{name}: expected at least one window {self.window} in height and width {size}"
                f" with padding {self.padding}, got none; give a smaller window"
            )
        sides = [(p, p) for p in self.padding]
        flat = inputs.reshape((-1, *inputs.shape[-3:]))  # nn.pooling takes one batch axis
        strides = self.strides or self.window
        side_by_side = strides == self.window and self.padding == (0, 0)
        if start and side_by_side and not is_explicit(flat):
            out = _largest(_tiles(flat, self.window))
        else:
            combine = lax.max if start else lax.add
            out = pooling.pool(flat, start, combine, self.window, strides, sides)
        return out.reshape((*lead, *out.shape[1:]))


class AvgPool(SumPool):
    """Mean over windows of ``(*B, T, H, W, C)``; the zeros of the padding are counted.

    Attributes:
      window: height and width of a window.
      strides: distance between windows; by default the size of a window.
      padding: rows and columns of zeros that are added on each side.
    """

    def __call__(self, inputs: Inputs) -> Array:
        """Pools ``(*B, T, H, W, C)`` to ``(*B, T, H', W', C)``."""
        return self._pooled(inputs, 0.0) / math.prod(self.window)


class MaxPool(SumPool):
    """Maximum over windows of ``(*B, T, H, W, C)``: a spike where any neuron of a window has one.

    Attributes:
      window: height and width of a window.
      strides: distance between windows; by default the size of a window.
      padding: rows and columns that are added on each side and never are the maximum.
    """

    def __call__(self, inputs: Inputs) -> Array:
        """Pools ``(*B, T, H, W, C)`` to ``(*B, T, H', W', C)``."""
        if any(2 * p > w for p, w in zip(self.padding, self.window, strict=True)):
            raise ValueError(
                f"MaxPool: expected a padding of at most half of the window {self.window}, got"
                f" {self.padding}; a window in the padding alone has no maximum"
            )
        return self._pooled(inputs, -math.inf)


def _tiles(images: Array, window: tuple[int, int]) -> Array:
    """Returns images ``(B, H, W, C)`` as windows side by side, ``(B, H', h, W', w, C)``."""
    (high, wide), (batch, height, width, channels) = window, images.shape
    rows, columns = height // high, width // wide
    whole = images[:, : rows * high, : columns * wide]
    return whole.reshape(batch, rows, high, columns, wide, channels)


@jax.custom_jvp
def _largest(tiles: Array) -> Array:
    """Returns the maximum of each window, ``(B, H', W', C)``, of `_tiles`.

    XLA looks for the maximum once more when it differentiates, element by element, which takes
    three times as long on a CPU as what stands here.
    """
    return tiles.max((2, 4))


@_largest.defjvp
def _largest_tangent(tiles: tuple[Array], d_tiles: tuple[Any]) -> tuple[Array, Array]:
    """The derivative is that of the first of the largest in each window, as XLA has it."""
    (values,), (tangents,) = tiles, d_tiles
    most = _largest(values)
    high, wide = values.shape[2], values.shape[4]
    place = jnp.zeros(most.shape, jnp.int32)
    for k in reversed(range(high * wide)):
        place = jnp.where(values[:, :, k // wide, :, k % wide] == most, k, place)
    # Barriers, as XLA would otherwise work out once for each neuron what is the same for a window.
    place = lax.optimization_barrier(place)[:, :, None, :, None]
    row, column = (
        lax.broadcasted_iota(jnp.int32, (1, 1, high, 1, wide, 1), axis) for axis in (2, 4)
    )
    first = jnp.where(place == wide * row + column, tangents, 0)
    return most, lax.optimization_barrier(first.sum((2, 4)))
