"""Losses that ask output neurons to fire at given times, or by a margin after the label neuron.

    targets   L = mean_b mean_n ((t_bn - target_bn) / tau)^2
    margin    L = mean_b 1/2 SUM_n ((t_bn - t_b,label - margin [n != label]) / tau)^2

Times are in seconds and come exactly from an event simulation, or from a raster by
`first_spike_times`. There is no time axis, so nothing here takes the lengths of sequences. A silent
neuron has the time infinity; `flax_snn.losses.silence` says which time a loss gives it.

Sources: Göltz et al., DelGrad: Exact event-based gradients for training delays and weights on
spiking neuromorphic hardware, Nature Communications 16, 2025 (margin); Müller et al., jaxsnn:
Event-driven gradient estimation for analog neuromorphic hardware, NICE 2024 (targets).
"""

from __future__ import annotations

import math

import jax.numpy as jnp
import numpy as np

from flax_snn import checks
from flax_snn.losses.cross_entropy import of_label
from flax_snn.losses.input_checks import check_classes, check_labels
from flax_snn.losses.reduction_dtype import reduction_dtype
from flax_snn.losses.silence import check_silent_time, check_times, replace_silent_times
from flax_snn.typing import Array, Float, Int


def target_times(
    labels: Int[Array, "*B"], classes: int, *, early: float, late: float
) -> Float[Array, "*B C"]:
    """Target times of output neurons: ``early`` for the neuron of the label, ``late`` for others.

    jaxsnn takes 0.9 and 1.1 of the synaptic time constant.

    >>> import jax.numpy as jnp
    >>> ms = 1e3 * target_times(jnp.array([1]), 3, early=2e-3, late=4e-3)
    >>> jnp.round(ms, 3).tolist()
    [[4.0, 2.0, 4.0]]

    Args:
      labels: class of each sample, 0 to C - 1. The targets of a label outside are NaN where it
        cannot be refused, under ``jit``.
      classes: C, at least 2.
      early: time in seconds of the label neuron, > 0.
      late: time in seconds of all others, later than ``early``.

    Returns:
      Times in seconds, in JAX's default floating dtype.

    Raises:
      TypeError: labels or classes not integers.
      ValueError: fewer than 2 classes, no samples, a label outside, times that are not finite, not
        > 0 or in the wrong order.
    """
    if not checks.is_whole_number(classes):
        remedy = "give the number of classes"
        raise TypeError(checks.error_text("classes", "an integer", repr(classes), remedy))
    checks.positive("early", early, unit="seconds")
    checks.positive("late", late, unit="seconds")
    if late <= early:
        what, remedy = f"a time after early={early!r} s", "the label neuron is to fire first"
        raise ValueError(checks.error_text("late", what, repr(late), remedy))
    class_BxC = jnp.broadcast_to(jnp.arange(classes, dtype=jnp.int32), (*labels.shape, classes))
    check_classes("classes", class_BxC)
    check_labels(class_BxC, labels)
    label_Bx1 = labels.astype(jnp.int32)[..., None]
    targets = jnp.where(class_BxC == label_Bx1, jnp.asarray(early, float), late)
    return jnp.where((label_Bx1 >= 0) & (label_Bx1 < classes), targets, math.nan)


def mean_squared_spike_time(
    times: Float[Array, "*B N"],
    targets: Float[Array, "*B N"],
    *,
    tau: float,
    silent_time: float | None = None,
    per_sample: bool = False,
) -> Float[Array, "*B"] | Float[Array, ""]:
    """Mean over samples and neurons of ``((t - target) / tau)^2``.

    A silent neuron, of time infinity, makes the loss infinity, and has gradient 0; all gradients
    stay finite. Give ``silent_time`` for a finite loss, and wake the neuron by other means.

    >>> import jax.numpy as jnp
    >>> times, targets = jnp.array([[4e-3, 9e-3]]), jnp.array([[4e-3, 5e-3]])  # seconds
    >>> print(round(float(mean_squared_spike_time(times, targets, tau=4e-3)), 4))
    0.5

    Args:
      times: spike time of each output neuron in seconds, infinity for a silent one.
      targets: when each should fire, in seconds, as from `target_times`.
      tau: unit of time in which the error is squared, in seconds; as a rule a time constant of the
        neuron.
      silent_time: time in seconds at which a silent neuron counts instead of infinity, such as the
        end of the window, no earlier than any spike. None (infinity) by default.
      per_sample: return the loss of each sample, its mean over neurons, instead of the mean.

    Returns:
      The loss, without unit, float32 or wider.

    Raises:
      TypeError: times or targets not floating.
      ValueError: shapes that differ, an empty axis, tau or silent_time that is not a finite number
        > 0, times of NaN or below 0, targets that are not finite, a spike after silent_time.
    """
    check_times(times)
    checks.floating("targets", targets)
    checks.positive("tau", tau, unit="seconds")
    checks.shape("targets", targets, times.shape, remedy="give one per output neuron")
    if (known := checks.known_values(targets)) is not None and not np.isfinite(known).all():
        remedy = "a neuron that should stay silent has no target time: give it a late one"
        raise ValueError(checks.error_text("targets", "finite times", "infinity or NaN", remedy))
    check_silent_time(times, silent_time)
    dtype = reduction_dtype(times, targets)
    error_BxN = (
        replace_silent_times(times, silent_time).astype(dtype) - targets.astype(dtype)
    ) / tau
    loss_B = jnp.mean(jnp.square(error_BxN), axis=-1)
    return loss_B if per_sample else jnp.mean(loss_B)


