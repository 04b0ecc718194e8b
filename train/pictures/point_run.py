"""Pictures of a run whose samples are points of the unit square.

learning_curves.png    loss, score and firing rates against epochs
decision_regions.png   predicted class over the square, and the samples
spikes.png             spikes of some samples, layer by layer
hidden_activity.png    spikes of the hidden neurons, and when some of them spike where
confusion.png          which class is taken for which
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from flax_snn import metrics, plot
from flax_snn.plot.learning import Records
from train.pictures.figure import headline, new_figure, save_all
from train.pictures.results import draw_confusion, draw_learning_curves
from train.pictures.spikes import SampleSpikes, draw_spikes

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Plane(NamedTuple):
    """What a network predicts over the unit square, and for the S samples of a part.

    Attributes:
      regions: predicted class at the centres of H x W equal cells, see
        `flax_snn.plot.decision_regions`; -1 outside of what the data cover.
      outline: true classes on a grid of the same kind, as fine as wished.
      points: samples ``(S, 2)``.
      targets: true classes ``(S,)``.
      predictions: predicted classes ``(S,)``.
      classes: number of classes.
    """

    regions: npt.ArrayLike
    outline: npt.ArrayLike
    points: npt.ArrayLike
    targets: npt.ArrayLike
    predictions: npt.ArrayLike
    classes: int


class HiddenActivity(NamedTuple):
    """What the neurons of a network do, on a part of the data and over the plane.

    Attributes:
      counts: number of spikes of each hidden neuron in each sample, ``(S, N)`` by name of the
        layer.
      first: first spike times of some neurons over the plane: by name of a row, a mapping from the
        name of a neuron to seconds ``(H, W)``, +inf where it is silent, NaN outside of what the
        data cover.
    """

    counts: Mapping[str, npt.ArrayLike]
    first: Mapping[str, Mapping[str, npt.ArrayLike]]


def draw_point_run(
    path: Path,
    *,
    records: Records,
    plane: Plane,
    samples: Sequence[SampleSpikes],
    hidden: HiddenActivity,
    part: str = "test",
    score: str = "accuracy",
    loss: str = "loss",
) -> list[Path]:
    """Draws the pictures of a run; each file is there whole or not at all.

    Args:
      path: the run directory; its folder ``plots`` is made if need be.
      records: metrics, one mapping per epoch, see `flax_snn.plot.learning_curves`.
      plane: predictions.
      samples: spikes of one sample or more.
      hidden: activity of the neurons.
      part: name of the part that samples and results are of, for the titles.
      score: name of the score in the records.
      loss: name of the loss, with its unit.

    Returns:
      The files that were written.

    Raises:
      ImportError: matplotlib is not installed.
      TypeError: arrays that are not numbers.
      ValueError: arrays that do not fit; the message names the array.
      OSError: the folder cannot be written to.
    """
    figures = {
        "learning_curves": draw_learning_curves(records, score, loss),
        "decision_regions": _decision_regions(plane, part),
        "spikes": draw_spikes(samples, part),
        "hidden_activity": _hidden_activity(hidden, np.asarray(plane.outline), part),
        "confusion": draw_confusion(plane.targets, plane.predictions, plane.classes, part),
    }
    return save_all(figures, path)


def _decision_regions(plane: Plane, part: str) -> Figure:
    figure = new_figure(8.0, 6.2)
    plot.decision_regions(
        plane.regions,
        plane.points,
        plane.predictions,
        plane.targets,
        outline=plane.outline,
        ax=figure.add_subplot(),
    )
    share = metrics.accuracy(plane.predictions, plane.targets)
    headline(figure, f"{part}: {100.0 * share:.2f} % of {len(np.asarray(plane.targets))} right")
    return figure


def _hidden_activity(hidden: HiddenActivity, outline: np.ndarray, part: str) -> Figure:
    """Draws a histogram at the top, and below it a row of maps for each group of neurons."""
    columns = max([len(maps) for maps in hidden.first.values()], default=1)
    heights = [3.2, *(2.9 for _ in hidden.first)]
    figure = new_figure(max(2.1 * columns + 1.2, 8.0), sum(heights))
    top, *rows = figure.subfigures(len(heights), 1, height_ratios=heights, squeeze=False)[:, 0]
    plot.spike_counts(hidden.counts, ax=top.add_subplot())
    top.suptitle(f"spikes of hidden neurons, mean over the samples of the {part} part")
    for row, (name, maps) in zip(rows, hidden.first.items(), strict=True):
        row.suptitle(name)
        # As many columns in each row, so that all maps have one size.
        grid = row.subplots(1, columns, squeeze=False)[0]
        for ax in grid[len(maps) :]:
            ax.remove()
        axes = list(grid[: len(maps)])
        times = np.stack([np.asarray(first) for first in maps.values()])
        plot.first_spike_map(times, names=list(maps), outline=outline, axes=axes)
        for ax in axes[1:]:
            ax.set_ylabel("")
            ax.tick_params(labelleft=False)
    return figure
