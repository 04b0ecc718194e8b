"""Pictures of results that every run has: learning curves, and what is taken for what."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from flax_snn import metrics, plot
from flax_snn.plot.learning import Records
from train.pictures.figure import headline, new_figure, number, save_all

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def draw_results(
    path: Path,
    *,
    records: Records,
    targets: npt.ArrayLike,
    predictions: npt.ArrayLike,
    classes: int | None,
    score: str,
    value: float,
    loss: str,
    part: str = "test",
) -> list[Path]:
    """Draws the pictures that every task has: learning curves, and what is taken for what.

    Args:
      path: the run directory; its folder ``plots`` is made if need be.
      records: metrics, one mapping per epoch, see `flax_snn.plot.learning_curves`.
      targets: true classes ``(S,)``, or values ``(S, D)``.
      predictions: as the targets.
      classes: number of classes; ``None`` where values are predicted.
      score: name of the score in the records.
      value: the score on the part.
      loss: name of the loss, with its unit.
      part: name of the part that the results are of.

    Returns:
      The files that were written.
    """
    figures = {"learning_curves": draw_learning_curves(records, score, loss)}
    if classes is None:
        figures["predictions"] = draw_predictions(targets, predictions, part, "value", value)
    else:
        figures["confusion"] = draw_confusion(targets, predictions, classes, part)
    return save_all(figures, path)


def draw_learning_curves(records: Records, score: str, loss: str) -> Figure:
    """Draws loss, score and, where the records have them, firing rates against epochs.

    Args:
      records: metrics, one mapping per epoch, see `flax_snn.plot.learning_curves`.
      score: name of the score in the records.
      loss: name of the loss, with its unit.

    Returns:
      The figure.
    """
    panels = 3 if any(record.get("rates_hz") for record in records) else 2
    figure = new_figure(8.0, 2.3 * panels)
    axes: Sequence[Axes] = list(figure.subplots(panels, 1, sharex=True))
    for ax in plot.learning_curves(records, score=score, loss=loss, axes=axes):
        ax.label_outer()
    return figure


def draw_confusion(
    targets: npt.ArrayLike, predictions: npt.ArrayLike, classes: int, part: str
) -> Figure:
    """Draws which class is taken for which.

    Args:
      targets: true classes ``(S,)``.
      predictions: predicted classes ``(S,)``.
      classes: number of classes.
      part: name of the part that the samples are of.

    Returns:
      The figure.
    """
    counts = metrics.confusion_matrix(predictions, targets, classes)
    side = min(max(0.36 * classes, 3.8), 7.6)
    figure = new_figure(side + 1.6, side + 0.8)
    plot.confusion_matrix(counts, ax=figure.add_subplot())
    share = metrics.accuracy(predictions, targets)
    headline(figure, f"{part}: {100.0 * share:.2f} % of {counts.sum()} right")
    return figure


def draw_predictions(
    targets: npt.ArrayLike,
    predictions: npt.ArrayLike,
    part: str,
    quantity: str,
    score: float | None = None,
) -> Figure:
    """Draws predicted against true values.

    Args:
      targets: true values, ``(S,)`` or ``(S, D)``.
      predictions: predicted values, as the targets.
      part: name of the part that the samples are of.
      quantity: what the values are, with their unit.
      score: R2 as the run counts it, from the variance that the task states; ``None`` for that of
        the targets drawn, see `flax_snn.metrics.r2`.

    Returns:
      The figure.
    """
    figure = new_figure(5.6, 5.9)
    ax = figure.add_subplot()
    plot.predictions(predictions, targets, quantity=quantity, scored=score is None, ax=ax)
    words = f"{number(len(np.asarray(targets)), 'sample')} of the {part} part"
    if score is not None:
        words += f": R² = {score:.4f}\n1 - mean squared error / variance stated by the task"
    headline(figure, words)
    return figure
