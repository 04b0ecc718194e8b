"""Readouts: the outputs of a network reduced over time to logits of classes or to coordinates.

`flax_snn.sequence_mask` says what ``time_axis``, ``seq_lengths`` and ``mask`` mean.
"""

from __future__ import annotations

from typing import Literal

from flax_snn import checks
from flax_snn.losses.input_checks import check_classes, check_population, check_spikes
from flax_snn.losses.population import pool_population
from flax_snn.losses.reduction_dtype import reduction_dtype
from flax_snn.sequence_mask import SequenceLengths, StepMask, TimeSteps, time_steps
from flax_snn.typing import Array, Bool, Float, Num

Reduction = Literal["max", "mean", "last"]

_REDUCTIONS = ("max", "mean", "last")


def spike_count_logits(
    spikes: Num[Array, "..."] | Bool[Array, "..."],
    *,
    scale: float = 1.0,
    population: int = 1,
    time_axis: int | None = None,
    seq_lengths: SequenceLengths | None = None,
    mask: StepMask | None = None,
) -> Float[Array, "..."]:
    """Logits of a spiking output: ``scale * SUM_t s_t``, summed over the neurons of a class.

    >>> import jax.numpy as jnp
    >>> spikes = jnp.ones((2, 3, 2))  # two samples, three steps, two classes
    >>> spike_count_logits(spikes, seq_lengths=jnp.array([3, 1])).tolist()
    [[3.0, 3.0], [1.0, 1.0]]

    Args:
      spikes: spikes of the output neurons ``(B, T, N)``, N = C * P; floating, or recorded ones
        as bool, int8 or uint8. Summed in float32 or wider.
      scale: factor from spikes to logits, 1 by default. Counts grow with the population: 1 / P
        gives the mean count of a neuron.
      population: neurons per class P, 1 by default; class-major, as in `pool_population`.
      time_axis: the time axis, as a rule 1, see `flax_snn.sequence_mask`. Axes between it and the
        last one, which holds the classes, stay.
      seq_lengths: number of steps of each sample, ``(B,)``; all by default.
      mask: which steps are data, ``(B, T)``, instead of lengths.

    Returns:
      Logits ``(B, C)``; their argmax is the predicted class. 0 for a sample without data.

    Raises:
      TypeError: another dtype, a population that is not an integer.
      ValueError: no time axis, T = 0, C < 2, a scale that is not a finite number > 0, a population
        that does not divide the neurons, lengths or a mask that do not fit.
    """
    check_spikes("spikes", spikes)
    steps = time_steps("spikes", spikes, time_axis=time_axis, seq_lengths=seq_lengths, mask=mask)
    _check_output("spikes", spikes, scale, population)
    counts = steps.sum(spikes.astype(reduction_dtype(spikes)))
    return scale * pool_population(counts, population, pool="sum")


def membrane_logits(
    v: Float[Array, "..."],
    *,
    reduce: Reduction = "max",
    scale: float = 1.0,
    population: int = 1,
    time_axis: int | None = None,
    seq_lengths: SequenceLengths | None = None,
    mask: StepMask | None = None,
) -> Float[Array, "..."]:
    """Logits of a readout that does not spike: its membranes, reduced over time.

    Args:
      v: membrane potential of the readout neurons ``(B, T, N)``, N = C * P.
      reduce: ``max`` over time (default), ``mean`` over time, or the ``last`` step.
      scale: factor from membranes to logits, 1 by default.
      population: neurons per class P, 1 by default; class-major, as in `pool_population`. Their
        membranes are averaged in each step, before time is reduced.
      time_axis: the time axis, as a rule 1, see `flax_snn.sequence_mask`. Axes between it and the
        last one, which holds the classes, stay.
      seq_lengths: number of steps of each sample, ``(B,)``; all by default.
      mask: which steps are data, ``(B, T)``, instead of lengths.

    Returns:
      Logits ``(B, C)``; their argmax is the predicted class. 0 for a sample without data.

    Raises:
      TypeError: membranes not floating, a population that is not an integer.
      ValueError: no time axis, T = 0, C < 2, a scale that is not a finite number > 0, an unknown
        reduction, a population that does not divide the neurons, lengths or a mask that do not
        fit.
    """
    checks.choice("reduce", reduce, _REDUCTIONS)
    checks.floating("membranes", v)
    steps = time_steps("membranes", v, time_axis=time_axis, seq_lengths=seq_lengths, mask=mask)
    _check_output("membranes", v, scale, population)
    return scale * _reduced(pool_population(v, population, pool="mean"), steps, reduce)


def membrane_readout(
    v: Float[Array, "..."],
    *,
    reduce: Reduction = "last",
    time_axis: int | None = None,
    seq_lengths: SequenceLengths | None = None,
    mask: StepMask | None = None,
) -> Float[Array, "..."]:
    """Membranes of a readout that does not spike, reduced over time, in their own units.

        y = v_T                          or mean_t v_t, or max_t v_t

    >>> import jax.numpy as jnp
    >>> v = jnp.array([[0.5, 3.0], [1.5, -1.0]])  # two steps, two coordinates
    >>> membrane_readout(v).tolist(), membrane_readout(v, reduce="mean").tolist()
    ([1.5, -1.0], [1.0, 1.0])

    Args:
      v: membrane potential of the readout neurons ``(B, T, *D)``, one per coordinate.
      reduce: the ``last`` step (default), ``mean`` over time, or ``max`` over time.
      time_axis: the time axis, as a rule 1, see `flax_snn.sequence_mask`.
      seq_lengths: number of steps of each sample, ``(B,)``; all by default.
      mask: which steps are data, ``(B, T)``, instead of lengths.

    Returns:
      One number per neuron ``(B, *D)``, float32 or wider. 0 for a sample without data.

    Raises:
      TypeError: membranes not floating.
      ValueError: no time axis, T = 0, an unknown reduction, lengths or a mask that do not fit.
    """
    checks.choice("reduce", reduce, _REDUCTIONS)
    checks.floating("membranes", v)
    steps = time_steps("membranes", v, time_axis=time_axis, seq_lengths=seq_lengths, mask=mask)
    return _reduced(v, steps, reduce)


def _reduced(v: Array, steps: TimeSteps, reduce: Reduction) -> Array:
    v = v.astype(reduction_dtype(v))
    if reduce == "last":
        return steps.last(v)
    return steps.max(v) if reduce == "max" else steps.mean(v)


def _check_output(name: str, x: Array, scale: float, population: int) -> None:
    check_population(name, x, population)
    check_classes(name, x, population)
    checks.positive("scale", scale)
