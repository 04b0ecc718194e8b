"""Products that cost what the spikes cost: rows of a kernel are added up where inputs are not zero.

    product:          out[r]   = sum of x[r, f] * kernel[f]   over the f with x[r, f] != 0
    kernel gradient:  out[f]   = sum of x[r, f] * d_out[r]    over the r with x[r, f] != 0

Any values are right, spikes or not: what is zero is skipped, what is not is multiplied. Where more
than a given share of the inputs is not zero, the dense product takes over, which is decided while
the program runs. So the result does not depend on that share but for rounding, as long as the
kernel is finite: what a zero meets is skipped, so NaN in a row of it shows with inputs only.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any, ClassVar

import jax.numpy as jnp
from jax import lax

from flax_snn import checks
from flax_snn.products.native import call, denser, why_unavailable
from flax_snn.products.primitives import bilinear, is_explicit, transposed, varying_alike
from flax_snn.typing import Array


@dataclasses.dataclass(frozen=True)
class EventDotGeneral:
    """A matrix product of inputs that are mostly zero, in place of `jax.lax.dot_general`.

    It is the ``dot_general_cls`` of `flax.linen.Dense` or of any cell here. It needs the extra
    ``flax-snn[cpu]`` and runs on CPUs, in float32 and float64.

    >>> import flax.linen as nn
    >>> layer = nn.Dense(10, dot_general_cls=EventDotGeneral)

    A process that loads a program that another one compiled, by
    ``jax.experimental.serialize_executable``, has to make the native kernels known to XLA before,
    which checks them and takes a fraction of a second:

    >>> EventDotGeneral.why_not("float32")  # None: they can be used

    Attributes:
      share: largest share of inputs that are not zero with which the events are worth it; denser
        inputs take the dense product. With 1 none are denser.
      gradient_share: the same for the gradient of the kernel.

    Raises:
      RuntimeError: the native kernels cannot be used; says why. (When called.)
      TypeError: a share that is no number.
      ValueError: a share outside 0 to 1.
    """

    share: float = 0.2
    gradient_share: float = 0.15

    linear: ClassVar[bool] = True
    plain: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Checks the shares."""
        check_shares(self)

    def __call__(
        self,
        lhs: Array,
        rhs: Array,
        dimension_numbers: Any,
        precision: Any = None,
        preferred_element_type: Any = None,
    ) -> Array:
        """Returns ``lhs @ rhs``.

        Args:
          lhs: inputs ``(*B, F)``.
          rhs: kernel ``(F, M)``.
          dimension_numbers: those of that product; no other is known.
          precision: not used: sums are in the dtype of the inputs.
          preferred_element_type: dtype of the result; ``None``: that of the inputs.

        Raises:
          RuntimeError: the native kernels cannot be used.
          TypeError: a kernel of another dtype than the inputs.
          ValueError: another product than that of the last axis with the first; a kernel with
            another number of rows than the inputs have features.
        """
        del precision
        expected = (((lhs.ndim - 1,), (0,)), ((), ()))
        given = tuple(tuple(tuple(axes) for axes in pair) for pair in dimension_numbers)
        if rhs.ndim != 2 or given != expected:
            raise ValueError(
                "EventDotGeneral: expected the product of the last axis of the inputs with the"
                f" first of a kernel (F, M), {expected}, got {dimension_numbers} for shapes"
                f" {lhs.shape} and {rhs.shape}; use jax.lax.dot_general for it"
            )
        remedy = f"the inputs have {lhs.shape[-1]} features, shape {lhs.shape}"
        checks.shape("EventDotGeneral: kernel", rhs, (lhs.shape[-1], None), remedy=remedy)
        if lhs.dtype != rhs.dtype:
            raise TypeError(
                f"EventDotGeneral: expected a kernel in the dtype of the inputs, {lhs.dtype}, got"
                f" {rhs.dtype}; convert one of them with .astype"
            )
        reason = self.why_not(lhs.dtype)
        if reason is not None:
            raise RuntimeError(f"EventDotGeneral: no event-driven product: {reason}")
        out = event_product(lhs, rhs, self.share, self.gradient_share)
        return out if preferred_element_type is None else out.astype(preferred_element_type)

    def as_kernel(self, kernel: Array) -> Array:
        """Returns the kernel, whose plain product this is."""
        return kernel

    def kernel_gradient(self, inputs: Array, d_outputs: Array) -> Array:
        """Returns the cotangent ``(F, M)`` of the kernel, of inputs ``(*B, F)``."""
        return event_kernel_gradient(inputs, d_outputs, self.gradient_share)

    @staticmethod
    def why_not(dtype: Any) -> str | None:
        """Returns why there is no such product in a dtype on this machine, or None if there is.

        From then on XLA knows the native kernels for it.
        """
        return why_unavailable(jnp.dtype(dtype).name)


