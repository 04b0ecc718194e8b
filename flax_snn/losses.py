"""Losses for classification, and the logits they are made of.

What a network returns, spikes or membranes ``(*B, T, C)``, is reduced over time to logits
``z (*B, C)``, one per class; the loss is the mean cross-entropy of their softmax,

    L = mean_b ( log SUM_c exp z_bc  -  z_b,label(b) )

    spike counts    z = scale * SUM_t s_t              `spike_count_logits`
    membranes       z = scale * max_t v_t              `membrane_logits`; or mean_t v_t, or v_T

The predicted class is the argmax of the logits; ties go to the lower class.

Source: Zenke and Vogels, The remarkable robustness of surrogate gradient learning for instilling
complex function in spiking neural networks, Neural Computation 33(4), 2021 (maximum over time);
Neftci, Mostafa and Zenke, Surrogate gradient learning in spiking neural networks, IEEE Signal
Processing Magazine 36(6), 2019.
"""

from __future__ import annotations

import math
from typing import Any, Literal

import jax
import jax.numpy as jnp

from flax_snn.typing import Array, Bool, Float, Int, Num

__all__ = [
    "membrane_cross_entropy",
    "membrane_logits",
    "rate_coded_cross_entropy",
    "softmax_cross_entropy",
    "spike_count_logits",
    "spike_rate_regularizer",
]

Reduction = Literal["max", "mean", "last"]

_REDUCTIONS = ("max", "mean", "last")


def rate_coded_cross_entropy(
    spikes: Float[Array, "*B T C"], labels: Int[Array, "*B"], *, scale: float = 1.0
) -> Float[Array, ""]:
    """Mean softmax cross-entropy of the spike counts of output neurons.

        z_c = scale * SUM_t s_tc,      L = mean_b ( log SUM_c exp z_bc - z_b,label(b) )

    >>> import jax.numpy as jnp
    >>> spikes = jnp.array([[[1.0, 0.0], [1.0, 0.0]]])  # one sample, two steps, two classes
    >>> print(round(float(rate_coded_cross_entropy(spikes, jnp.array([0]))), 4))
    0.1269

    Args:
      spikes: spikes of one output neuron per class, floating, so that gradients exist.
      labels: class of each sample, 0 to C - 1. A label outside makes the loss NaN where it cannot
        be checked, under ``jit``.
      scale: factor from spikes to logits, 1 by default: each further spike of a neuron multiplies
        the odds of its class by e.

    Returns:
      The loss in nats, float32 or wider.

    Raises:
      TypeError: spikes not floating, labels not integers.
      ValueError: no time axis, T = 0, C < 2, no samples, shapes that do not fit, a label outside.
    """
    _check_floating("spikes", spikes)
    return softmax_cross_entropy(spike_count_logits(spikes, scale=scale), labels)


def membrane_cross_entropy(
    v: Float[Array, "*B T C"],
    labels: Int[Array, "*B"],
    *,
    reduce: Reduction = "max",
    scale: float = 1.0,
) -> Float[Array, ""]:
    """Mean softmax cross-entropy of the membranes of a readout that does not spike.

        z_c = scale * max_t v_tc   (or mean_t v_tc, or v_Tc)
        L   = mean_b ( log SUM_c exp z_bc - z_b,label(b) )

    >>> import jax.numpy as jnp
    >>> v = jnp.array([[[0.0, 0.0], [2.0, 0.0]]])  # one sample, two steps, two classes
    >>> print(round(float(membrane_cross_entropy(v, jnp.array([0]))), 4))
    0.1269

    Args:
      v: membrane potential of one readout neuron per class.
      labels: class of each sample, 0 to C - 1. A label outside makes the loss NaN where it cannot
        be checked, under ``jit``.
      reduce: ``max`` over time (default), ``mean`` over time, or the ``last`` step.
      scale: factor from membranes to logits, 1 by default.

    Returns:
      The loss in nats, float32 or wider.

    Raises:
      TypeError: membranes not floating, labels not integers.
      ValueError: no time axis, T = 0, C < 2, no samples, shapes that do not fit, a label outside,
        an unknown reduction.
    """
    return softmax_cross_entropy(membrane_logits(v, reduce=reduce, scale=scale), labels)


def spike_count_logits(
    spikes: Num[Array, "*B T C"] | Bool[Array, "*B T C"], *, scale: float = 1.0
) -> Float[Array, "*B C"]:
    """Logits of a spiking output: ``scale * SUM_t s_t``.

    Args:
      spikes: spikes of one output neuron per class; floating, or recorded ones as bool, int8 or
        uint8. Summed in float32 or wider.
      scale: factor from spikes to logits, 1 by default.

    Returns:
      Logits; their argmax is the predicted class.

    Raises:
      TypeError: another dtype.
      ValueError: no time axis, T = 0, C < 2, a scale that is not a finite number > 0.
    """
    if spikes.dtype not in (jnp.bool_, jnp.int8, jnp.uint8):
        _check_floating("spikes", spikes)
    _check_output("spikes", spikes, scale)
    return scale * jnp.sum(spikes, axis=-2, dtype=_wide(spikes))


def membrane_logits(
    v: Float[Array, "*B T C"], *, reduce: Reduction = "max", scale: float = 1.0
) -> Float[Array, "*B C"]:
    """Logits of a readout that does not spike: its membranes, reduced over time.

    Args:
      v: membrane potential of one readout neuron per class.
      reduce: ``max`` over time (default), ``mean`` over time, or the ``last`` step.
      scale: factor from membranes to logits, 1 by default.

    Returns:
      Logits; their argmax is the predicted class.

    Raises:
      TypeError: membranes not floating.
      ValueError: no time axis, T = 0, C < 2, a scale that is not a finite number > 0, an unknown
        reduction.
    """
    if reduce not in _REDUCTIONS:
        raise ValueError(f"expected reduce to be one of {_REDUCTIONS}, got {reduce!r}; name one")
    _check_floating("membranes", v)
    _check_output("membranes", v, scale)
    v = v.astype(_wide(v))
    if reduce == "last":
        return scale * v[..., -1, :]
    return scale * (jnp.max(v, axis=-2) if reduce == "max" else jnp.mean(v, axis=-2))


