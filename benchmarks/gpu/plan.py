"""Which groups there are, in which order, and how long each may take."""

from __future__ import annotations

SECONDS: dict[str, float] = {
    "floors": 25.0,
    "layer, kernel": 55.0,
    "layer, other loops": 55.0,
    "equality, kernel": 45.0,
    "torch": 30.0,
    "networks": 55.0,
    "million": 20.0,
    "linear": 40.0,
    "equality, other loops": 35.0,
    "blocks": 30.0,
    "tests": 80.0,
    "grid": 10.0,
}
"""Seconds of each group in a run of 8 minutes, most important first; what one of them leaves, those
after it have as well. ``torch`` and ``tests`` are no groups of `groups.GROUPS`."""

ORDER = tuple(SECONDS)
"""Groups, most important first."""


def limits(groups: list[str], seconds: float) -> list[float]:
    """Returns how many seconds before the end each group must have ended.

    Args:
      groups: groups in the order in which they run.
      seconds: time for all of them.

    Returns:
      For each group the sum of what those after it are promised: its share of `SECONDS`.
    """
    whole = sum(SECONDS[group] for group in groups)
    return [
        seconds / whole * sum(SECONDS[later] for later in groups[k + 1 :])
        for k in range(len(groups))
    ]
