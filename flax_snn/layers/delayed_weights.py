"""Weights with delays: their parameters, and what arrives through them.

    y[t, j] = bias_j + SUM_i w_ij SUM_k g_ij[k] x[t - k, i],     k = 0 .. max_delay

with the taps g of `delay_taps`. A delay belongs to a synapse (d_ij), to the axon of an input (d_i)
or to the dendrite of a neuron (d_j). With the last two, inputs or currents are filtered in time and
multiplied by the weights once; with the first, every tap has weights of its own.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any, Literal

import flax.linen as nn
import jax.numpy as jnp
from jax.nn.initializers import Initializer

from flax_snn import checks
from flax_snn.layers.delay_taps import (
    SHAPES,
    TapShape,
    check_sigma,
    delay_taps,
    rounded_delays,
    rounded_taps,
)
from flax_snn.layers.delay_width import COLLECTION
from flax_snn.layers.delayed_product import METHODS, Method, delayed_product, filtered, shifted
from flax_snn.typing import Array

KINDS = ("synapse", "axon", "dendrite")
Kind = Literal["synapse", "axon", "dendrite"]


@dataclasses.dataclass(frozen=True)
class Spread:
    """How the delays of a layer are spread over the time grid.

    Attributes:
      max_delay: largest delay in steps.
      kind: ``synapse``, ``axon`` or ``dendrite``.
      sigma: first width in steps.
      learn_sigma: whether every delay learns a width of its own.
      shape: ``gaussian`` or ``triangular``.
      epsilon: is added to the sum that normalises the taps.
    """

    max_delay: int
    kind: Kind
    sigma: float | None
    learn_sigma: bool
    shape: TapShape
    epsilon: float

    @property
    def first_sigma(self) -> float:
        """Width in steps at the beginning: the one given, or half of the largest delay."""
        return max(self.max_delay / 2, 0.5) if self.sigma is None else self.sigma

    def sizes(self, inputs: int, outputs: int) -> tuple[int, ...]:
        """Returns the shape of the delays of a kernel ``(inputs, outputs)``."""
        return {"synapse": (inputs, outputs), "axon": (inputs,), "dendrite": (outputs,)}[self.kind]


def check_spread(name: str, module: Any) -> Spread:
    """Returns what a module says of its delays.

    Raises:
      TypeError: a value of the wrong type.
      ValueError: a value outside of its range.
    """
    remedy = "it is the largest delay in time steps, 0 for no delay"
    checks.whole_number(f"{name}: max_delay", module.max_delay, 0, remedy=remedy)
    checks.choice(f"{name}: kind", module.kind, KINDS)
    checks.choice(f"{name}: tap_shape", module.tap_shape, SHAPES)
    checks.choice(f"{name}: implementation", getattr(module, "implementation", "auto"), METHODS)
    checks.non_negative(f"{name}: epsilon", module.epsilon)
    for switch in ("learn_sigma", "rounded"):
        checks.boolean(f"{name}: {switch}", getattr(module, switch))
    if module.sigma is not None:
        checks.number(f"{name}: sigma", module.sigma, unit="steps")
        check_sigma(f"{name}: sigma", module.sigma, ())
    if module.delay_init is not None and not callable(module.delay_init):
        raise TypeError(
            checks.error_text(
                f"{name}: delay_init",
                "an initialiser, a function (key, shape, dtype)",
                checks.shown(module.delay_init),
                "give nn.initializers.constant(array) for given delays",
            )
        )
    return Spread(
        module.max_delay,
        module.kind,
        module.sigma,
        module.learn_sigma,
        module.tap_shape,
        module.epsilon,
    )


def wider(first: Any, second: Any) -> Any:
    """Returns the floating dtype with more bits, the first one of two that have as many."""
    return first if jnp.finfo(first).bits >= jnp.finfo(second).bits else second


def uniform_delays(max_delay: int) -> Initializer:
    """Returns an initialiser of delays that are uniform over the whole range."""
    return nn.initializers.uniform(float(max_delay)) if max_delay else nn.initializers.zeros_init()


class Delays(nn.Module):
    """The delays of a kernel, and their widths; shares the scope of its layer.

    Attributes:
      spread: how they are spread over the time grid.
      delay_init: initialiser of the delays in steps.
      dtype: dtype of the delays.
      prefix: what the names of the variables begin with.
    """

    spread: Spread
    delay_init: Initializer
    dtype: Any
    prefix: str = ""

    @nn.compact
    def of(self, inputs: int, outputs: int, rounded: bool, sigma: Any = None) -> Array:
        """Returns the taps of a kernel ``(inputs, outputs)``, with K in front of the delays.

        Integer steps, one for each axon or dendrite, come back where the delays are rounded and do
        not belong to synapses.
        """
        spread, shape = self.spread, self.spread.sizes(inputs, outputs)
        delay = self.param(f"{self.prefix}delay", self.delay_init, shape, self.dtype)
        checks.shape(f"{self.prefix}delay", delay, shape, remedy="delay_init made another shape")
        known = checks.known_values(delay)
        if known is not None and self.is_initializing():
            _check_range(f"{self.prefix}delay", known, spread.max_delay)
        width = self._width(shape, sigma, rounded)
        if rounded:
            if spread.kind == "synapse":
                return rounded_taps(delay, spread.max_delay)
            return rounded_delays(delay, spread.max_delay)
        return delay_taps(
            delay, width, spread.max_delay, shape=spread.shape, epsilon=spread.epsilon
        )

    def _width(self, shape: tuple[int, ...], sigma: Any, rounded: bool) -> Any:
        name, first = f"{self.prefix}sigma", self.spread.first_sigma
        if self.spread.learn_sigma:
            if sigma is not None:
                raise ValueError(
                    checks.error_text(
                        name, "no value, since it is learned", checks.shown(sigma), "leave it out"
                    )
                )
            log_width = self.param(
                f"log_{name}", nn.initializers.constant(math.log(first)), shape, self.dtype
            )
            return jnp.exp(log_width)
        if self.is_initializing():
            self.variable(COLLECTION, name, jnp.asarray, first, jnp.float32)
        if sigma is not None:
            check_sigma(name, sigma, shape)
            return sigma
        if rounded:
            return None
        if not self.has_variable(COLLECTION, name):
            where = "/".join(self.scope.path) if self.scope and self.scope.path else "(top level)"
            raise ValueError(
                f"{where}: expected the width of the delays in the collection {COLLECTION!r}, got"
                " none; pass on what init returned, with the width that snn.layers.with_sigma sets,"
                " give the layer sigma=..., or evaluate with rounded=True, which needs no width"
            )
        value: Any = self.get_variable(COLLECTION, name)
        check_sigma(name, value, shape)
        return value


def _check_range(name: str, delay: Any, max_delay: int) -> None:
    if delay.size and not (delay.min() >= 0 and delay.max() <= max_delay):
        what = f"delays from 0 to {max_delay} steps, which is max_delay"
        came = f"{delay.min()} to {delay.max()}"
        remedy = "initialise them inside of this range, or give a larger max_delay"
        raise ValueError(checks.error_text(name, what, came, remedy))


def arrived(
    window: Array,
    kernel: Array,
    taps: Array,
    kind: Kind,
    max_delay: int,
    method: Method = "auto",
) -> Array:
    """Returns what arrives through delayed weights.

    Args:
      window: ``(B, max_delay + T, F)``, the inputs before the sequence and those of it, in the
        dtype of the products.
      kernel: weights ``(F, N)`` in the dtype of the parameters.
      taps: what `Delays.of` returned.
      kind: what a delay belongs to.
      max_delay: largest delay in steps.
      method: how the product is computed.

    Returns:
      Currents ``(B, T, N)``.
    """
    if kind == "synapse":
        wide = taps * kernel.astype(taps.dtype)[None]  # taps are never narrower than weights
        return delayed_product(window, wide.astype(window.dtype), method)
    kernel = kernel.astype(window.dtype)
    if not jnp.issubdtype(taps.dtype, jnp.integer):
        taps = taps.astype(window.dtype)
        if kind == "dendrite":
            return filtered(window, taps, method, kernel)
        return jnp.matmul(filtered(window, taps, method), kernel)
    if kind == "dendrite":
        return shifted(jnp.matmul(window, kernel), taps, max_delay)
    return jnp.matmul(shifted(window, taps, max_delay), kernel)