def event_product(
    inputs: Array, kernel: Array, share: float, gradient_share: float | None = None
) -> Array:
    """Returns ``inputs @ kernel``.

    Args:
      inputs: ``(*B, F)``.
      kernel: ``(F, M)`` of the same dtype.
      share: largest share of inputs that are not zero with which the dense product is not taken.
      gradient_share: the same for the gradient of the kernel; ``None``: ``share``.

    Returns:
      The product ``(*B, M)``, with derivatives of any order: event-driven with respect to the
      kernel, dense with respect to the inputs; dense in all where the type of an array says how it
      is spread over a mesh.
    """
    if is_explicit(inputs) or is_explicit(kernel):
        return jnp.matmul(inputs, kernel)
    shares = (share, share if gradient_share is None else gradient_share)
    out = _PRODUCT.bind(*varying_alike(_rows(inputs), kernel), shares=shares)
    return out.reshape(*inputs.shape[:-1], kernel.shape[-1])


def event_kernel_gradient(inputs: Array, d_out: Array, share: float) -> Array:
    """Returns the cotangent of the kernel of `event_product`, ``inputs.T @ d_out``.

    Args:
      inputs: ``(*B, F)``.
      d_out: cotangent of the product ``(*B, M)``.
      share: as in `event_product`.

    Returns:
      ``(F, M)``, with derivatives of any order.
    """
    return _GRADIENT.bind(*varying_alike(_rows(inputs), _rows(d_out)), shares=(share, share))


def _product(x: Array, kernel: Array, *, shares: tuple[float, float]) -> Array:
    shape = (x.shape[0], kernel.shape[1])
    if 0 in (x.size, kernel.size):
        return jnp.zeros(shape, kernel.dtype)
    return unless_denser(
        x,
        shares[0],
        lambda: call("product", x, kernel, shape),
        lambda: _dense_product(x, kernel),
    )


def _gradient(x: Array, d_out: Array, *, shares: tuple[float, float]) -> Array:
    shape = (x.shape[1], d_out.shape[1])
    if 0 in (x.size, d_out.size):
        return jnp.zeros(shape, d_out.dtype)
    return unless_denser(
        x,
        shares[1],
        lambda: call("kernel_gradient", x, d_out, shape),
        lambda: _dense_gradient(x, d_out),
    )


def _dense_product(x: Array, kernel: Array, **shares: Any) -> Array:
    return lax.dot_general(x, kernel, (((1,), (0,)), ((), ())))


def _dense_gradient(x: Array, d_out: Array, **shares: Any) -> Array:
    return lax.dot_general(x, d_out, (((0,), (0,)), ((), ())))


_PRODUCT = bilinear(
    "event_product", _product, _dense_product, lambda x, kernel, **_: (x[0], kernel[1])
)
_GRADIENT = bilinear(
    "event_kernel_gradient", _gradient, _dense_gradient, lambda x, d_out, **_: (x[1], d_out[1])
)
transposed(
    _PRODUCT,
    lambda d_out, x, kernel, shares: d_out @ kernel.T,
    lambda d_out, x, kernel, shares: _GRADIENT.bind(x, d_out, shares=shares),
)
transposed(
    _GRADIENT,
    lambda d_kernel, x, d_out, shares: d_out @ d_kernel.T,
    lambda d_kernel, x, d_out, shares: _PRODUCT.bind(x, d_kernel, shares=shares),
)


def _rows(array: Array) -> Array:
    return array.reshape(math.prod(array.shape[:-1]), array.shape[-1])


def check_shares(product: Any) -> None:
    """Raises if ``share`` or ``gradient_share`` of an event-driven product is no share.

    Raises:
      TypeError: a share that is no number.
      ValueError: a share outside 0 to 1.
    """
    remedy = "it is the part of the inputs that is not zero"
    options = {"low": 0.0, "high": 1.0, "remedy": remedy}
    checks.fields(product, checks.in_range, "share", "gradient_share", **options)


def unless_denser(
    x: Array, share: float, events: Callable[[], Array], dense: Callable[[], Array]
) -> Array:
    """Returns what events give, or the dense result where more than a share of ``x`` is not zero.

    What comes out is said to differ between devices as what goes in does.

    Args:
      x: inputs ``(*B, F)``.
      share: largest share of them that is not zero for events to be taken; with 1 always.
      events: makes the result from events.
      dense: makes it otherwise.
    """

    def alike() -> Array:
        return varying_alike(x, events())[1]

    if share == 1.0:
        return alike()
    too_dense = varying_alike(x, denser(_rows(x), math.ceil(share * x.size)))[1]
    return lax.cond(too_dense[0] > 0, dense, alike)
