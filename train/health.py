"""Words for activity that will not learn: layers that are silent, saturated, or change abruptly."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

SILENT = 0.9
"""Share of neurons without a spike from which on a layer counts as silent."""

SATURATED = 0.5
"""Share of slots with a spike from which on a layer counts as saturated."""

JUMP = 5.0
"""Factor from one epoch to the next by which a firing rate or a gradient norm counts as jumping."""

_FLOOR = 1e-6
"""Gradient norm below which nothing is learned."""

_RARE = 1e-4
"""Share of slots with a spike below which a rate says too little for a jump."""


class Health:
    """Says once when the activity of a layer, or the gradient, goes wrong, and when it recovers."""

    def __init__(self) -> None:
        self._said: dict[str, str] = {}
        self._before: dict[str, float] = {}

    def findings(
        self, activity: Mapping[str, np.ndarray], grad_norm: float | None = None
    ) -> list[str]:
        """Return what is new since the last call.

        Args:
          activity: for each layer, the share of slots in which each neuron spiked, ``(N,)``.
          grad_norm: mean global norm of the gradients, where there were any.

        Returns:
          Sentences that name the layer and the remedy.
        """
        found = {layer: _state_of(share) for layer, share in activity.items()}
        numbers = {layer: float(np.mean(share)) for layer, share in activity.items()}
        if grad_norm is not None:
            found["gradient"] = "vanished" if grad_norm < _FLOOR else ""
            numbers["gradient"] = grad_norm
        words = []
        for name, state in found.items():
            if state != self._said.get(name, ""):
                words.append(_WORDS[state].format(name=name, before=self._said.get(name)))
            elif not state:
                words += _jump(name, self._before.get(name), numbers[name])
        self._said, self._before = found, numbers
        return words


def silent_share(activity: np.ndarray) -> float:
    """Return the share of neurons that never spiked."""
    return float(np.mean(activity == 0))


def _state_of(activity: np.ndarray) -> str:
    if silent_share(activity) >= SILENT:
        return "silent"
    return "saturated" if float(np.mean(activity)) >= SATURATED else ""


def _jump(name: str, before: float | None, now: float) -> list[str]:
    floor = _FLOOR if name == "gradient" else _RARE
    if before is None or min(before, now) < floor or 1 / JUMP < now / before < JUMP:
        return []
    what = "the gradient norm" if name == "gradient" else f"the firing rate of {name}"
    change = f"rose {now / before:.0f}-fold" if now > before else f"fell {before / now:.0f}-fold"
    return [f"{what} {change} in one epoch; if the loss rises too, lower --learning-rate"]


_WORDS: dict[str, Any] = {
    "silent": "{name} is silent: at least 9 of 10 neurons never spike, so little is learned through"
    " it; start from --init lsuv, raise the gain of its weights, or wake it with --lower-rate",
    "saturated": "{name} is saturated: it spikes in more than half of all slots, so spikes carry"
    " little; start from --init lsuv, lower the gain of its weights, or calm it with --upper-rate",
    "vanished": "the gradient has vanished: nothing is learned any more; start from --init lsuv, or"
    " lower --surrogate-slope",
    "": "{name} is no longer {before}",
}
