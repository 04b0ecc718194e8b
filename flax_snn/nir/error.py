"""The one error of interchange."""

from __future__ import annotations

from typing import Any

__all__ = ["NIRError"]


class NIRError(ValueError):
    """A graph, a file or a network that cannot be exchanged without changing it.

    The message names the node, what was expected, what came and what to do.
    """


def fail(where: str, expected: str, got: Any, remedy: str = "") -> NIRError:
    """Return the error that says what was expected at a place, what came, and what to do.

    Args:
      where: node, or node and field.
      expected: what is allowed there.
      got: what stood there.
      remedy: what to do about it.
    """
    return NIRError(f"{where}: expected {expected}, got {got}{f'; {remedy}' if remedy else ''}")
