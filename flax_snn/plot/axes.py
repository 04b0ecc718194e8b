"""Axes, marks of spikes, colours, labels and legends that all pictures share."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from flax_snn.plot.palette import COLORS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
else:
    Axes = Any

_TICK = 3.0
"""Height of a neuron's row, in points, from which on its spikes are ticks instead of dots."""

_LEGEND_ROWS = 12
"""Most rows of a legend beside the axes; more entries make a further column."""

_LEGEND_CLASSES = 30
"""Most classes that a legend names; more have a colour bar."""

_LEGEND_WIDTH = 30
"""Most characters in a line of a legend; longer names are continued on a new line."""

_SMALLEST = 6.0
"""Smallest font, in points, that is still legible."""

_CHARACTER = 0.56
"""Mean width of a character as a multiple of the size of its font."""


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
    size = _mark_size(height)
    if height >= _TICK:
        ax.scatter(
            x, y, s=size**2, color=colors, marker="|", linewidths=counts * 1.0, rasterized=True
        )
    else:
        ax.scatter(
            x, y, s=counts * size**2, color=colors, marker="o", linewidths=0, rasterized=True
        )


def neuron_axis(ax: Axes, neurons: int, height: float, ticks: int = 0) -> None:
    """Shows a row for each neuron, of which `mark` draws the marks in so many points.

    Args:
      ax: the axes.
      neurons: number of neurons.
      height: of a row as `mark` was told, in points.
      ticks: most neurons of which each has a tick.
    """
    from matplotlib.ticker import MaxNLocator

    # Marks that are higher than the rows are not cut off at the edge.
    row = size_in_points(ax)[1] / neurons
    margin = max(0.5, 0.5 * _mark_size(height) / row)
    ax.set_ylim(-margin, neurons - 1 + margin)
    if neurons <= ticks:
        ax.set_yticks(range(neurons))
    else:
        steps = [1, 2, 5, 10]
        ax.yaxis.set_major_locator(MaxNLocator("auto", steps=steps, integer=True, min_n_ticks=1))
    set_ylabel(ax, "neuron index")


def time_axis(ax: Axes, steps: int, dt: float) -> None:
    """Shows all the steps, in ms."""
    # Half a step, or as much as a mark in the first or last step needs.
    margin = max(0.5, 1.5 * steps / max(size_in_points(ax)[0], 1.0)) * dt * 1e3
    ax.set_xlim(-margin, (steps - 1) * dt * 1e3 + margin)
    if steps == 1:
        ax.set_xticks([0.0])
    ax.set_xlabel("time (ms)")


def class_colors(classes: int) -> list[Any]:
    """Returns a colour for each class, the same in every picture of so many classes.

    Up to ten have colours that also the colour-blind tell apart; more go from dark to light.
    """
    from matplotlib import colormaps
    from matplotlib.colors import to_rgba

    if classes <= len(COLORS):
        return [to_rgba(color) for color in COLORS[:classes]]
    return list(colormaps["viridis"](np.linspace(0.0, 0.95, classes)))


def set_ylabel(ax: Axes, text: str) -> None:
    """Names the axis, in a smaller font where the axes are lower than the text is long."""
    from matplotlib import rcParams
    from matplotlib.font_manager import FontProperties

    size = FontProperties(size=rcParams["axes.labelsize"]).get_size_in_points()
    longest = _CHARACTER * max(map(len, text.split("\n")))
    fitting = max(0.9 * size_in_points(ax)[1] / longest, _SMALLEST)
    if fitting < size:
        ax.set_ylabel(text, fontsize=fitting, labelpad=2.0)
    else:
        ax.set_ylabel(text)