def softmax_cross_entropy(
    logits: Float[Array, "*B C"], labels: Int[Array, "*B"]
) -> Float[Array, ""]:
    """Mean over samples of ``log SUM_c exp z_c - z_label``.

    Args:
      logits: one number per class.
      labels: class of each sample, 0 to C - 1. A label outside makes the loss NaN where it cannot
        be checked, under ``jit``.

    Returns:
      The loss in nats.

    Raises:
      TypeError: labels not integers.
      ValueError: shapes that do not fit, no samples, a label outside.
    """
    _check_labels(logits, labels)
    classes = logits.shape[-1]
    # A negative index would count from the end; one past the end reads the fill value.
    index = jnp.where(labels < 0, classes, labels)[..., None]
    chosen = jnp.take_along_axis(logits, index, axis=-1, mode="fill", fill_value=math.nan)[..., 0]
    return jnp.mean(jax.nn.logsumexp(logits, axis=-1) - chosen)


def spike_rate_regularizer(
    spikes: Float[Array, "*B T N"], dt: float, *, lower: float = 0.0, upper: float = math.inf
) -> Float[Array, ""]:
    """Penalty on neurons whose mean firing rate lies outside a band.

        r_n = mean_b,t s_btn / dt
        L   = mean_n ( max(0, lower - r_n)^2 + max(0, r_n - upper)^2 )

    A lower bound wakes silent neurons, an upper bound keeps activity sparse. Multiply by a small
    strength before adding it to another loss: 10 Hz too many cost 100.

    Args:
      spikes: spikes of a layer.
      dt: length of a time step in seconds.
      lower: rate in Hz below which a neuron is penalised, 0 (never) by default.
      upper: rate in Hz above which a neuron is penalised, infinite (never) by default.

    Returns:
      The penalty in Hz^2.

    Raises:
      TypeError: spikes not floating.
      ValueError: no time axis, T = 0, no samples or neurons, dt <= 0, bounds that are not
        0 <= lower <= upper.

    Source: Zenke and Vogels, 2021, whose regularisers count spikes per trial instead of Hz.
    """
    _check_floating("spikes", spikes)
    if spikes.ndim < 2 or spikes.size == 0:
        raise ValueError(
            f"expected spikes (*B, T, N) with no empty axis, got shape {spikes.shape}; give at"
            " least one sample, time step and neuron"
        )
    if not (_is_number(dt) and 0 < dt < math.inf):
        raise ValueError(f"expected dt to be a number of seconds > 0, got {dt!r}")
    if not (_is_number(lower) and _is_number(upper) and 0 <= lower <= upper and lower < math.inf):
        raise ValueError(
            f"expected 0 <= lower <= upper in Hz, got lower={lower!r}, upper={upper!r}"
        )
    axes = tuple(range(spikes.ndim - 1))
    rate_N = jnp.mean(spikes, axis=axes, dtype=_wide(spikes)) / dt
    outside_N = jax.nn.relu(lower - rate_N) + jax.nn.relu(rate_N - upper)
    return jnp.mean(jnp.square(outside_N))


def _wide(x: Array) -> Any:
    """Dtype to reduce in: float32, or that of the array where it is wider."""
    wider = jnp.issubdtype(x.dtype, jnp.floating) and jnp.finfo(x.dtype).bits > 32
    return x.dtype if wider else jnp.float32


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _check_floating(name: str, x: Array) -> None:
    if not jnp.issubdtype(x.dtype, jnp.floating):
        raise TypeError(
            f"expected {name} of a floating dtype, got {x.dtype}; convert with .astype(jnp.float32)"
        )


def _check_output(name: str, x: Array, scale: float) -> None:
    if x.ndim < 2:
        raise ValueError(
            f"expected {name} (*B, T, C), got shape {x.shape}: there is no time axis; give the"
            " whole sequence, batch axes first"
        )
    if x.shape[-2] == 0:
        raise ValueError(f"expected at least one time step, got T = 0 in shape {x.shape}")
    if x.shape[-1] < 2:
        raise ValueError(
            f"expected at least 2 classes on the last axis, got {x.shape[-1]} in shape {x.shape}"
        )
    if not (_is_number(scale) and 0 < scale < math.inf):
        raise ValueError(f"expected scale to be a finite number > 0, got {scale!r}")


def _check_labels(logits: Array, labels: Array) -> None:
    if not jnp.issubdtype(labels.dtype, jnp.integer):
        raise TypeError(
            f"expected labels as integers, got {labels.dtype}; give class numbers, not one-hot rows"
        )
    if logits.ndim < 1 or labels.shape != logits.shape[:-1]:
        raise ValueError(
            f"expected one label per sample, shape {logits.shape[:-1]} for an output of"
            f" {logits.shape[-1:]} classes, got labels of shape {labels.shape}"
        )
    if labels.size == 0:
        raise ValueError("expected at least one sample, got an empty batch")
    if not isinstance(labels, jax.core.Tracer):
        low, high = int(jnp.min(labels)), int(jnp.max(labels))
        if low < 0 or high >= logits.shape[-1]:
            raise ValueError(
                f"expected labels from 0 to {logits.shape[-1] - 1}, got {low} to {high}; give the"
                " output one neuron per class"
            )
