"""From events to time steps and back."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from flax_snn import checks
from flax_snn.event.spikes import Spikes, check_spikes
from flax_snn.time_grid import steps_of_times
from flax_snn.typing import Array, Bool, Float, Num

__all__ = ["from_raster", "to_raster"]


def to_raster(
    spikes: Spikes, *, dt: float, steps: int, size: int | None = None
) -> Float[Array, "B T N"]:
    """Counts spikes in time steps; a spike falls into the step that its time lies in.

    A time that is the start of a step up to rounding belongs to that step (`flax_snn.time_grid`):
    ``to_raster(from_raster(raster, dt=dt), dt=dt, steps=steps)`` is ``raster``.

    Args:
      spikes: spikes of N sources.
      dt: length of a time step in seconds.
      steps: time steps T.
      size: number of sources, where the spikes do not know it.

    Returns:
      Number of spikes per step in the dtype of the times: 0, 1, or more where several fall into
      one step. Where times are not known yet, under ``jit``, a sample with a spike behind the last
      step is NaN.

    Raises:
      ValueError: dt or steps outside their range, an unknown number of sources, a spike behind the
        last step.
    """
    dt = checks.positive("to_raster: dt", dt, unit="seconds")
    steps = checks.whole_number("to_raster: steps", steps)
    check_spikes("to_raster", spikes)
    size = spikes._size(size, "to_raster")
    real = jnp.isfinite(spikes.time)
    step = steps_of_times(jnp.where(real, spikes.time, -dt), dt)
    late = real & (step >= steps)
    if not isinstance(late, jax.core.Tracer) and bool(late.any()):
        last = float(spikes.time[late].max())
        raise ValueError(
            f"to_raster: expected spikes before {steps * dt!r} s, the end of the last step, got one"
            f" at {last} s; raise steps to {int(step.max()) + 1}, or simulate with duration="
        )
    row = jnp.arange(len(step), dtype=jnp.int32)[:, None]
    target = jnp.where(real, step, steps)
    raster = jnp.zeros((len(step), steps, size), spikes.time.dtype)
    raster = raster.at[row, target, jnp.maximum(spikes.index, 0)].add(1.0, mode="drop")
    return jnp.where(jnp.any(late, axis=1)[:, None, None], jnp.nan, raster)


def from_raster(
    raster: Num[Array | np.ndarray, "B T N"] | Bool[Array | np.ndarray, "B T N"], *, dt: float
) -> Spikes:
    """Turns spikes in time steps into events; those of step t are at t * dt.

    Args:
      raster: number of spikes per step and source, whole numbers >= 0. Its values must be known:
        the number of slots follows from them.
      dt: length of a time step in seconds.

    Returns:
      Spikes in as many slots as the fullest sample needs; where a step has several spikes of one
      source, as many at the same time.

    Raises:
      TypeError: called under ``jit``.
      ValueError: another number of axes, or values that are not whole numbers >= 0.
    """
    dt = checks.positive("from_raster: dt", dt, unit="seconds")
    if isinstance(raster, jax.core.Tracer):
        raise TypeError(
            "from_raster: expected a raster whose values are known, got one under jit; call it"
            " outside jit, since the number of slots depends on the values"
        )
    counts = np.asarray(raster)
    checks.rank("from_raster: raster", counts, "(B, T, N)")
    whole = np.asarray(counts, np.float64)
    good = np.isfinite(whole) & (whole >= 0) & (whole == np.floor(whole))
    if not good.all():
        raise ValueError(
            f"from_raster: raster: expected numbers of spikes, 0, 1, 2, ..., got {whole[~good][0]}"
        )
    numbers = whole.astype(np.int64)
    budget = max(int(numbers.sum(axis=(1, 2)).max(initial=0)), 1)
    dtype = counts.dtype if np.issubdtype(counts.dtype, np.floating) else jnp.float32
    time = np.full((len(counts), budget), np.inf, dtype)
    index = np.full((len(counts), budget), -1, np.int32)
    for row, sample in enumerate(numbers):
        step, source = np.nonzero(sample)
        times = sample[step, source]
        time[row, : times.sum()] = np.repeat(step * dt, times)
        index[row, : times.sum()] = np.repeat(source, times)
    overflow = jnp.zeros(len(counts), jnp.int32)
    return Spikes(jnp.asarray(time), jnp.asarray(index), overflow, counts.shape[2])
