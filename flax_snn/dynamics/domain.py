"""What may be learned of a neuron, and a parametrisation that cannot leave its domain.

A learned value is stored as a raw parameter: the logarithm of a positive value, or the value as it
is. Inside the domain raw parameter and value are the same (up to the logarithm), bit for bit.
Outside, the raw parameter is reflected at the bound that it crossed:

    lower - raw  behind the lower bound counts as that much above it,  and the other way round

so that an optimiser that steps over a bound finds a gradient that leads back, and no step of any
size makes a value that the constructor of the neuron refuses.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp

from flax_snn import checks
from flax_snn.typing import Array, Scalar

SMALLEST = 1e-3
"""Least time constant in steps: the membrane forgets within one step long before."""

LARGEST = 1e9
"""Largest time constant in steps: float32 cannot tell such a decay from none."""

EULER = 1.2
"""Least time constant in steps under Euler, whose decay 1 - dt / tau has to stay above 0."""


@dataclasses.dataclass(frozen=True)
class Learnable:
    """A value of a neuron that may be learned, or differ from neuron to neuron.

    Attributes:
      value: what the dynamics have: the value that learning starts from, in ``unit``.
      unit: its unit, as text.
      log: whether the logarithm is what is stored, for values above 0.
      lower: least value, itself allowed; ``None`` for no bound.
      upper: largest value, itself allowed; ``None`` for no bound.
      below: name of the value of the same neuron that this one has to stay below.
    """

    value: float | tuple[float, ...]
    unit: str = "1"
    log: bool = False
    lower: float | None = None
    upper: float | None = None
    below: str | None = None

    def __post_init__(self) -> None:
        values = self.value if isinstance(self.value, tuple) else (self.value,)
        for value in values:
            if self.log and not value > 0.0:
                raise ValueError(
                    f"Learnable: value: expected a value > 0, whose logarithm can be learned, got"
                    f" {value!r}; use log=False"
                )
            low, high = self.bounds
            if not low <= value <= high:
                raise ValueError(
                    f"Learnable: value: expected a value from {low} to {high} {self.unit}, got"
                    f" {value}"
                )

    @property
    def bounds(self) -> tuple[float, float]:
        """Least and largest value that learning can reach."""
        low = -math.inf if self.lower is None else self.lower
        return low, math.inf if self.upper is None else self.upper

    def raw(self, value: Any) -> Any:
        """Returns the raw parameter of a value, NumPy or JAX."""
        return jnp.log(value) if self.log else value

    def learned(self, raw: Array, others: Mapping[str, Scalar]) -> Array:
        """Returns the value of a raw parameter, which lies in the domain whatever ``raw`` is.

        Args:
          raw: the parameter, ``(N,)``.
          others: values of the neuron by name, for bounds that depend on them.

        Returns:
          The value in its unit, ``(N,)``; finite, and not 0 where it is above 0, in the dtype of
          ``raw``.
        """
        low, high = self._stored_bounds(jnp.finfo(raw.dtype))
        if math.isfinite(low) or math.isfinite(high):
            below, above = raw < low, raw > high
            mirror = jnp.where(below, 2 * low - raw, raw) if math.isfinite(low) else raw
            mirror = jnp.where(above, 2 * high - raw, mirror) if math.isfinite(high) else mirror
            raw = jnp.where(below | above, jnp.clip(mirror, low, high), raw)
        if self.below is not None:
            limit = jnp.asarray(others[self.below], raw.dtype)
            # Some units of rounding, so that the value differs from its limit in this dtype.
            limit = limit - 4 * jnp.finfo(raw.dtype).eps * jnp.abs(limit)
            raw = jnp.where(raw > limit, jnp.maximum(2 * limit - raw, low), raw)
        return jnp.exp(raw) if self.log else raw

    def check_dtype(self, name: str, dtype: Any) -> None:
        """Checks that a dtype can hold the value that learning starts from.

        Raises:
          ValueError: it would be infinite or, for a value whose logarithm is learned, 0.
        """
        about = jnp.finfo(dtype)
        least = float(about.tiny) if self.log else -float(about.max)
        values = self.value if isinstance(self.value, tuple) else (self.value,)
        for value in values:
            if not least <= value <= float(about.max):
                what = f"a value that {about.dtype.name} can hold, {least:g} to {about.max:g}"
                raise ValueError(checks.error_text(name, what, f"{value:g} {self.unit}"))

    def _stored_bounds(self, about: Any) -> tuple[float, float]:
        """Returns the bounds of raw parameters, within what a dtype can hold."""
        low, high = self.bounds
        if not self.log:
            # Nothing beyond is reached by values that are finite.
            return low, high
        # A little within, since the exponential of a rounded logarithm is larger.
        largest = math.log(float(about.max)) * (1.0 - 4.0 * float(about.eps))
        smallest = math.log(float(about.tiny)) * (1.0 - 4.0 * float(about.eps))
        stored_low = math.log(low) if low > 0.0 else -math.inf
        stored_high = math.log(high) if high < math.inf else math.inf
        return max(stored_low, smallest), min(stored_high, largest)


def real(value: float, *, unit: str = "1", below: str | None = None) -> Learnable:
    """Returns a learnable value of either sign, stored as it is.

    Args:
      value: the value.
      unit: its unit.
      below: name of the value that it has to stay below, if any.

    Returns:
      The learnable: any value up to a million in size, or up to a million times the size of
      ``value`` if that is more.
    """
    most = 1e6 * max(1.0, abs(value))
    return Learnable(value, unit, lower=-most, upper=most, below=below)


def time_constant(value: Any, dt: float, *, euler: bool = False, unit: str = "s") -> Learnable:
    """Returns a learnable time constant, stored as its logarithm.

    Args:
      value: the time constant in ``unit``, or a tuple of several.
      dt: length of a step in the same unit.
      euler: whether the decay is ``1 - dt / tau``, which needs ``tau > dt``.
      unit: the unit, seconds by default.

    Returns:
      The learnable: from a thousandth of a step (1.2 steps under Euler) to 1e9 steps, extended to
      the value itself if that lies outside.
    """
    values = value if isinstance(value, tuple) else (value,)
    lower = (EULER if euler else SMALLEST) * dt
    least = min(values)
    if least < lower:
        # Between the step itself, which Euler cannot reach, and the value that was given.
        lower = math.sqrt(dt * least) if euler else least
    return Learnable(value, unit, log=True, lower=lower, upper=max(LARGEST * dt, *values))


def positive(value: float, *, unit: str = "1", lower: float = 0.0) -> Learnable:
    """Returns a learnable value above ``lower >= 0``, stored as its logarithm.

    Args:
      value: the value.
      unit: its unit.
      lower: bound that the value has to stay above, by a thousandth of its distance.

    Returns:
      The learnable. Its upper bound is a million times the value. Its lower bound lies a thousandth
      of the distance from ``lower`` to the value above ``lower``; a millionth if ``lower`` is 0.
    """
    least = lower + 1e-3 * (value - lower) if lower > 0.0 else 1e-6 * value
    return Learnable(value, unit, log=True, lower=least, upper=1e6 * value)
