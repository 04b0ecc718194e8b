"""Cross-entropy of class logits, and of the spikes or membranes that they are made of.

    L_b = log SUM_c exp z_bc - SUM_c q_bc z_bc,      q_bc = (1 - eps) [c = label(b)] + eps / C

with label smoothing eps, 0 by default; the loss is the mean over samples b.

Sources: Zenke and Vogels, The remarkable robustness of surrogate gradient learning for instilling
complex function in spiking neural networks, Neural Computation 33(4), 2021 (maximum over time);
Neftci, Mostafa and Zenke, Surrogate gradient learning in spiking neural networks, IEEE Signal
Processing Magazine 36(6), 2019; Szegedy et al., Rethinking the Inception architecture for computer
vision, CVPR 2016 (label smoothing).
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp

from flax_snn.losses.precision import wide
from flax_snn.losses.readout import Reduction, membrane_logits, spike_count_logits
from flax_snn.losses.validity import (
    check_classes,
    check_floating,
    check_labels,
    check_smoothing,
)
from flax_snn.typing import Array, Float, Int


def rate_coded_cross_entropy(
    spikes: Float[Array, "*B T N"],
    labels: Int[Array, "*B"],
    *,
    scale: float = 1.0,
    label_smoothing: float = 0.0,
    population: int = 1,
    per_sample: bool = False,
) -> Float[Array, "*B"] | Float[Array, ""]:
    """Mean softmax cross-entropy of the spike counts of output neurons.

        z_c = scale * SUM_t s_tc,      L = mean_b ( log SUM_c exp z_bc - z_b,label(b) )

    >>> import jax.numpy as jnp
    >>> spikes = jnp.array([[[1.0, 0.0], [1.0, 0.0]]])  # one sample, two steps, two classes
    >>> print(round(float(rate_coded_cross_entropy(spikes, jnp.array([0]))), 4))
    0.1269

    Args:
      spikes: spikes of the output neurons, N = C * P, floating, so that gradients exist.
      labels: class of each sample, 0 to C - 1. A label outside makes the loss NaN where it cannot
        be checked, under ``jit``.
      scale: factor from spikes to logits, 1 by default: each further spike of a neuron multiplies
        the odds of its class by e.
      label_smoothing: share eps of the target that is spread over all classes, 0 by default.
      population: neurons per class P, 1 by default; their counts add up, see `pool_population`.
      per_sample: return the loss of each sample instead of the mean.

    Returns:
      The loss in nats, float32 or wider.

    Raises:
      TypeError: spikes not floating, labels or population not integers.
      ValueError: no time axis, T = 0, C < 2, no samples, shapes that do not fit, a label outside,
        a number outside its range.
    """
    check_floating("spikes", spikes)
    logits = spike_count_logits(spikes, scale=scale, population=population)
    return softmax_cross_entropy(
        logits, labels, label_smoothing=label_smoothing, per_sample=per_sample
    )


def membrane_cross_entropy(
    v: Float[Array, "*B T N"],
    labels: Int[Array, "*B"],
    *,
    reduce: Reduction = "max",
    scale: float = 1.0,
    label_smoothing: float = 0.0,
    population: int = 1,
    per_sample: bool = False,
) -> Float[Array, "*B"] | Float[Array, ""]:
    """Mean softmax cross-entropy of the membranes of a readout that does not spike.

        z_c = scale * max_t v_tc   (or mean_t v_tc, or v_Tc)
        L   = mean_b ( log SUM_c exp z_bc - z_b,label(b) )

    >>> import jax.numpy as jnp
    >>> v = jnp.array([[[0.0, 0.0], [2.0, 0.0]]])  # one sample, two steps, two classes
    >>> print(round(float(membrane_cross_entropy(v, jnp.array([0]))), 4))
    0.1269

    Args:
      v: membrane potential of the readout neurons, N = C * P.
      labels: class of each sample, 0 to C - 1. A label outside makes the loss NaN where it cannot
        be checked, under ``jit``.
      reduce: ``max`` over time (default), ``mean`` over time, or the ``last`` step.
      scale: factor from membranes to logits, 1 by default.
      label_smoothing: share eps of the target that is spread over all classes, 0 by default.
      population: neurons per class P, 1 by default; their membranes are averaged in each step,
        see `pool_population`.
      per_sample: return the loss of each sample instead of the mean.

    Returns:
      The loss in nats, float32 or wider.

    Raises:
      TypeError: membranes not floating, labels or population not integers.
      ValueError: no time axis, T = 0, C < 2, no samples, shapes that do not fit, a label outside,
        an unknown reduction, a number outside its range.
    """
    logits = membrane_logits(v, reduce=reduce, scale=scale, population=population)
    return softmax_cross_entropy(
        logits, labels, label_smoothing=label_smoothing, per_sample=per_sample
    )


def softmax_cross_entropy(
    logits: Float[Array, "*B C"],
    labels: Int[Array, "*B"],
    *,
    label_smoothing: float = 0.0,
    per_sample: bool = False,
) -> Float[Array, "*B"] | Float[Array, ""]:
    """Mean over samples of ``log SUM_c exp z_c - SUM_c q_c z_c``, the cross-entropy with q.

        q_c = (1 - eps) [c = label] + eps / C

    >>> import jax.numpy as jnp
    >>> logits, labels = jnp.array([[2.0, 0.0], [2.0, 0.0]]), jnp.array([0, 1])
    >>> print(jnp.round(softmax_cross_entropy(logits, labels, per_sample=True), 4))
    [0.1269 2.1269]

    Args:
      logits: one number per class.
      labels: class of each sample, 0 to C - 1. A label outside makes the loss NaN where it cannot
        be checked, under ``jit``.
      label_smoothing: share eps in [0, 1) of the target that is spread over all classes, 0 (none)
        by default.
      per_sample: return the loss of each sample instead of the mean.

    Returns:
      The loss in nats, float32 or wider.

    Raises:
      TypeError: logits not floating, labels not integers.
      ValueError: C < 2, shapes that do not fit, no samples, a label outside, smoothing outside
        [0, 1).
    """
    check_floating("logits", logits)
    check_classes(logits)
    check_labels(logits, labels)
    check_smoothing(label_smoothing)
    logits = logits.astype(wide(logits))
    target = of_label(logits, labels)
    if label_smoothing:
        spread = jnp.mean(logits, axis=-1)
        target = (1.0 - label_smoothing) * target + label_smoothing * spread
    loss_B = jax.nn.logsumexp(logits, axis=-1) - target
    return loss_B if per_sample else jnp.mean(loss_B)


def of_label(x: Float[Array, "*B C"], labels: Int[Array, "*B"]) -> Float[Array, "*B"]:
    """Return the entry of each sample's label, NaN for a label outside 0 to C - 1."""
    # A negative index would count from the end; one past the end reads the fill value.
    index = jnp.where(labels < 0, x.shape[-1], labels)[..., None]
    return jnp.take_along_axis(x, index, axis=-1, mode="fill", fill_value=math.nan)[..., 0]