def spike_time_margin(
    times: Float[Array, "*B C"],
    labels: Int[Array, "*B"],
    *,
    margin: float,
    tau: float,
    silent_time: float | None = None,
    per_sample: bool = False,
) -> Float[Array, "*B"] | Float[Array, ""]:
    """Squared deviation of each class's spike from ``margin`` after that of the label neuron.

        L = mean_b 1/2 SUM_n ((t_bn - t_b,label - margin [n != label]) / tau)^2

    Only differences of times count: when the label neuron fires is free, and so is the time of a
    network as a whole. A neuron that fires later than the margin is drawn back, too.

    A sample with a silent neuron, of time infinity, has the loss infinity. What silence touches,
    the term of a silent neuron or all terms of a silent label, has gradient 0. Give
    ``silent_time`` for a finite loss, and wake the neuron by other means.

    >>> import jax.numpy as jnp
    >>> times = jnp.array([[4e-3, 5e-3, 8e-3]])  # seconds; the second is 1 ms short of the margin
    >>> loss = spike_time_margin(times, jnp.array([0]), margin=2e-3, tau=1e-3)
    >>> print(round(float(loss), 3))  # ((1 - 2)^2 + (4 - 2)^2) / 2
    2.5

    Args:
      times: spike time of each output neuron in seconds, infinity for a silent one.
      labels: class of each sample, 0 to C - 1. A label outside makes the loss NaN where it cannot
        be refused, under ``jit``.
      margin: by how much the others should fire later, in seconds, > 0. DelGrad takes 0.2 of the
        synaptic time constant.
      tau: unit of time in which the deviation is squared, in seconds.
      silent_time: as in `mean_squared_spike_time`.
      per_sample: return the loss of each sample instead of the mean.

    Returns:
      The loss, without unit, float32 or wider.

    Raises:
      TypeError: times not floating, labels not integers.
      ValueError: C < 2, no samples, shapes that do not fit, a label outside, a margin, tau or
        silent_time that is not a finite number > 0, times of NaN or below 0, a spike after
        silent_time.
    """
    check_times(times)
    check_classes("times", times)
    check_labels(times, labels)
    checks.positive("margin", margin, unit="seconds")
    checks.positive("tau", tau, unit="seconds")
    check_silent_time(times, silent_time)
    times_BxC = replace_silent_times(times.astype(reduction_dtype(times)), silent_time)
    label_Bx1 = of_label(times_BxC, labels)[..., None]
    class_C = jnp.arange(times.shape[-1], dtype=labels.dtype)
    is_label_BxC = labels[..., None] == jnp.broadcast_to(class_C, times.shape)
    silent_BxC = jnp.isposinf(times_BxC) | jnp.isposinf(label_Bx1)
    # Infinity minus infinity is NaN, and so is its gradient even where it is not selected.
    lag_BxC = jnp.where(silent_BxC, 0.0, times_BxC) - jnp.where(silent_BxC, 0.0, label_Bx1)
    error_BxC = (lag_BxC - jnp.where(is_label_BxC, 0.0, margin)) / tau
    loss_B = 0.5 * jnp.sum(jnp.where(silent_BxC, math.inf, jnp.square(error_BxC)), axis=-1)
    return loss_B if per_sample else jnp.mean(loss_B)
