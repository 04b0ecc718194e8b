"""Random errors of a device: of its programming, and of reading it.

Conductances are in uS, times in s; ``u = g / g_max``.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from flax_snn import checks
from flax_snn.typing import Array, Float, PRNGKey

BLOCK = 2**15
"""Random numbers that are drawn at once."""


@dataclasses.dataclass(frozen=True)
class ProgrammingNoise:
    """A programmed conductance misses its target, once per programming.

        sigma(u) = scale * (c0 + c1 u + c2 u^2 + ...) * g_max / g_reference      u of the target
        g        = max(target + sigma N(0, 1), 0)

    The default is phase-change memory. Half of the devices whose target is 0 stay at 0, the others
    are above it; no bound stops a device at g_max.

    Attributes:
      coefficients: of the polynomial, in uS.
      g_reference: g_max in uS that the coefficients were measured at.
      scale: factor of the noise.

    Reference: Nandakumar et al., *Phase-change memory models for deep learning training and
    inference*, 2019; as in aihwkit 1.2.0.
    """

    coefficients: tuple[float, ...] = (0.26348, 1.9650, -1.1731)
    g_reference: float = 25.0
    scale: float = 1.0

    def __post_init__(self) -> None:
        """Checks the fields."""
        checks.fields(self, checks.non_negative, "scale")
        checks.fields(self, checks.positive, "g_reference")
        check_polynomial("ProgrammingNoise", self.coefficients)

    def sigma(self, target: Float[Array, "..."], g_max: float) -> Float[Array, "..."]:
        """Returns the standard deviation in uS of devices with these targets."""
        u = target / g_max
        return polynomial(self.coefficients, u) * (self.scale * g_max / self.g_reference)

    def write(self, key: PRNGKey, target: Float[Array, "..."], g_max: float) -> Float[Array, "..."]:
        """Returns the conductances after one programming."""
        noise = jax.random.normal(key, target.shape, target.dtype)
        return jnp.maximum(target + self.sigma(target, g_max) * noise, 0.0)


@dataclasses.dataclass(frozen=True)
class WriteVerify:
    """Devices that missed their target are programmed again, up to a number of times.

        while |g - target| > tolerance * g_max and fewer than `iterations` times: program again

    The reading that decides is exact. The coefficients of `ProgrammingNoise` for phase-change
    memory were measured behind such a loop; use both only for what is done beyond it.

    Attributes:
      iterations: most further programmings.
      tolerance: accepted error as a part of g_max.

    Reference: Papandreou et al., *Programming algorithms for multilevel phase-change memory*, 2011.
    """

    iterations: int = 5
    tolerance: float = 0.02

    def __post_init__(self) -> None:
        """Checks the fields."""
        checks.fields(self, checks.whole_number, "iterations", at_least=1)
        checks.fields(self, checks.positive, "tolerance")

    def write(
        self,
        noise: ProgrammingNoise,
        key: PRNGKey,
        target: Float[Array, "..."],
        g_max: float,
    ) -> Float[Array, "..."]:
        """Returns the conductances after the loop."""
        first, *again = jax.random.split(key, self.iterations + 1)
        g = noise.write(first, target, g_max)
        for each in again:
            missed = jnp.abs(g - target) > self.tolerance * g_max
            g = jnp.where(missed, noise.write(each, target, g_max), g)
        return g


@dataclasses.dataclass(frozen=True)
class ReadNoise:
    """1/f and telegraph noise of a device, as it has accumulated until a time.

        Q(u)  = min(0.0088 / max(u^0.65, 1e-3), 0.2)        u as programmed, not as drifted
        sigma = scale |g(t)| Q sqrt(ln((t + t0 + t_read) / (2 t_read)))
        g     = max(g(t) + sigma N(0, 1), 0)

    It is slow: a chip that is looked at at time t keeps its draw for all products at that time.

    Attributes:
      t_read: length of a reading in s.
      t0: time in s of the first reading, from which the noise counts.
      scale: factor of the noise.

    Reference: Nandakumar et al., *Precision of synaptic weights programmed in phase-change memory
    devices for deep learning inference*, 2020; as in aihwkit 1.2.0.
    """

    t_read: float = 250e-9
    t0: float = 20.0
    scale: float = 1.0

    def __post_init__(self) -> None:
        """Checks the fields."""
        checks.fields(self, checks.positive, "t_read")
        checks.fields(self, checks.non_negative, "t0", "scale")

    def read(
        self,
        key: PRNGKey,
        g: Float[Array, "..."],
        written: Float[Array, "..."],
        g_max: float,
        t: Float[Array, ""],
    ) -> Float[Array, "..."]:
        """Returns the conductances as read at time t.

        Args:
          key: random key.
          g: conductances at time t.
          written: conductances after programming.
          g_max: full scale in uS.
          t: seconds since the end of programming.
        """
        u = jnp.maximum(written, 0.0) / g_max
        q = jnp.minimum(0.0088 / jnp.maximum(u**0.65, 1e-3), 0.2)
        grown = jnp.sqrt(jnp.log((t + self.t0 + self.t_read) / (2.0 * self.t_read)))
        noise = jax.random.normal(key, g.shape, g.dtype)
        return jnp.maximum(g + self.scale * jnp.abs(g) * q * grown * noise, 0.0)


def quick_normal(key: PRNGKey, shape: tuple[int, ...], dtype: Any) -> Array:
    """Returns standard normal numbers out of 16 random bits each.

    Quantiles of the normal distribution at the middle of 65536 equal parts: variance 0.99998, none
    beyond 4.33. They are drawn in blocks that stay in cache. Together that takes about 0.6 of the
    time of full ones; a training step with fresh noise in each product needs millions.
    """
    size = math.prod(shape)
    least = max(-(-size // BLOCK), 1)
    blocks = next((n for n in range(least, 4 * least) if size % n == 0), None)
    if blocks is None:  # the last block is drawn in full, and cut
        blocks, room = least, -(-size // least)
    else:
        room = size // blocks

    def draw(key: PRNGKey) -> Array:
        bits = jax.random.bits(key, (room,), jnp.uint16).astype(dtype)
        return math.sqrt(2.0) * jax.lax.erf_inv((2.0 * bits + 1.0) / 2**16 - 1.0)

    if blocks == 1:
        return draw(key).reshape(shape)
    drawn = jax.lax.map(draw, jax.random.split(key, blocks)).reshape(-1)
    return drawn[:size].reshape(shape)


def polynomial(coefficients: tuple[float, ...], u: Array) -> Array:
    """Returns ``c0 + c1 u + c2 u^2 + ...``."""
    total = jnp.zeros_like(u)
    for c in reversed(coefficients):
        total = total * u + c
    return total


def check_polynomial(where: str, coefficients: tuple[float, ...]) -> None:
    """Checks that a standard deviation is not negative anywhere between 0 and g_max.

    Raises:
      ValueError: it is negative, or the coefficients are not a tuple of numbers.
    """
    if not isinstance(coefficients, tuple) or not coefficients:
        raise ValueError(
            f"{where}: coefficients: expected a tuple of numbers, c0 first, got {coefficients!r}"
        )
    values = np.polynomial.polynomial.polyval(np.linspace(0.0, 1.0, 1001), coefficients)
    if not np.all(np.isfinite(values)) or values.min() < 0.0:
        raise ValueError(
            f"{where}: coefficients: expected a polynomial >= 0 on [0, 1], since it is a standard"
            f" deviation, got {coefficients}, which reaches {values.min():.3g}"
        )
