r"""Fluctuation-driven initialisation: weights that let the membrane fluctuate up to its threshold.

A membrane that is never reset, above rest, driven by ``n`` independent inputs that spike with
probability ``p = rate dt`` per step through weights of mean ``mu`` and variance ``var``:

    mean     = n mu p sum_k e_k                         e_k: response k steps after an input
    variance = n (var + mu^2) p (1 - p) sum_k e_k^2     over time, of an average neuron
    xi       = (distance of rest from threshold - mean) / sqrt(variance)

At xi from 1 to 3 spikes come from fluctuations: a neuron is neither silent nor saturated. The
response is that of the discrete rule itself, so that every convention gets the weights it needs.

Reference: Rossbroich, Gygax, Zenke, *Fluctuation-driven initialization for spiking neural network
training*, 2022, in continuous time, with Poisson inputs (1 in place of 1 - p).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax.nn.initializers import Initializer, variance_scaling

from flax_snn import checks
from flax_snn.dynamics import Neuron
from flax_snn.dynamics.response import LONGEST
from flax_snn.typing import Array, PRNGKey

__all__ = ["fluctuation_driven"]


def fluctuation_driven(
    dynamics: Neuron,
    *,
    rate: float,
    xi: float = 1.0,
    mean: float = 0.0,
    share: float = 1.0,
    recurrent: bool = False,
) -> Initializer:
    """Returns an initialiser of normal weights, for inputs of a known rate.

    >>> import flax.linen as nn, flax_snn as snn
    >>> lif = snn.LIFDynamics(tau_mem=20e-3, tau_syn=5e-3)
    >>> init = fluctuation_driven(lif, rate=10.0)
    >>> cell = snn.LIFCell(128, dynamics=lif, kernel_init=init)
    >>> conv = nn.Conv(16, (3, 3), kernel_init=init)  # in front of snn.LIF(dynamics=lif)

    A recurrent layer shares the fluctuations between its two kernels:

    >>> cell = snn.RecurrentLIFCell(
    ...     128,
    ...     dynamics=lif,
    ...     kernel_init=fluctuation_driven(lif, rate=10.0, share=0.9),
    ...     recurrent_kernel_init=fluctuation_driven(lif, rate=5.0, share=0.1, recurrent=True),
    ... )

    Where neurons have several synaptic channels, which the same inputs feed, each channel's block
    of the kernel brings an equal part. Means of different neurons differ in addition, by the
    weights they drew: the variance is that over time. Without a leak there is no stationary
    variance; such a membrane counts as forgetting in 1000 steps.

    Args:
      dynamics: the neuron that the weights drive.
      rate: expected rate of one input in Hz; with ``recurrent``, of the layer's own neurons.
      xi: distance of the mean membrane from threshold in standard deviations, 1 by default.
      mean: mean of the membrane in units of the distance of rest from threshold, 0 by default:
        0 is rest, 1 is threshold.
      share: part of the variance, and of the mean, that this kernel brings, all by default. The
        shares of all kernels that drive a layer add up to 1.
      recurrent: the kernel is that of the recurrent spikes, which may have a synapse of their own.

    Returns:
      An initialiser for kernels ``(..., in, out)``: of cells, ``nn.Dense`` and ``nn.Conv``. The
      number of inputs n is the product of all axes but the last.

    Raises:
      TypeError: not dynamics; a number is not a number.
      ValueError: a number outside its range; a rate of a spike per step or more; a neuron that
        does not respond to this input, or that fires by itself. The initialiser: a shape that is
        not that of a kernel, or too few inputs to bring the mean with so small a variance.
    """
    if not isinstance(dynamics, Neuron):
        raise TypeError(
            f"fluctuation_driven: expected dynamics such as LIFDynamics(), got {dynamics!r}"
        )
    p = checks.positive("rate", rate, unit="Hz") * dynamics.dt
    if p >= 1.0:
        raise ValueError(
            f"rate: expected less than one spike per step of {dynamics.dt!r} s, got {rate!r} Hz ="
            f" {p:.3g} spikes per step; rates are in Hz, dt in seconds"
        )
    xi = checks.positive("xi", xi)
    remedy = "1 is the threshold"
    mean = checks.in_range("mean", mean, None, 1.0, high_allowed=False, remedy=remedy)
    remedy = "1 is the whole variance"
    share = checks.in_range("share", share, 0.0, 1.0, low_allowed=False, remedy=remedy)

    coefficients = dynamics.coefficients()
    distance = dynamics.resting_distance(coefficients)
    threshold, rest = dynamics.threshold_of(coefficients), dynamics.resting_potential(coefficients)
    if threshold is not None and rest >= threshold:
        raise ValueError(
            f"fluctuation_driven: expected a neuron that rests below its threshold {threshold!r},"
            f" got a resting potential of {rest!r}: it fires without input; lower v_rest or bias"
        )
    channels = dynamics.channels(recurrent=recurrent)
    powers = [dynamics.membrane_power(k, longest=None) for k in channels]
    gains = [dynamics.membrane_gain(k, longest=None) for k in channels]
    known = all(math.isfinite(response) for response in (*powers, *gains, distance))
    if not known or min(powers) <= 0.0 or (mean != 0.0 and 0.0 in gains):
        raise ValueError(
            "fluctuation_driven: expected a neuron that responds to its input, got one whose"
            f" membrane gains {gains} from its synaptic channel(s)"
        )

    target = share * (distance * (1.0 - mean) / xi) ** 2
    # Mean of the weights of each channel, and what the means alone add to the variance: over n.
    centers = [share * mean * distance / (len(gains) * p * gain) if mean else 0.0 for gain in gains]
    entering = [0.0] * (max(channels) + 2)  # one more: a recurrent channel that is not fed
    for k, center in zip(channels, centers, strict=True):
        entering[k] = center
    white = p * (1.0 - p)
    brought = white * dynamics.membrane_power(tuple(entering), longest=None)
    spreads = [len(powers) * white * power for power in powers]

    def init(key: PRNGKey, shape: Any, dtype: Any = None, out_sharding: Any = None) -> Array:
        n = _fan_in(shape, len(channels))
        if brought > n * target:
            raise ValueError(
                f"fluctuation_driven: expected at least {math.ceil(brought / target)} inputs, with"
                f" which mean={mean!r} leaves a standard deviation of {(1.0 - mean) / xi:.3g}"
                f" (distance of the mean from threshold, over xi), got {n}; lower mean or xi"
            )
        scales = [(target - brought / n) / spread for spread in spreads]
        return _normal(scales, [center / n for center in centers], key, shape, dtype, out_sharding)

    return init


def fluctuating(
    dynamics: Neuron, *, spread: float, power: float, recurrent: bool = False
) -> Initializer:
    """Returns an initialiser of zero-mean weights, for inputs of known power per step.

    What the cells start from: `fluctuation_driven` where rates are known per step only.

    Args:
      dynamics: the neuron that the weights drive.
      spread: standard deviation of the membrane in units of its distance from threshold; that
        which the first channel brings, where there are several.
      power: variance of one input in one step: for spikes that are rare, their probability.
      recurrent: the kernel is that of the recurrent spikes.

    Returns:
      An initialiser for kernels ``(..., in, out)``; of variance 1 / n for a neuron that does not
      respond to its input. It raises a ValueError where the dtype cannot hold that variance.
    """
    coefficients = dynamics.coefficients()
    channel = dynamics.channels(recurrent=recurrent)[0]
    white = power * dynamics.membrane_power(channel, longest=LONGEST)
    size = spread * dynamics.resting_distance(coefficients)
    scale = size * size / white if white != 0.0 else 1.0

    def init(key: PRNGKey, shape: Any, dtype: Any = None, out_sharding: Any = None) -> Array:
        dtype = jnp.result_type(float) if dtype is None else dtype
        variance = scale / max(math.prod(shape[:-1]), 1)
        if not _holds(dtype, variance):
            raise ValueError(
                f"weights of {type(dynamics).__name__}: expected a variance that"
                f" {jnp.dtype(dtype).name} holds, got {variance:.3g}, with which inputs move the"
                f" membrane of {dynamics!r} to its threshold; check the units of its values, or"
                " give an initialiser (kernel_init=..., recurrent_kernel_init=...)"
            )
        return variance_scaling(scale, "fan_in", "normal")(key, shape, dtype, out_sharding)

    return init


def _holds(dtype: Any, value: float) -> bool:
    """Returns whether a number is neither zero nor infinite in a dtype."""
    with np.errstate(over="ignore", under="ignore"):
        rounded = float(np.asarray(value, jnp.dtype(dtype)))
    least = float(jnp.finfo(dtype).tiny) if jnp.finfo(dtype).bits >= 32 else 0.0
    return math.isfinite(rounded) and rounded > 0.0 and rounded >= least


def _fan_in(shape: Sequence[int], blocks: int) -> int:
    n = math.prod(shape[:-1])
    if len(shape) < 2 or n == 0:
        raise ValueError(
            "fluctuation_driven: expected the shape of a kernel, (..., in, out) with at least one"
            f" input, got {tuple(shape)}"
        )
    if shape[-1] % blocks:
        raise ValueError(
            f"fluctuation_driven: expected a last axis of {blocks} equal blocks, one per synaptic"
            f" channel, got shape {tuple(shape)}"
        )
    return n


def _normal(
    scales: Sequence[float],
    centers: Sequence[float],
    key: PRNGKey,
    shape: Sequence[int],
    dtype: Any,
    out_sharding: Any,
) -> Array:
    """Draws blocks of columns with the variances ``scale / n``, around the centers."""
    unit = variance_scaling(1.0, "fan_in", "normal")(key, shape, dtype, out_sharding)
    width = shape[-1] // len(scales)
    row = (1,) * (len(shape) - 1) + (-1,)

    def columns(values: Sequence[float]) -> Array:
        return jnp.repeat(jnp.asarray(values, unit.dtype), width).reshape(row)

    return unit * columns([math.sqrt(scale) for scale in scales]) + columns(centers)
