"""The product of a sequence with delayed weights: a causal convolution in time, in three ways.

    y[t, j] = SUM_i SUM_k w[k, i, j] x[t - k, i],     k = 0 .. K - 1, x = 0 before the start

As it stands this is K products with a matrix (F, N). Written as one convolution it needs little
memory. In the frequency domain a block of L steps needs about L / 2 products of complex numbers
whatever K is, three real products each, so that L - K + 1 steps of output cost 1.5 L products
instead of (L - K + 1) K: with K = 25 a tenth of the arithmetic. Rounding errors there are those of
the block, not of the step: where nothing arrives the result is 0 up to rounding, and a number in
the block that is not finite reaches all its steps, those before it too.
"""

from __future__ import annotations

from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from flax_snn.products import conv_general_dilated
from flax_snn.typing import Array

__all__ = ["METHODS", "Method", "chosen", "delayed_product", "filtered", "shifted"]


def __dir__() -> list[str]:
    return __all__


Method = Literal["auto", "convolution", "frequency"]
METHODS = ("auto", "convolution", "frequency")

_ENOUGH_TAPS = 6
"""Taps from which on the frequency domain was measured to be faster on a CPU."""

_BLOCK = 4
"""Steps of output of a block, in multiples of K: longer blocks need wider transforms."""

_EXACT = lax.Precision.HIGHEST
"""Transforms are not rounded to fewer bits, as matrix products are on some accelerators."""


def chosen(method: Method, taps: int, dtype: Any) -> Method:
    """Returns the way in which the product is computed."""
    if method != "auto":
        return method
    on_cpu = jax.default_backend() == "cpu"
    precise = jnp.finfo(dtype).bits >= 32
    return "frequency" if on_cpu and precise and taps >= _ENOUGH_TAPS else "convolution"


def delayed_product(x: Array, kernel: Array, method: Method = "auto") -> Array:
    """Returns the sum over all taps of the delayed input times the weights of the tap.

    Args:
      x: input ``(B, K - 1 + T, F)``: what came in the K - 1 steps before, and the sequence.
      kernel: weights by lag, ``(K, F, N)``, in the dtype of the input.
      method: ``auto``, ``convolution`` or ``frequency``.

    Returns:
      Currents ``(B, T, N)``.
    """
    taps = kernel.shape[0]
    if taps == 1:
        return jnp.matmul(x, kernel[0])
    if chosen(method, taps, x.dtype) == "convolution":
        return conv_general_dilated(
            x, kernel[::-1], (1,), "VALID", dimension_numbers=("NWC", "WIO", "NWC")
        )
    blocks = _Blocks(x.shape[1] - taps + 1, taps)
    x_re, x_im = blocks.spectrum(blocks.cut(x))
    k_re, k_im = (
        part.reshape(-1, *kernel.shape[1:]) for part in blocks.spectrum(kernel.reshape(1, taps, -1))
    )
    rows = x_re.shape[1:-1]
    x_re, x_im = (part.reshape(len(part), -1, x.shape[-1]) for part in (x_re, x_im))
    # Three real products make a complex one.
    real, imaginary = jnp.matmul(x_re, k_re), jnp.matmul(x_im, k_im)
    both = jnp.matmul(x_re + x_im, k_re + k_im)
    y_re, y_im = real - imaginary, both - real - imaginary
    return blocks.joined(*(part.reshape(len(part), *rows, -1) for part in (y_re, y_im)))