def legend_beside(
    ax: Axes, handles: Sequence[Any] | None = None, x: float = 1.0, **options: Any
) -> None:
    """Draws a legend to the right of the axes, from x on, in columns that are not too long."""
    handles = ax.get_legend_handles_labels()[0] if handles is None else handles
    ax.legend(
        handles=list(handles),
        labels=[wrapped(str(handle.get_label()), _LEGEND_WIDTH) for handle in handles],
        loc="upper left",
        bbox_to_anchor=(x, 1.0),
        ncols=-(-len(handles) // _LEGEND_ROWS),
        frameon=False,
        fontsize="small",
        **options,
    )


def class_bar(ax: Axes, colors: Sequence[Any], label: str = "class", **options: Any) -> bool:
    """Draws a bar of the colours of classes, if they are too many for a legend.

    Returns:
      Whether they are, and the bar was drawn.
    """
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import ListedColormap, Normalize

    if len(colors) <= _LEGEND_CLASSES:
        return False
    norm = Normalize(-0.5, len(colors) - 0.5)
    bar = ax.figure.colorbar(ScalarMappable(norm, ListedColormap(colors)), ax=ax, **options)
    bar.set_label(label)
    return True


def grow_to_legend(ax: Axes) -> None:
    """Makes the figure of the axes as high as the legend beside them needs."""
    legend = ax.get_legend()
    figure: Any = ax.figure
    if legend is not None:
        needed = legend.get_window_extent().height / figure.dpi + 1.0
        figure.set_figheight(max(figure.get_figheight(), needed))


def one_legend(axes: Sequence[Axes]) -> None:
    """Puts the legends beside several axes into one, which spans the height of the figure.

    A long legend beside the first of several axes would push the others away.
    """
    legends = [legend for legend in (ax.get_legend() for ax in axes) if legend is not None]
    handles = [handle for legend in legends for handle in legend.legend_handles]
    labels = [text.get_text() for legend in legends for text in legend.get_texts()]
    for legend in legends:
        legend.remove()
    figure: Any = axes[0].figure
    legend = figure.legend(
        handles=handles,
        labels=labels,
        loc="outside right center",
        ncols=-(-len(handles) // (len(axes) * _LEGEND_ROWS)),
        frameon=False,
        fontsize="small",
    )
    needed = legend.get_window_extent().height / figure.dpi + 1.0
    figure.set_figheight(max(figure.get_figheight(), needed))


def legend_inside(ax: Axes, handles: Sequence[Any]) -> None:
    """Draws a legend in rows at the top of the axes, in room that is made above what is drawn."""
    width, height = size_in_points(ax)
    inches = 72.0 / ax.figure.dpi
    # In as few rows as fit, each with as many entries as the others.
    for rows in range(1, len(handles) + 1):
        legend = ax.legend(
            handles=list(handles),
            loc="upper right",
            ncols=-(-len(handles) // rows),
            frameon=False,
            fontsize="small",
            borderaxespad=0.2,
            borderpad=0.2,
            columnspacing=1.0,
        )
        box = legend.get_window_extent()
        if box.width * inches <= width:
            break
    low, high = ax.get_ylim()
    share = min((box.height * inches + 4.0) / height, 0.6)
    ax.set_ylim(low, low + (high - low) / (1.0 - share))


def wrapped(text: str, width: int) -> str:
    """Returns the text in lines of at most so many characters, the whole of it."""
    lines = []
    for line in text.split("\n"):
        lines.append("")
        for words in re.findall(r"[^\s,]+[\s,]?|[\s,]", line):
            # Names and paths have no spaces: they may be continued after an underscore or a slash.
            inside = rf"[^_/]{{1,{width}}}[_/]?|[_/]"
            long = len(words.rstrip()) > width
            for piece in re.findall(inside, words) if long else [words]:
                if lines[-1] and len(lines[-1]) + len(piece.rstrip()) > width:
                    lines.append("")
                lines[-1] += piece
    return "\n".join(line.rstrip() for line in lines)


def _mark_size(height: float) -> float:
    """Returns the length of a tick, or the diameter of a dot, in rows of so many points."""
    return min(0.8 * height, 12.0) if height >= _TICK else max(0.8 * height, 1.2)
