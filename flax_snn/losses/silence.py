"""Silent neurons, whose first spike is at infinity: the time that a loss gives them.

    none         t_n = infinity                          the loss too is infinite, gradient 0
    a constant   t_n = silent_time                       a finite loss, gradient 0
    a wake-up    t_n = cap + slope (threshold - v_max)   a gradient through the membrane

The exact gradient of a neuron that does not spike is 0: the first two are exact, but no gradient
reaches a label neuron that is silent. The third, `wake_silent`, goes beyond the exact model: it
extends spike times to silent neurons by the distance of the membrane from threshold.
"""

from __future__ import annotations

import math
from typing import Any

import jax.numpy as jnp
import numpy as np

from flax_snn import checks
from flax_snn.losses.input_checks import check_not_empty
from flax_snn.losses.reduction_dtype import reduction_dtype
from flax_snn.typing import Array, Float, Scalar

_ROUNDING = 1e-3
"""Share of the threshold by which rounding may lift a silent membrane above it."""


def wake_silent(
    times: Float[Array, "*B N"],
    v_max: Float[Array, "*B N"],
    *,
    threshold: Scalar,
    cap: float,
    slope: float,
) -> Float[Array, "*B N"]:
    """Spike times, with times for silent neurons through which a loss can make them spike.

        t_n = cap + slope (threshold_n - v_max_n)     where the neuron is silent, of time infinity
              min(t_n, cap)                           where it fires

    The least excited neuron comes last and none that is silent comes before one that fires, since
    a silent membrane stays below threshold. The result is finite and goes into
    `first_spike_cross_entropy` or another loss on spike times as it is.

    Gradients: of a silent neuron, -slope through ``v_max`` and slope through the threshold; of one
    that fires, through its time, 1 before the cap and 0 from the cap on, where the time is cut by
    definition. A cap at or after the end of the simulated window cuts nothing.

    >>> import jax.numpy as jnp
    >>> times, v_max = jnp.array([[3e-3, jnp.inf]]), jnp.array([[1.0, 0.25]])
    >>> woken = wake_silent(times, v_max, threshold=1.0, cap=20e-3, slope=10e-3)
    >>> print(woken)  # 20 ms + 10 ms * 0.75
    [[0.003  0.0275]]

    Args:
      times: first spike of each neuron in seconds, infinity for a silent one.
      v_max: maximum of each neuron's membrane over the window, as `snn.event.Membrane.maximum`
        returns it; read only where the neuron is silent.
      threshold: of the neurons, a number or (N,).
      cap: latest time that a spike counts as, in seconds.
      slope: seconds per unit of membrane potential.

    Returns:
      Times in seconds, float32 or wider; finite unless an input that is read is NaN.

    Raises:
      TypeError: times, v_max or threshold not floating.
      ValueError: shapes that do not fit; a cap or slope that is not a finite number > 0; where
        values are known, times of NaN or below 0, and a silent neuron whose v_max is not finite
        or above threshold by more than rounding.
    """
    check_times(times)
    checks.floating("v_max", v_max)
    checks.positive("cap", cap, unit="seconds")
    checks.positive("slope", slope, unit="seconds per unit potential")
    remedy = "give the maximum over time of each neuron"
    checks.shape("v_max", v_max, times.shape, remedy=remedy)
    dtype = reduction_dtype(times, v_max)
    threshold_BxN = _per_neuron(threshold, times, dtype)
    _check_silent_membranes(times, v_max, threshold_BxN)
    times, v_max = times.astype(dtype), v_max.astype(dtype)
    continued = cap + slope * (threshold_BxN - v_max)
    return jnp.where(jnp.isposinf(times), continued, jnp.where(times >= cap, cap, times))


def replace_silent_times(
    times: Float[Array, "*B N"], silent_time: float | None
) -> Float[Array, "*B N"]:
    """Returns times with those of silent neurons set to a constant, which has no gradient.

    Args:
      times: spike times in seconds, infinity for a silent neuron.
      silent_time: the constant in seconds; None leaves them at infinity.
    """
    constant = math.inf if silent_time is None else silent_time
    return jnp.where(jnp.isposinf(times), constant, times)


def check_silent_time(times: Array, silent_time: float | None) -> None:
    """Raises unless silent_time is None, or a finite number > 0 with no known spike after it.

    Give the times in the dtype that they came in: in another one the end of the window may round
    up.
    """
    if silent_time is None:
        return
    checks.positive("silent_time", silent_time, unit="seconds")
    known = checks.known_values(times)
    if known is None:
        return
    last = np.max(known, initial=0.0, where=np.isfinite(known))
    if last > known.dtype.type(silent_time):
        what = f"every spike no later than silent_time={silent_time!r} s"
        remedy = "a silent neuron must not come first: give the end of the window"
        raise ValueError(checks.error_text("times", what, f"one at {last} s", remedy))


def check_times(times: Array) -> None:
    """Raises unless times are floating ``(*B, N)`` and, where known, >= 0 or infinite.

    Raises:
      TypeError: another dtype.
      ValueError: no neurons, a time that is NaN or below 0.
    """
    checks.floating("times", times)
    check_not_empty("times", times, "(*B, N)", at_least="sample and neuron")
    known = checks.known_values(times)
    if known is not None and not (known >= 0).all():
        what, remedy = "times from 0 s on, infinity where silent", "look for NaN in the simulation"
        raise ValueError(checks.error_text("times", what, known.min(), remedy))


def _per_neuron(threshold: Scalar, times: Array, dtype: Any) -> Array:
    if not hasattr(threshold, "shape"):
        return jnp.full(times.shape, checks.number("threshold", threshold), dtype)
    checks.floating("threshold", threshold)
    if threshold.shape not in ((), times.shape[-1:]):
        what, came = f"a number or shape {times.shape[-1:]}", f"shape {threshold.shape}"
        raise ValueError(checks.error_text("threshold", what, came, "give one per neuron"))
    return jnp.broadcast_to(threshold.astype(dtype), times.shape)


def _check_silent_membranes(times: Array, v_max: Array, threshold: Array) -> None:
    t, v, limit = (checks.known_values(x) for x in (times, v_max, threshold))
    if t is None or v is None or limit is None:
        return
    silent = np.isposinf(t)
    v, limit = v[silent].astype(np.float64), limit[silent].astype(np.float64)
    if not (np.isfinite(v) & (v <= limit + _ROUNDING * np.abs(limit))).all():
        what = "silent neurons to be finite and no higher than their threshold"
        came = f"{v.min()} to {v.max()} where it is {limit.min()} to {limit.max()}"
        remedy = "take times and v_max from one simulation, over one window"
        raise ValueError(checks.error_text("v_max", what, came, remedy))
