"""The bushy cell: a LIF neuron on which the nerve fibres of one hair cell converge.

Each of n fibres fires in a step with the probability p of its hair cell, unless it fired within the
refractory period. Fibres are alike, so that their number says it all: of those that may fire, a,

    N ~ Binomial(a, p)          a = n - (fibres that fired in the last R - 1 steps)

which has the distribution of n fibres drawn one by one, at the cost of one random number. The cell
sums them, and fires at the threshold 1:

    i = i exp(-dt / tau_syn) + N
    v = v exp(-dt / tau_mem) + weight / n  i dt        0 while it is refractory

After a spike in step j the cell stands at 0 for the R steps from j + 1 on, and counts again from
step j + R + 1. R is the refractory period in steps.

Source: Cramer et al., The Heidelberg spiking data sets for the systematic evaluation of spiking
neural networks, IEEE Transactions on Neural Networks and Learning Systems 33(7), 2022.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from flax_snn import checks
from flax_snn.typing import Array, Bool, Float, Int


class BushyState(NamedTuple):
    """State of the fibres and of the cell of each channel.

    Attributes:
      fired: how many fibres fired in each of the last R - 1 steps, a ring, (R - 1, F) int32.
      busy: sum of it, (F,) int32.
      current: synaptic current i, (F,).
      membrane: v, (F,).
      wait: steps until the cell counts again, (F,) int32.
    """

    fired: Int[Array, "ring F"]
    busy: Int[Array, "F"]
    current: Float[Array, "F"]
    membrane: Float[Array, "F"]
    wait: Int[Array, "F"]


@dataclasses.dataclass(frozen=True)
class BushyCell:
    """A bushy cell and its nerve fibres; equations and source at the top of the file.

    Args:
      fibres: n, the fibres that converge on a cell, 40 by default.
      tau_mem: membrane time constant in seconds, 1e-3 by default.
      tau_syn: synaptic time constant in seconds, 0.5e-3 by default.
      refractory: refractory period of fibres and cell in seconds, 1e-3 by default.
      weight: of all fibres together in 1/s, 13e3 by default.

    Raises:
      TypeError: a setting of another type.
      ValueError: a setting that is not above 0.
    """

    fibres: int = 40
    tau_mem: float = 1e-3
    tau_syn: float = 0.5e-3
    refractory: float = 1e-3
    weight: float = 13e3

    def __post_init__(self) -> None:
        checks.fields(self, checks.whole_number, "fibres")
        checks.fields(self, checks.positive, "tau_mem", "tau_syn", "refractory", "weight")

    def refractory_steps(self, step_rate: int) -> int:
        """Returns the refractory period in steps.

        Raises:
          ValueError: it is no whole number of steps, at least one.
        """
        steps = self.refractory * step_rate
        if abs(steps - round(steps)) > 1e-6 or round(steps) < 1:
            raise ValueError(
                checks.error_text(
                    "BushyCell: refractory",
                    f"a whole number of steps of 1/{step_rate} s",
                    f"{self.refractory} s, {steps:g} steps",
                    "change it, or step_rate",
                )
            )
        return round(steps)

    def at_rest(self, channels: int, step_rate: int) -> BushyState:
        """Returns the state before the first spike."""
        zeros, counts = jnp.zeros((channels,), jnp.float32), jnp.zeros((channels,), jnp.int32)
        ring = jnp.zeros((self.refractory_steps(step_rate) - 1, channels), jnp.int32)
        return BushyState(ring, counts, zeros, zeros, counts)

    def step(
        self,
        state: BushyState,
        number: Array,
        probability: Float[Array, "F"],
        draw: Float[Array, "F"],
        step_rate: int,
    ) -> tuple[BushyState, Bool[Array, "F"]]:
        """Returns the state after a step, and which cells fired.

        Args:
          state: the state before the step.
          number: number of the step.
          probability: that a fibre which may fire does so.
          draw: a uniform random number in [0, 1) for each channel.
          step_rate: steps a second.
        """
        fired, busy, current, membrane, wait = state
        count = binomial(draw, self.fibres - busy, probability, self.fibres)
        if fired.shape[0]:
            place = number % fired.shape[0]
            oldest = lax.dynamic_index_in_dim(fired, place, keepdims=False)
            busy = busy + count - oldest
            fired = lax.dynamic_update_index_in_dim(fired, count, place, 0)
        dt = 1 / step_rate
        current = current * math.exp(-dt / self.tau_syn) + count.astype(jnp.float32)
        charged = membrane * math.exp(-dt / self.tau_mem) + self.weight / self.fibres * dt * current
        counts = wait == 0
        spikes = counts & (charged >= 1.0)
        membrane = jnp.where(counts & ~spikes, charged, 0.0)
        steps = self.refractory_steps(step_rate)
        wait = jnp.where(spikes, steps, jnp.maximum(wait - 1, 0))
        return BushyState(fired, busy, current, membrane, wait), spikes


def binomial(
    draw: Float[Array, "F"],
    trials: Int[Array, "F"],
    probability: Float[Array, "F"],
    most: int,
) -> Int[Array, "F"]:
    """Returns binomial numbers by inversion: the first k of a cumulative probability above `draw`.

    Args:
      draw: uniform random numbers in [0, 1).
      trials: number of trials, at most `most`.
      probability: of success, >= 0; 1 or above means that every trial succeeds.
      most: largest number of trials.
    """
    # Few successes are few turns of the loop: failures are counted where they are fewer.
    mirrored = probability > 0.5
    p = jnp.where(mirrored, jnp.maximum(1.0 - probability, 0.0), probability)
    odds = p / (1.0 - p)
    number = trials.astype(jnp.float32)
    first = jnp.exp(number * jnp.log1p(-p))

    def more(carry: tuple[Any, Array, Array, Array]) -> Array:
        k, _, cumulative, _ = carry
        return (k < most) & jnp.any((draw >= cumulative) & (k < number))

    def body(carry: tuple[Any, Array, Array, Array]) -> tuple[Any, Array, Array, Array]:
        k, mass, cumulative, count = carry
        above = (draw >= cumulative) & (k < number)
        mass = mass * odds * jnp.maximum(number - k, 0.0) / (k + 1.0)
        return k + 1.0, mass, cumulative + mass, count + above.astype(jnp.int32)

    start = (jnp.float32(0), first, first, jnp.zeros_like(trials))
    count = lax.while_loop(more, body, start)[3]
    return jnp.where(mirrored, trials - count, count)


def uniform_draws(key: Array, steps: int, channels: int) -> Float[Array, "T F"]:
    """Returns the random numbers of a block of steps."""
    return jax.random.uniform(key, (steps, channels), jnp.float32)
