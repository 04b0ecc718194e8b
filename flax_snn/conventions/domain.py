"""What conventions check at their door, and surrogates by the names of the frameworks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

from flax_snn import surrogate as surrogates
from flax_snn.dynamics.parameters import number
from flax_snn.surrogate import Surrogate

PeerSurrogate: TypeAlias = Surrogate | tuple[str, Mapping[str, float]] | list[Any] | None
"""A surrogate of `flax_snn`, or a framework's own as ``(name, parameters)``."""

_BY_PEER_NAME = {
    "atan": (surrogates.arctan, {"alpha": "alpha"}),
    "fast_sigmoid": (surrogates.superspike, {"slope": "slope"}),
    "superspike": (surrogates.superspike, {"k": "slope"}),
    "sigmoid": (surrogates.sigmoid, {"alpha": "slope"}),
    "single_exponential": (
        surrogates.single_exponential,
        {"grad_width": "width", "grad_scale": "scale"},
    ),
    "relu_grad": (surrogates.relu_grad, {"alpha": "height", "width": "width"}),
}


def surrogate_of(peer: PeerSurrogate, default: Surrogate, **extra: float) -> Surrogate:
    """Return the surrogate that a framework's own name and parameters mean.

    Args:
      peer: a `Surrogate`, ``(name, parameters)`` with the framework's names, or ``None``.
      default: what ``None`` means.
      **extra: parameters that the framework takes from the neuron.

    Raises:
      TypeError: neither a surrogate nor a pair.
      ValueError: unknown name or parameter.
    """
    if peer is None:
        return default
    if isinstance(peer, Surrogate):
        return peer
    if not (isinstance(peer, (tuple, list)) and len(peer) == 2 and isinstance(peer[1], Mapping)):
        raise TypeError(
            f"surrogate: expected a Surrogate or (name, {{parameter: value}}), got {peer!r}"
        )
    name, parameters = peer
    if name not in _BY_PEER_NAME:
        raise ValueError(
            f"surrogate: expected a Surrogate or one of {', '.join(_BY_PEER_NAME)}, got {name!r}"
        )
    constructor, names = _BY_PEER_NAME[name]
    unknown = set(parameters) - set(names)
    if unknown:
        raise ValueError(
            f"surrogate {name!r}: expected parameters {', '.join(names)}, got {sorted(unknown)}"
        )
    if name == "relu_grad":
        extra = {"v_reset": extra.get("v_reset", 0.0)}
    else:
        extra = {}
    return constructor(**{names[key]: value for key, value in parameters.items()}, **extra)


def decay(name: str, value: float) -> float:
    """Return a decay per step.

    Raises:
      ValueError: outside 0..1, where frameworks clip in silence.
    """
    result = number(name, value)
    if not 0.0 <= result <= 1.0:
        raise ValueError(
            f"{name}: expected a decay per step from 0 to 1, got {value!r} (the framework clips it"
            " in silence)"
        )
    return result


def choice(name: str, value: Any, options: tuple[Any, ...]) -> Any:
    """Return ``value`` if it is one of ``options``.

    Raises:
      ValueError: it is not.
    """
    if value not in options:
        listed = ", ".join(repr(option) for option in options)
        raise ValueError(f"{name}: expected one of {listed}, got {value!r}")
    return value


def flag(name: str, value: Any) -> bool:
    """Return a switch.

    Raises:
      TypeError: not a bool.
    """
    if not isinstance(value, bool):
        raise TypeError(f"{name}: expected True or False, got {value!r}")
    return value


def steps(name: str, value: float, dt: float, above: float = 0.0) -> float:
    """Return a time constant given in steps in seconds.

    Raises:
      ValueError: not above ``above`` steps.
    """
    count = number(name, value, positive=True, unit="steps")
    if count <= above:
        raise ValueError(f"{name}: expected more than {above:g} steps, got {value!r}")
    return count * number("dt", dt, positive=True, unit="seconds")
