"""Predictions of a regression against the true values."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from flax_snn import checks
from flax_snn.metrics import r2
from flax_snn.plot.axes import class_colors, new_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
else:
    Axes = Any


def predictions(
    predictions: npt.ArrayLike,
    targets: npt.ArrayLike,
    *,
    quantity: str = "value",
    scored: bool = True,
    ax: Axes | None = None,
) -> Axes:
    """Draws predictions over their targets, with the line on which they agree and R2.

    >>> from flax_snn import plot
    >>> ax = plot.predictions([0.0, 1.0, 1.0], [0.0, 1.0, 2.0], quantity="position (m)")
    >>> ax.get_xlabel(), ax.get_legend().get_texts()[0].get_text()
    ('true position (m)', 'R² = 0.500')

    Args:
      predictions: predicted values, ``(S,)``, or ``(S, D)`` for D coordinates, each in a colour.
      targets: true values, of the same shape.
      quantity: what the values are, with their unit; "value" by default.
      scored: whether the legend gives R2 of these samples, `flax_snn.metrics.r2`; True by default.
      ax: axes to draw into; those of a new figure by default.

    Returns:
      The axes: true value, predicted value, to the same scale. R2 is left out of the legend for a
      coordinate whose true values are all equal, where it is not defined.

    Raises:
      ImportError: matplotlib is not installed.
      TypeError: values that are not numbers.
      ValueError: arrays of another rank, empty, of different shapes, or not finite.
    """
    predicted_SxD, true_SxD = _values("predictions", predictions), _values("targets", targets)
    remedy = "give one target for each prediction"
    checks.shape("targets", targets, np.shape(predictions), remedy=remedy)
    ax = new_axes(figsize=(5.6, 5.4))[0] if ax is None else ax
    coordinates = true_SxD.shape[1]
    for d, color in enumerate(class_colors(coordinates)):
        name = f"coordinate {d}" if coordinates > 1 else ""
        score = _r2(true_SxD[:, d], predicted_SxD[:, d]) if scored else ""
        label = ": ".join(filter(None, (name, score)))
        ax.scatter(
            true_SxD[:, d],
            predicted_SxD[:, d],
            s=10.0,
            alpha=0.6,
            linewidths=0.0,
            color=color,
            label=label or "samples",
        )
    ax.axline((0.0, 0.0), slope=1.0, color="0.3", linestyle="--", linewidth=1.0, label="identity")
    low = min(float(true_SxD.min()), float(predicted_SxD.min()))
    high = max(float(true_SxD.max()), float(predicted_SxD.max()))
    margin = 0.04 * (high - low) or 0.5
    ax.set_xlim(low - margin, high + margin)
    ax.set_ylim(low - margin, high + margin)
    ax.set_aspect("equal")
    ax.set_xlabel(f"true {quantity}")
    ax.set_ylabel(f"predicted {quantity}")
    # Inside: above the identity there are few points, and beside it a square leaves no room.
    ax.legend(loc="upper left", fontsize="small")
    return ax


def _r2(true_S: np.ndarray, predicted_S: np.ndarray) -> str:
    return f"R² = {r2(predicted_S, true_S):.3f}" if np.ptp(true_S) > 0.0 else ""


def _values(name: str, values: npt.ArrayLike) -> np.ndarray:
    array = checks.real_array(name, values)
    if array.ndim not in (1, 2) or array.size == 0:
        raise ValueError(
            f"{name}: expected shape (S,) or (S, D) with at least one sample, got {array.shape}"
        )
    return checks.finite_array(name, array).reshape(len(array), -1)
