"""A switch to watch cells at work: every step of every cell as a call of its methods."""

from __future__ import annotations

import contextlib
import contextvars
from collections.abc import Iterator

_STEPWISE = contextvars.ContextVar("stepwise", default=False)


@contextlib.contextmanager
def stepwise() -> Iterator[None]:
    """Within the context, runners call the cells step by step, whatever loop was chosen.

    The fused loop takes the weights out of the cells and never calls their methods, so that
    nothing can be intercepted there.
    """
    token = _STEPWISE.set(True)
    try:
        yield
    finally:
        _STEPWISE.reset(token)


def is_stepwise() -> bool:
    """Returns whether cells are being watched."""
    return _STEPWISE.get()
