"""Stuck devices: which ones, and at which conductance."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from flax_snn import checks
from flax_snn.typing import Array, Float, Int, PRNGKey

STUCK_LOW, STUCK_HIGH = -1, 1
"""Values of a fault map: stuck at g_min, stuck at g_max; 0 is a device that works."""


@dataclasses.dataclass(frozen=True)
class Faults:
    """Devices stuck at the lowest or the highest conductance, independent of each other.

    A stuck device ignores its target, has no programming noise and does not drift; it is read with
    the noise of its conductance. In a pair, a device g- that is stuck high makes -w_max of a weight
    of 0.

    Attributes:
      low: share of devices stuck at g_min.
      high: share of devices stuck at g_max.

    Reference: Chen et al., *RRAM defect modeling and failure analysis based on march test and a
    novel squeeze-search scheme*, 2015, has 9.04 % and 1.75 %; papers disagree about which of SA0
    and SA1 is the low conductance, hence the names.
    """

    low: float = 0.0
    high: float = 0.0

    def __post_init__(self) -> None:
        """Checks the fields."""
        checks.fields(self, checks.non_negative, "low", "high")
        if self.low + self.high > 1.0:
            raise ValueError(f"Faults: expected low + high <= 1, got {self.low!r} + {self.high!r}")

    def draw(self, key: PRNGKey, shape: tuple[int, ...]) -> Int[Array, "..."]:
        """Returns a map of faults: -1 stuck low, 1 stuck high, 0 neither."""
        u = jax.random.uniform(key, shape)
        low = jnp.where(u < self.low, STUCK_LOW, 0)
        return jnp.where(u >= 1.0 - self.high, STUCK_HIGH, low).astype(jnp.int8)


def stick(
    faults: Int[Array, "..."], g: Float[Array, "..."], g_min: float, g_max: float
) -> Float[Array, "..."]:
    """Returns conductances with those of stuck devices replaced."""
    g = jnp.where(faults == STUCK_LOW, g_min, g)
    return jnp.where(faults == STUCK_HIGH, g_max, g)


def check_map(faults: Any, shape: tuple[int, ...]) -> Array:
    """Returns a fault map as int8, if it fits the devices.

    Raises:
      ValueError: another shape, or values other than -1, 0 and 1.
      TypeError: not integers.
    """
    found = jnp.asarray(faults)
    if found.shape != shape:
        raise ValueError(
            f"expected a fault map of shape {shape}: (2, inputs, outputs), g+ and g- of each"
            f" weight, got {found.shape}"
        )
    if not jnp.issubdtype(found.dtype, jnp.integer):
        raise TypeError(
            f"expected a fault map of integers: -1 stuck low, 1 stuck high, 0 neither, got"
            f" {found.dtype}"
        )
    if not isinstance(found, jax.core.Tracer):
        others = sorted(set(np.unique(found).tolist()) - {-1, 0, 1})
        if others:
            raise ValueError(
                f"expected a fault map of -1 (stuck low), 0 and 1 (stuck high), got {others[:5]}"
            )
    return found.astype(jnp.int8)
