"""Penalties on neurons that fire too little or too much.

A lower bound wakes silent neurons, an upper bound keeps activity sparse. All of them are

    z_bn = SUM_t s_btn                               spikes of neuron n in trial b
    a    = z, averaged as the bound is meant
    L    = mean ( max(0, lower - a)^p + max(0, a - upper)^p )

and differ in the unit of the bounds, Hz or spikes per trial, and in what is averaged before them:

    average="batch"       a_n = mean_b z_bn          the bound holds for each neuron
    average="population"  a_b = mean_n z_bn          for the mean of the layer in each trial
    average="none"        a_bn = z_bn                for each neuron in each trial

A sample counts over its own time steps, and averages over the batch weigh all samples alike; what
``time_axis``, ``seq_lengths`` and ``mask`` mean stands in `flax_snn.sequence_mask`. Neurons may lie
on several feature axes, ``(B, T, H, W, C)``: the penalty is that of the same spikes with these
axes flattened into one. Multiply by a strength before adding one to another loss.

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

from flax_snn import checks
from flax_snn.losses.input_checks import check_not_empty
from flax_snn.losses.reduction_dtype import reduction_dtype
from flax_snn.sequence_mask import SequenceLengths, StepMask, TimeSteps, time_steps
from flax_snn.typing import Array, Float

Average = Literal["batch", "population", "none"]

_AVERAGES = ("batch", "population", "none")


def spike_rate_regularizer(
    spikes: Float[Array, "..."],
    dt: float,
    *,
    lower: float = 0.0,
    upper: float = math.inf,
    average: Average = "batch",
    power: int = 2,
    time_axis: int | None = None,
    seq_lengths: SequenceLengths | None = None,
    mask: StepMask | None = None,
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
      spikes: spikes of a layer ``(B, T, *N)``, or of a single sequence ``(T, N)``.
      dt: length of a time step in seconds.
      lower: rate in Hz below which there is a penalty, 0 (never) by default.
      upper: rate in Hz above which there is a penalty, infinite (never) by default.
      average: what rates are averaged over before the bounds: the ``batch`` (default), the
        ``population`` of neurons, or ``none``.
      power: of the distance to the band, 2 (default) or 1.
      time_axis: the time axis, as a rule 1, see `flax_snn.sequence_mask`; the axes after it are
        neurons.
      seq_lengths: number of steps of each sample, of the shape of the batch axes; all by default.
      mask: which steps are data, of the shape of the batch axes and T, instead of lengths.

    Returns:
      The penalty in Hz^power, float32 or wider. Samples without data are left out.

    Raises:
      TypeError: spikes not floating.
      ValueError: no time axis, T = 0, no samples or neurons, dt that is not a finite number > 0,
        bounds that are not 0 <= lower <= upper, an unknown average or power, lengths or a mask
        that do not fit.
    """
    checks.positive("dt", dt, unit="seconds")
    checks.non_negative("lower", lower, unit="Hz")
    if upper != math.inf:
        checks.non_negative("upper", upper, unit="Hz", remedy="math.inf is no upper bound")
    if upper < lower:
        raise ValueError(checks.error_text("upper", f"at least lower={lower!r} Hz", repr(upper)))
    steps = _steps(spikes, time_axis, seq_lengths, mask)
    spikes = spikes.astype(reduction_dtype(spikes))
    rate = _averaged(steps.sum(spikes) / (steps.count(spikes) * dt), steps, average)
    excess = jax.nn.relu(lower - rate) + jax.nn.relu(rate - upper)
    return _penalty(excess, power, steps, average)


def lower_count_regularizer(
    spikes: Float[Array, "..."],
    lower: float,
    *,
    average: Average = "none",
    power: int = 2,
    time_axis: int | None = None,
    seq_lengths: SequenceLengths | None = None,
    mask: StepMask | None = None,
) -> Float[Array, ""]:
    """Penalty on neurons with too few spikes in a trial, the published lower bound.

        z_bn = SUM_t s_btn,      L = mean_bn max(0, lower - z_bn)^2

    A bound far below one spike, such as the published 1e-3, asks for one spike at least.

    >>> import jax.numpy as jnp
    >>> spikes = jnp.zeros((1, 5, 2)).at[0, :3, 0].set(1.0)  # three spikes, and none
    >>> print(lower_count_regularizer(spikes, 2.0))
    2.0

    Args:
      spikes: spikes of a layer ``(B, T, *N)``, or of a single sequence ``(T, N)``.
      lower: spikes per trial below which there is a penalty. A rate r in Hz is r * T * dt spikes.
      average: what counts are averaged over before the bound: ``none`` (default), the ``batch`` or
        the ``population`` of neurons.
      power: of the distance to the bound, 2 (default) or 1.
      time_axis: the time axis, as a rule 1, see `flax_snn.sequence_mask`; the axes after it are
        neurons.
      seq_lengths: number of steps of each sample, of the shape of the batch axes; all by default.
      mask: which steps are data, of the shape of the batch axes and T, instead of lengths.

    Returns:
      The penalty in spikes^power, float32 or wider. Samples without data are left out.

    Raises:
      TypeError: spikes not floating.
      ValueError: no time axis, T = 0, no samples or neurons, a bound that is not a finite number
        >= 0, an unknown average or power, lengths or a mask that do not fit.
    """
    checks.non_negative("lower", lower, unit="spikes")
    steps = _steps(spikes, time_axis, seq_lengths, mask)
    count = _averaged(steps.sum(spikes.astype(reduction_dtype(spikes))), steps, average)
    return _penalty(jax.nn.relu(lower - count), power, steps, average)


