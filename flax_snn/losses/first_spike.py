"""Losses on the time of the first spike: the earliest output neuron names the class.

    z_c = -t_c / tau
    L   = mean_b ( log SUM_c exp z_bc - z_b,label(b)
                   + late_penalty * (exp(t_b,label(b) / late_tau) - 1) )

Times are in seconds and come from a raster, `first_spike_times`, or from an event simulation. A
neuron that never fires has the end of the window for its time in a raster, where a surrogate
gradient can make it fire, and infinity in an event simulation, where its exact gradient is 0. Only
`first_spike_times` has a time axis and takes the lengths of sequences: they enter the losses
through the times. Lists of events, ``(B, K)``, need none: their padding has the time infinity.

Sources: Göltz et al., Fast and energy-efficient neuromorphic deep learning with first-spike times,
Nature Machine Intelligence 3, 2021; Wunderlich and Pehle, Event-based backpropagation can compute
exact gradients for spiking neural networks, Scientific Reports 11, 2021.
"""

from __future__ import annotations

import math

import jax.numpy as jnp

from flax_snn import checks
from flax_snn.losses.cross_entropy import of_label, softmax_cross_entropy
from flax_snn.losses.input_checks import (
    check_classes,
    check_labels,
    check_population,
    check_spikes,
)
from flax_snn.losses.population import pool_population
from flax_snn.losses.reduction_dtype import reduction_dtype
from flax_snn.losses.silence import check_silent_time, replace_silent_times
from flax_snn.sequence_mask import SequenceLengths, StepMask, time_steps
from flax_snn.typing import Array, Bool, Float, Int, Num


def first_spike_times(
    spikes: Num[Array, "..."] | Bool[Array, "..."],
    *,
    dt: float,
    time_axis: int | None = None,
    seq_lengths: SequenceLengths | None = None,
    mask: StepMask | None = None,
) -> Float[Array, "..."]:
    """Time of the first spike of each neuron, differentiable through surrogate spikes.

        t = dt SUM_t t s_t PROD_(u<t) (1 - s_u)  +  T dt PROD_u (1 - s_u)
          = dt SUM_t PROD_(u<=t) (1 - s_u)

    A spike in step t = 0 .. T - 1 is at t * dt. A silent neuron is given T * dt, the end of the
    window: one step later than the last possible spike. The second line, the number of steps that
    pass without a spike, is what is computed; it has no division, so the gradient is exact:

        dt_first / ds_k   = -dt * (steps by which a spike in step k would come, or comes, first)

    negative up to the first spike and 0 after it. A silent neuron thus has a gradient in every
    step, and a loss can make it spike.

    >>> import jax.numpy as jnp
    >>> spikes = jnp.array([[0.0, 0.0], [1.0, 0.0], [1.0, 0.0]])  # three steps, two neurons
    >>> jnp.round(1e3 * first_spike_times(spikes, dt=1e-3)).tolist()
    [1.0, 3.0]

    Args:
      spikes: 0 or 1, ``(B, T, *N)``; floating, or recorded ones as bool, int8 or uint8. Where a
        value outside [0, 1] cannot be checked, under ``jit``, its neuron's time is NaN.
      dt: length of a time step in seconds.
      time_axis: the time axis, as a rule 1, see `flax_snn.sequence_mask`.
      seq_lengths: number of steps of each sample, ``(B,)``; all by default. The window of a
        sample, at whose end a silent neuron counts, ends with its own steps.
      mask: which steps are data, ``(B, T)``, instead of lengths. Only these steps take time.

    Returns:
      Times in seconds from 0 to T * dt, ``(B, *N)``, float32 or wider. 0 for a sample without data.

    Raises:
      TypeError: another dtype.
      ValueError: no time axis, T = 0, dt that is not a finite number > 0, spikes outside [0, 1],
        lengths or a mask that do not fit.
    """
    check_spikes("spikes", spikes)
    steps = time_steps("spikes", spikes, time_axis=time_axis, seq_lengths=seq_lengths, mask=mask)
    checks.positive("dt", dt, unit="seconds")
    known, is_data = checks.known_values(spikes), steps.is_data(spikes.shape)
    counts = None if is_data is None else checks.known_values(is_data)
    if known is not None and (is_data is None or counts is not None):
        known = known if counts is None else known[counts]
        if ((known < 0) | (known > 1)).any():
            what, came = "0 or 1", "values outside [0, 1]"
            remedy = "a first spike needs a neuron that fires at most once per step"
            raise ValueError(checks.error_text("spikes", what, came, remedy))
    spikes = steps.without_padding(spikes).astype(reduction_dtype(spikes))
    silent = jnp.where((spikes < 0) | (spikes > 1), math.nan, 1.0 - spikes)
    return dt * steps.sum(jnp.cumprod(silent, axis=steps.axis))


