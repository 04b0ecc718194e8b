"""Ages of chips, as flags name them."""

from __future__ import annotations

import re

from train.errors import ConfigError
from train.settings.crossbar import MEASURED

_SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "y": 365 * 86400.0}

LONGEST = 1e6 * _SECONDS["y"]
"""Largest age of a chip in seconds."""


def parse_times(text: str, device: str) -> dict[str, float]:
    """Returns ages of chips in seconds by their names: ``1s,1h,1d,1y``.

    Args:
      text: the flag.
      device: kind of the chips.

    Raises:
      ConfigError: no ages, not rising, or such as the device has no data for.
    """
    times: dict[str, float] = {}
    for name in map(str.strip, text.split(",")):
        found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smhdy])", name)
        if found is None:
            raise ConfigError(
                f"--times {text!r}: expected times such as 1s,1h,1d,1y (seconds, minutes m, hours,"
                f" days, years of 365 days), got {name!r}"
            )
        seconds = float(found[1]) * _SECONDS[found[2]]
        if not seconds <= LONGEST or (times and seconds <= max(times.values())):
            raise ConfigError(
                f"--times {text!r}: expected rising times of at most a million years, got {name!r}"
            )
        times[name] = seconds
    unknown = [name for name, seconds in times.items() if seconds not in MEASURED]
    if device == "reram" and unknown:
        raise ConfigError(
            "--times: resistive memory was measured after 1s, 1d and 2d only, got"
            f" {', '.join(unknown)}; between them nothing is known: --times 1s,1d,2d"
        )
    return times
