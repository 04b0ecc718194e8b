"""Surrogates by the names and parameters of other frameworks, as conventions take them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

from flax_snn import surrogate as surrogates
from flax_snn.surrogate import Surrogate

PeerSurrogate: TypeAlias = Surrogate | tuple[str, Mapping[str, float]] | list[Any] | None
"""A `Surrogate`, or the name and parameters that another framework gives it, as a pair."""

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
    """Returns the surrogate that a name and parameters of another framework mean.

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
