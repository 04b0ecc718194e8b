"""What adaptive neurons share: a fire test with a moving threshold, and the checks of fields."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any

import jax

from flax_snn import checks
from flax_snn.dynamics.kernel import namespace
from flax_snn.dynamics.neuron import Neuron
from flax_snn.dynamics.parameters import number, starting_potential
from flax_snn.dynamics.validity import checked_surrogate
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
    """Returns 1 where a membrane is above the threshold in force, with the surrogate as derivative.

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
    """Returns the input of a step with what the spikes of the step before add through the weights.

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
    """Returns ``exp(-dt / tau)``, NumPy or JAX as ``tau`` is."""
    return namespace(tau).exp(-dt / tau)


def time_constant_of(name: str, value: Any, dt: float) -> float:
    """Returns the time constant in seconds behind a decay ``0 < value < 1`` of a step.

    Raises:
      TypeError: not a number.
      ValueError: not between 0 and 1.
    """
    remedy = "a decay is exp(-dt / tau)"
    value = number(name, value, above=0.0, below=1.0, remedy=remedy)
    return -number("dt", dt, above=0.0, unit="seconds") / math.log(value)


def check_shared_fields(neuron: Any, *, resets: Sequence[str] = RESET_GRADIENTS) -> None:
    """Checks the fields that every adaptive neuron has, and stores numbers as floats.

    Args:
      neuron: the neuron, a frozen dataclass that is being made.
      resets: values that ``reset_gradient`` may have.

    Raises:
      TypeError: a field is not a number; the surrogate is not a `Surrogate`.
      ValueError: a field is not finite; the step is not above 0; an unknown ``reset_gradient``.
    """
    checks.fields(neuron, number, "dt", above=0.0, unit="seconds")
    checks.fields(neuron, starting_potential, "v_init")
    checks.fields(neuron, checked_surrogate, "surrogate")
    checks.fields(neuron, checks.choice, "reset_gradient", options=resets)


def check_ranges(neuron: Any, *names: str) -> None:
    """Checks numbers against their ranges, which are the fields ``<name>_range``.

    Raises:
      TypeError: not a number; a range that is not a pair of numbers.
      ValueError: a range that is not in order; a number outside its range.
    """
    kind = type(neuron).__name__
    checks.fields(neuron, number, *names)
    for name in names:
        field = f"{name}_range"
        ends = getattr(neuron, field)
        if not isinstance(ends, tuple | list) or len(ends) != 2:
            what = "a pair of numbers (least, largest)"
            raise TypeError(checks.error_text(f"{kind}: {field}", what, checks.shown(ends)))
        low, high = (number(f"{kind}: {field}[{k}]", end) for k, end in enumerate(ends))
        if low > high:
            raise ValueError(checks.error_text(f"{kind}: {field}", "least <= largest", ends))
        object.__setattr__(neuron, field, (low, high))
        remedy = f"give {field} to allow more"
        checks.fields(neuron, checks.in_range, name, low=low, high=high, remedy=remedy)


def named_values(neuron: Neuron, values: Any) -> dict[str, Any]:
    """Returns the values of a neuron by name, some of them replaced.

    Raises:
      TypeError: a name that the neuron does not have.
    """
    name = f"{type(neuron).__name__}.coefficients"
    checks.argument_names(name, values or (), [*neuron.learnable()])
    return neuron.values(values)
