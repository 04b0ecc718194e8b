"""Hardware-aware training: noise on the weights of a product, and bounds of the weights."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from flax_snn import checks
from flax_snn.crossbar import chip, tiles
from flax_snn.crossbar.chip import Programmed, Reading
from flax_snn.crossbar.device import Device
from flax_snn.typing import Array, Float, PRNGKey


@dataclasses.dataclass(frozen=True)
class Training:
    """The errors that a layer is trained against while nothing is programmed.

    Each forward pass programs a chip that is thrown away: levels, programming noise, fresh faults
    (general robustness) or those of a map in the collection ``crossbar`` (repair of one chip: the
    tree of `fault_map` with ``faults`` at its leaves), drift and read noise of the device. The
    gradient is taken at its weights and goes to the clean ones as if they were these
    (straight-through); w_max follows the weights, without a gradient.

    Attributes:
      noise: factor of programming noise, relaxation and read noise.
      normal: standard deviation of more noise on the weights, as a part of w_max.
      time: seconds after programming at which the chip is looked at; by default the first time of
        the device.

    Raises:
      ValueError: negative noise or time.

    Reference: Joshi et al., *Accurate deep neural network inference using computational
    phase-change memory*, 2020.
    """

    noise: float = 1.0
    normal: float = 0.0
    time: float | None = None

    def __post_init__(self) -> None:
        """Checks the fields."""
        checks.fields(self, checks.non_negative, "noise", "normal")
        if self.time is not None:
            checks.fields(self, checks.non_negative, "time")


def throw_away(
    device: Device,
    training: Training,
    weights: Float[Array, "n m"],
    key: PRNGKey,
    fault_key: PRNGKey | None = None,
    faults: Any = None,
) -> Reading:
    """Returns the reading of a chip that is programmed for one forward pass only.

    Args:
      device: the crossbar.
      training: what the weights go through.
      weights: ``(inputs, outputs)``.
      key: random key.
      fault_key: random key of the faults; follows from ``key`` where not given.
      faults: a map of faults, in the place of drawn ones.
    """
    keys = jax.random.split(key, 3)
    clean = jax.lax.stop_gradient(weights)
    found = chip.program(device.with_noise(training.noise), clean, keys[0], fault_key, faults)
    if training.time is not None:
        found = chip.read(found, training.time, keys[1], device.drift_compensation)
    reading = found.reading
    if training.normal:
        noise = jax.random.normal(keys[2], reading.matrix.shape, reading.matrix.dtype)
        reading = Reading(reading.matrix + training.normal * noise, reading.scale)
    return straight_through(found, reading, weights)


def straight_through(found: Programmed, reading: Reading, weights: Float[Array, "n m"]) -> Reading:
    """Returns a reading whose gradient goes to the weights that it came from."""
    rows = found.device.limits(weights.shape)[0]
    w_max = tiles.spread(found.w_max, weights.shape[0], rows)
    return Reading(_stand_in(weights / w_max, reading.matrix), reading.scale)


@jax.custom_jvp
def _stand_in(clean: Array, perturbed: Array) -> Array:
    """Returns the perturbed values, to the last bit, with the gradient of the clean ones."""
    return perturbed


@_stand_in.defjvp
def _(primals: tuple[Array, Array], tangents: tuple[Any, Any]) -> tuple[Array, Any]:
    return primals[1], tangents[0]


def clip_weights(weights: Any, factor: float = 2.5) -> Any:
    """Clips weights to a number of times their root mean square.

    The largest weight sets the conductance of all others, so that one outlier costs resolution
    for all. Meant for parameters after each update of a training. For weights of mean 0 the bound
    is one of standard deviations, as in the source; those of another mean keep it.

    Args:
      weights: an array, or a pytree of arrays, each of which has a bound of its own.
      factor: bound in units of the root mean square, > 1: with 1 or less, every update would make
        the weights smaller, down to 0.

    Returns:
      The same structure.

    Raises:
      ValueError: a factor that is not above 1.

    Reference: Joshi et al., *Accurate deep neural network inference using computational
    phase-change memory*, 2020.
    """
    checks.in_range("clip_weights: factor", factor, 1.0, None, low_allowed=False)

    def clip(w: Array) -> Array:
        bound = factor * jnp.sqrt(jnp.mean(w * w))
        return jnp.clip(w, -bound, bound)

    return jax.tree.map(clip, weights)
