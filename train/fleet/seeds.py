"""Seeds as a flag names them."""

from __future__ import annotations

import re

from train.errors import ConfigError


def parse_seeds(text: str) -> list[int]:
    """Returns the seeds of a flag such as ``0-9`` or ``0,3,5-7``, in its order.

    Raises:
      ConfigError: something else, or a seed twice.
    """
    seeds: list[int] = []
    for item in text.split(","):
        found = re.fullmatch(r"\s*(\d+)(?:-(\d+))?\s*", item)
        first, last = (int(found[1]), int(found[2] or found[1])) if found else (1, 0)
        if last < first:
            raise ConfigError(
                f"--seeds {text!r}: expected whole numbers and ranges, such as 0-9 or 0,3,5, got"
                f" {item.strip()!r}"
            )
        if last - first >= 10_000:
            raise ConfigError(f"--seeds {text!r}: expected at most 10000 seeds")
        seeds += range(first, last + 1)
    twice = sorted({seed for seed in seeds if seeds.count(seed) > 1})
    if twice:
        raise ConfigError(f"--seeds {text!r}: each seed once, got {twice[0]} twice")
    return seeds
