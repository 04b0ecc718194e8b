"""Which product a layer takes: dense, or event-driven where that was measured to win.

The figures behind the numbers here: ``python -m benchmarks.speed.event_products``, and of whole
layers ``python -m benchmarks.speed.auto_grid``. From 64 inputs and columns on, event-driven
products and their gradients are as fast as dense ones where 12 to 50 % of the inputs are not zero:
processors differ in how fast dense products are. The shares of `EventDotGeneral` lie between.
"""

from __future__ import annotations

from typing import Any

import jax

from flax_snn.products.convolution import conv_general_dilated
from flax_snn.products.event import EventDotGeneral
from flax_snn.products.event_convolution import EventConvGeneralDilated

CHOICES = ("auto", "dense", "event")

SMALLEST = 64
"""Fewest inputs, and fewest columns of a kernel, for which ``auto`` takes events."""

FEWEST_ROWS = 128
"""Fewest rows of a sequence for which it does."""


def why_not_events(dtype: Any) -> str | None:
    """Returns why no layer can have event-driven products here, or None if they can."""
    if jax.device_count() > 1:
        return "samples may be spread over several devices, and XLA would gather them for it"
    return EventDotGeneral.why_not(dtype)


def convolution_for(dtype: Any) -> Any:
    """Returns the convolution of a layer behind spikes, as ``lax.conv_general_dilated`` is called.

    >>> import flax.linen as nn
    >>> layer = nn.Conv(64, (3, 3), conv_general_dilated=convolution_for("float32"))

    Args:
      dtype: dtype of the convolution.

    Returns:
      An `EventConvGeneralDilated` where there can be one, which takes events up to its shares, else
      `conv_general_dilated`.
    """
    if why_not_events(dtype) is None and EventConvGeneralDilated.why_not(dtype) is None:
        return EventConvGeneralDilated()
    return conv_general_dilated


def product_for(products: str, features: int, width: int, rows: Any, dtype: Any) -> Any:
    """Returns the product of a layer, as `jax.lax.dot_general` is called.

    Args:
      products: one of `CHOICES`.
      features: inputs F of the layer.
      width: columns M of its kernel.
      rows: rows of the whole sequence, an int or a symbolic dimension.
      dtype: dtype of the product.

    Returns:
      `jax.lax.dot_general` or an `EventDotGeneral`. With ``event`` events are taken at any density,
      with ``auto`` up to its shares.

    Raises:
      ValueError: ``event`` where the native kernels cannot be used; says why.
    """
    if products == "dense":
        return jax.lax.dot_general
    if products == "event":
        reason = why_not_events(dtype)
        if reason is not None:
            raise ValueError(
                f"RNN: products='event' cannot be had: {reason}; use products='auto', which is"
                " dense where events cannot be used"
            )
        return EventDotGeneral(share=1.0, gradient_share=1.0)
    if not all(isinstance(size, int) for size in (features, width, rows)):
        return jax.lax.dot_general  # `jax.export` has symbolic sizes, which do not compare
    if min(features, width) < SMALLEST or rows < FEWEST_ROWS or why_not_events(dtype) is not None:
        return jax.lax.dot_general
    return EventDotGeneral()
