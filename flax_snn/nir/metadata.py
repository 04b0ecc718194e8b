"""Metadata of a neuron: properties that NIR has no field for.

    reset        "hard" | "soft" | "none"         reset_delay   bool, in the next step
    refractory   seconds                          fire          ">" | ">=" | "half" | "floor"
    max_spikes   most spikes per step             emit          "new" | "old" membrane
    v_min        lower bound of the potential     start         potential before the first step
    surrogate    the surrogate derivative and its parameters, "superspike(slope=10.0)"

and, for a reset in the next step, also reset_time, reset_site, reset_span, reset_gradient, entry
and recurrent_lag, as in `flax_snn.dynamics.Rule`. Other names are ignored.
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
"""Version of this format, written as ``flax_snn_format`` into the metadata of a graph."""


def rule_changes(metadata: Mapping[str, Any], where: str, dt: float, kind: str) -> dict[str, Any]:
    """Returns the fields of `Rule` that the metadata of a node set.

    Args:
      metadata: metadata of the node.
      where: the node, for error messages.
      dt: length of a step in seconds.
      kind: type of the node.

    Raises:
      NIRError: a refractory period is not a whole number of steps.
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
    """Returns the properties of a neuron that differ from the neurons that NIR defines."""
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
    """Returns the surrogate derivative that metadata describe, or None if they describe none.

    Args:
      text: the metadata, such as ``superspike(slope=10.0)``, or None.
      where: the node, for error messages.

    Raises:
      NIRError: the name or a parameter is unknown.
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