def upper_count_regularizer(
    spikes: Float[Array, "..."],
    upper: float,
    *,
    average: Average = "population",
    power: int = 2,
    time_axis: int | None = None,
    seq_lengths: SequenceLengths | None = None,
    mask: StepMask | None = None,
) -> Float[Array, ""]:
    """Penalty on a layer with too many spikes in a trial, the published upper bound.

        z_b = mean_n SUM_t s_btn,      L = mean_b max(0, z_b - upper)^2      (or ^1)

    >>> import jax.numpy as jnp
    >>> spikes = jnp.zeros((1, 5, 2)).at[0, :4, 0].set(1.0)  # four spikes, and none
    >>> print(upper_count_regularizer(spikes, 0.5, power=1))
    1.5

    Args:
      spikes: spikes of a layer ``(B, T, *N)``, or of a single sequence ``(T, N)``.
      upper: spikes per trial above which there is a penalty. A rate r in Hz is r * T * dt spikes.
      average: what counts are averaged over before the bound: the ``population`` of neurons
        (default), the ``batch``, or ``none``.
      power: of the distance to the bound, 2 (default) or 1.
      time_axis: the time axis, as a rule 1, see `flax_snn.sequence_mask`; the axes after it are
        neurons.
      seq_lengths: number of steps of each sample, of the shape of the batch axes; all by default.
      mask: which steps are data, of the shape of the batch axes and T, instead of lengths.

    Returns:
      The penalty in spikes^power, float32 or wider. Samples without data are left out.

    Raises:
      TypeError: spikes not floating.
      ValueError: no time axis, T = 0, no samples or neurons, a bound that is not a finite number
        >= 0, an unknown average or power, lengths or a mask that do not fit.
    """
    checks.non_negative("upper", upper, unit="spikes")
    steps = _steps(spikes, time_axis, seq_lengths, mask)
    count = _averaged(steps.sum(spikes.astype(reduction_dtype(spikes))), steps, average)
    return _penalty(jax.nn.relu(count - upper), power, steps, average)


def _steps(
    spikes: Array,
    time_axis: int | None,
    seq_lengths: SequenceLengths | None,
    mask: StepMask | None,
) -> TimeSteps:
    checks.floating("spikes", spikes)
    check_not_empty("spikes", spikes, "(B, T, *N)", at_least="sample, time step and neuron")
    return time_steps("spikes", spikes, time_axis=time_axis, seq_lengths=seq_lengths, mask=mask)


def _averaged(activity: Array, steps: TimeSteps, average: Average) -> Array:
    """Returns activity ``(B, N)``, its batch axes and its feature axes flattened, averaged.

    Averaged over the neurons, ``(B, 1)``, over the samples with data, ``(1, N)``, or not at all.
    """
    checks.choice("average", average, _AVERAGES)
    activity_BxN = activity.reshape(
        math.prod(activity.shape[: steps.axis]), math.prod(activity.shape[steps.axis :])
    )
    if average == "population":
        return jnp.mean(activity_BxN, axis=-1, keepdims=True)
    return _mean_over_samples(activity_BxN, steps) if average == "batch" else activity_BxN


def _penalty(excess: Array, power: int, steps: TimeSteps, average: Average) -> Array:
    checks.choice("power", power, (1, 2))
    penalty = jnp.square(excess) if power == 2 else excess
    if average != "batch":
        return jnp.mean(_mean_over_samples(penalty, steps))
    # A batch without any data has no activity that could be too low.
    no_data = False if steps.has_data is None else ~jnp.any(steps.has_data)
    return jnp.where(no_data, 0.0, jnp.mean(penalty))


def _mean_over_samples(values_BxN: Array, steps: TimeSteps) -> Array:
    """Returns the mean over the samples with data, ``(1, N)``; 0 if there are none."""
    if steps.has_data is None:
        return jnp.mean(values_BxN, axis=0, keepdims=True)
    has_data_Bx1 = steps.has_data.reshape(-1, 1)
    samples = jnp.maximum(jnp.sum(has_data_Bx1, dtype=jnp.int32), 1).astype(values_BxN.dtype)
    values_BxN = jnp.where(has_data_Bx1, values_BxN, 0.0)
    return jnp.sum(values_BxN, axis=0, keepdims=True) / samples
