"""Decays per step, and time constants in steps, as other frameworks give them."""

from __future__ import annotations

from flax_snn import checks


def decay(name: str, value: float) -> float:
    """Returns a decay per step.

    Raises:
      TypeError: no number.
      ValueError: outside 0..1, where frameworks clip in silence.
    """
    remedy = "the framework clips other values in silence"
    return checks.in_range(name, value, 0.0, 1.0, noun="a decay per step", remedy=remedy)


def seconds_from_steps(name: str, value: float, dt: float, above: float = 0.0) -> float:
    """Returns a time constant in seconds that is given in steps.

    Args:
      name: name of the argument, for the error.
      value: time constant in steps.
      dt: length of a step in seconds.
      above: number of steps that the time constant has to exceed.

    Raises:
      TypeError: no number.
      ValueError: not above that many steps, or dt not above 0.
    """
    count = checks.in_range(name, value, above, None, low_allowed=False, unit="steps")
    return count * checks.positive("dt", dt, unit="seconds")