def filtered(x: Array, taps: Array, method: Method = "auto", kernel: Array | None = None) -> Array:
    """Returns each feature convolved with its own taps, causally in time.

    Args:
      x: input ``(B, K - 1 + T, F)``: what came in the K - 1 steps before, and the sequence.
      taps: taps by lag, ``(K, N)``, in the dtype of the input.
      method: ``auto``, ``convolution`` or ``frequency``.
      kernel: weights ``(F, N)`` that make features of the input; ``None``: it has them, F is N.

    Returns:
      The filtered features ``(B, T, N)``.
    """
    count, features = taps.shape
    if chosen(method, count, x.dtype) == "convolution":
        x = x if kernel is None else jnp.matmul(x, kernel)
        return lax.conv_general_dilated(
            x,
            taps[::-1, None],
            (1,),
            "VALID",
            dimension_numbers=("NWC", "WIO", "NWC"),
            feature_group_count=features,
        )
    blocks = _Blocks(x.shape[1] - count + 1, count)
    x_re, x_im = blocks.spectrum(blocks.cut(x))
    if kernel is not None:  # fewer features to transform, if there are fewer inputs
        x_re, x_im = jnp.matmul(x_re, kernel), jnp.matmul(x_im, kernel)
    t_re, t_im = blocks.spectrum(taps[None])
    return blocks.joined(x_re * t_re - x_im * t_im, x_re * t_im + x_im * t_re)


def shifted(x: Array, delay: Array, max_delay: int) -> Array:
    """Returns each feature as it was some steps ago.

    Args:
      x: input ``(B, max_delay + T, F)``: what came in the steps before, and the sequence.
      delay: whole steps from 0 to ``max_delay``, int32 ``(F,)``.
      max_delay: largest delay in steps.

    Returns:
      The delayed features ``(B, T, F)``.
    """
    steps = jnp.arange(x.shape[1] - max_delay, dtype=delay.dtype)
    index = steps[:, None] + (max_delay - delay)[None]
    return jnp.take_along_axis(x, index[None], axis=1)


class _Blocks:
    """A sequence cut into overlapping blocks of L steps, and their discrete Fourier transform.

    A block is as long as the outputs that are taken from it, and the K - 1 steps before them; its
    first K - 1 outputs, which would wrap around, are left out (overlap-save).
    """

    def __init__(self, steps: int, taps: int):
        self.steps = steps
        self.count = -(-steps // max(_BLOCK * taps, 32))
        self.outputs = -(-steps // self.count)
        self.length = self.outputs + taps - 1
        self.frequencies = self.length // 2 + 1
        angles = np.outer(np.arange(self.frequencies), np.arange(self.length)) % self.length
        self.angles = 2 * np.pi / self.length * angles

    def cut(self, x: Array) -> Array:
        """Cuts ``(B, K - 1 + T, F)`` into blocks ``(B * M, L, F)``."""
        missing = (self.count - 1) * self.outputs + self.length - x.shape[1]
        x = jnp.pad(x, ((0, 0), (0, missing), (0, 0)))
        if self.count == 1:
            return x
        starts = np.arange(self.count) * self.outputs
        index = (starts[:, None] + np.arange(self.length)).astype(np.int32)
        return x[:, index].reshape(-1, self.length, x.shape[-1])

    def spectrum(self, x: Array) -> tuple[Array, Array]:
        """Transforms ``(B, T, F)`` with at most L steps to ``(L / 2 + 1, B, F)``, twice."""
        angles = self.angles[:, : x.shape[1]]
        parts = (np.cos(angles), -np.sin(angles))
        re, im = (
            jnp.einsum("ft,bti->fbi", jnp.asarray(part, x.dtype), x, precision=_EXACT)
            for part in parts
        )
        return re, im

    def joined(self, re: Array, im: Array) -> Array:
        """Transforms ``(L / 2 + 1, B * M, N)`` back, and joins the outputs to ``(B, T, N)``."""
        each = np.full((self.frequencies, 1), 2.0 / self.length)
        each[0] = 1.0 / self.length
        if self.length % 2 == 0:
            each[-1] = 1.0 / self.length
        angles = self.angles[:, self.length - self.outputs :]
        parts = (each * np.cos(angles), -each * np.sin(angles))
        y = sum(
            jnp.einsum("ft,fbo->bto", jnp.asarray(part, value.dtype), value, precision=_EXACT)
            for part, value in zip(parts, (re, im), strict=True)
        )
        y = jnp.asarray(y).reshape(-1, self.count * self.outputs, re.shape[-1])
        return lax.slice_in_dim(y, 0, self.steps, axis=1)
