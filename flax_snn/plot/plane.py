"""Decision regions: which class a network sees where in the plane, and which samples it misses."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from flax_snn import checks
from flax_snn.plot.axes import legend_beside, new_axes
from flax_snn.plot.drawable import Extent, check_extent, classes
from flax_snn.plot.outline import OUTLINE, class_grid, draw_outline, outline_grid
from flax_snn.plot.palette import MOST_CLASSES, class_style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
else:
    Axes = Any


def decision_regions(
    regions: npt.ArrayLike,
    points: npt.ArrayLike,
    predictions: npt.ArrayLike,
    labels: npt.ArrayLike,
    *,
    outline: npt.ArrayLike | None = None,
    extent: Extent = (0.0, 1.0, 0.0, 1.0),
    ax: Axes | None = None,
) -> Axes:
    """Draws the decision regions of a classifier in the plane, and samples on top of them.

    A sample has the colour and the shape of its true class; one that is taken for another class is
    large and has a black edge. Colours and shapes tell up to ten classes apart, also for the
    colour-blind.

    >>> import numpy as np
    >>> from flax_snn import plot
    >>> centres = (np.arange(50) + 0.5) / 50
    >>> x, y = np.meshgrid(centres, centres)
    >>> points = np.array([[0.2, 0.3], [0.9, 0.1]])
    >>> ax = plot.decision_regions((x + y > 1.1).astype(int), points, [0, 0], [0, 1])
    >>> [text.get_text() for text in ax.get_legend().get_texts()]
    ['class 0', 'class 1', 'wrong: 1 of 2']

    Args:
      regions: predicted class at the centres of H x W equal cells that fill `extent`, integers
        ``(H, W)``, rows from low to high y, columns from low to high x, as ``np.meshgrid`` orders
        them; -1 leaves a cell white.
      points: samples ``(S, 2)``: x, y.
      predictions: predicted class of each sample, integers ``(S,)``.
      labels: true class of each sample, integers ``(S,)``.
      outline: true classes on a grid over the same extent, as `regions` but as fine as wished,
        -1 outside of what the data cover: the boundaries between them are drawn.
      extent: edges of the grids: x low, x high, y low, y high; the unit square by default.
      ax: axes to draw into; those of a new figure by default.

    Returns:
      The axes: x, y, to the same scale.

    Raises:
      ImportError: matplotlib is not installed.
      TypeError: classes that are not integers, points that are not numbers.
      ValueError: arrays of another rank or length, without cells or samples, not finite; classes
        below -1, of samples below 0, or above 9; samples outside the extent.
    """
    check_extent(extent)
    regions_HxW = class_grid("regions", regions)
    outline_HxW = outline_grid(outline)
    points_Sx2 = _points(points, extent)
    labels_S = classes("labels", labels, (len(points_Sx2),))
    predictions_S = classes("predictions", predictions, (len(points_Sx2),))
    count = 1 + max(int(array.max()) for array in (regions_HxW, labels_S, predictions_S))
    if count > MOST_CLASSES:
        raise ValueError(
            f"regions, labels, predictions: expected classes below {MOST_CLASSES}, got"
            f" {count - 1}; more cannot be told apart, draw plot.confusion_matrix"
        )

    ax = new_axes(figsize=(6.6, 5.0))[0] if ax is None else ax
    _fill(ax, regions_HxW, extent)
    if outline_HxW is not None:
        draw_outline(ax, outline_HxW, extent)
    _draw_samples(ax, points_Sx2, labels_S, predictions_S)
    ax.set(xlim=extent[:2], ylim=extent[2:], xlabel="x", ylabel="y", aspect="equal")
    _legend(ax, labels_S, predictions_S, outlined=outline_HxW is not None)
    return ax


def _fill(ax: Axes, regions_HxW: np.ndarray, extent: Extent) -> None:
    """Colour the cells as the class that is predicted there."""
    from matplotlib.colors import ListedColormap

    ax.imshow(
        np.ma.masked_less(regions_HxW, 0),
        cmap=ListedColormap([class_style(label).pale for label in range(MOST_CLASSES)]),
        vmin=-0.5,
        vmax=MOST_CLASSES - 0.5,
        origin="lower",
        extent=extent,
        # The default one would mix the numbers of neighbours into classes that neither has.
        interpolation="nearest",
    )


def _draw_samples(
    ax: Axes, points_Sx2: np.ndarray, labels_S: np.ndarray, predictions_S: np.ndarray
) -> None:
    """Draws those that are right, then above them those that are wrong."""
    for wrong in (False, True):
        for label in np.unique(labels_S).tolist():
            style = class_style(label)
            chosen = (labels_S == label) & ((predictions_S != label) == wrong)
            x, y = points_Sx2[chosen].T
            ax.scatter(x, y, color=style.color, marker=style.marker, **_sample_style(wrong))


def _sample_style(wrong: bool) -> dict[str, Any]:
    if wrong:
        return {"s": 44.0, "edgecolors": "black", "linewidths": 1.3, "zorder": 4.0}
    return {"s": 9.0, "alpha": 0.8, "linewidths": 0.0, "zorder": 3.0}


def _legend(ax: Axes, labels_S: np.ndarray, predictions_S: np.ndarray, outlined: bool) -> None:
    from matplotlib.lines import Line2D

    handles = []
    for label in np.unique(labels_S).tolist():
        style = class_style(label)
        shape: dict[str, Any] = {"marker": style.marker, "linestyle": "none"}
        handles.append(Line2D([], [], color=style.color, label=f"class {label}", **shape))
    missed = int((labels_S != predictions_S).sum())
    ring: dict[str, Any] = {"marker": "o", "linestyle": "none", "markeredgewidth": 1.3}
    text = f"wrong: {missed} of {len(labels_S)}"
    handles.append(Line2D([], [], color="white", markeredgecolor="black", label=text, **ring))
    if outlined:
        handles.append(Line2D([], [], color=OUTLINE, linewidth=1.0, label="true boundaries"))
    legend_beside(ax, handles)


def _points(points: npt.ArrayLike, extent: Extent) -> np.ndarray:
    array = checks.real_array("points", points)
    if array.ndim != 2 or array.shape[1:] != (2,) or len(array) == 0:
        raise ValueError(
            f"points: expected shape (S, 2) with at least one sample, got {array.shape}; give x and"
            " y of each sample"
        )
    points_Sx2 = checks.finite_array("points", array)
    low, high = np.array(extent[::2]), np.array(extent[1::2])
    outside = int(((points_Sx2 < low) | (points_Sx2 > high)).any(axis=1).sum())
    if outside:
        raise ValueError(
            f"points: expected samples within the extent {extent}, got {outside} outside; widen it"
        )
    return points_Sx2
