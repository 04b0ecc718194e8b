"""The learning curves of several runs over each other."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

from flax_snn import plot
from flax_snn.plot.axes import one_legend
from flax_snn.plot.learning import Records
from train.pictures.figure import headline, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def draw_comparison(runs: Mapping[str, Records], score: str, loss: str = "loss") -> Figure:
    """Draws the learning curves of runs over each other; colours tell the runs apart.

    Args:
      runs: metrics of each run, one mapping per epoch, by the path of its directory. The legend
        leaves out the folder in which all of them lie; it stands above the curves.
      score: name of the score in the records.
      loss: name of the loss, with its unit.

    Returns:
      The figure.

    Raises:
      ValueError: as `flax_snn.plot.learning_curves`.
    """
    folder, names = _shortened(list(runs))
    panels = 3 if any(record.get("rates_hz") for run in runs.values() for record in run) else 2
    figure = new_figure(10.0, 2.6 * panels + 0.5)
    axes = list(figure.subplots(panels, 1, sharex=True))
    shown = dict(zip(names, runs.values(), strict=True))
    for ax in plot.learning_curves(shown, score=score, loss=loss, axes=axes):
        ax.label_outer()
    one_legend(axes)
    count = "one run" if len(runs) == 1 else f"{len(runs)} runs"
    headline(figure, f"{count} in {folder}" if folder else count)
    return figure


def _shortened(paths: list[str]) -> tuple[str, list[str]]:
    """Returns the folder in which all paths lie, or "", and the paths below it."""
    try:
        folder = os.path.commonpath([os.path.dirname(path) for path in paths])
    except ValueError:  # Relative and absolute ones.
        return "", paths
    if folder in ("", os.sep):
        return "", paths
    return folder, [os.path.relpath(path, folder) for path in paths]
