"""Metadata of a neuron: what NIR cannot say, under names of the field.

    reset        "hard" | "soft" | "none"         reset_delay   bool, in the next step
    refractory   seconds                          fire          ">" | ">=" | "half" | "floor"
    max_spikes   most spikes per step             emit          "new" | "old" membrane
    v_min        lower bound                      start         potential before the first step
    surrogate    name of the surrogate derivative, with its parameters behind it

and, where a reset in the next step needs it, reset_time, reset_site, reset_span, reset_gradient,
entry, recurrent_lag as in `flax_snn.dynamics.Rule`. Other names are left alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flax_snn import surrogate as surrogates
from flax_snn.dynamics import Dynamics, Rule
from flax_snn.nir.error import fail
from flax_snn.surrogate import Surrogate

_SWITCHES = (
    "reset",
    "reset_time",
    "reset_site",
    "reset_gradient",
    "reset_span",
    "fire",
    "max_spikes",
    "emit",
    "entry",
    "recurrent_lag",
)

FORMAT = 1
"""Number of this format, ``flax_snn_format`` of a graph."""


def rule_changes(metadata: Mapping[str, Any], where: str, dt: float, kind: str) -> dict[str, Any]:
    """Return the switches that metadata of a node set.

    Args:
      metadata: those of the node.
      where: the node, for errors.
      dt: length of a step in seconds.
      kind: type of the node.

    Raises:
      NIRError: a refractory period that is no whole number of steps; a reset of an integrator.
    """
    found = {name: metadata[name] for name in _SWITCHES if name in metadata}
    if "reset_delay" in metadata and "reset_time" not in found:
        found["reset_time"] = "next" if metadata["reset_delay"] else "same"
    if "refractory" in metadata:
        found["hold"] = _steps(metadata["refractory"], where, dt)
    if kind in ("I", "LI", "CubaLI"):
        found = {
            name: value for name, value in found.items() if name in ("entry", "reset_gradient")
        }
    return found


def neuron_metadata(dynamics: Dynamics) -> dict[str, Any]:
    """Return the metadata of dynamics: what differs from a neuron as NIR defines it."""
    rule, plain = dynamics.rule, Rule()
    found: dict[str, Any] = {}
    if rule.fire != "none":
        found = {
            name: getattr(rule, name)
            for name in _SWITCHES
            if getattr(rule, name) != getattr(plain, name) and name != "entry"
        }
        found["surrogate"] = _surrogate_text(dynamics.surrogate)
        if found["surrogate"] is None:
            del found["surrogate"]
    if rule.entry == "jump":
        found["entry"] = "jump"
    if rule.hold:
        found["refractory"] = rule.hold * dynamics.dt
    if rule.reset_time == "next" and rule.reset != "none":
        found["reset_delay"] = True
    return found


def surrogate_of(text: Any, where: str) -> Surrogate | None:
    """Return the surrogate that metadata name, such as ``superspike(slope=10.0)``.

    Raises:
      NIRError: an unknown name or parameter.
    """
    if text is None:
        return None
    name, _, rest = str(text).rstrip(")").partition("(")
    known = [each for each in surrogates.__all__ if each not in ("Surrogate", "custom")]
    try:
        if name not in known:
            raise ValueError(f"unknown name {name!r}")
        pairs = [part.split("=") for part in rest.split(",") if part.strip()]
        parameters = {key.strip(): float(value) for key, value in pairs}
        made: Surrogate = getattr(surrogates, name)(**parameters)
        return made
    except (TypeError, ValueError) as error:
        raise fail(f"{where}: surrogate", f"one of {', '.join(known)}", str(error)) from error


def _surrogate_text(surrogate: Surrogate) -> str | None:
    text = repr(surrogate)
    return (
        text
        if text.partition("(")[0] in surrogates.__all__ and surrogate.name != "custom"
        else None
    )


def _steps(refractory: Any, where: str, dt: float) -> int:
    try:
        steps = float(refractory) / dt
    except (TypeError, ValueError):
        raise fail(f"{where}: refractory", "seconds >= 0", repr(refractory)) from None
    if not steps >= 0 or abs(steps - round(steps)) > 1e-6:
        raise fail(
            f"{where}: refractory", f"a whole number of steps of dt={dt:g} s", f"{refractory} s"
        )
    return round(steps)
