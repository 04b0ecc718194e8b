"""Encoders: from spike events or analog values to rasters, and back.

A raster has the axes (*B, T, F), batch-major: one cell per sample, time step and unit.
`times_to_raster` and `raster_to_times` work on the host in NumPy and are exact; `latency` and
`rate` turn intensities into spikes in JAX and may be jitted. An intensity that an encoder must
refuse raises when its value is known; inside `jax.jit`, where it is not, its spikes are NaN.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
from jax.typing import ArrayLike, DTypeLike

from flax_snn.typing import Array, Bool, Float, Int, Num, PRNGKey


class Events(NamedTuple):
    """Spikes as a list, ordered by sample, then step, then unit; each field (K,) int64."""

    sample: Int[np.ndarray, "K"]
    time: Int[np.ndarray, "K"]
    unit: Int[np.ndarray, "K"]


def times_to_raster(
    sample: npt.ArrayLike,
    time: npt.ArrayLike,
    unit: npt.ArrayLike,
    *,
    shape: tuple[int, int, int],
    dtype: npt.DTypeLike = np.uint8,
) -> Num[np.ndarray, "B T F"] | Bool[np.ndarray, "B T F"]:
    """Counts events into cells: raster[sample, floor(time), unit] += 1 for each of them.

    Nothing is lost: the raster sums to the number of events, or the call raises.

    Args:
      sample: sample of each event, integer.
      time: time of each event in steps from 0, integer or float; the step is its floor.
      unit: unit of each event, integer. The three broadcast against each other.
      shape: samples, steps and units of the raster.
      dtype: type of the counts, uint8 by default. bool or any other type that cannot hold a
        count is refused when one turns up.

    Raises:
      TypeError: sample or unit is not of an integer type, or time not of a real one.
      ValueError: an event lies outside the raster (also at a NaN), or a count does not fit.

    Example:
      >>> from flax_snn.encode import times_to_raster
      >>> times_to_raster([0, 0, 1], [0.2, 2.9, 2.0], [1, 0, 1], shape=(2, 3, 2)).tolist()
      [[[0, 1], [0, 0], [1, 0]], [[0, 0], [0, 0], [0, 1]]]
    """
    axes = {"sample": np.asarray(sample), "time": np.asarray(time), "unit": np.asarray(unit)}
    for (name, value), kinds in zip(axes.items(), ("iu", "iuf", "iu"), strict=True):
        if value.size and value.dtype.kind not in kinds:
            raise TypeError(
                f"expected {name} to be {'integer' if kinds == 'iu' else 'integer or float'}, "
                f"got {value.dtype}; convert it, rounding as you mean it"
            )
    for (name, value), size in zip(axes.items(), shape, strict=True):
        outside = ~((value >= 0) & (value < size))
        if outside.any():
            raise ValueError(
                f"expected every {name} in [0, {size}), got {outside.sum()} outside, the first "
                f"{value[outside][0]}; raise that size of shape={shape}, or drop these events first"
            )
    indices = [np.floor(value).astype(np.int64) for value in axes.values()]
    cells, counts = np.unique(
        np.ravel_multi_index(np.broadcast_arrays(*indices), shape), return_counts=True
    )
    raster = np.zeros(math.prod(shape), dtype)
    raster[cells] = counts.astype(dtype)
    if (raster[cells] != counts).any():
        raise ValueError(
            f"expected every count to fit in {raster.dtype}, got {counts.max()} events in one "
            "cell; choose a wider dtype, or more steps"
        )
    return raster.reshape(shape)


def raster_to_times(raster: Num[np.ndarray, "B T F"] | Bool[np.ndarray, "B T F"]) -> Events:
    """Lists the events of a raster: the inverse of `times_to_raster` for whole steps.

    Args:
      raster: whole numbers >= 0 of any type, usually 0 and 1; a count of k gives k equal events.

    Raises:
      ValueError: not of three axes, or not all whole numbers >= 0.

    Example:
      >>> import numpy as np
      >>> from flax_snn.encode import raster_to_times
      >>> sample, time, unit = raster_to_times(np.array([[[0, 1], [0, 0], [1, 0]]]))
      >>> time.tolist(), unit.tolist()
      ([0, 2], [1, 0])
    """
    raster = np.asarray(raster)
    cells = np.nonzero(raster)
    values = raster[cells]
    whole = np.isfinite(values) & (values > 0) & (np.floor(values) == values)
    if raster.ndim != 3 or not whole.all():
        raise ValueError(
            "expected a raster of shape (sample, time, unit) with whole numbers >= 0, got shape "
            f"{raster.shape} and dtype {raster.dtype}; add missing axes, do not pass rates"
        )
    return Events(*(np.repeat(index, values.astype(np.int64)) for index in cells))


def latency(
    x: Float[Array, "*B F"],
    *,
    tau: float = 20e-3,
    threshold: float = 0.2,
    dt: float = 1e-3,
    steps: int = 100,
    dtype: DTypeLike = jnp.float32,
) -> Float[Array, "*B T F"]:
    """One spike per feature, the earlier the stronger it is: `latency_times` as a raster.

    The step is the floor of the time. A feature at or below the threshold is silent, and so is
    one that would fire at or after the last step.

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
    _check_settings(steps=steps)
    _check_floating("dtype", jnp.dtype(dtype))
    times = latency_times(x, tau=tau, threshold=threshold, dt=dt)
    step = jnp.where(jnp.isfinite(times), jnp.floor(times), -1.0).astype(jnp.int32)
    shape = (*x.shape[:-1], steps, x.shape[-1])
    bins = jax.lax.broadcasted_iota(jnp.int32, shape, len(shape) - 2)
    spikes = (jnp.broadcast_to(step[..., None, :], shape) == bins).astype(dtype)
    return _poisoned(spikes, jnp.broadcast_to(~jnp.isnan(times)[..., None, :], shape))


