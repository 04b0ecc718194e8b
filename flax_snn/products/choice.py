"""Which matrix product a layer takes: dense, or event-driven where that was measured to win."""

from __future__ import annotations

from typing import Any

import jax

from flax_snn.products.event import FEWEST_ROWS, EventDotGeneral

CHOICES = ("auto", "dense", "event")

SMALLEST = 32
"""Fewest features and fewest columns with which events were measured to win."""

READ, ADD, START = 0.5, 0.023, 1.0
"""Nanoseconds of a thread: to look at an input, to add a value of a row, to find the row."""

MULTIPLY = 0.023
"""Nanoseconds of a thread for one multiplication and addition of a dense product."""

MARGIN = 0.35
"""Part of the share at which both products take the same time up to which events are taken: the
gradient of the kernel is worked on by one thread."""


def break_even(features: int, width: int) -> float:
    """Return the share of inputs that are not zero at which both products take the same time.

    Args:
      features: inputs F.
      width: columns M of the kernel.

    Returns:
      The share, 0 where events never win: with a row of F inputs the dense product takes
      ``F M MULTIPLY``, the event-driven one ``F (READ + share (START + M ADD))``.
    """
    if min(features, width) < SMALLEST:
        return 0.0
    share = (width * MULTIPLY - READ) / (START + width * ADD)
    return min(max(share, 0.0), 1.0)


def why_not_events(dtype: Any) -> str | None:
    """Return why no layer can have event-driven products here, or None if they can."""
    if jax.device_count() > 1:
        return "samples may be spread over several devices, and XLA would gather them for it"
    return EventDotGeneral.why_not(dtype)


def product_for(products: str, features: int, width: int, rows: int, dtype: Any) -> Any:
    """Return the product of a layer, as `jax.lax.dot_general` is called.

    Args:
      products: one of `CHOICES`.
      features: inputs F of the layer.
      width: columns M of its kernel.
      rows: rows that are multiplied at once.
      dtype: dtype of the product.

    Returns:
      `jax.lax.dot_general` or an `EventDotGeneral`. With ``event`` events are taken at any density;
      with ``auto`` up to a third of that of `break_even`.

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
        return EventDotGeneral(share=1.0)
    share = round(MARGIN * break_even(features, width), 3)
    if not share or rows < FEWEST_ROWS or why_not_events(dtype) is not None:
        return jax.lax.dot_general
    return EventDotGeneral(share=share)
