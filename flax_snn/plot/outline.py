"""Classes on a grid over a part of the plane, and the boundaries between them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from flax_snn.plot.drawable import Extent, classes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
else:
    Axes = Any

OUTLINE = "0.25"
"""Colour of the boundaries."""


def class_grid(name: str, values: npt.ArrayLike, cells: int = 1) -> np.ndarray:
    """Returns classes ``(H, W)`` as int64, -1 where there is none.

    Args:
      name: of the argument, for the errors.
      values: the classes.
      cells: least number of cells each way.

    Raises:
      TypeError: not integers.
      ValueError: another rank, too few cells, a class below -1.
    """
    array = np.asarray(values)
    if array.ndim != 2 or min(array.shape) < cells:
        raise ValueError(
            f"{name}: expected shape (H, W), at least {cells} x {cells} cells, got {array.shape};"
            " give the class of each cell of a grid"
        )
    return classes(name, array, lowest=-1)


def outline_grid(values: npt.ArrayLike | None) -> np.ndarray | None:
    """Returns the classes that `draw_outline` draws the boundaries of; errors as `class_grid`."""
    # Contours run between the centres of cells.
    return None if values is None else class_grid("outline", values, cells=2)


def draw_outline(ax: Axes, classes_HxW: np.ndarray, extent: Extent) -> None:
    """Draws the boundaries between classes; -1 counts as a class."""
    edges_x = np.linspace(*extent[:2], classes_HxW.shape[1] + 1)
    edges_y = np.linspace(*extent[2:], len(classes_HxW) + 1)
    centres = [0.5 * (edges[1:] + edges[:-1]) for edges in (edges_x, edges_y)]
    for label in range(int(classes_HxW.max()) + 1):
        inside = (classes_HxW == label).astype(np.float64)
        if 0.0 < inside.mean() < 1.0:
            ax.contour(*centres, inside, [0.5], colors=OUTLINE, linewidths=1.0)
