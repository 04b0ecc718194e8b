"""Seeds as a flag names them."""

from __future__ import annotations

import re

from train.errors import ConfigError

MOST_RUNS = 1000
"""Runs of one command above which their number is taken for a mistake."""

_SEED = r"\d{1,10}"
"""A seed is below 2**32."""


def parse_seeds(text: str) -> list[int]:
    """Returns the seeds of a flag such as ``0-9`` or ``0,3,5-7``, in its order.

    Raises:
      ConfigError: something else, a seed twice, or more of them than `MOST_RUNS`.
    """
    seeds: dict[int, None] = {}
    shown = text if len(text) <= 60 else f"{text[:57]}..."
    for item in text.split(","):
        found = re.fullmatch(rf"\s*({_SEED})(?:-({_SEED}))?\s*", item)
        first, last = (int(found[1]), int(found[2] or found[1])) if found else (1, 0)
        if not first <= last < 2**32:
            raise ConfigError(
                f"--seeds {shown!r}: expected whole numbers below 2**32 and ranges, such as 0-9 or"
                f" 0,3,5, got {item.strip()[:60]!r}"
            )
        if len(seeds) + last - first >= MOST_RUNS:
            raise ConfigError(f"--seeds {shown!r}: expected at most {MOST_RUNS} seeds")
        for seed in range(first, last + 1):
            if seed in seeds:
                raise ConfigError(f"--seeds {shown!r}: each seed once, got {seed} twice")
            seeds[seed] = None
    return list(seeds)
