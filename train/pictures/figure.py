"""Figures of a run: made without pyplot, so that a thread may draw them, and written whole."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from flax_snn.plot.axes import size_in_points, wrapped

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PLOTS = "plots"
"""Folder of the pictures in a run directory."""

_DPI = 100


def new_figure(width: float, height: float) -> Figure:
    """Returns a figure that pyplot knows nothing of.

    Args:
      width: width in inches; a PNG has 100 pixels an inch.
      height: height in inches.

    Returns:
      The figure, with a canvas that draws pixels.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=_DPI, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def save(figure: Figure, path: Path) -> Path:
    """Writes a figure as PNG, whole or not at all.

    Args:
      figure: what to write.
      path: the file, which is replaced if it is there.

    Returns:
      The file.
    """
    beside = path.with_name(f"{path.name}.tmp")
    try:
        figure.savefig(beside, format="png", dpi=_DPI)
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)
    return path


def save_all(figures: dict[str, Figure], path: Path) -> list[Path]:
    """Writes figures as PNG files of their names into the folder ``plots`` of a run directory.

    Args:
      figures: by name of the file.
      path: the run directory; its folder is made if need be.

    Returns:
      The files.
    """
    folder = path / PLOTS
    folder.mkdir(parents=True, exist_ok=True)
    return [save(figure, folder / f"{name}.png") for name, figure in figures.items()]


def title(ax: Axes, text: str) -> None:
    """Writes a title above the left edge of the axes, in as many lines as it needs."""
    # A character of this font is about 6 points wide.
    ax.set_title(wrapped(text, int(size_in_points(ax)[0] / 6.0)), loc="left", fontsize="medium")


def headline(figure: Figure, text: str) -> None:
    """Writes a title above all axes, in as many lines as the width of the figure needs."""
    figure.suptitle(wrapped(text, int(72.0 * figure.get_figwidth() / 7.0)))


def spread(items: list[Any], most: int) -> list[Any]:
    """Returns at most so many items: the first, the last, and others evenly between."""
    if len(items) <= most:
        return items
    return [items[round(k * (len(items) - 1) / (most - 1))] for k in range(most)]


def which(layers: list[str], name: str, most: int) -> str:
    """Says which layer it is, where more than so many are not all drawn."""
    return f" ({layers.index(name) + 1} of {len(layers)})" if len(layers) > most else ""


def spike_total(spikes: np.ndarray | int) -> str:
    """Returns a number of spikes, or the sum of several, in words."""
    return number(int(np.sum(spikes)), "spike")


def number(count: int, noun: str) -> str:
    """Returns a number of things in words: "no spikes", "1 spike", "2 spikes"."""
    return f"{count or 'no'} {noun}{'' if count == 1 else 's'}"
