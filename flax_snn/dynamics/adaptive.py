"""What adaptive neurons share: a fire test with a moving threshold, and the checks of fields."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from flax_snn.dynamics.kernel import namespace
from flax_snn.dynamics.neuron import Neuron
from flax_snn.dynamics.parameters import number
from flax_snn.surrogate import Surrogate
from flax_snn.typing import Array, Float, Projection, Scalar

RESET_GRADIENTS = ("stop", "flow")
"""Whether the gradient through the spikes of a reset is stopped."""


@functools.partial(jax.custom_jvp, nondiff_argnums=(1, 2))
def adaptive_spike(
    v: Float[Array, "*B N"],
    surrogate: Surrogate | None,
    inclusive: bool,
    limit: Array,
    theta: Array,
) -> Float[Array, "*B N"]:
    """Return 1 where a membrane is above the threshold in force, with the surrogate as derivative.

    The surrogate sees the distance from the threshold in force, but scales with the base threshold,
    as in Bellec et al. 2020; that scale is a constant of the derivative.

    Args:
      v: membrane potential ``(*B, N)``.
      surrogate: derivative ``ds/dv``; that with respect to ``limit`` is its negative.
      inclusive: whether a membrane at its threshold spikes, too.
      limit: threshold in force, the adaptation included.
      theta: base threshold, which ``limit`` includes.

    Returns:
      Spikes 0 and 1 in the dtype of ``v``.
    """
    return (v >= limit if inclusive else v > limit).astype(v.dtype)


@adaptive_spike.defjvp
def _adaptive_spike_jvp(surrogate: Any, inclusive: bool, primals: Any, tangents: Any) -> Any:
    if surrogate is None:
        raise ValueError("spike: expected a surrogate, since spikes are differentiated, got None")
    v, limit, theta = primals
    dv, dlimit, _ = tangents
    h = surrogate(v - limit + theta, theta)
    return adaptive_spike(v, surrogate, inclusive, limit, theta), h * (dv - dlimit)


def with_feedback(current: Array, recurrent: Projection | None, spikes: Array | None) -> Array:
    """Return the input of a step with what the spikes of the step before add through the weights.

    Raises:
      ValueError: recurrent weights, but a state that does not remember its spikes.
    """
    if recurrent is None:
        return current
    if spikes is None:
        raise ValueError(
            "state: expected spikes s of the step before for the recurrent weights, got None; start"
            " from initial_state(v_init, recurrent=True)"
        )
    return current + recurrent(spikes)


def decay(dt: float, tau: Scalar) -> Scalar:
    """Return ``exp(-dt / tau)``, NumPy or JAX as ``tau`` is."""
    return namespace(tau).exp(-dt / tau)


def time_constant_of(name: str, value: Any, dt: float) -> float:
    """Return the time constant in seconds behind a decay ``0 < value < 1`` of a step.

    Raises:
      TypeError: not a number.
      ValueError: not between 0 and 1.
    """
    value = number(name, value)
    if not 0.0 < value < 1.0:
        raise ValueError(
            f"{name}: expected a decay between 0 and 1, as exp(-dt / tau) is, got {value!r}"
        )
    return -number("dt", dt, positive=True, unit="seconds") / math.log(value)


def settle(neuron: Any, *, seconds: Sequence[str] = (), numbers: Sequence[str] = ()) -> None:
    """Check the fields that every adaptive neuron has, and store them as floats.

    Args:
      neuron: the neuron, a frozen dataclass that is being made.
      seconds: fields that are time constants, besides ``dt``.
      numbers: fields that are any finite number.

    Raises:
      TypeError: a field is not a number; the surrogate is none.
      ValueError: a field is not finite, or a time constant is not above 0.
    """
    values: dict[str, Any] = {}
    for name in ("dt", *seconds):
        values[name] = number(name, getattr(neuron, name), positive=True, unit="seconds")
    for name in numbers:
        values[name] = number(name, getattr(neuron, name))
    start = neuron.v_init
    if isinstance(start, tuple | list | np.ndarray) and np.ndim(start) > 0:
        values["v_init"] = tuple(number(f"v_init[{k}]", v) for k, v in enumerate(start))
    else:
        values["v_init"] = number("v_init", start)
    for name, value in values.items():
        object.__setattr__(neuron, name, value)
    if not isinstance(neuron.surrogate, Surrogate):
        raise TypeError(
            "surrogate: expected a Surrogate such as superspike(slope=10), called, got"
            f" {neuron.surrogate!r}"
        )


def above_zero(neuron: Any, *names: str, or_zero: bool = False) -> None:
    """Raise a ValueError where a named number is not above 0, or 0 where that will do."""
    for name in names:
        value = getattr(neuron, name)
        if value < 0.0 or (value == 0.0 and not or_zero):
            raise ValueError(
                f"{name}: expected a number {'>=' if or_zero else '>'} 0, got {value!r}"
            )


def one_of(name: str, value: Any, options: Sequence[str]) -> None:
    """Raise a ValueError where a switch has none of its values."""
    if not isinstance(value, str) or value not in options:
        raise ValueError(f"{name}: expected one of {', '.join(options)}, got {value!r}")


def within(neuron: Any, name: str) -> None:
    """Check a number against the range that stands in the field ``<name>_range``.

    Raises:
      TypeError: the range is no pair of numbers.
      ValueError: the range is not in order, or the number lies outside.
    """
    field = f"{name}_range"
    ends = getattr(neuron, field)
    if not isinstance(ends, tuple | list) or len(ends) != 2:
        raise TypeError(f"{field}: expected a pair of numbers (least, largest), got {ends!r}")
    low, high = (number(f"{field}[{k}]", end) for k, end in enumerate(ends))
    object.__setattr__(neuron, field, (low, high))
    if low > high:
        raise ValueError(f"{field}: expected least <= largest, got {ends!r}")
    value = getattr(neuron, name)
    if not low <= value <= high:
        raise ValueError(
            f"{name}: expected a number from {low:g} to {high:g}, got {value!r}; give {field} to"
            " allow more"
        )


def named_values(neuron: Neuron, values: Any) -> dict[str, Any]:
    """Return the values of a neuron by name, some of them replaced.

    Raises:
      TypeError: a name that the neuron does not have.
    """
    known = neuron.learnable()
    for name in values or ():
        if name not in known:
            raise TypeError(
                f"{type(neuron).__name__}.coefficients: expected names among {', '.join(known)},"
                f" got {name!r}"
            )
    return neuron.values(values)
