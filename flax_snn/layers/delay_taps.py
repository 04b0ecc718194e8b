"""Delays on the time grid as taps: how much of the input of k steps ago arrives now.

A connection with delay d, in steps from 0 to K - 1, has K taps g[k]. While delays are learned they
are spread over neighbouring steps, such that the loss is differentiable in the delay:

    gaussian     g[k] = exp(-(k - d)^2 / (2 sigma^2)) / (sum over k + epsilon)
    triangular   g[k] = max(0, 1 + sigma - |k - d|) / (sum over k + epsilon)

and in the network that is evaluated and deployed one tap is left: g[k] = 1 at k = round(d), half to
even.

Hammouamri et al., *Learning delays in spiking neural networks using dilated convolutions with
learnable spacings*, 2024; Khalfaoui-Hassani et al., *Dilated convolution with learnable spacings*,
2023, whose package ``dcls`` adds epsilon = 1e-7 and 0.27 to sigma, and counts positions from the
middle of the kernel, backwards: ``d = (K - 1) - K // 2 - P``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from flax_snn import checks
from flax_snn.typing import Array, Float

__all__ = ["SHAPES", "TapShape", "clip_delays", "delay_taps", "rounded_delays", "rounded_taps"]


def __dir__() -> list[str]:
    return __all__


TapShape = Literal["gaussian", "triangular"]
SHAPES = ("gaussian", "triangular")

NAMES = ("delay", "recurrent_delay")
"""Names of parameters that are delays in steps."""


def delay_taps(
    delay: Float[Array | np.ndarray, "*D"],
    sigma: Any,
    max_delay: int,
    *,
    shape: TapShape = "gaussian",
    epsilon: float = 0.0,
) -> Float[Array, "K *D"]:
    """Returns the taps of delays that are spread over neighbouring steps.

    A delay outside of the range counts as the end that it lies beyond, and the gradient there is
    that of a delay at the end: it is neither halved nor stopped by the clipping.

    >>> from flax_snn.layers import delay_taps
    >>> import jax.numpy as jnp
    >>> [round(float(g), 3) for g in delay_taps(jnp.array([1.0]), sigma=0.5, max_delay=2)[:, 0]]
    [0.107, 0.787, 0.107]

    Args:
      delay: delays in steps, any shape.
      sigma: width in steps, greater than 0: a number, or an array of the shape of the delays.
      max_delay: largest delay in steps, K - 1.
      shape: ``gaussian``, or ``triangular`` of half width 1 + sigma (which allows a sigma of 0).
      epsilon: is added to the sum that normalises the taps. With the default, 0, a Gaussian may be
        as narrow as one likes: its largest tap is never lost to underflow.

    Returns:
      Taps by lag, with one axis of K in front of those of the delays, in the dtype of the delays.

    Raises:
      ValueError: a width that is not positive, where its value is known; widths of another shape;
        a negative epsilon; an unknown shape.
      TypeError: delays that are not of a floating dtype.
    """
    checks.whole_number("max_delay", max_delay, 0, remedy="it is K - 1 for K taps")
    checks.choice("shape", shape, SHAPES)
    checks.non_negative("epsilon", epsilon)
    checks.floating("delay", delay, remedy="integer delays have rounded_taps")
    check_sigma("sigma", sigma, np.shape(delay), zero_allowed=shape == "triangular")
    delay = jnp.asarray(delay)
    sigma = jnp.asarray(sigma, delay.dtype)
    sigma = sigma.reshape((1,) * (delay.ndim + 1 - sigma.ndim) + sigma.shape)
    center = delay + jax.lax.stop_gradient(jnp.clip(delay, 0, max_delay) - delay)
    lags = jnp.arange(max_delay + 1, dtype=delay.dtype).reshape((-1,) + (1,) * delay.ndim)
    distance = lags - center[None]
    if shape == "gaussian":
        exponent = -0.5 * (distance / sigma) ** 2
        if epsilon == 0:
            return jax.nn.softmax(exponent, axis=0)
        taps = jnp.exp(exponent)
    else:
        taps = jnp.maximum(0.0, 1 + sigma - jnp.abs(distance))
    return taps / (jnp.sum(taps, axis=0, keepdims=True) + epsilon)


def rounded_delays(delay: Float[Array | np.ndarray, "*D"], max_delay: int) -> Array:
    """Returns delays as whole steps, int32: the nearest from 0 to ``max_delay``, half to even."""
    return jnp.clip(jnp.round(jnp.asarray(delay)), 0, max_delay).astype(jnp.int32)


def rounded_taps(
    delay: Float[Array | np.ndarray, "*D"], max_delay: int, dtype: Any = None
) -> Float[Array, "K *D"]:
    """Returns the taps of delays rounded to whole steps: 1 at the delay, 0 elsewhere.

    >>> from flax_snn.layers import rounded_taps
    >>> import jax.numpy as jnp
    >>> rounded_taps(jnp.array([1.5]), max_delay=2)[:, 0].tolist()  # half to even
    [0.0, 0.0, 1.0]

    Args:
      delay: delays in steps, any shape.
      max_delay: largest delay in steps, K - 1.
      dtype: dtype of the taps; by default that of the delays, float32 for integers.
    """
    delay = jnp.asarray(delay)
    if dtype is None:
        dtype = delay.dtype if jnp.issubdtype(delay.dtype, jnp.floating) else jnp.float32
    lags = jnp.arange(max_delay + 1, dtype=jnp.int32).reshape((-1,) + (1,) * delay.ndim)
    return (lags == rounded_delays(delay, max_delay)[None]).astype(dtype)


def clip_delays(params: Mapping[str, Any], max_delay: int) -> Any:
    """Returns parameters whose delays have been moved back into the range from 0 to ``max_delay``.

    A layer counts a delay outside of the range as the end of it, so that nothing breaks when an
    optimiser moves it there; but a delay that has moved far out needs as many updates to come back.
    Call this after each update, as the recipe of dilated convolutions with learnable spacings does.

    >>> import flax_snn as snn, jax.numpy as jnp
    >>> snn.layers.clip_delays({"delay": jnp.array([-3.0, 2.5, 99.0])}, max_delay=20)["delay"]
    Array([ 0. ,  2.5, 20. ], dtype=float32)

    Args:
      params: parameters of a layer, or of layers with the same range; those named ``delay`` and
        ``recurrent_delay`` are delays.
      max_delay: largest delay in steps.
    """
    checks.whole_number("max_delay", max_delay, 0)

    def clipped(path: Any, leaf: Any) -> Any:
        is_delay = any(getattr(key, "key", None) in NAMES for key in path)
        return jnp.clip(leaf, 0, max_delay) if is_delay else leaf

    return jax.tree_util.tree_map_with_path(clipped, params)


def check_sigma(
    name: str, sigma: Any, shape: tuple[int, ...], *, zero_allowed: bool = False
) -> None:
    """Checks the width of taps: positive where its value is known, one or one for each delay.

    Raises:
      ValueError: another shape, not positive, not finite.
    """
    remedy = (
        "anneal it down to about 0.5, and use rounded=True for single taps: a width of 0 has no"
        " gradient"
    )
    if np.shape(sigma) != ():
        checks.shape(name, sigma, shape, remedy="give one width, or one for each delay")
    known = checks.known_values(sigma)
    if known is None or not known.size:
        return
    worst = known.min() if np.isfinite(known).all() else known[~np.isfinite(known)].flat[0]
    checks.in_range(name, float(worst), 0.0, None, low_allowed=zero_allowed, remedy=remedy)
