"""Numbers that nothing can compute with are refused before any task tries."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

from train.errors import ConfigError
from train.settings.checks import flag
from train.settings.units import USUAL

SHORTEST, LONGEST = 1e-12, 1e9
"""Seconds within which every time of a setting lies, unless it is 0."""

SMALLEST, LARGEST = 1e-37, 3e38
"""Sizes of numbers other than times, unless they are 0: those of float32."""

TIMES = {
    *USUAL,
    "continuation_slope",
    "crossbar_time",
    "duration",
    "frame",
    "latency_tau",
    "learn_from",
    "max_delay",
    "target_early",
    "target_late",
    "tau_adapt",
    "tau_readout",
}
"""Fields of settings that are times in seconds."""


def check_numbers(settings: Any) -> None:
    """Refuses numbers that are too large or too small for every computation.

    Args:
      settings: settings of a task, a dataclass of dataclasses; times are known by their names.

    Raises:
      ConfigError: a number that is not finite, also in float32, a whole number of more than 63
        bits, a time beyond every experiment. The message names the flag.
    """
    for field in dataclasses.fields(settings):
        name, value = field.name, getattr(settings, field.name)
        if dataclasses.is_dataclass(value):
            check_numbers(value)
            continue
        for each in value if isinstance(value, tuple) else (value,):
            _check_number(flag(name), each)
        if name in TIMES and isinstance(value, float) and value:
            if not SHORTEST <= abs(value) <= LONGEST:
                raise ConfigError(
                    f"{flag(name)}: expected a time from {SHORTEST:g} to {LONGEST:g} seconds, got"
                    f" {value:g}"
                )
        elif isinstance(value, float) and value and not SMALLEST <= abs(value) <= LARGEST:
            raise ConfigError(
                f"{flag(name)}: expected 0 or a number of a size from {SMALLEST:g} to {LARGEST:g},"
                f" those of float32, got {value:g}"
            )


def _check_number(name: str, value: Any) -> None:
    if isinstance(value, int) and abs(value) >= 2**63:
        raise ConfigError(
            f"{name}: expected a whole number of at most 63 bits, got one of"
            f" {value.bit_length()} bits"
        )
    if isinstance(value, float) and not math.isfinite(value):
        raise ConfigError(f"{name}: expected a finite number, got {value}")