def first_spike_logits(
    times: Float[Array, "*B N"],
    *,
    tau: float,
    silent_time: float | None = None,
    population: int = 1,
) -> Float[Array, "*B C"]:
    """Logits of first-spike times: ``-t / tau``, -inf for a silent neuron (of time infinity).

    Args:
      times: time of the first spike of each output neuron in seconds, N = C * P; infinity for a
        silent one.
      tau: time in seconds by which an earlier spike multiplies the odds of its class by e.
      silent_time: time in seconds at which a silent neuron counts instead of infinity, such as the
        end of the window, no earlier than any spike. None (infinity) by default.
      population: neurons per class P, 1 by default; class-major, as in `pool_population`. The
        earliest of them counts.

    Returns:
      Logits; their argmax is the class that fires first. The gradient of a silent neuron is 0.

    Raises:
      TypeError: times not floating, a population that is not an integer.
      ValueError: C < 2, tau or silent_time that is not a finite number > 0, a spike after
        silent_time, a population that does not divide the neurons.
    """
    return -_class_times(times, silent_time, population) / _checked_tau(tau)


def first_spike_cross_entropy(
    times: Float[Array, "*B N"],
    labels: Int[Array, "*B"],
    *,
    tau: float,
    silent_time: float | None = None,
    late_penalty: float = 0.0,
    late_tau: float | None = None,
    label_smoothing: float = 0.0,
    population: int = 1,
    per_sample: bool = False,
) -> Float[Array, "*B"] | Float[Array, ""]:
    """Mean softmax cross-entropy of first-spike times, and a penalty on a late label neuron.

        z_c = -t_c / tau
        L   = mean_b ( log SUM_c exp z_bc - z_b,label(b)
                       + late_penalty * (exp(t_b,label(b) / late_tau) - 1) )

    Times come from `first_spike_times`, or exactly from an event simulation. A time of infinity, a
    silent neuron, has probability 0 and gradient 0. A sample whose label neuron is silent has then
    the loss infinity, as -log 0 should; so has label smoothing with any silent neuron. Gradients
    stay finite, but none reaches that neuron: give ``silent_time`` for a finite loss, and make the
    neuron fire by other means, such as `wake_silent`.

    >>> import jax.numpy as jnp
    >>> times = jnp.array([[0.010, 0.020, jnp.inf]])  # seconds; one sample, the third is silent
    >>> print(round(float(first_spike_cross_entropy(times, jnp.array([0]), tau=5e-3)), 4))
    0.1269

    Args:
      times: time of the first spike of each output neuron in seconds, N = C * P; infinity for a
        silent one.
      labels: class of each sample, 0 to C - 1. A label outside makes the loss NaN or infinity
        where it cannot be checked, under ``jit``.
      tau: time in seconds by which an earlier spike multiplies the odds of its class by e.
      silent_time: time in seconds at which a silent neuron counts instead of infinity, such as the
        end of the window, no earlier than any spike. None (infinity) by default.
      late_penalty: strength of the penalty on the time of the label neuron, 0 (none) by default.
      late_tau: time constant of that penalty in seconds; needed with it.
      label_smoothing: share eps of the target that is spread over all classes, 0 by default.
      population: neurons per class P, 1 by default; class-major, as in `pool_population`. The
        earliest of them counts.
      per_sample: return the loss of each sample instead of the mean.

    Returns:
      The loss in nats, float32 or wider.

    Raises:
      TypeError: times not floating, labels or population not integers.
      ValueError: C < 2, no samples, shapes that do not fit, a label outside, a number outside its
        range, a spike after silent_time, a penalty without its time constant.
    """
    checks.non_negative("late_penalty", late_penalty)
    if late_tau is not None:
        checks.positive("late_tau", late_tau, unit="seconds")
    elif late_penalty:
        what = f"a number with late_penalty={late_penalty!r}"
        remedy = "give the time constant of the penalty in seconds"
        raise ValueError(checks.error_text("late_tau", what, None, remedy))
    times_BxC = _class_times(times, silent_time, population)
    check_labels(times_BxC, labels)
    logits = -times_BxC / _checked_tau(tau)
    # With no spike at all the softmax is 0/0, and its gradient NaN even where it is not selected.
    dead_B = jnp.all(jnp.isneginf(logits), axis=-1)
    logits = jnp.where(dead_B[..., None], 0.0, logits)
    loss_B = softmax_cross_entropy(logits, labels, label_smoothing=label_smoothing, per_sample=True)
    loss_B = jnp.where(dead_B, math.inf, loss_B)
    if late_penalty and late_tau is not None:
        loss_B = loss_B + late_penalty * jnp.expm1(of_label(times_BxC, labels) / late_tau)
    return loss_B if per_sample else jnp.mean(loss_B)


def _class_times(times: Array, silent_time: float | None, population: int) -> Array:
    """Returns the first spike of each class; times of silent ones are constants."""
    checks.floating("times", times)
    check_population("times", times, population)
    check_classes("times", times, population)
    check_silent_time(times, silent_time)
    return replace_silent_times(pool_population(times, population, pool="min"), silent_time)


def _checked_tau(tau: float) -> float:
    checks.positive("tau", tau, unit="seconds")
    return tau
