"""Retention of a programmed device: drift, or a spread that was measured at some times."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from flax_snn import checks
from flax_snn.crossbar.noise import check_polynomial, polynomial
from flax_snn.typing import Array, Float, PRNGKey

DAY = 86400.0


@dataclasses.dataclass(frozen=True)
class Drift:
    """Conductances fall as a power of time, each device by an exponent of its own.

        g(t) = g_prog ((t + t0) / t0)^(-nu)                  g(0) = g_prog
        nu   = |mu(u) + s(u) N(0, 1)|                        u of the target, drawn at programming
        mu   = clip(a ln u + b, low, high)                   s likewise, u at least 1e-7

    Attributes:
      mean: (a, b, low, high) of mu.
      spread: (a, b, low, high) of s.
      t0: time in s of the first reading.

    Reference: Nandakumar et al., *Phase-change memory models for deep learning training and
    inference*, 2019; Joshi et al., *Accurate deep neural network inference using computational
    phase-change memory*, 2020; as in aihwkit 1.2.0.
    """

    mean: tuple[float, float, float, float] = (-0.0155, 0.0244, 0.049, 0.1)
    spread: tuple[float, float, float, float] = (-0.0125, -0.0059, 0.008, 0.045)
    t0: float = 20.0

    def __post_init__(self) -> None:
        """Checks the fields."""
        checks.fields(self, checks.positive, "t0")
        for name in ("mean", "spread"):
            value = getattr(self, name)
            if not isinstance(value, tuple) or len(value) != 4 or not 0.0 <= value[2] <= value[3]:
                raise ValueError(
                    f"Drift: {name}: expected (slope, offset, low, high) with 0 <= low <= high, got"
                    f" {value!r}"
                )

    def draw(self, key: PRNGKey, target: Float[Array, "..."], g_max: float) -> Float[Array, "..."]:
        """Returns the exponent nu of each device."""
        log_u = jnp.log(jnp.maximum(target / g_max, 1e-7))

        def line(a: float, b: float, low: float, high: float) -> Array:
            return jnp.clip(a * log_u + b, low, high)

        noise = jax.random.normal(key, target.shape, target.dtype)
        return jnp.abs(line(*self.mean) + line(*self.spread) * noise)

    def at(
        self, written: Float[Array, "..."], exponents: Float[Array, "..."], t: Float[Array, ""]
    ) -> Float[Array, "..."]:
        """Returns conductances t seconds after programming."""
        return written * ((t + self.t0) / self.t0) ** (-exponents)


@dataclasses.dataclass(frozen=True)
class Relaxation:
    """Conductances scatter around their target, as measured at a few times.

        g(t) = max(target + scale sigma_t(u) N(0, 1) g_max / g_reference, 0)     u of the target

    It is the error of programming and of time together, without drift. A device keeps its draw:
    one that is too high after a second is too high after a day. Between the times nothing is known,
    and nothing is made up.

    Attributes:
      times: the times in s, increasing.
      coefficients: of the polynomial sigma in uS for each of them.
      g_reference: g_max in uS that they were measured at.
      scale: factor of the scatter.

    Reference: Wan et al., *A compute-in-memory chip based on resistive random-access memory*, 2022;
    as in aihwkit 1.2.0. That a device keeps its draw is a choice of this package.
    """

    times: tuple[float, ...] = (1.0, DAY, 2 * DAY)
    coefficients: tuple[tuple[float, ...], ...] = (
        (0.348, 16.030, -43.853, 45.393, -16.815),
        (0.701, 22.086, -50.773, 47.095, -16.458),
        (0.782, 20.274, -43.507, 37.062, -11.934),
    )
    g_reference: float = 40.0
    scale: float = 1.0

    def __post_init__(self) -> None:
        """Checks the fields."""
        checks.fields(self, checks.non_negative, "scale")
        checks.fields(self, checks.positive, "g_reference")
        if len(self.times) != len(self.coefficients) or not self.times:
            raise ValueError(
                "Relaxation: expected coefficients for each of the times, got"
                f" {len(self.coefficients)} for {len(self.times)} times"
            )
        for each in self.coefficients:
            check_polynomial("Relaxation", each)

    def draw(self, key: PRNGKey, target: Float[Array, "..."]) -> Float[Array, "..."]:
        """Returns the standard normal number of each device."""
        return jax.random.normal(key, target.shape, target.dtype)

    def check_time(self, t: Any) -> int:
        """Returns the index of t among the times of measurement.

        Raises:
          ValueError: a time at which nothing was measured.
        """
        known = ", ".join(f"{each:g}" for each in self.times)
        if isinstance(t, jax.core.Tracer):
            raise ValueError(
                f"the devices were measured at {known} s only: expected a time that is known when"
                " the function is traced, got an array that is not; pass a Python number"
            )
        for k, each in enumerate(self.times):
            if abs(float(t) - each) <= 1e-6 * each:
                return k
        raise ValueError(
            f"expected one of the times at which the devices were measured, {known} s, got"
            f" {float(t):g} s; between them nothing is known"
        )

    def at(
        self, target: Float[Array, "..."], draws: Float[Array, "..."], g_max: float, t: Any
    ) -> Float[Array, "..."]:
        """Returns conductances t seconds after programming."""
        sigma = polynomial(self.coefficients[self.check_time(t)], target / g_max)
        factor = self.scale * g_max / self.g_reference
        return jnp.maximum(target + factor * sigma * draws, 0.0)
