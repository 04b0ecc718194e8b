"""Convolutions that cost what the spikes cost: they add up kernels where images are not zero.

Beside the product of `flax_snn.products.event`, of which all that is said there holds here: any
values are right, and where more than a given share of an image is not zero the dense convolution
takes over while the program runs.
"""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import lax

from flax_snn.products.convolution import (
    ConvolutionOptions,
    Window,
    convolution,
    convolution_shape,
    input_gradient,
    kernel_gradient,
    kernel_shape,
    padded,
    window_of,
)
from flax_snn.products.event import check_shares, unless_denser
from flax_snn.products.native import call, why_unavailable
from flax_snn.products.primitives import bilinear, is_explicit, transposed, varying_alike
from flax_snn.typing import Array


@dataclasses.dataclass(frozen=True)
class EventConvGeneralDilated:
    """A convolution of images that are mostly zero, in place of ``jax.lax.conv_general_dilated``.

    It is the ``conv_general_dilated_cls`` of `flax.linen.Conv`, whose inputs are the spikes of a
    layer before. It needs the extra ``flax-snn[cpu]`` and runs on CPUs, in float32 and float64.

    >>> import flax.linen as nn
    >>> layer = nn.Conv(64, (3, 3), conv_general_dilated_cls=EventConvGeneralDilated)

    The gradient of the kernel is event-driven, too; that of the inputs is dense. Figures:
    ``python -m benchmarks.speed.convolution``.

    Attributes:
      share: largest share of inputs that are not zero with which the events are worth it; denser
        inputs take the dense convolution. With 1 none are denser.
      gradient_share: the same for the gradient of the kernel.

    Raises:
      RuntimeError: the native kernels cannot be used; says why. (When called.)
      TypeError: a share that is no number.
      ValueError: a share outside 0 to 1.
    """

    share: float = 0.25
    gradient_share: float = 0.4

    plain: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Checks the shares."""
        check_shares(self)

    def __call__(
        self, lhs: Array | np.ndarray, rhs: Array | np.ndarray, *options: Any, **named: Any
    ) -> Array:
        """Returns what ``jax.lax.conv_general_dilated`` does.

        Args:
          lhs: images ``(B, H, W, C)``, or ``(B, W, C)``.
          rhs: kernel ``(P, Q, C, N)``, or ``(Q, C, N)``.
          *options: what `conv_general_dilated` takes after them, in its order: ``window_strides``
            and ``padding``, and by default ``dimension_numbers`` of `flax.linen.Conv` and the
            rest. Steps and dilations are 1, and so are the numbers of groups.
          **named: the same by name. ``precision`` is that of the dense convolution; sums over
            events are in the dtype of the inputs.

        Returns:
          ``(B, H', W', N)``, with derivatives of any order.

        Raises:
          RuntimeError: the native kernels cannot be used.
          TypeError: what ``jax.lax.conv_general_dilated`` does not take.
          ValueError: likewise; another convolution than those above.
        """
        x, kernel = jnp.asarray(lhs), jnp.asarray(rhs)
        asked = ConvolutionOptions(*options, **named)
        reason = self.why_not(x.dtype)
        if reason is not None:
            raise RuntimeError(f"EventConvGeneralDilated: no event-driven convolution: {reason}")
        window = window_of(x, kernel, asked)
        if window is None:
            out = lax.conv_general_dilated(x, kernel, *asked)  # refuses what does not fit
            if 0 in (out.size, x.size, kernel.size) or is_explicit(x) or is_explicit(kernel):
                return out
        if window is None or not _is_known(window):
            raise ValueError(
                "EventConvGeneralDilated: expected images (B, H, W, C) or (B, W, C) and a kernel of"
                " one group, float32 or float64, without strides and dilation, got"
                f" {_in_words(asked)} for shapes {x.shape} and {kernel.shape}; leave it out of this"
                " layer, which is dense then"
            )
        setup = _Setup(window, self.share, self.gradient_share)
        if x.ndim == 4:
            return _CONVOLUTION.bind(*varying_alike(x, kernel), setup=setup)
        setup = setup._replace(window=_with_one_row(window))
        out = _CONVOLUTION.bind(*varying_alike(x[:, None], kernel[None]), setup=setup)
        return out[:, 0]

    @staticmethod
    def why_not(dtype: Any) -> str | None:
        """Returns why there is no such convolution in a dtype here, or None if there is.

        From then on XLA knows the native kernels for it.
        """
        return why_unavailable(jnp.dtype(dtype).name, "images")


class _Setup(NamedTuple):
    """What is static.

    Attributes:
      window: what slides over the images, along two axes.
      share: largest share of inputs that are not zero.
      gradient_share: the same for the gradient of the kernel.
    """

    window: Window
    share: float
    gradient_share: float


def _in_words(options: ConvolutionOptions) -> str:
    """Returns what decides whether a convolution is known."""
    given = options._asdict()
    for name in ("padding", "precision"):
        del given[name]
    return ", ".join(f"{name}={value}" for name, value in given.items())


def _is_known(window: Window) -> bool:
    return len(window.size) <= 2 and set(window.strides) == set(window.dilation) == {1}


def _with_one_row(window: Window) -> Window:
    """Returns the window along one axis as one along two, of which the first has one place."""
    return Window(
        (1, *window.size),
        (1, *window.strides),
        ((0, 0), *window.padding),
        (1, *window.dilation),
        window.precision,
    )


def _convolution(x: Array, kernel: Array, *, setup: _Setup) -> Array:
    window = setup.window
    shape = convolution_shape(x.shape, kernel.shape, window=window)
    return unless_denser(
        x,
        setup.share,
        lambda: call("convolution", padded(x, window.padding), kernel, shape),
        lambda: convolution(x, kernel, window=window),
    )


def _gradient(x: Array, d_y: Array, *, setup: _Setup) -> Array:
    window = setup.window
    shape = kernel_shape(x.shape, d_y.shape, window=window)
    return unless_denser(
        x,
        setup.gradient_share,
        lambda: call("convolution_gradient", padded(x, window.padding), d_y, shape),
        lambda: kernel_gradient(x, d_y, window=window),
    )


_CONVOLUTION = bilinear(
    "event_convolution",
    _convolution,
    lambda x, kernel, setup: convolution(x, kernel, window=setup.window),
    lambda x, kernel, setup: convolution_shape(x, kernel, window=setup.window),
    static="setup",
)
_GRADIENT = bilinear(
    "event_convolution_kernel_gradient",
    _gradient,
    lambda x, d_y, setup: kernel_gradient(x, d_y, window=setup.window),
    lambda x, d_y, setup: kernel_shape(x, d_y, window=setup.window),
    static="setup",
)
transposed(
    _CONVOLUTION,
    lambda d_y, x, kernel, setup: input_gradient(d_y, kernel, x.aval.shape[1:-1], setup.window),
    lambda d_y, x, kernel, setup: _GRADIENT.bind(x, d_y, setup=setup),
)
transposed(
    _GRADIENT,
    lambda d_kernel, x, d_y, setup: input_gradient(d_y, d_kernel, x.aval.shape[1:-1], setup.window),
    lambda d_kernel, x, d_y, setup: _CONVOLUTION.bind(x, d_kernel, setup=setup),
)
