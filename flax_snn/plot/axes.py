"""Axes, time axes, marks of spikes, colours and legends that all pictures share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
else:
    Axes = Any

_TICK = 3.0
"""Height of a neuron's row, in points, from which on its spikes are ticks instead of dots."""

_LEGEND_ROWS = 12
"""Most rows of a legend beside the axes; more entries make a further column."""


def new_axes(rows: int = 1, columns: int = 1, **options: Any) -> list[Axes]:
    """Returns the axes of a new figure, row by row; options as of ``plt.subplots``.

    Raises:
      ImportError: matplotlib is not installed.
    """
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise ImportError(
            "flax_snn.plot draws with matplotlib, which is not installed:"
            " pip install 'flax-snn[plot]'"
        ) from error
    grid = plt.subplots(rows, columns, squeeze=False, layout="constrained", **options)[1]
    return list(grid.ravel())


def size_in_points(ax: Axes) -> tuple[float, float]:
    """Width and height of the axes."""
    inches = 72.0 / ax.figure.dpi
    return ax.bbox.width * inches, ax.bbox.height * inches


def mark(ax: Axes, x: Any, y: Any, counts: Any, colors: Any, height: float) -> None:
    """Draws a mark per spike in rows of so many points."""
    if height >= _TICK:
        length = min(0.8 * height, 12.0)
        ax.scatter(
            x, y, s=length**2, color=colors, marker="|", linewidths=counts * 1.0, rasterized=True
        )
    else:
        diameter = max(0.8 * height, 1.2)
        ax.scatter(
            x, y, s=counts * diameter**2, color=colors, marker="o", linewidths=0, rasterized=True
        )


def time_axis(ax: Axes, steps: int, dt: float) -> None:
    """Shows all the steps, in ms."""
    ax.set_xlim(-0.5 * dt * 1e3, (steps - 0.5) * dt * 1e3)
    ax.set_xlabel("time (ms)")


def class_colors(classes: int) -> list[Any]:
    """Returns a colour for each class, the same in every picture of so many classes."""
    from matplotlib import colormaps

    if classes <= 20:
        return list(colormaps["tab10" if classes <= 10 else "tab20"](np.arange(classes)))
    return list(colormaps["turbo"](np.linspace(0.05, 0.95, classes)))


def legend_beside(
    ax: Axes, handles: Sequence[Any] | None = None, x: float = 1.0, **options: Any
) -> None:
    """Draws a legend to the right of the axes, from x on, in columns that are not too long."""
    handles = ax.get_legend_handles_labels()[0] if handles is None else handles
    ax.legend(
        handles=list(handles),
        loc="upper left",
        bbox_to_anchor=(x, 1.0),
        ncols=-(-len(handles) // _LEGEND_ROWS),
        frameon=False,
        fontsize="small",
        **options,
    )
