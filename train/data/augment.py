"""Training samples made anew in each epoch: input spikes that come a little early or late."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from flax_snn.typing import Array, Num, PRNGKey


def jitter(spikes: Num[Array, "B T F"], key: PRNGKey, deviation: float) -> Num[Array, "B T F"]:
    """Shift the spikes of each unit of each sample by a random whole number of steps.

    The shifts are normal, rounded; a spike that is shifted out of the sample is lost, as one that
    comes too late or too early to be seen.

    Args:
      spikes: input spikes.
      key: random key.
      deviation: standard deviation of the shifts in steps; 0: none.

    Returns:
      Shifted spikes, in the dtype of the inputs.
    """
    if not deviation:
        return spikes
    batch, steps, units = spikes.shape
    shifts = jnp.round(deviation * jax.random.normal(key, (batch, 1, units))).astype(jnp.int32)
    source = jnp.arange(steps, dtype=jnp.int32)[None, :, None] - shifts
    inside = (source >= 0) & (source < steps)
    moved = jnp.take_along_axis(spikes, jnp.clip(source, 0, steps - 1), axis=1)
    return jnp.where(inside, moved, jnp.zeros((), spikes.dtype))
