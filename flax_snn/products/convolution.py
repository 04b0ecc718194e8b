"""Convolutions whose derivatives keep their speed inside a loop, on CPUs.

    y[b, o] = sum over taps k of  x[b, o * stride + k * dilation - padding] @ kernel[k]

`flax.linen.Conv` takes it as its ``conv_general_dilated``. JAX has the derivative of the kernel as
a convolution whose window is the whole image. Inside a loop, such as a ``lax.scan`` over batches or
time steps, XLA's code for CPUs then runs element by element, some twenty times slower than outside
(``benchmarks/speed/convolution.py``).
Here that derivative is a matrix product of the patches of some rows at a time, and that of the
inputs a convolution like the first one.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from flax_snn.products.primitives import bilinear, is_explicit, transposed, varying_alike
from flax_snn.typing import Array, Shape

_PATCHES = 2**20
"""Elements of the patches that are made at a time, where a row of the images has fewer."""


class Window(NamedTuple):
    """What slides over the images, along each axis of space.

    Attributes:
      size: taps.
      strides: steps between outputs.
      padding: zeros before and after; negative ones cut.
      dilation: steps between taps.
      precision: that of ``lax.conv_general_dilated``.
    """

    size: tuple[int, ...]
    strides: tuple[int, ...]
    padding: tuple[tuple[int, int], ...]
    dilation: tuple[int, ...]
    precision: Any

    def outputs(self, sizes: Sequence[int]) -> tuple[int, ...]:
        """Returns the sizes of the outputs of images of some sizes, 0 where no window fits."""
        each = zip(sizes, *self[:4], strict=True)
        return tuple(
            max((n + sum(padding) - dilation * (taps - 1) - 1) // stride + 1, 0)
            for n, taps, stride, padding, dilation in each
        )


def conv_general_dilated(
    lhs: Array | np.ndarray,
    rhs: Array | np.ndarray,
    window_strides: Sequence[int],
    padding: str | Sequence[tuple[int, int]],
    lhs_dilation: Sequence[int] | None = None,
    rhs_dilation: Sequence[int] | None = None,
    dimension_numbers: Any = None,
    feature_group_count: int = 1,
    batch_group_count: int = 1,
    precision: Any = None,
    preferred_element_type: Any = None,
) -> Array:
    """Returns what ``jax.lax.conv_general_dilated`` does; derivatives stay fast in a loop.

    They do for the convolution of `flax.linen.Conv` without groups and without a dilation of its
    inputs, in float32 and float64, on CPUs. Everything else is left to ``jax.lax``, and so are
    arrays whose type says how they are spread over a mesh.

    >>> import flax.linen as nn
    >>> layer = nn.Conv(32, (3, 3), conv_general_dilated=conv_general_dilated)

    Args:
      lhs: images ``(B, *S, C)``.
      rhs: kernel ``(*K, C, N)``.
      window_strides: steps between outputs along each axis of space.
      padding: ``"SAME"``, ``"VALID"``, or zeros before and after along each axis.
      lhs_dilation: as `jax.lax.conv_general_dilated` has it.
      rhs_dilation: steps between the taps of the kernel along each axis.
      dimension_numbers: as `jax.lax.conv_general_dilated` has it.
      feature_group_count: likewise.
      batch_group_count: likewise.
      precision: likewise.
      preferred_element_type: likewise.

    Returns:
      ``(B, *S', N)``, with derivatives of any order.

    Raises:
      TypeError: what ``jax.lax.conv_general_dilated`` does not take.
      ValueError: likewise.
    """
    x, kernel = jnp.asarray(lhs), jnp.asarray(rhs)
    options = ConvolutionOptions(
        window_strides,
        padding,
        lhs_dilation,
        rhs_dilation,
        dimension_numbers,
        feature_group_count,
        batch_group_count,
        precision,
        preferred_element_type,
    )
    window = window_of(x, kernel, options)
    if window is None:
        return lax.conv_general_dilated(x, kernel, *options)
    return _CONVOLUTION.bind(*varying_alike(x, kernel), window=window)


class ConvolutionOptions(NamedTuple):
    """What ``jax.lax.conv_general_dilated`` takes beside its arrays, in its order."""

    window_strides: Sequence[int]
    padding: str | Sequence[tuple[int, int]]
    lhs_dilation: Sequence[int] | None = None
    rhs_dilation: Sequence[int] | None = None
    dimension_numbers: Any = None
    feature_group_count: int = 1
    batch_group_count: int = 1
    precision: Any = None
    preferred_element_type: Any = None


def window_of(x: Array, kernel: Array, options: ConvolutionOptions) -> Window | None:
    """Returns what slides over images, or None for a convolution that is left to ``jax.lax``.

    Shapes that do not fit are left to JAX, too, which refuses them with its own words.
    """
    rank = x.ndim - 2
    strides, padding = tuple(options.window_strides), options.padding
    dilation = tuple(options.rhs_dilation or (1,) * max(rank, 0))
    ours = (
        rank >= 1
        and x.ndim == kernel.ndim
        and lax.conv_dimension_numbers(x.shape, kernel.shape, options.dimension_numbers)
        == _numbers(rank)
        and options.feature_group_count == options.batch_group_count == 1
        and set(options.lhs_dilation or (1,)) == {1}
        and x.shape[-1] == kernel.shape[-2]
        and x.dtype == kernel.dtype
        and x.dtype in (jnp.float32, jnp.float64)
        and options.preferred_element_type in (None, x.dtype)
        and len(strides) == len(dilation) == rank
        and (isinstance(padding, str) or len(padding) == rank)
        and not (is_explicit(x) or is_explicit(kernel))
    )
    if not ours:
        return None
    size = kernel.shape[:rank]
    if isinstance(padding, str):
        spread = [(n - 1) * step + 1 for n, step in zip(size, dilation, strict=True)]
        padding = lax.padtype_to_pads(x.shape[1:-1], spread, strides, padding)
    pads = tuple((int(before), int(after)) for before, after in padding)
    window = Window(size, strides, pads, dilation, options.precision)
    empty = 0 in (x.size, kernel.size, *window.outputs(x.shape[1:-1]))
    return None if empty else window


def _numbers(rank: int) -> lax.ConvDimensionNumbers:
    """Returns the dimension numbers of `flax.linen.Conv`: features last, in both."""
    space = tuple(range(1, rank + 1))
    images = (0, rank + 1, *space)
    return lax.ConvDimensionNumbers(images, (rank + 1, rank, *range(rank)), images)


def convolution(x: Array, kernel: Array, *, window: Window) -> Array:
    """Returns the convolution of images ``(B, *S, C)`` and a kernel ``(*K, C, N)``."""
    padding = window.padding
    if _cuts(padding):
        x, padding = padded(x, padding), ((0, 0),) * len(padding)
    return lax.conv_general_dilated(
        x,
        kernel,
        window.strides,
        padding,
        rhs_dilation=window.dilation,
        dimension_numbers=_numbers(x.ndim - 2),
        precision=window.precision,
    )


def _cuts(padding: Sequence[tuple[int, int]]) -> bool:
    """Returns whether padding is negative somewhere: images are cut there.

    XLA of jaxlib 0.10 reads wrong memory for a float32 convolution on CPUs that is cut at its
    beginning and has zeros at its end, so that it is given images that are cut before.
    """
    return min(map(min, padding)) < 0


def padded(
    x: Array, padding: Sequence[tuple[int, int]], dilation: Sequence[int] | None = None
) -> Array:
    """Returns images with zeros before and after each axis, negative ones cut, and in between."""
    steps = dilation or (1,) * len(padding)
    spaces = [(*sides, step - 1) for sides, step in zip(padding, steps, strict=True)]
    return lax.pad(x, jnp.zeros((), x.dtype), [(0, 0, 0), *spaces, (0, 0, 0)])


def input_gradient(
    d_y: Array, kernel: Array | np.ndarray, sizes: Sequence[int], window: Window
) -> Array:
    """Returns the cotangent of the inputs: ``d_y`` with zeros between, and the kernel reversed."""
    rank = len(sizes)
    padding = []
    for n, outputs, taps, stride, (before, _), dilation in zip(
        sizes, d_y.shape[1:-1], *window[:4], strict=True
    ):
        reach = dilation * (taps - 1)
        first = reach - before
        padding.append((first, n + reach - (outputs - 1) * stride - 1 - first))
    # XLA would turn the reversed kernel into a convolution that it has no fast code for in a loop.
    turned = lax.optimization_barrier(jnp.flip(kernel, range(rank)).swapaxes(-1, -2))
    spread = window.strides
    if _cuts(padding):
        d_y = padded(d_y, padding, spread)
        padding, spread = [(0, 0)] * rank, (1,) * rank
    return lax.conv_general_dilated(
        d_y,
        turned,
        (1,) * rank,
        padding,
        lhs_dilation=spread,
        rhs_dilation=window.dilation,
        dimension_numbers=_numbers(rank),
        precision=window.precision,
    )


def _plain_kernel_gradient(x: Array, d_y: Array, *, window: Window) -> Array:
    """Returns the cotangent of the kernel as JAX writes it."""
    kernel = jax.ShapeDtypeStruct((*window.size, x.shape[-1], d_y.shape[-1]), x.dtype)
    product = functools.partial(convolution, x, window=window)
    (gradient,) = jax.linear_transpose(product, kernel)(d_y)
    return gradient


def kernel_gradient(x: Array, d_y: Array, *, window: Window) -> Array:
    """Returns the cotangent of the kernel: patches of some rows, times ``d_y`` of these rows."""
    channels = x.shape[-1]
    x = padded(x, window.padding)
    (height, *across), features = d_y.shape[1:-1], d_y.shape[-1]
    width = math.prod(window.size) * channels
    rows = _divisor(height, _PATCHES // (len(x) * math.prod(across) * width))
    reach = (rows - 1) * window.strides[0] + window.dilation[0] * (window.size[0] - 1) + 1

    def step(total: Array, block: Array) -> tuple[Array, None]:
        part = lax.dynamic_slice_in_dim(x, block * rows * window.strides[0], reach, axis=1)
        flat = _patches(part, (rows, *across), window).reshape(-1, width)
        d_part = lax.dynamic_slice_in_dim(d_y, block * rows, rows, axis=1)
        d_flat = d_part.reshape(-1, features)
        return total + jnp.matmul(flat.T, d_flat, precision=window.precision), None

    total, _ = varying_alike(jnp.zeros((width, features), x.dtype), x)
    total, _ = lax.scan(step, total, jnp.arange(height // rows))
    return total.reshape(*window.size, channels, features)


def _patches(x: Array, outputs: Sequence[int], window: Window) -> Array:
    """Returns what each output sees of padded images, ``(B, *outputs, taps * C)``."""
    patches = []
    for tap in itertools.product(*(range(n) for n in window.size)):
        first = [k * dilation for k, dilation in zip(tap, window.dilation, strict=True)]
        last = [
            start + (n - 1) * stride + 1
            for start, n, stride in zip(first, outputs, window.strides, strict=True)
        ]
        limits = (len(x), *last, x.shape[-1])
        patches.append(lax.slice(x, (0, *first, 0), limits, (1, *window.strides, 1)))
    return jnp.concatenate(patches, axis=-1)


def _divisor(number: int, most: int) -> int:
    """Returns the largest divisor of a number that is at most ``most``, or 1."""
    return max(n for n in range(1, number + 1) if number % n == 0 and n <= max(most, 1))


def convolution_shape(x: Shape, kernel: Shape, *, window: Window) -> Shape:
    """Returns the shape of the convolution of arrays of two shapes."""
    return (x[0], *window.outputs(x[1:-1]), kernel[-1])


def kernel_shape(x: Shape, d_y: Shape, *, window: Window) -> Shape:
    """Returns the shape of the kernel of a convolution, of those of images and cotangents."""
    return (*window.size, x[-1], d_y[-1])


_CONVOLUTION = bilinear("convolution", convolution, convolution, convolution_shape, static="window")
_GRADIENT = bilinear(
    "convolution_kernel_gradient",
    kernel_gradient,
    _plain_kernel_gradient,
    kernel_shape,
    static="window",
)
transposed(
    _CONVOLUTION,
    lambda d_y, x, kernel, window: input_gradient(d_y, kernel, x.aval.shape[1:-1], window),
    lambda d_y, x, kernel, window: _GRADIENT.bind(x, d_y, window=window),
)
transposed(
    _GRADIENT,
    lambda d_kernel, x, d_y, window: input_gradient(d_y, d_kernel, x.aval.shape[1:-1], window),
    lambda d_kernel, x, d_y, window: _CONVOLUTION.bind(x, d_kernel, window=window),
)
