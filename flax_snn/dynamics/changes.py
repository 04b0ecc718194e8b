"""Dynamics with something changed: parameters, switches, the step."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from flax_snn import checks
from flax_snn.dynamics.parameters import LIFParameters, number, steps_of
from flax_snn.dynamics.rule import Rule, discretization_of
from flax_snn.dynamics.validity import check_reset_potential

_OTHERS = ("dt", "surrogate", "v_init", "v_min", "noise_std")
_DERIVED = ("channels", "recurrent_channel", "hold", "noisy")
"""Switches that follow from parameters."""


def changed(dynamics: Any, changes: Mapping[str, Any]) -> Any:
    """Returns the dynamics with some values or fields changed; see `Dynamics.replace`.

    A refractory period, the number of synapses and the start at rest follow what they depend on.
    """
    kind = type(dynamics).__name__
    physics = _named(changes, [field.name for field in dataclasses.fields(LIFParameters)])
    names = [f.name for f in dataclasses.fields(Rule) if f.name not in _DERIVED]
    switches = _named(changes, names)
    rule = changes.get("rule", dynamics.rule)
    fields = {name: changes.get(name, getattr(dynamics, name)) for name in _OTHERS}
    every = {f.name for f in dataclasses.fields(LIFParameters)} | {*names, *_OTHERS, "rule"}
    checks.argument_names(f"{kind}.replace", changes, sorted(every))
    if "discretization" in switches:
        switches["discretization"] = discretization_of(switches["discretization"])
    dt = number("dt", fields.pop("dt"), above=0.0, unit="seconds")
    if dynamics.given is not None:
        if physics or dt != dynamics.dt or {"v_min", "noise_std", "discretization"} & {*changes}:
            raise TypeError(
                f"{kind}.replace: these dynamics are given as coefficients of a step of"
                f" {dynamics.dt:g} s; make them anew to change {', '.join(changes)}"
            )
        rule = dataclasses.replace(rule, **switches)
        return type(dynamics).from_coefficients(dynamics.given, dt=dt, rule=rule, **fields)
    assert dynamics.parameters is not None
    parameters = dynamics.parameters.replace(**physics)
    if fields["v_init"] == dynamics.parameters.v_rest and "v_init" not in changes:
        fields["v_init"] = parameters.v_rest
    synapses = len(parameters.synapses) - (parameters.tau_syn_rec is not None)
    if synapses != rule.channels:
        direct = rule.entry == "direct" or synapses == 0
        switches.setdefault("entry", rule.entry if not direct else "old" if synapses else "direct")
    rule = dataclasses.replace(
        rule,
        channels=synapses,
        recurrent_channel=parameters.tau_syn_rec is not None,
        hold=steps_of(parameters.refractory, dt),
        **switches,
    )
    if {"v_reset", "threshold", "reset", "refractory", "fire"} & {*changes}:
        check_reset_potential(parameters, rule.reset, rule.fire)
    return type(dynamics).from_parts(parameters, dt, rule, **fields)


def _named(changes: Mapping[str, Any], names: list[str]) -> dict[str, Any]:
    return {name: value for name, value in changes.items() if name in names}
