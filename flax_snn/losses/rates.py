"""Penalties on neurons that fire too little or too much.

A lower bound wakes silent neurons, an upper bound keeps activity sparse. All of them are

    z_bn = SUM_t s_btn                               spikes of neuron n in trial b
    a    = z, averaged as the bound is meant
    L    = mean ( max(0, lower - a)^p + max(0, a - upper)^p )

and differ in the unit of the bounds, Hz or spikes per trial, and in what is averaged before them:

    average="batch"       a_n = mean_b z_bn          the bound holds for each neuron
    average="population"  a_b = mean_n z_bn          for the mean of the layer in each trial
    average="none"        a_bn = z_bn                for each neuron in each trial

Multiply by a strength before adding one to another loss.

Sources: Zenke and Vogels, The remarkable robustness of surrogate gradient learning for instilling
complex function in spiking neural networks, Neural Computation 33(4), 2021; Rossbroich, Gygax and
Zenke, Fluctuation-driven initialization for spiking neural network training, Neuromorphic Computing
and Engineering 2(4), 2022.
"""

from __future__ import annotations

import math
from typing import Literal

import jax
import jax.numpy as jnp

from flax_snn.losses.precision import wide
from flax_snn.losses.validity import (
    check_choice,
    check_floating,
    check_not_negative,
    check_positive,
    is_number,
)
from flax_snn.typing import Array, Float

Average = Literal["batch", "population", "none"]

_AVERAGES = ("batch", "population", "none")


def spike_rate_regularizer(
    spikes: Float[Array, "*B T N"],
    dt: float,
    *,
    lower: float = 0.0,
    upper: float = math.inf,
    average: Average = "batch",
    power: int = 2,
) -> Float[Array, ""]:
    """Penalty on firing rates outside a band in Hz, by default on the mean rate of each neuron.

        r_n = mean_b,t s_btn / dt
        L   = mean_n ( max(0, lower - r_n)^2 + max(0, r_n - upper)^2 )

    Multiply by a small strength before adding it to another loss: 10 Hz too many cost 100.

    >>> import jax.numpy as jnp
    >>> spikes = jnp.zeros((1, 100, 2)).at[0, :4, 0].set(1.0)  # 40 Hz and 0 Hz in 100 ms
    >>> print(spike_rate_regularizer(spikes, 1e-3, lower=2.0, upper=30.0))
    52.0

    Args:
      spikes: spikes of a layer; flatten several feature axes into one.
      dt: length of a time step in seconds.
      lower: rate in Hz below which there is a penalty, 0 (never) by default.
      upper: rate in Hz above which there is a penalty, infinite (never) by default.
      average: what rates are averaged over before the bounds: the ``batch`` (default), the
        ``population`` of neurons, or ``none``.
      power: of the distance to the band, 2 (default) or 1.

    Returns:
      The penalty in Hz^power, float32 or wider.

    Raises:
      TypeError: spikes not floating.
      ValueError: no time axis, T = 0, no samples or neurons, dt that is not a finite number > 0,
        bounds that are not 0 <= lower <= upper, an unknown average or power.
    """
    check_positive("dt", dt, "seconds")
    if not (is_number(lower) and is_number(upper) and 0 <= lower <= upper and lower < math.inf):
        raise ValueError(
            f"expected 0 <= lower <= upper in Hz, got lower={lower!r}, upper={upper!r}"
        )
    rate = _counts(spikes, average) / (spikes.shape[-2] * dt)
    return _penalty(jax.nn.relu(lower - rate) + jax.nn.relu(rate - upper), power)


def lower_count_regularizer(
    spikes: Float[Array, "*B T N"],
    lower: float,
    *,
    average: Average = "none",
    power: int = 2,
) -> Float[Array, ""]:
    """Penalty on neurons with too few spikes in a trial, the published lower bound.

        z_bn = SUM_t s_btn,      L = mean_bn max(0, lower - z_bn)^2

    A bound far below one spike, such as the published 1e-3, asks for one spike at least.

    >>> import jax.numpy as jnp
    >>> spikes = jnp.zeros((1, 5, 2)).at[0, :3, 0].set(1.0)  # three spikes, and none
    >>> print(lower_count_regularizer(spikes, 2.0))
    2.0

    Args:
      spikes: spikes of a layer; flatten several feature axes into one.
      lower: spikes per trial below which there is a penalty. A rate r in Hz is r * T * dt spikes.
      average: what counts are averaged over before the bound: ``none`` (default), the ``batch`` or
        the ``population`` of neurons.
      power: of the distance to the bound, 2 (default) or 1.

    Returns:
      The penalty in spikes^power, float32 or wider.

    Raises:
      TypeError: spikes not floating.
      ValueError: no time axis, T = 0, no samples or neurons, a bound that is not a finite number
        >= 0, an unknown average or power.
    """
    check_not_negative("lower", lower, "spikes")
    return _penalty(jax.nn.relu(lower - _counts(spikes, average)), power)


def upper_count_regularizer(
    spikes: Float[Array, "*B T N"],
    upper: float,
    *,
    average: Average = "population",
    power: int = 2,
) -> Float[Array, ""]:
    """Penalty on a layer with too many spikes in a trial, the published upper bound.

        z_b = mean_n SUM_t s_btn,      L = mean_b max(0, z_b - upper)^2      (or ^1)

    >>> import jax.numpy as jnp
    >>> spikes = jnp.zeros((1, 5, 2)).at[0, :4, 0].set(1.0)  # four spikes, and none
    >>> print(upper_count_regularizer(spikes, 0.5, power=1))
    1.5

    Args:
      spikes: spikes of a layer; flatten several feature axes into one.
      upper: spikes per trial above which there is a penalty. A rate r in Hz is r * T * dt spikes.
      average: what counts are averaged over before the bound: the ``population`` of neurons
        (default), the ``batch``, or ``none``.
      power: of the distance to the bound, 2 (default) or 1.

    Returns:
      The penalty in spikes^power, float32 or wider.

    Raises:
      TypeError: spikes not floating.
      ValueError: no time axis, T = 0, no samples or neurons, a bound that is not a finite number
        >= 0, an unknown average or power.
    """
    check_not_negative("upper", upper, "spikes")
    return _penalty(jax.nn.relu(_counts(spikes, average) - upper), power)


def _counts(spikes: Array, average: Average) -> Array:
    """Spikes per trial, averaged over the batch, over the neurons, or not at all."""
    check_choice("average", average, _AVERAGES)
    check_floating("spikes", spikes)
    if spikes.ndim < 2 or spikes.size == 0:
        raise ValueError(
            f"expected spikes (*B, T, N) with no empty axis, got shape {spikes.shape}; give at"
            " least one sample, time step and neuron"
        )
    counts = jnp.sum(spikes, axis=-2, dtype=wide(spikes))
    if average == "none":
        return counts
    axes = -1 if average == "population" else tuple(range(counts.ndim - 1))
    return jnp.mean(counts, axis=axes)


def _penalty(excess: Array, power: int) -> Array:
    check_choice("power", power, (1, 2))
    return jnp.mean(jnp.square(excess) if power == 2 else excess)
