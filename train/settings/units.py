"""Times and rates whose size speaks for another unit: said before training, not refused.

Someone who thinks in milliseconds types ``--tau-mem 20``, and gets a membrane of 20 seconds. Such a
network runs, and learns nothing; only what cannot work is refused.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

from train.errors import ConfigError
from train.settings.checks import flag, number

USUAL = {
    "dt": (1e-5, 50e-3),
    "tau_mem": (1e-3, 0.5),
    "tau_syn": (0.2e-3, 0.5),
    "jitter": (0.0, 50e-3),
    "window": (1e-3, 10.0),
    "loss_tau": (1e-5, 0.5),
    "late_tau": (1e-5, 0.5),
}
"""Seconds within which a setting lies as a rule, ends included."""


def unusual(settings: Any) -> Iterator[str]:
    """Yields a sentence for each time that is unusually short or long for seconds.

    Args:
      settings: settings of a task; times are known by the names of their fields.
    """
    for field in dataclasses.fields(settings):
        name, value = field.name, getattr(settings, field.name)
        if dataclasses.is_dataclass(value):
            yield from unusual(value)
        if name not in USUAL or not isinstance(value, float | int):
            continue
        low, high = USUAL[name]
        if low <= value <= high or value == 0:
            continue
        size = "long" if value > high else "short"
        likely = f"; if milliseconds were meant, {flag(name)} {value * 1e-3:g}"
        yield (
            f"note: {flag(name)} {value:g} is {in_words(value)}, unusually {size}: times are given"
            f" in seconds{likely if value > high else ''}"
        )


def check_step(dt: float, tau_mem: float, tau_syn: float) -> None:
    """Refuses a step that is longer than both time constants: nothing outlasts it.

    Args:
      dt: length of a step in seconds.
      tau_mem: membrane time constant in seconds.
      tau_syn: synaptic time constant in seconds.

    Raises:
      ConfigError: the message names the flags, and the likely value.
    """
    number("--dt", dt, "> 0", "seconds")
    longest = max(tau_mem, tau_syn)
    if dt <= longest:
        return
    likely = dt * 1e-3
    raise ConfigError(
        f"--dt {dt:g} is {in_words(dt)}, longer than the time constants of the neurons, --tau-mem"
        f" {tau_mem:g} ({in_words(tau_mem)}) and --tau-syn {tau_syn:g} ({in_words(tau_syn)}), so"
        " that nothing lasts from one step to the next; times are given in seconds"
        + (f": did you mean --dt {likely:g}?" if USUAL["dt"][0] <= likely <= longest else "")
    )


def short_memory(dt: float, tau_mem: float, tau_syn: float) -> Iterator[str]:
    """Yields a sentence for each time constant that is shorter than a step."""
    for name, tau in (("tau_mem", tau_mem), ("tau_syn", tau_syn)):
        if 0 < tau < dt:
            yield (
                f"note: {flag(name)} {tau:g} ({in_words(tau)}) is shorter than a step, --dt {dt:g}"
                f" ({in_words(dt)}): what it stands for is gone within the step"
            )


def in_words(seconds: float) -> str:
    """Returns a time in the unit in which it is read most easily: ``20 ms``, ``2000 ms``."""
    if seconds < 1e-3:
        return f"{seconds * 1e6:g} us"
    return f"{seconds * 1e3:g} ms" if seconds < 1e4 else f"{seconds:g} s"
