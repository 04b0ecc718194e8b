"""The error that everything in `flax_snn.nir` raises."""

from __future__ import annotations

from typing import Any

__all__ = ["NIRError"]


class NIRError(ValueError):
    """Raised for a graph, file or network that cannot be exchanged without changing it.

    The message names the node and says what was expected, what was given and what to do.
    """


def fail(where: str, expected: str, got: Any, remedy: str = "") -> NIRError:
    """Returns an error that says what was expected, what was given, and what to do.

    Args:
      where: the node, the field or the argument in question.
      expected: what is allowed.
      got: what was given instead.
      remedy: how to correct it.
    """
    return NIRError(f"{where}: expected {expected}, got {got}{f'; {remedy}' if remedy else ''}")