def latency_times(
    x: Float[Array, "*B F"],
    *,
    tau: float = 20e-3,
    threshold: float = 0.2,
    dt: float = 1e-3,
) -> Float[Array, "*B F"]:
    """When a leaky integrator under the constant current x reaches its threshold.

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
    _check_settings(tau=tau, threshold=threshold, dt=dt)
    _check_intensities(x)
    fires = x > threshold
    ratio = threshold / jnp.where(fires, x, 2.0 * threshold)  # a safe value where silent
    times = jnp.where(fires, -(tau / dt) * jnp.log1p(-ratio), jnp.inf)
    return _poisoned(times, x >= 0)


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
    """Independent Bernoulli spikes, the discrete Poisson process: p = max_rate * dt * x per step.

    The randomness of a sample hangs on `key` and its number in `sample` alone. Fold the seed and
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
    _check_settings(max_rate=max_rate, dt=dt, steps=steps)
    _check_floating("dtype", jnp.dtype(dtype))
    _check_intensities(x)
    batch, features = x.shape[:-1], x.shape[-1]
    positions = np.arange(math.prod(batch)).reshape(batch)
    numbers = _sample_numbers(positions if sample is None else sample, batch)
    if _is_known(x) and not ((max_rate * dt) * np.asarray(x) <= 1).all():
        raise ValueError(
            "expected max_rate * dt * x <= 1, the chance of a spike in a step, got "
            f"{max_rate * dt * np.max(x)}; lower max_rate or dt, or scale x to [0, 1]"
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
    return _poisoned(spikes, allowed)


def _poisoned(values: Array, allowed: Array) -> Array:
    return jnp.where(allowed, values, jnp.nan)


def _is_known(x: Any) -> bool:
    return not isinstance(x, jax.core.Tracer)


def _sample_numbers(sample: ArrayLike, batch: tuple[int, ...]) -> Array:
    if not jnp.issubdtype(jnp.result_type(sample), jnp.integer):
        raise TypeError(
            f"expected sample numbers to be integers, got {sample!r}; number the samples"
        )
    if np.shape(sample) != batch:
        raise ValueError(
            f"expected one sample number for each of x, shape {batch}, got {np.shape(sample)}; "
            "leave out the feature axis"
        )
    if _is_known(sample):
        known = np.asarray(sample)
        if not ((known >= 0) & (known <= np.iinfo(np.int32).max)).all():
            raise ValueError(
                f"expected sample numbers in [0, 2**31), got {known.min()} to {known.max()}; "
                "count the samples from 0"
            )
    return jnp.asarray(sample, jnp.int32)


def _check_intensities(x: Array) -> None:
    _check_floating("x", x.dtype)
    if x.ndim < 1:
        raise ValueError("expected x of shape (*B, F), got a number; give it a feature axis")
    if _is_known(x) and not (np.asarray(x) >= 0).all():
        raise ValueError(
            f"expected intensities >= 0, got {np.min(x)}; shift or rectify them, mind NaN"
        )


def _check_floating(name: str, dtype: jnp.dtype) -> None:
    if not jnp.issubdtype(dtype, jnp.floating):
        raise TypeError(
            f"expected {name} to be of a floating type, got {dtype}; convert it, and scale "
            "8-bit pixels by 1/255"
        )


def _check_settings(steps: int = 1, **positive: float) -> None:
    if isinstance(steps, bool) or not isinstance(steps, int) or steps < 1:
        raise ValueError(f"expected steps to be a whole number >= 1, got {steps!r}; pass an int")
    for name, value in positive.items():
        if not 0 < value < math.inf:
            raise ValueError(f"expected {name} to be > 0, got {value!r}; pass a finite float")
