"""Functions timed in turns in one process, every result waited for."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

import jax

Run = Callable[[], Any]


def in_turns(runs: Mapping[str, Run], *, repeats: int, warm_up: int = 1) -> dict[str, list[float]]:
    """Return the seconds of each run; all functions run once in each round.

    Args:
      runs: functions by name; what they return is waited for.
      repeats: rounds that count.
      warm_up: rounds before.
    """
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for k in range(warm_up + repeats):
        for name, run in runs.items():
            begin = time.perf_counter()
            jax.block_until_ready(run())
            if k >= warm_up:
                seconds[name].append(time.perf_counter() - begin)
    return seconds


def medians(seconds: Mapping[str, list[float]]) -> dict[str, float]:
    """Return the median of each, in seconds."""
    return {name: statistics.median(runs) for name, runs in seconds.items()}
