"""Surrogate derivatives of the spike.

A spike is a step of the membrane potential, whose derivative is zero almost everywhere. Training
replaces that derivative, and only it, by a surrogate

    ds/dv = h(v, theta),        u = v - theta

while the forward value stays the exact step that the dynamics define. A surrogate here is the
function ``h`` and nothing else: frozen, hashable, safe as a field of a Flax module, and
differentiable again without NaN: second derivatives at kinks are 0, and derivatives far from the
threshold have the value of their limit, for every membrane that floating point can hold.

Overview: Neftci, Mostafa, Zenke, *Surrogate gradient learning in spiking neural networks*, 2019.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from flax_snn import checks
from flax_snn.typing import Array, Float, Scalar

__all__ = [
    "Surrogate",
    "arctan",
    "custom",
    "fast_sigmoid",
    "gaussian",
    "piecewise_linear",
    "relu_grad",
    "sigmoid",
    "single_exponential",
    "step_pwl",
    "straight_through",
    "superspike",
    "triangular",
]

Derivative = Callable[..., Array]


def __dir__() -> list[str]:
    return __all__


@dataclasses.dataclass(frozen=True)
class Surrogate:
    """A surrogate derivative with its parameters; calling it evaluates ``ds/dv``.

    Two surrogates with the same name, function and parameters are equal and hash alike, so jitted
    functions are not compiled again.

    >>> import flax_snn as snn
    >>> h = snn.surrogate.superspike(slope=10.0)
    >>> float(h(1.0, 1.0))
    1.0
    >>> h
    superspike(slope=10.0)

    Attributes:
      name: name of the constructor.
      derivative: ``derivative(v, theta, **parameters)``, element by element.
      parameters: names and values of the parameters, sorted by name.
      above: potential that the threshold has to lie above, since the derivative is divided by their
        difference; None if any threshold is possible.
    """

    name: str
    derivative: Derivative
    parameters: tuple[tuple[str, float], ...] = ()
    above: float | None = None

    def __call__(
        self, v: Float[Array, "*shape"] | float, theta: Float[Array, "*#shape"] | float = 1.0
    ) -> Float[Array, "*shape"]:
        """Evaluates the derivative ``ds/dv``.

        Args:
          v: membrane potential at the fire test, any shape.
          theta: threshold, broadcasts against ``v``.

        Returns:
          ``ds/dv``, shape of ``v``, in 1/(unit of ``v``).
        """
        return self.derivative(jnp.asarray(v), theta, **dict(self.parameters))

    def check_threshold(self, name: str, theta: Float[np.ndarray, "..."] | float | None) -> None:
        """Checks that thresholds are possible with this surrogate.

        Args:
          name: name of the threshold, for the error.
          theta: one threshold, or one per neuron; None, of a neuron without any, always passes.

        Raises:
          ValueError: a threshold at which the derivative would be divided by 0, in float32, or
            would change its sign.
        """
        if self.above is None or theta is None:
            return
        least = np.finfo(np.float32).tiny
        values = np.asarray(theta, np.float64).ravel()
        bad = values.astype(np.float32) - np.float32(self.above) < least
        if bad.any():
            raise ValueError(
                checks.error_text(
                    name,
                    f"a threshold > {self.above:g}, since {self!r} is divided by the difference",
                    f"{values[bad][0]:g}",
                    "raise it, or take another surrogate such as superspike()",
                )
            )

    def __repr__(self) -> str:
        """Shows the call that makes this surrogate."""
        return f"{self.name}({', '.join(f'{k}={v!r}' for k, v in self.parameters)})"


def _positive(**parameters: float) -> tuple[tuple[str, float], ...]:
    """Returns names and values of the parameters, sorted by name; all are finite and above 0."""
    return tuple(
        sorted(
            (name, checks.positive(f"surrogate: {name}", value))
            for name, value in parameters.items()
        )
    )


def _abs(x: Array) -> Array:
    """Returns ``|x|`` with the derivative 0 at 0, where that of ``jnp.abs`` is 1."""
    return x * jnp.sign(x)


def _squared(x: Array) -> Array:
    """Returns ``x^2``, at most the largest finite number, where the derivative is 0.

    An infinite square, times the derivative 0 of what becomes of it, would be NaN.
    """
    most = jnp.asarray(math.sqrt(float(jnp.finfo(x.dtype).max)), x.dtype)
    return jnp.square(jax.lax.clamp(-most, x, most))


_EXPONENT = 1000.0
"""Where ``exp(-x)`` is 0 in float64, and so in every narrower type."""


def superspike(slope: float = 10.0) -> Surrogate:
    """SuperSpike, the derivative of a fast sigmoid: ``h = 1 / (1 + slope |u|)^2``.

    Height 1 at threshold, whatever the slope. ``fast_sigmoid`` is the same function.

    Args:
      slope: steepness in 1/(unit of v). 10 in the rate-coded tutorial and in Zenke & Vogels 2021,
        25 in snnTorch, Spyx, jaxpike; Norse 1.1.0 ignores its own and computes slope 1.

    Reference: Zenke & Ganguli, *SuperSpike: supervised learning in multilayer spiking neural
    networks*, 2018.
    """
    return Surrogate("superspike", _superspike, _positive(slope=slope))


def _superspike(v: Array, theta: Scalar, slope: float) -> Array:
    root = 1.0 / (1.0 + slope * _abs(v - theta))
    return root * root


fast_sigmoid = superspike


def sigmoid(slope: float = 4.0) -> Surrogate:
    """Derivative of a logistic function: ``h = slope * sig(slope u) * (1 - sig(slope u))``.

    Height ``slope / 4``, area 1.

    Args:
      slope: steepness in 1/(unit of v). 4 in SpikingJelly.

    Reference: Zenke & Vogels, *The remarkable robustness of surrogate gradient learning*, 2021.
    """
    return Surrogate("sigmoid", _sigmoid, _positive(slope=slope))


def _sigmoid(v: Array, theta: Scalar, slope: float) -> Array:
    value = jax.nn.sigmoid(slope * (v - theta))
    return slope * value * (1.0 - value)


def arctan(alpha: float = 2.0) -> Surrogate:
    """Derivative of an arctangent: ``h = (alpha / 2) / (1 + (pi alpha u / 2)^2)``.

    Height ``alpha / 2``, area 1. The factor 1/pi of snnTorch's docstring is not in its code, nor
    here.

    Args:
      alpha: steepness in 1/(unit of v). 2 in snnTorch, SpikingJelly, jaxpike.

    Reference: Fang et al., *Incorporating learnable membrane time constant to enhance learning of
    spiking neural networks*, 2021.
    """
    return Surrogate("arctan", _arctan, _positive(alpha=alpha))


def _arctan(v: Array, theta: Scalar, alpha: float) -> Array:
    return (alpha / 2.0) / (1.0 + _squared((math.pi * alpha / 2.0) * (v - theta)))


def piecewise_linear(slope: float = 1.0, scale: float = 0.3) -> Surrogate:
    """Piecewise linear: ``h = scale * max(0, 1 - slope |u|)``.

    Args:
      slope: 1/half-width of the triangle in 1/(unit of v).
      scale: height at threshold; 0.3 damps the gradient through many steps.

    Reference: Esser et al., *Convolutional networks for fast, energy-efficient neuromorphic
    computing*, 2016; scale 0.3 from Bellec et al., *Long short-term memory and learning-to-learn
    in networks of spiking neurons*, 2018.
    """
    return Surrogate("piecewise_linear", _piecewise_linear, _positive(slope=slope, scale=scale))


def _piecewise_linear(v: Array, theta: Scalar, slope: float, scale: float) -> Array:
    return scale * jax.nn.relu(1.0 - slope * _abs(v - theta))


def triangular(width: float = 1.0) -> Surrogate:
    """Triangle of area 1: ``h = max(0, 1 - |u| / width) / width``.

    Args:
      width: half-width of the triangle in the unit of v.

    Reference: Neftci, Mostafa, Zenke, *Surrogate gradient learning in spiking neural networks*,
    2019, figure 3 (piecewise linear).
    """
    return Surrogate("triangular", _triangular, _positive(width=width))


def _triangular(v: Array, theta: Scalar, width: float) -> Array:
    return jax.nn.relu(1.0 - _abs(v - theta) / width) / width


def gaussian(width: float = 0.5) -> Surrogate:
    """Gaussian density of area 1: ``h = exp(-u^2 / (2 width^2)) / (width sqrt(2 pi))``.

    Args:
      width: standard deviation in the unit of v.

    Reference: Yin, Corradi, Bohte, *Accurate and efficient time-domain classification with
    adaptive spiking recurrent neural networks*, 2021.
    """
    return Surrogate("gaussian", _gaussian, _positive(width=width))


def _gaussian(v: Array, theta: Scalar, width: float) -> Array:
    return jnp.exp(-0.5 * _squared((v - theta) / width)) / (width * math.sqrt(2.0 * math.pi))


def straight_through() -> Surrogate:
    """Straight-through estimator: ``h = 1`` everywhere.

    Reference: Bengio, Leonard, Courville, *Estimating or propagating gradients through stochastic
    neurons for conditional computation*, 2013.
    """
    return Surrogate("straight_through", _straight_through)


def _straight_through(v: Array, theta: Scalar) -> Array:
    return jnp.ones_like(v - theta)


def single_exponential(width: float = 0.5, scale: float = 1.0) -> Surrogate:
    """Exponential on both sides: ``h = scale / (width theta) * exp(-|u| / (width theta))``.

    Needs a threshold above 0: the width scales with it.

    Args:
      width: decay length in units of the threshold. 0.5 in sinabs.
      scale: factor of the whole. 1 in sinabs.

    Reference: Shrestha & Orchard, *SLAYER: spike layer error reassignment in time*, 2018; default
    of sinabs.
    """
    parameters = _positive(width=width, scale=scale)
    return Surrogate("single_exponential", _single_exponential, parameters, above=0.0)


def _single_exponential(v: Array, theta: Scalar, width: float, scale: float) -> Array:
    length = width * theta
    distance = _abs(v - theta) / length
    most = jnp.asarray(_EXPONENT, distance.dtype)
    return scale / length * jnp.exp(-jax.lax.clamp(-most, distance, most))


def step_pwl(window: float = 0.5) -> Surrogate:
    """Half-open step: ``h = 1 / theta`` where ``v >= theta - window``, else 0; no upper limit.

    The derivative of the spike count ``v / theta`` of a neuron that may spike several times in a
    step, opened ``window`` below the threshold. Needs a threshold above 0.

    Args:
      window: how far below the threshold the gradient still flows, in the unit of v. 0.5 in
        Rockpool.

    Reference: Weidel & Sheik, *WaveSense: efficient temporal convolutions with spiking neural
    networks for keyword spotting*, 2021; default of Rockpool.
    """
    return Surrogate("step_pwl", _step_pwl, _positive(window=window), above=0.0)


def _step_pwl(v: Array, theta: Scalar, window: float) -> Array:
    return jnp.where(v >= theta - window, 1.0, 0.0).astype(v.dtype) / theta


def relu_grad(height: float = 0.3, width: float = 1.0, v_reset: float = 0.0) -> Surrogate:
    """Triangle in units of ``theta - v_reset``: ``h = max(0, height (width - |y|)) / (theta - v_reset)``.

    ``y = u / (theta - v_reset)``.

    Args:
      height: slope of the sides; the peak is ``height * width``. 0.3 in BrainPy.
      width: half-width in units of ``theta - v_reset``. 1 in BrainPy.
      v_reset: reset potential that sets the scale, in the unit of v; below the threshold.

    Reference: ``ReluGrad`` of BrainPy; Neftci, Mostafa, Zenke 2019.
    """  # noqa: E501
    v_reset = checks.number("surrogate: v_reset", v_reset)
    parameters = (*_positive(height=height, width=width), ("v_reset", v_reset))
    return Surrogate("relu_grad", _relu_grad, tuple(sorted(parameters)), above=v_reset)


def _relu_grad(v: Array, theta: Scalar, height: float, width: float, v_reset: float) -> Array:
    span = theta - v_reset
    return jax.nn.relu(height * (width - _abs((v - theta) / span))) / span


def custom(derivative: Derivative, **parameters: float) -> Surrogate:
    """Makes a surrogate of your own function ``derivative(v, theta, **parameters) -> ds/dv``.

    The function works element by element with ``jax.numpy`` and is defined at module level (a
    fresh lambda in every call would make every call a new surrogate, and compile anew).

    >>> import jax.numpy as jnp, flax_snn as snn
    >>> def box(v, theta, half_width):
    ...     return jnp.where(jnp.abs(v - theta) < half_width, 0.5 / half_width, 0.0)
    >>> h = snn.surrogate.custom(box, half_width=0.25)
    >>> float(h(1.1, 1.0)), float(h(2.0, 1.0))
    (2.0, 0.0)

    Args:
      derivative: the function.
      **parameters: numbers passed to it by name.

    Raises:
      TypeError: ``derivative`` is not callable, or a parameter is not a number.
      ValueError: the function does not return the shape of ``v``.
    """
    if not callable(derivative):
        raise TypeError(
            f"custom surrogate: expected a function (v, theta) -> ds/dv, got {derivative!r}"
        )
    values = {
        name: checks.number(f"custom surrogate: {name}", value)
        for name, value in parameters.items()
    }
    probe = jax.ShapeDtypeStruct((2, 3), jnp.float32)
    try:
        shape = jax.eval_shape(lambda v, theta: derivative(v, theta, **values), probe, probe).shape
    except TypeError as error:
        raise TypeError(
            "custom surrogate: expected a function of two arguments, membrane and threshold, (v,"
            f" theta{''.join(f', {name}' for name in values)}) -> ds/dv, got {derivative!r}; a call"
            f" of it says: {error}"
        ) from error
    if shape != (2, 3):
        raise ValueError(
            f"custom surrogate: expected ds/dv of the shape of v, (2, 3) in a trial, got {shape}"
        )
    name = f"custom:{getattr(derivative, '__name__', type(derivative).__name__)}"
    return Surrogate(name, derivative, tuple(sorted(values.items())))
