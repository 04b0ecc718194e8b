"""Latency code: one spike per feature, the earlier the stronger the feature.

    t = tau * log(x / (x - threshold))   for x > threshold, else no spike

Source: Zenke, SpyTorch tutorials 2 and 3, 2018.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from flax_snn import checks
from flax_snn.encode.intensities import check_intensities, nan_where_not
from flax_snn.time_grid import steps_of_times
from flax_snn.typing import Array, Float

__all__ = ["latency", "latency_times"]


def latency(
    x: Float[Array, "*B F"],
    *,
    tau: float = 20e-3,
    threshold: float = 0.2,
    dt: float = 1e-3,
    steps: int = 100,
    dtype: DTypeLike = jnp.float32,
) -> Float[Array, "*B T F"]:
    """Encodes each feature as one spike, the earlier the stronger it is; `latency_times` in steps.

    A spike falls into the step that its time lies in (`flax_snn.time_grid`). A feature at or below
    the threshold is silent, and so is one that would fire at or after the end of the last step.

    Args:
      x: intensities >= 0, floating point: (*B, F).
      tau: time constant of the charging membrane in seconds, 20e-3 by default.
      threshold: intensity that just fails to fire, 0.2 by default.
      dt: duration of a step in seconds, 1e-3 by default.
      steps: T, 100 by default.
      dtype: floating type of the raster, float32 by default.

    Raises:
      TypeError: `x` or `dtype` is not of a floating type.
      ValueError: a negative or NaN intensity, or a setting outside its range.

    Source: Zenke, SpyTorch tutorials 2 and 3, 2018.

    Example:
      >>> import jax.numpy as jnp
      >>> from flax_snn.encode import latency
      >>> spikes = latency(jnp.array([1.0, 0.5, 0.2]), tau=2e-3, steps=3)
      >>> spikes.tolist()
      [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 0.0]]
    """
    steps = checks.whole_number("steps", steps)
    checks.floating("dtype", dtype)
    times = latency_times(x, tau=tau, threshold=threshold, dt=dt)
    step = steps_of_times(jnp.where(jnp.isfinite(times), times, -1.0))
    shape = (*x.shape[:-1], steps, x.shape[-1])
    bins = jax.lax.broadcasted_iota(jnp.int32, shape, len(shape) - 2)
    spikes = (jnp.broadcast_to(step[..., None, :], shape) == bins).astype(dtype)
    return nan_where_not(jnp.broadcast_to(~jnp.isnan(times)[..., None, :], shape), spikes)


def latency_times(
    x: Float[Array, "*B F"],
    *,
    tau: float = 20e-3,
    threshold: float = 0.2,
    dt: float = 1e-3,
) -> Float[Array, "*B F"]:
    """Returns when a leaky integrator under the constant current x reaches its threshold.

        t = (tau / dt) * log(x / (x - threshold))   for x > threshold, else no spike

    Args:
      x: intensities >= 0, floating point: (*B, F).
      tau: time constant of the membrane in seconds, 20e-3 by default.
      threshold: threshold in units of the final membrane potential, 0.2 by default.
      dt: duration of a step in seconds, 1e-3 by default.

    Returns:
      Times in steps from 0, not rounded, +inf for no spike: (*B, F).

    Raises:
      TypeError: `x` is not of a floating type.
      ValueError: a negative or NaN intensity, or a setting outside its range.

    Source: Zenke, SpyTorch tutorials 2 and 3, 2018.
    """
    tau = checks.positive("tau", tau, unit="seconds")
    threshold = checks.positive("threshold", threshold)
    dt = checks.positive("dt", dt, unit="seconds")
    check_intensities(x)
    fires = x > threshold
    ratio = threshold / jnp.where(fires, x, 2.0 * threshold)  # a safe value where silent
    times = jnp.where(fires, -(tau / dt) * jnp.log1p(-ratio), jnp.inf)
    return nan_where_not(x >= 0, times)
