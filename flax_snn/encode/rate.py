"""Rate code: spikes at random, the more the stronger a feature is.

P(spike in a step) = max_rate * dt * x
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike, DTypeLike

from flax_snn import checks
from flax_snn.encode.intensities import check_intensities, nan_where_not
from flax_snn.encode.sample_numbers import sample_numbers
from flax_snn.typing import Array, Float, PRNGKey

__all__ = ["rate"]


def rate(
    key: PRNGKey,
    x: Float[Array, "*B F"],
    *,
    max_rate: float,
    dt: float,
    steps: int,
    sample: ArrayLike | None = None,
    dtype: DTypeLike = jnp.float32,
) -> Float[Array, "*B T F"]:
    """Draws independent Bernoulli spikes, a Poisson process in steps: p = max_rate * dt * x.

    The spikes of a sample depend on `key` and on its number in `sample` alone. Fold the seed and
    the epoch into `key` and give the sample's number in the data set, and the spikes are the same
    whatever batch the sample comes in.

    Args:
      key: JAX random key.
      x: intensities, usually in [0, 1], floating point: (*B, F).
      max_rate: rate at intensity 1 in Hz.
      dt: duration of a step in seconds.
      steps: T.
      sample: number of each sample, integers >= 0: (*B,). By default its position in the batch.
      dtype: floating type of the raster, float32 by default.

    Raises:
      TypeError: `x` or `dtype` is not of a floating type, or `sample` not of an integer one.
      ValueError: a probability outside [0, 1], for it is not clipped; a NaN; `sample` of another
        shape; or a setting outside its range.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from flax_snn.encode import rate
      >>> spikes = rate(jax.random.key(0), jnp.full((2, 3), 0.5), max_rate=200.0, dt=1e-3, steps=50)
      >>> spikes.shape
      (2, 50, 3)
    """
    max_rate = checks.positive("max_rate", max_rate, unit="Hz")
    dt = checks.positive("dt", dt, unit="seconds")
    steps = checks.whole_number("steps", steps)
    checks.floating("dtype", dtype)
    what = "a random key, such as jax.random.key(0)"
    checks.instance("key", key, (jax.Array, np.ndarray), what=what)
    check_intensities(x)
    batch, features = x.shape[:-1], x.shape[-1]
    numbers = sample_numbers(sample, batch)
    values = checks.known_values(x)
    if values is not None and not ((max_rate * dt) * values <= 1).all():
        raise ValueError(
            "max_rate * dt * x: expected a probability of a spike in a step <= 1, got "
            f"{max_rate * dt * np.max(values)}; lower max_rate or dt, or scale x to [0, 1]"
        )
    p = (max_rate * dt) * x

    def encode_one(number: Array, p_F: Array) -> Array:
        draws_TxF = jax.random.uniform(
            jax.random.fold_in(key, number), (steps, features), p_F.dtype
        )
        return draws_TxF < jnp.broadcast_to(p_F[None], draws_TxF.shape)

    spikes = jax.vmap(encode_one)(numbers.reshape(-1), p.reshape(numbers.size, features))
    spikes = spikes.reshape(*batch, steps, features).astype(dtype)
    allowed = jnp.broadcast_to(((p >= 0) & (p <= 1))[..., None, :], spikes.shape)
    return nan_where_not(allowed, spikes)
