"""Spike-time manifold: spike times of three units against each other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from flax_snn import checks
from flax_snn.plot.axes import class_bar, class_colors, legend_beside, new_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
else:
    Axes = Any


def spike_time_manifold(
    times: npt.ArrayLike,
    labels: npt.ArrayLike,
    *,
    units: Sequence[int] = (0, 1, 2),
    dt: float = 1e-3,
    coordinate: str = "coordinate on the manifold",
    ax: Axes | None = None,
) -> Axes:
    """Draws the spike times of three units in 3-D, one point per sample.

    The picture of a Randman data set: the samples of a class lie on one smooth manifold.

    >>> from flax_snn import plot
    >>> from flax_snn.datasets import randman
    >>> data = randman(classes=3, samples_per_class=50, alpha=2.0)
    >>> ax = plot.spike_time_manifold(data.times, data.labels, dt=data.settings.dt)
    >>> ax.get_zlabel(), len(ax.collections)
    ('spike time of unit 2 (ms)', 3)

    Args:
      times: spike times in steps, ``(S, M)``, one column per unit; of several spikes per unit, as
        in `flax_snn.datasets.Randman.times`, the first M columns hold the first spikes.
      labels: class of each sample, integers ``(S,)``, for colours with a legend, of more than
        30 classes with a colour bar; or a number of each sample, floating ``(S,)``, for colours
        with a colour bar.
      units: three columns of `times`, the first ones by default.
      dt: length of a step in seconds, 1e-3 by default.
      coordinate: what labels that are numbers are, with their unit; stands at the colour bar.
      ax: axes with ``projection="3d"`` to draw into; those of a new figure by default.

    Returns:
      The axes: spike times in ms.

    Raises:
      ImportError: matplotlib is not installed.
      TypeError: times or labels that are not numbers.
      ValueError: arrays of another rank or length, without samples, not finite; negative classes;
        units that are not three columns; dt not above 0; axes that are not 3-D.
    """
    times_Sx3 = _times(times, units)
    dt = checks.positive("dt", dt, unit="seconds")
    labels_S = _labels(labels, len(times_Sx3))
    if ax is not None and ax.name != "3d":
        raise ValueError(f"ax: expected 3-D axes, got {ax.name}; make them with projection='3d'")

    # The type of axes in 3-D has no annotations.
    box: Any = ax
    if ax is None:
        box = new_axes(figsize=(7.5, 6.0), subplot_kw={"projection": "3d"})[0]
    _scatter(box, times_Sx3 * dt * 1e3, labels_S, coordinate)
    box.set_xlabel(f"spike time of unit {units[0]} (ms)")
    box.set_ylabel(f"spike time of unit {units[1]} (ms)")
    box.set_zlabel(f"spike time of unit {units[2]} (ms)")
    # Tick labels and names of the axes of a 3-D box reach beyond the space it is given.
    box.set_box_aspect(None, zoom=0.9)
    return box


def _scatter(box: Any, ms_Sx3: np.ndarray, labels_S: np.ndarray, coordinate: str) -> None:
    """Draws the points: a colour and a legend entry per class, or a colour bar of the numbers."""
    style: dict[str, Any] = {"s": 8.0, "alpha": 0.8, "linewidths": 0.0, "depthshade": False}
    if not np.issubdtype(labels_S.dtype, np.integer):
        points = box.scatter(*ms_Sx3.T, c=labels_S, cmap="viridis", **style)
        box.figure.colorbar(points, ax=box, label=coordinate, shrink=0.6, pad=0.1)
        return
    colors = class_colors(int(labels_S.max()) + 1)
    for label in np.unique(labels_S):
        members = ms_Sx3[labels_S == label]
        box.scatter(*members.T, color=colors[int(label)], label=f"class {label}", **style)
    if not class_bar(box, colors, shrink=0.6, pad=0.1):
        legend_beside(box, x=1.05, markerscale=2.5)


def _times(times: npt.ArrayLike, units: Sequence[int]) -> np.ndarray:
    """Returns the three columns ``(S, 3)`` in float64."""
    array = checks.real_array("times", times)
    if array.ndim != 2 or len(array) == 0:
        raise ValueError(
            f"times: expected shape (S, M) with at least one sample, got {array.shape}; give one"
            " spike time per unit"
        )
    if len(units) != 3:
        raise ValueError(f"units: expected three indices, got {tuple(units)!r}")
    for unit in units:
        checks.index("units", unit, array.shape[1])
    remedy = "leave out samples in which one of the units is silent"
    return checks.finite_array("times", array[:, list(units)], remedy=remedy)


def _labels(labels: npt.ArrayLike, samples: int) -> np.ndarray:
    """Returns one label per sample: an integer dtype for classes, float64 for numbers."""
    array = checks.real_array("labels", labels)
    if array.shape != (samples,):
        raise ValueError(
            f"labels: expected shape {(samples,)}, one per sample, got {array.shape}; of several"
            " coordinates pass one"
        )
    if not np.issubdtype(array.dtype, np.integer):
        return checks.finite_array("labels", array)
    if array.min() < 0:
        raise ValueError(f"labels: expected classes >= 0, got {array.min()}")
    return array
