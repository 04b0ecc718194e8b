"""What the figures of a layer mean, and what to do: thresholds, verdicts and advice, once."""

from __future__ import annotations

import math
from collections.abc import Mapping

SATURATED = 0.25
"""Spikes per time step from which on a neuron or a layer is saturated.

A neuron that spikes in every fourth step is mostly driven from reset to threshold within few steps:
its rate hardly grows any more with its input, and at usual steps of 1 ms it is 250 Hz. The training
app warns from the same share on, before activity is hard to bring down again. A refractory period
lowers it: a quarter of the steps that it leaves.
"""

SILENT = 0.9
"""Share of neurons without a spike from which on a layer is silent."""

_MOSTLY_SILENT = 0.5  # share of neurons without a spike, from which on a layer is nearly silent
_RARE = 1e-3  # share of time steps with a spike, below which a layer is nearly silent
_ROUNDING = 1e-6  # error of a share in float32
_FAR = 10.0  # membrane, in units of the threshold distance, from which on it runs away

_ADVICE = {
    "not finite": "its membrane is NaN or infinite: look for NaN in the parameters; a diverged run"
    " goes back to its last good checkpoint, with a lower learning rate or clipped gradients",
    "no input": "no current reaches it: the inputs are 0, or the layers below are silent; wake"
    " those first, initializers.lsuv goes layer by layer",
    "silent": "at most one in ten neurons spikes, so little passes to the layers above and little"
    " gradient comes back; {remedy}",
    "nearly silent": "most neurons do not spike in this batch and learn little; {remedy}",
    "saturated": "spikes in so many time steps tell little apart, and training is slow to undo it;"
    " scale its weights down: initializers.lsuv with this batch, fluctuation_driven with the rate"
    " of its inputs, or a smaller gain; a refractory period or an upper bound in"
    " losses.spike_rate_regularizer caps the rate",
    "runs away": "the membrane goes ten times as far as the threshold, or more; scale its weights"
    " down (initializers.lsuv, fluctuation_driven, a smaller gain), the recurrent ones first, or"
    " let it forget faster (shorter tau_mem, tau_syn)",
    "healthy": "",
}
_STRONGER_INPUT = (
    "scale its weights up: initializers.lsuv with this batch, fluctuation_driven with the rate of"
    " its inputs, or a larger gain; a longer tau_mem or tau_syn over dt collects more input; a"
    " less steep surrogate lets gradient through meanwhile"
)
_MORE_DATA = (
    "its membrane moves enough for some to spike: look at more or longer samples, or ask"
    " initializers.lsuv for a larger target"
)
_INHIBITED = "its input keeps it far below rest: start from weights of zero mean, or add a bias"


def judge_activity(silent: float, activity: float, ceiling: float = SATURATED) -> str:
    """Returns what the activity of a layer is by itself: the one rule, for a batch or a whole run.

    Args:
      silent: share of the neurons without a spike.
      activity: spikes per neuron and time step.
      ceiling: spikes per step from which on it is saturated; infinite where spikes are not counted
        in time steps.

    Returns:
      ``silent``, ``saturated``, or an empty string.
    """
    if silent + _ROUNDING >= SILENT:
        return "silent"
    return "saturated" if activity >= ceiling else ""


def verdict_of(figures: Mapping[str, float], ceiling: float | None) -> str:
    """Returns the verdict on a layer.

    Args:
      figures: ``mean`` and ``spread`` of its membrane; ``activity``, ``silent`` and ``saturated``
        where it spikes.
      ceiling: spikes per step from which on it is saturated; ``None`` where it does not spike.
    """
    mean, spread = figures["mean"], figures["spread"]
    if not math.isfinite(mean + spread):
        return "not finite"
    if mean == 0.0 and spread == 0.0:
        return "no input"
    if ceiling is not None:
        activity, silent, saturated = (figures[k] for k in ("activity", "silent", "saturated"))
        judged = judge_activity(silent, activity, ceiling)
        if judged == "silent":
            return "silent"
        if saturated > 0.5 or judged == "saturated":
            return "saturated"
        if max(abs(mean), spread) < _FAR and (silent > _MOSTLY_SILENT or activity < _RARE):
            return "nearly silent"
    return "runs away" if max(abs(mean), spread) >= _FAR else "healthy"


def advice_on(verdict: str, mean: float, spread: float) -> str:
    """Returns what a verdict means and what to do, empty for a healthy layer.

    Args:
      verdict: what `verdict_of` returned.
      mean: mean of the free membrane; rest is 0, threshold is 1.
      spread: its standard deviation.
    """
    remedy = _MORE_DATA if spread >= 0.5 else _STRONGER_INPUT
    remedy = _INHIBITED if mean < -max(spread, 0.5) else remedy
    return _ADVICE[verdict].format(remedy=remedy)
