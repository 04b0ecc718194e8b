"""Words for activity that will not learn: layers that are silent, saturated, or change abruptly."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from flax_snn.diagnosis import SATURATED, judge_activity
from train.model.model import Remedies

JUMP = 5.0
"""Factor from one epoch to the next by which a firing rate or a gradient norm counts as jumping."""

_FLOOR = 1e-6
"""Gradient norm below which nothing is learned."""

_RARE = 1e-4
"""Spikes per slot below which a rate says too little for a jump."""


class Health:
    """Says once when the activity of a layer, or the gradient, goes wrong, and when it recovers.

    Args:
      remedies: what helps a network of this kind.
    """

    def __init__(self, remedies: Remedies) -> None:
        self._remedies = remedies
        self._said: dict[str, str] = {}
        self._before: dict[str, float] = {}

    def findings(
        self, activity: Mapping[str, np.ndarray], grad_norm: float | None = None
    ) -> list[str]:
        """Returns what is new since the last call.

        Args:
          activity: for each layer, the spikes of each neuron per slot, ``(N,)``; of a network on
            rasters the share of steps with a spike.
          grad_norm: mean global norm of the gradients, where there were any.

        Returns:
          Sentences that name the layer and the remedy.
        """
        steps = self._remedies.saturated is not None
        found = {layer: _state_of(share, steps) for layer, share in activity.items()}
        numbers = {layer: float(np.mean(share)) for layer, share in activity.items()}
        if grad_norm is not None:
            found["gradient"] = "vanished" if grad_norm < _FLOOR else ""
            numbers["gradient"] = grad_norm
        words = []
        for name, state in found.items():
            if state != self._said.get(name, ""):
                words.append(self._words(name, state))
            elif not state:
                words += _jump(name, self._before.get(name), numbers[name])
        self._said, self._before = found, numbers
        return words

    def _words(self, name: str, state: str) -> str:
        if not state:
            return f"{name} is no longer {self._said[name]}"
        return f"{_WORDS[state].format(name=name)}; {getattr(self._remedies, state)}"


def lost_spikes(lost: float, part: str) -> str:
    """Returns words for spikes that found no room in a layer.

    Args:
      lost: how many, at least.
      part: name of the samples that they are of.
    """
    return (
        f"at least {lost:.0f} spikes of the {part} samples found no room in their layer, so that"
        " results and gradients of these samples are wrong; train again with a larger --budget, or"
        " with --max-spikes"
    )


def silent_share(activity: np.ndarray) -> float:
    """Returns the share of neurons that never spiked."""
    return float(np.mean(activity == 0))


def _state_of(activity: np.ndarray, steps: bool) -> str:
    ceiling = SATURATED if steps else math.inf
    return judge_activity(silent_share(activity), float(np.mean(activity)), ceiling)


def _jump(name: str, before: float | None, now: float) -> list[str]:
    floor = _FLOOR if name == "gradient" else _RARE
    if before is None or min(before, now) < floor or 1 / JUMP < now / before < JUMP:
        return []
    what = "the gradient norm" if name == "gradient" else f"the firing rate of {name}"
    change = f"rose {now / before:.0f}-fold" if now > before else f"fell {before / now:.0f}-fold"
    return [f"{what} {change} in one epoch; if the loss rises too, lower --learning-rate"]


_WORDS = {
    "silent": "{name} is silent: at least 9 of 10 neurons never spike, so little is learned through"
    " it",
    "saturated": "{name} is saturated: it spikes in a quarter of all slots or more, so spikes carry"
    " little",
    "vanished": "the gradient has vanished: nothing is learned any more",
}
