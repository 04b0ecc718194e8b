"""Dynamics as text: the update equation with its numbers, and the call that makes them."""

from __future__ import annotations

import inspect
from typing import Any

from flax_snn.dynamics.rule import DISCRETIZATIONS, Coefficients, Rule, per_channel
from flax_snn.representation import call_text
from flax_snn.surrogate import superspike
from flax_snn.typing import Scalar


def describe(name: str, rule: Rule, coefficients: Coefficients, dt: float) -> str:
    """Returns the update of one step as text, every coefficient with its value.

    Args:
      name: heading.
      rule: the switches.
      coefficients: the numbers.
      dt: length of a step in seconds.

    Returns:
      Lines, without a newline at the end.
    """
    lines = [f"{name}, step of {dt:g} s"]
    delayed = rule.reset != "none" and rule.reset_time != "same"
    if delayed or rule.emit == "old":
        lines.append(f"r     = {_test(rule, coefficients, 'v')}")
    if delayed and rule.reset_site == "state":
        lines.append(f"v     = {_reset(rule, coefficients, 'v', 'r')}{_gradient(rule, 'r')}")
    decays = per_channel(coefficients.beta, rule.all_channels)
    gains = per_channel(coefficients.g, rule.all_channels)
    for k, (beta, g) in enumerate(zip(decays, gains, strict=True)):
        current = _input_name(rule, k)
        lines.append(f"{_label(rule, k)}_new = {beta:g} {_label(rule, k)} + {_times(g, current)}")
    lines.append(f"{'v_new' if rule.fire == 'none' else 'v_int'} = {_sum(rule, coefficients)}")
    if delayed and rule.reset_site == "sum":
        lines.append(f"v_int = {_reset(rule, coefficients, 'v_int', 'r')}{_gradient(rule, 'r')}")
    if rule.hold:
        lines.append(
            f"v_int = {coefficients.v_reset:g} for {rule.hold} step(s) after that of a spike"
        )
    if rule.fire != "none":
        old = rule.emit == "old"
        lines.append(f"s     = {'r' if old else _test(rule, coefficients, 'v_int')}")
        lines.append(f"v_new = {_after(rule, coefficients)}")
    if coefficients.v_min is not None:
        lines.append(f"v_new = max(v_new, {coefficients.v_min:g})")
    return "\n  ".join(lines).replace("+ -", "- ")


def constructor_call(dynamics: Any) -> str | None:
    """Returns the call of the constructor that makes equal dynamics, or None if there is none.

    Arguments that are at their default are left out. Dynamics that are given as coefficients, and
    those with switches that the constructor does not have, have no such call.
    """
    # Errors may show dynamics that are still being made, which have no fields.
    if getattr(dynamics, "parameters", None) is None or dynamics.given is not None:
        return None
    kind, rule = type(dynamics), dynamics.rule
    values = vars(dynamics) | vars(dynamics.parameters) | vars(rule)
    public = {made: name for name, made in DISCRETIZATIONS.items()}
    values["discretization"] = public.get(rule.discretization, rule.discretization)
    if_not_given = {"v_init": dynamics.parameters.v_rest, "surrogate": superspike()}
    arguments = {}
    for name, parameter in inspect.signature(kind).parameters.items():
        default = if_not_given.get(name, parameter.default)
        if name in values and values[name] != default:
            arguments[name] = values[name]
    try:
        same = kind(**arguments) == dynamics
    except (TypeError, ValueError):
        return None
    return call_text(kind.__name__, arguments) if same else None


def _label(rule: Rule, k: int) -> str:
    if rule.recurrent_channel and k == rule.channels:
        return "i_r"
    return "i" if rule.channels == 1 else f"i_{k}"


def _input_name(rule: Rule, k: int) -> str:
    if rule.recurrent_channel and k == rule.channels:
        return "s_prev W"
    return "x" if rule.channels == 1 else f"x_{k}"


def _times(gain: Scalar, name: str) -> str:
    return name if gain == 1.0 else f"{gain:g} {name}"


def _sum(rule: Rule, c: Coefficients) -> str:
    terms = [_times(c.alpha, "v")]
    new = rule.entry == "new"
    gains = per_channel(c.c_new if new else c.c_old, rule.all_channels)
    names = [_label(rule, k) + ("_new" if new else "") for k in range(rule.all_channels)]
    terms += [_times(gain, name) for gain, name in zip(gains, names, strict=True)]
    terms += [_times(c.c_x, "x")] if rule.entry in ("direct", "jump") else []
    terms += [f"{c.bias:g}"] if c.bias else []
    terms += [f"{c.noise_std:g} noise"] if rule.noisy else []
    return " + ".join(terms)


def _test(rule: Rule, c: Coefficients, v: str) -> str:
    if rule.fire == "floor":
        return f"floor({v} / {c.theta:g}) where {v} >= {c.theta:g}, else 0"
    if rule.fire == "half":
        return f"{v} > {c.theta:g}, one half at equality"
    return f"{v} {rule.fire} {c.theta:g}"


def _reset(rule: Rule, c: Coefficients, v: str, s: str) -> str:
    if rule.reset == "soft":
        return f"{v} - {c.theta - c.v_reset if rule.reset_span else c.theta:g} {s}"
    return f"(1 - {s}) {v} + {c.v_reset:g} {s}" if c.v_reset else f"(1 - {s}) {v}"


def _after(rule: Rule, c: Coefficients) -> str:
    if rule.reset == "none" or rule.reset_time == "next":
        return "v_int"
    spikes = "s" if rule.reset_time == "same" else "(s - r)"
    return _reset(rule, c, "v_int", spikes) + _gradient(rule, "s")


def _gradient(rule: Rule, spikes: str) -> str:
    """Returns a note on the gradient through the spikes of a reset."""
    if rule.reset_time == "give-back" and spikes == "r":
        return "   (gradient through r stopped)"
    return {
        "flow": "",
        "stop": f"   (gradient through {spikes} stopped)",
        "stop_if_recurrent": f"   (gradient through {spikes} stopped in recurrent layers)",
        "spike_only": f"   (gradient through {spikes} only)",
    }[rule.reset_gradient]
