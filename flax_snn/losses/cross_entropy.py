"""Cross-entropy of class logits, and of the spikes or membranes that they are made of.

    L_b = log SUM_c exp z_bc - SUM_c q_bc z_bc,      q_bc = (1 - eps) [c = label(b)] + eps / C

with label smoothing eps, 0 by default; the loss is the mean over samples b. What ``time_axis``,
``seq_lengths`` and ``mask`` mean stands in `flax_snn.sequence_mask`.

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

from flax_snn import checks
from flax_snn.losses.input_checks import check_classes, check_label_smoothing, check_labels
from flax_snn.losses.readout import Reduction, membrane_logits, spike_count_logits
from flax_snn.losses.reduction_dtype import reduction_dtype
from flax_snn.sequence_mask import SequenceLengths, StepMask, TimeSteps, time_steps
from flax_snn.typing import Array, Float, Int


def rate_coded_cross_entropy(
    spikes: Float[Array, "..."],
    labels: Int[Array, "*B"],
    *,
    scale: float = 1.0,
    label_smoothing: float = 0.0,
    population: int = 1,
    per_sample: bool = False,
    time_axis: int | None = None,
    seq_lengths: SequenceLengths | None = None,
    mask: StepMask | None = None,
) -> Float[Array, "*B"] | Float[Array, ""]:
    """Mean softmax cross-entropy of the spike counts of output neurons.

        z_c = scale * SUM_t s_tc,      L = mean_b ( log SUM_c exp z_bc - z_b,label(b) )

    >>> import jax.numpy as jnp
    >>> spikes = jnp.array([[[1.0, 0.0], [1.0, 0.0]]])  # one sample, two steps, two classes
    >>> print(round(float(rate_coded_cross_entropy(spikes, jnp.array([0]))), 4))
    0.1269

    Args:
      spikes: spikes of the output neurons ``(B, T, N)``, N = C * P, floating, so that gradients
        exist.
      labels: class of each sample, 0 to C - 1. A label outside makes the loss NaN where it cannot
        be checked, under ``jit``.
      scale: factor from spikes to logits, 1 by default: each further spike of a neuron multiplies
        the odds of its class by e.
      label_smoothing: share eps of the target that is spread over all classes, 0 by default.
      population: neurons per class P, 1 by default; their counts add up, see `pool_population`.
      per_sample: return the loss of each sample instead of the mean.
      time_axis: the time axis, by default that after the axes of the labels. With labels of each
        place, such as a pixel ``(B, H, W)``, name the time axis of ``(B, T, H, W, C)``: 1.
      seq_lengths: number of steps of each sample, ``(B,)``; all by default.
      mask: which steps are data, ``(B, T)``, instead of lengths.

    Returns:
      The loss in nats, float32 or wider. The mean leaves samples without data out.

    Raises:
      TypeError: spikes not floating, labels or population not integers.
      ValueError: no time axis, T = 0, C < 2, no samples, shapes, lengths or a mask that do not
        fit, a label outside, a number outside its range.
    """
    checks.floating("spikes", spikes)
    steps = time_steps(
        "spikes",
        spikes,
        time_axis=time_axis,
        seq_lengths=seq_lengths,
        mask=mask,
        labels=labels,
    )
    logits = spike_count_logits(
        output_neurons(spikes, labels, steps),
        scale=scale,
        population=population,
        time_axis=steps.axis,
        mask=steps.mask,
    )
    loss_B = _loss_of_each(logits, labels, label_smoothing)
    return steps.mean_over_samples(loss_B, per_sample=per_sample)


def membrane_cross_entropy(
    v: Float[Array, "..."],
    labels: Int[Array, "*B"],
    *,
    reduce: Reduction = "max",
    scale: float = 1.0,
    label_smoothing: float = 0.0,
    population: int = 1,
    per_sample: bool = False,
    time_axis: int | None = None,
    seq_lengths: SequenceLengths | None = None,
    mask: StepMask | None = None,
) -> Float[Array, "*B"] | Float[Array, ""]:
    """Mean softmax cross-entropy of the membranes of a readout that does not spike.

        z_c = scale * max_t v_tc   (or mean_t v_tc, or v_Tc)
        L   = mean_b ( log SUM_c exp z_bc - z_b,label(b) )

    >>> import jax.numpy as jnp
    >>> v = jnp.array([[[0.0, 0.0], [2.0, 0.0]]])  # one sample, two steps, two classes
    >>> print(round(float(membrane_cross_entropy(v, jnp.array([0]))), 4))
    0.1269

    Args:
      v: membrane potential of the readout neurons ``(B, T, N)``, N = C * P.
      labels: class of each sample, 0 to C - 1. A label outside makes the loss NaN where it cannot
        be checked, under ``jit``.
      reduce: ``max`` over time (default), ``mean`` over time, or the ``last`` step.
      scale: factor from membranes to logits, 1 by default.
      label_smoothing: share eps of the target that is spread over all classes, 0 by default.
      population: neurons per class P, 1 by default; their membranes are averaged in each step,
        see `pool_population`.
      per_sample: return the loss of each sample instead of the mean.
      time_axis: the time axis, by default that after the axes of the labels. With labels of each
        place, such as a pixel ``(B, H, W)``, name the time axis of ``(B, T, H, W, C)``: 1.
      seq_lengths: number of steps of each sample, ``(B,)``; all by default.
      mask: which steps are data, ``(B, T)``, instead of lengths.

    Returns:
      The loss in nats, float32 or wider. The mean leaves samples without data out.

    Raises:
      TypeError: membranes not floating, labels or population not integers.
      ValueError: no time axis, T = 0, C < 2, no samples, shapes, lengths or a mask that do not
        fit, a label outside, an unknown reduction, a number outside its range.
    """
    checks.floating("membranes", v)
    steps = time_steps(
        "membranes",
        v,
        time_axis=time_axis,
        seq_lengths=seq_lengths,
        mask=mask,
        labels=labels,
    )
    logits = membrane_logits(
        output_neurons(v, labels, steps),
        reduce=reduce,
        scale=scale,
        population=population,
        time_axis=steps.axis,
        mask=steps.mask,
    )
    loss_B = _loss_of_each(logits, labels, label_smoothing)
    return steps.mean_over_samples(loss_B, per_sample=per_sample)


def softmax_cross_entropy(
    logits: Float[Array, "*B C"],
    labels: Int[Array, "*B"],
    *,
    label_smoothing: float = 0.0,
    per_sample: bool = False,
    time_axis: int | None = None,
    seq_lengths: SequenceLengths | None = None,
    mask: StepMask | None = None,
) -> Float[Array, "..."]:
    """Mean over samples of ``log SUM_c exp z_c - SUM_c q_c z_c``, the cross-entropy with q.

        q_c = (1 - eps) [c = label] + eps / C

    Where each time step has logits and a label of its own, ``time_axis`` says so: the loss of a
    sample is then the mean over its steps.

    >>> import jax.numpy as jnp
    >>> logits, labels = jnp.array([[2.0, 0.0], [2.0, 0.0]]), jnp.array([0, 1])
    >>> print(jnp.round(softmax_cross_entropy(logits, labels, per_sample=True), 4))
    [0.1269 2.1269]

    Args:
      logits: one number per class, ``(*B, C)``, or ``(*B, T, C)`` with a time axis.
      labels: class of each sample, 0 to C - 1, ``(*B,)``, or of each step, ``(*B, T)``. A label
        outside makes the loss NaN where it cannot be checked, under ``jit``; labels of padding may
        have any value.
      label_smoothing: share eps in [0, 1) of the target that is spread over all classes, 0 (none)
        by default.
      per_sample: return the loss of each sample instead of the mean.
      time_axis: the time axis of the logits, such as -2. None (default): there is none.
      seq_lengths: number of steps of each sample, ``(*B,)``, with a time axis; all by default.
      mask: which steps are data, ``(*B, T)``, instead of lengths.

    Returns:
      The loss in nats, float32 or wider. The mean leaves samples without data out.

    Raises:
      TypeError: logits not floating, labels not integers.
      ValueError: C < 2, shapes, lengths or a mask that do not fit, no samples, a label outside,
        smoothing outside [0, 1), lengths or a mask without a time axis.
    """
    checks.floating("logits", logits)
    steps = optional_steps("logits", logits, time_axis, seq_lengths, mask)
    if steps is None:
        loss_B = _loss_of_each(logits, labels, label_smoothing)
        return loss_B if per_sample else jnp.mean(loss_B)
    is_data = steps.is_data(labels.shape) if labels.shape == logits.shape[:-1] else None
    loss_BxT = _loss_of_each(steps.without_padding(logits), labels, label_smoothing, is_data)
    return steps.mean_over_samples(steps.mean(loss_BxT), per_sample=per_sample)


def _loss_of_each(
    logits: Array, labels: Array, label_smoothing: float, is_data: Array | None = None
) -> Array:
    """Returns the cross-entropy of each sample; ``is_data`` says whose labels are checked."""
    check_classes("logits", logits)
    check_labels(logits, labels, is_data)
    check_label_smoothing(label_smoothing)
    logits = logits.astype(reduction_dtype(logits))
    target = of_label(logits, labels)
    if label_smoothing:
        spread = jnp.mean(logits, axis=-1)
        target = (1.0 - label_smoothing) * target + label_smoothing * spread
    return jax.nn.logsumexp(logits, axis=-1) - target


def output_neurons(x: Array, labels: Array, steps: TimeSteps) -> Array:
    """Returns outputs with their feature axes flattened into one where samples have one label.

    Where labels have more axes than the batch, as in a class for each pixel, only the last feature
    axis holds classes, and the array is returned as it is.
    """
    if labels.ndim > steps.axis or x.ndim == steps.axis + 2:
        return x
    return x.reshape(*x.shape[: steps.axis + 1], math.prod(x.shape[steps.axis + 1 :]))


def optional_steps(
    name: str,
    x: Array,
    time_axis: int | None,
    seq_lengths: SequenceLengths | None,
    mask: StepMask | None,
) -> TimeSteps | None:
    """Returns the time axis of predictions and which steps are data, or None without one.

    Raises:
      ValueError: lengths or a mask without a time axis; see also `time_steps`.
    """
    if time_axis is not None:
        return time_steps(name, x, time_axis=time_axis, seq_lengths=seq_lengths, mask=mask)
    for argument, value in (("seq_lengths", seq_lengths), ("mask", mask)):
        if value is not None:
            what, came = f"a time axis of {name}", "time_axis=None"
            raise ValueError(checks.error_text(argument, what, came, "say which axis is time"))
    return None


def of_label(x: Float[Array, "*B C"], labels: Int[Array, "*B"]) -> Float[Array, "*B"]:
    """Returns the entry of each sample's label, NaN for a label outside 0 to C - 1."""
    # A negative index would count from the end; one past the end reads the fill value.
    index = jnp.where(labels < 0, x.shape[-1], labels)[..., None]
    return jnp.take_along_axis(x, index, axis=-1, mode="fill", fill_value=math.nan)[..., 0]
