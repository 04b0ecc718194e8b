"""The checks of integrate-and-fire dynamics: numbers and switches that contradict each other."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from flax_snn import checks
from flax_snn.dynamics.parameters import LIFParameters, number
from flax_snn.dynamics.rule import Coefficients, Rule, per_channel
from flax_snn.surrogate import Surrogate

if TYPE_CHECKING:
    from flax_snn.dynamics.base import Dynamics


def check_dynamics(dynamics: Dynamics) -> None:
    """Checks that numbers and switches of dynamics do not contradict each other.

    Raises:
      ValueError: a contradiction, or a coefficient that is not finite.
    """
    if dynamics.spikes != (dynamics.rule.fire != "none"):
        kind, other = type(dynamics).__name__, "LIDynamics" if dynamics.spikes else "LIFDynamics"
        raise ValueError(f"{kind}: a rule with fire={dynamics.rule.fire!r} belongs to {other}")
    _check_euler(dynamics)
    coefficients = dynamics.coefficients()
    for name, value in leaves(coefficients).items():
        number(f"coefficient {name}", value)
    if dynamics.spikes:
        _check_threshold(dynamics.rule, coefficients)
        dynamics.surrogate.check_threshold("threshold", coefficients.theta)


def checked_surrogate(name: str, surrogate: Any) -> Surrogate:
    """Returns a surrogate derivative.

    Raises:
      TypeError: not a `Surrogate`, such as the function that makes one.
    """
    remedy = "call the function that makes it" if callable(surrogate) else ""
    what = "a Surrogate, such as superspike(slope=10)"
    made: Surrogate = checks.instance(name, surrogate, Surrogate, what=what, remedy=remedy)
    return made


def check_reset_potential(parameters: LIFParameters, reset: str, fire: str) -> None:
    """Checks that a membrane does not fire again at once when it is reset or refractory.

    Constructors of conventions leave this out where the framework itself allows it.

    Raises:
      ValueError: a reset potential above the threshold, or at it if ``fire`` is not ``>``.
    """
    v_reset, above = parameters.v_reset, parameters.v_reset - parameters.threshold
    goes_there = reset == "hard" or parameters.refractory > 0.0
    if goes_there and (above > 0.0 or (above == 0.0 and fire != ">")):
        raise ValueError(
            f"v_reset: expected a potential that does not fire, threshold {parameters.threshold!r}"
            f" with fire={fire!r}, got {v_reset!r}: the neuron would fire in every step"
        )


def check_structure(rule: Rule, coefficients: Coefficients) -> None:
    """Checks that given coefficients contain everything that the rule uses.

    Raises:
      ValueError: no threshold, no gain from the input, another number of synaptic channels.
    """
    if rule.fire != "none" and coefficients.theta is None:
        raise ValueError(
            "coefficient theta: expected a threshold for a neuron that spikes, got None"
        )
    for name in ("beta", "g", "c_old", "c_new"):
        values = per_channel(getattr(coefficients, name), rule.all_channels)
        if len(values) != rule.all_channels:
            raise ValueError(
                f"coefficient {name}: expected {rule.all_channels} value(s), one per synaptic"
                f" channel, got {len(values)}"
            )
    gain = {"direct": "c_x", "jump": "c_x", "old": "c_old", "new": "c_new"}[rule.entry]
    if getattr(coefficients, gain) == 0.0:
        raise ValueError(
            f"coefficient {gain}: expected the gain of the input for entry={rule.entry!r}, got 0"
        )


def leaves(coefficients: Coefficients) -> dict[str, float]:
    """Returns all numbers that are given, by name; ``beta[1]`` is that of the second channel."""
    found: dict[str, float] = {}
    for field in dataclasses.fields(coefficients):
        value = getattr(coefficients, field.name)
        if isinstance(value, tuple):
            found |= {f"{field.name}[{k}]": v for k, v in enumerate(value)}
        elif value is not None:
            found[field.name] = value
    return found


def _check_euler(dynamics: Dynamics) -> None:
    how, parameters = dynamics.rule.discretization, dynamics.parameters
    if dynamics.given is not None or how is None or how.decay != "euler" or parameters is None:
        return
    shortest = min((parameters.tau_mem, *parameters.synapses))
    if dynamics.dt >= shortest:
        raise ValueError(
            f"dt: Euler steps need dt below every time constant, got dt={dynamics.dt!r} s and a"
            f" time constant of {shortest!r} s; use a smaller dt or discretization='exact'"
        )


def _check_threshold(rule: Rule, c: Coefficients) -> None:
    if rule.fire == "floor" and c.theta <= 0.0:
        raise ValueError(
            f"threshold: fire='floor' counts v / threshold and needs a threshold > 0, got"
            f" {c.theta!r}"
        )
    if rule.reset == "hard" and c.v_reset > c.theta:
        raise ValueError(
            f"v_reset: expected a potential at or below the threshold {c.theta!r}, got"
            f" {c.v_reset!r}: the neuron would fire in every step"
        )
    if rule.reset_time == "give-back" and rule.reset == "hard" and c.v_reset != 0.0:
        raise ValueError(f"v_reset: reset_time='give-back' resets to 0 only, got {c.v_reset!r}")
    if c.v_min is not None and c.v_min > c.theta:
        raise ValueError(
            f"v_min: expected a lower bound at or below the threshold {c.theta!r}, got {c.v_min!r}"
        )
