"""Confusion matrix: how often each class is predicted for each true class."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from flax_snn.plot.axes import new_axes, size_in_points

if TYPE_CHECKING:
    from matplotlib.axes import Axes
else:
    Axes = Any

_LABELLED = 20
"""Most classes of which each has a tick, and a count in its cells."""


def confusion_matrix(matrix: npt.ArrayLike, *, ax: Axes | None = None) -> Axes:
    """Draws a confusion matrix: counts in the cells, coloured by their share of the true class.

    Cells without samples are left empty; rows of classes without samples are grey. Up to 20 classes
    have their counts written.

    >>> from flax_snn import plot
    >>> ax = plot.confusion_matrix([[3, 0], [1, 4]])
    >>> ax.get_ylabel(), [text.get_text() for text in ax.texts]
    ('true class', ['3', '1', '4'])

    Args:
      matrix: numbers of samples ``(C, C)``, rows the true class, columns the predicted class, as
        `flax_snn.metrics.confusion_matrix` counts them.
      ax: axes to draw into; those of a new figure by default.

    Returns:
      The axes: predicted class, true class.

    Raises:
      ImportError: matplotlib is not installed.
      TypeError: entries that are not integers.
      ValueError: another shape, no samples, negative numbers.
    """
    counts = np.asarray(matrix)
    if counts.size and not np.issubdtype(counts.dtype, np.integer):
        raise TypeError(
            f"matrix: expected numbers of samples as integers, got {counts.dtype}; give counts,"
            " not shares"
        )
    if counts.ndim != 2 or counts.shape[0] != counts.shape[1] or counts.size == 0:
        raise ValueError(f"matrix: expected shape (C, C), got {counts.shape}")
    if counts.min() < 0 or counts.sum() == 0:
        raise ValueError(
            f"matrix: expected numbers of samples >= 0, not all 0, got a minimum of {counts.min()}"
            f" and a sum of {counts.sum()}"
        )
    classes = len(counts)
    ax = new_axes(figsize=_size(classes))[0] if ax is None else ax
    totals = counts.sum(axis=1, keepdims=True)
    shares = np.full(counts.shape, np.nan)
    np.divide(100.0 * counts, totals, out=shares, where=totals > 0)
    image = ax.imshow(shares, cmap="Blues", vmin=0.0, vmax=100.0)
    ax.set_facecolor("0.85")
    if classes <= _LABELLED:
        ax.set_xticks(range(classes))
        ax.set_yticks(range(classes))
        _write(ax, counts, shares)
    else:
        ax.locator_params(integer=True)
    ax.set_xlabel("predicted class")
    ax.set_ylabel("true class")
    ax.figure.colorbar(image, ax=ax, label="share of the true class (%)")
    return ax


def _size(classes: int) -> tuple[float, float]:
    """Size of a figure in inches in which counts of three digits fit into the cells."""
    side = min(max(0.36 * classes, 3.6), 7.6)
    return side + 1.6, side + 0.6


def _write(ax: Axes, counts: np.ndarray, shares: np.ndarray) -> None:
    cell = min(size_in_points(ax)) / len(counts)
    digits = max(len(str(counts.max())), 2)
    fontsize = min(cell / (0.75 * digits), 11.0)
    for true, predicted in np.argwhere(counts > 0):
        ax.text(
            predicted,
            true,
            str(counts[true, predicted]),
            ha="center",
            va="center",
            fontsize=fontsize,
            color="white" if shares[true, predicted] > 55.0 else "black",
        )
