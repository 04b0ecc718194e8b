"""What the outputs of a network say once time is reduced: logits of classes, or coordinates."""

from __future__ import annotations

from typing import Literal

import jax.numpy as jnp

from flax_snn.losses.population import pool_population
from flax_snn.losses.precision import wide
from flax_snn.losses.validity import (
    check_choice,
    check_classes,
    check_floating,
    check_population,
    check_positive,
    check_sequence,
    check_spikes,
)
from flax_snn.typing import Array, Bool, Float, Num

Reduction = Literal["max", "mean", "last"]

_REDUCTIONS = ("max", "mean", "last")


def spike_count_logits(
    spikes: Num[Array, "*B T N"] | Bool[Array, "*B T N"],
    *,
    scale: float = 1.0,
    population: int = 1,
) -> Float[Array, "*B C"]:
    """Logits of a spiking output: ``scale * SUM_t s_t``, summed over the neurons of a class.

    Args:
      spikes: spikes of the output neurons, N = C * P; floating, or recorded ones as bool, int8 or
        uint8. Summed in float32 or wider.
      scale: factor from spikes to logits, 1 by default. Counts grow with the population: 1 / P
        gives the mean count of a neuron.
      population: neurons per class P, 1 by default; class-major, as in `pool_population`.

    Returns:
      Logits; their argmax is the predicted class.

    Raises:
      TypeError: another dtype, a population that is not an integer.
      ValueError: no time axis, T = 0, C < 2, a scale that is not a finite number > 0, a population
        that does not divide the neurons.
    """
    check_spikes(spikes)
    _check_output("spikes", spikes, scale, population)
    counts = jnp.sum(spikes, axis=-2, dtype=wide(spikes))
    return scale * pool_population(counts, population, pool="sum")


def membrane_logits(
    v: Float[Array, "*B T N"],
    *,
    reduce: Reduction = "max",
    scale: float = 1.0,
    population: int = 1,
) -> Float[Array, "*B C"]:
    """Logits of a readout that does not spike: its membranes, reduced over time.

    Args:
      v: membrane potential of the readout neurons, N = C * P.
      reduce: ``max`` over time (default), ``mean`` over time, or the ``last`` step.
      scale: factor from membranes to logits, 1 by default.
      population: neurons per class P, 1 by default; class-major, as in `pool_population`. Their
        membranes are averaged in each step, before time is reduced.

    Returns:
      Logits; their argmax is the predicted class.

    Raises:
      TypeError: membranes not floating, a population that is not an integer.
      ValueError: no time axis, T = 0, C < 2, a scale that is not a finite number > 0, an unknown
        reduction, a population that does not divide the neurons.
    """
    check_choice("reduce", reduce, _REDUCTIONS)
    check_floating("membranes", v)
    _check_output("membranes", v, scale, population)
    return scale * membrane_readout(pool_population(v, population, pool="mean"), reduce=reduce)


def membrane_readout(
    v: Float[Array, "*B T D"], *, reduce: Reduction = "last"
) -> Float[Array, "*B D"]:
    """Membranes of a readout that does not spike, reduced over time, in their own units.

        y = v_T                          or mean_t v_t, or max_t v_t

    >>> import jax.numpy as jnp
    >>> v = jnp.array([[0.5, 3.0], [1.5, -1.0]])  # two steps, two coordinates
    >>> membrane_readout(v).tolist(), membrane_readout(v, reduce="mean").tolist()
    ([1.5, -1.0], [1.0, 1.0])

    Args:
      v: membrane potential of the readout neurons, one per coordinate.
      reduce: the ``last`` step (default), ``mean`` over time, or ``max`` over time.

    Returns:
      One number per neuron, float32 or wider.

    Raises:
      TypeError: membranes not floating.
      ValueError: no time axis, T = 0, an unknown reduction.
    """
    check_choice("reduce", reduce, _REDUCTIONS)
    check_floating("membranes", v)
    check_sequence("membranes", v)
    v = v.astype(wide(v))
    if reduce == "last":
        return v[..., -1, :]
    return jnp.max(v, axis=-2) if reduce == "max" else jnp.mean(v, axis=-2)


def _check_output(name: str, x: Array, scale: float, population: int) -> None:
    check_sequence(name, x)
    check_population(x, population)
    check_classes(x, population)
    check_positive("scale", scale)
