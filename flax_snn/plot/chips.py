"""Scores of a network on chips, over the age of the chips or a property of their devices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from flax_snn import checks
from flax_snn.plot.axes import class_colors, legend_inside, new_axes, set_ylabel

if TYPE_CHECKING:
    from matplotlib.axes import Axes
else:
    Axes = Any


def chip_scores(
    values: Sequence[float] | npt.ArrayLike,
    scores: Mapping[str, npt.ArrayLike],
    *,
    digital: float | None = None,
    quantity: str = "time since programming (s)",
    labels: Sequence[str] | None = None,
    score: str = "accuracy",
    logarithmic: bool = True,
    ax: Axes | None = None,
) -> Axes:
    """Draws scores of chips against their age, or against a property of their devices.

    A line is the mean over the chips, its band one standard deviation (ddof 1) to each side, and
    points are single chips.

    >>> from flax_snn import plot
    >>> ax = plot.chip_scores([1.0, 3600.0], {"as trained": [[0.9, 0.8], [0.7, 0.5]]}, digital=0.99)
    >>> ax.get_xlabel(), ax.get_ylabel()
    ('time since programming (s)', 'accuracy (%)')

    Args:
      values: what the scores are drawn against, ``(K,)``, rising.
      scores: by the name of a line, scores of each of R chips, ``(K, R)``.
      digital: score without a crossbar, a dashed line; ``None`` for none.
      quantity: what the values are, with their unit.
      labels: what to write at the values, by default the values themselves.
      score: "accuracy", a share of samples that is drawn in %, or the name of another score.
      logarithmic: values, all above 0, at their logarithm; else at equal distances.
      ax: axes to draw into; those of a new figure by default.

    Returns:
      The axes.

    Raises:
      ImportError: matplotlib is not installed.
      TypeError: values or scores that are not numbers.
      ValueError: no lines, shapes that do not fit, numbers that are not finite, values that do not
        rise, or are not above 0 on a logarithmic axis.
    """
    x = checks.finite_array("values", values)
    if x.ndim != 1 or not len(x) or (np.diff(x) <= 0).any():
        raise ValueError(f"values: expected rising values (K,), got {np.asarray(values).tolist()}")
    if logarithmic and x[0] <= 0:
        raise ValueError(
            f"values: expected values > 0 on a logarithmic axis, got {x[0]:g}; pass"
            " logarithmic=False"
        )
    if not scores:
        raise ValueError("scores: expected at least one line, got none")
    if labels is not None and len(labels) != len(x):
        raise ValueError(f"labels: expected {len(x)} of them, one per value, got {len(labels)}")
    factor = 100.0 if score == "accuracy" else 1.0
    ax = new_axes()[0] if ax is None else ax
    place = x if logarithmic else np.arange(len(x), dtype=np.float64)
    for color, (name, given) in zip(class_colors(len(scores)), scores.items(), strict=True):
        values_KxM = checks.finite_array(name, given) * factor
        if values_KxM.ndim != 2 or values_KxM.shape[0] != len(x) or not values_KxM.shape[1]:
            raise ValueError(
                f"scores: {name}: expected ({len(x)}, chips), a row per value, got"
                f" {values_KxM.shape}"
            )
        mean = values_KxM.mean(axis=1)
        spread = values_KxM.std(axis=1, ddof=1) if values_KxM.shape[1] > 1 else np.zeros_like(mean)
        ax.fill_between(place, mean - spread, mean + spread, color=color, alpha=0.2, linewidth=0)
        ax.plot(
            np.repeat(place, values_KxM.shape[1]),
            values_KxM.ravel(),
            ".",
            color=color,
            markersize=2.5,
        )
        marker = "D" if len(place) == 1 else ""
        ax.plot(place, mean, color=color, label=name, linewidth=1.6, marker=marker)
    if digital is not None:
        ax.axhline(factor * digital, color="black", linestyle="--", linewidth=1.0, label="digital")
    if logarithmic:
        ax.set_xscale("log")
    ax.set_xticks(place, labels or [f"{v:g}" for v in x])
    ax.minorticks_off()
    ax.set_xlabel(quantity)
    set_ylabel(ax, {"accuracy": "accuracy (%)", "r2": "R²"}.get(score, score))
    handles, ticks = ax.get_legend_handles_labels()[0], ax.get_yticks()
    low, high = ax.get_ylim()
    legend_inside(ax, handles)
    # None in the room of the legend, where there is no accuracy.
    ax.set_yticks([tick for tick in ticks if low <= tick <= high])
    return ax
