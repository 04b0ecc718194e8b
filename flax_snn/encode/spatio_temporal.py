"""Spatio-temporal code: one spike per value, the later the larger the value is.

    t = t_early + v (t_late - t_early)          v in [0, 1]

A neuron that counts early spikes for more hears a small value well and a large one hardly; mirrored
inputs 1 - v make up for that. A bias spike at a fixed time tells a network when a sample began.

Sources: Göltz et al., Fast and energy-efficient neuromorphic deep learning with first-spike times,
Nature Machine Intelligence 3, 2021; Wunderlich and Pehle, Event-based backpropagation can compute
exact gradients for spiking neural networks, Scientific Reports 11, 2021.
"""

from __future__ import annotations

import jax.numpy as jnp

from flax_snn import checks
from flax_snn.encode.intensities import check_intensities, nan_where_not
from flax_snn.typing import Array, Float

__all__ = ["spatio_temporal"]

_SHIFT = "shift the times so that the first is at 0 or later"


def spatio_temporal(
    x: Float[Array, "*B D"],
    *,
    t_early: float,
    t_late: float,
    mirror: bool = True,
    bias_time: float | None = 0.0,
) -> Float[Array, "*B F"]:
    """Encodes values as spike times, one per value, per mirrored value and for a bias.

    There are F = D times, or 2 D with mirrored values, and one more with a bias.

        features    x_1 .. x_D,  then  1 - x_1 .. 1 - x_D   with `mirror`
        times       t_early + v (t_late - t_early)  of each,  then  `bias_time`

    Published settings for Yin-Yang, in units of the synaptic time constant tau_syn:

        Göltz et al., DelGrad     t_early = 0.15,  t_late = 2,   no bias
        Wunderlich and Pehle      t_early = 0,     t_late = 6,   bias at 0    (30 ms, tau_syn 5 ms)
        jaxsnn                    t_early = 0,     t_late = 2,   bias at 0

    Args:
      x: values from 0 to 1, floating point: (*B, D). Under ``jit`` or ``grad``, where a value
        outside cannot be an error, its spikes are at NaN.
      t_early: time of value 0 in seconds, >= 0.
      t_late: time of value 1 in seconds, later than `t_early`.
      mirror: append 1 - x, as by default. Turn it off for data that hold mirrored features
        already, as those of `snn.datasets.yin_yang` do.
      bias_time: time of the bias spike in seconds, >= 0, 0 by default; None for no bias.

    Returns:
      Times in seconds, not sorted, of the dtype of `x`: (*B, F). Differentiable in `x`.

    Raises:
      TypeError: `x` is not of a floating type, or `mirror` not a bool.
      ValueError: no feature axis, a value outside [0, 1] or NaN, or times that are negative, not
        finite or in the wrong order.

    Example:
      >>> import jax.numpy as jnp
      >>> from flax_snn.encode import spatio_temporal
      >>> times = spatio_temporal(jnp.array([[0.0, 0.25]]), t_early=0.0, t_late=8e-3)
      >>> jnp.round(1e3 * times).tolist()  # x, y, 1 - x, 1 - y, bias
      [[0.0, 2.0, 8.0, 6.0, 0.0]]
    """
    t_early = checks.non_negative("t_early", t_early, unit="seconds", remedy=_SHIFT)
    t_late = checks.non_negative("t_late", t_late, unit="seconds", remedy=_SHIFT)
    if t_late <= t_early:
        raise ValueError(
            f"t_late: expected seconds later than t_early={t_early!r}, got {t_late!r}; t_early is"
            " the time of the value 0, and t_late that of the value 1"
        )
    checks.boolean("mirror", mirror)
    check_intensities(x, highest=1.0)
    x = nan_where_not((x >= 0) & (x <= 1), x)
    features = jnp.concatenate([x, 1 - x], axis=-1) if mirror else x
    times = t_early + features * (t_late - t_early)
    if bias_time is None:
        return times
    bias_time = checks.non_negative("bias_time", bias_time, unit="seconds", remedy=_SHIFT)
    return jnp.concatenate([times, jnp.full((*x.shape[:-1], 1), bias_time, x.dtype)], axis=-1)
