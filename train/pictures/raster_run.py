"""Pictures of a run in time steps.

learning_curves.png   loss, score and firing rates against epochs
sample.png            one sample: inputs, hidden layers, membranes, readout
firing_rates.png      firing rates of the neurons of each layer
manifold.png          spike times of three input units, in 3-D
confusion.png         of a classification: which class is taken for which
predictions.png       of a regression: predicted against true values
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from flax_snn import plot
from flax_snn.plot.axes import grow_to_legend
from flax_snn.plot.learning import Records
from train.pictures.figure import headline, new_figure, save_all
from train.pictures.results import draw_confusion, draw_learning_curves, draw_predictions
from train.pictures.sample import SampleActivity, draw_sample

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class PartScores(NamedTuple):
    """What a network does on a part of the data, S samples.

    Attributes:
      rates_hz: firing rate in Hz of each neuron ``(N,)``, the mean over samples and time, by name
        of the layer; empty if no layer spikes.
      targets: true classes, integers ``(S,)``; of a regression the true values, floating ``(S,)``
        or ``(S, D)``.
      predictions: predicted classes or values, as the targets.
      classes: number of classes; ``None`` for a regression.
      times: the spike time of each input unit in steps, finite ``(S, M)``; ``None`` where units do
        not spike once a sample, or fewer than three of them do.
      score: R2 of a regression as the run counts it; ``None`` leaves it out.
    """

    rates_hz: Mapping[str, npt.ArrayLike]
    targets: npt.ArrayLike
    predictions: npt.ArrayLike
    classes: int | None
    times: npt.ArrayLike | None
    score: float | None = None


def draw_run(
    path: Path,
    *,
    records: Records,
    sample: SampleActivity,
    scores: PartScores,
    dt: float,
    part: str = "test",
    score: str = "accuracy",
    loss: str = "loss",
    quantity: str = "value",
) -> list[Path]:
    """Draws the pictures of a run; each file is there whole or not at all.

    Args:
      path: the run directory; its folder ``plots`` is made if need be.
      records: metrics, one mapping per epoch, see `flax_snn.plot.learning_curves`.
      sample: activity in one sample.
      scores: results on a part of the data.
      dt: length of a step in seconds.
      part: name of the part that sample and results are of, for the titles.
      score: name of the score in the records.
      loss: name of the loss, with its unit.
      quantity: of a regression, what the targets are, with their unit.

    Returns:
      The files that were written. A picture without anything to show is left out: rates of a
      network without layers that spike, the manifold without spike times.

    Raises:
      ImportError: matplotlib is not installed.
      TypeError: arrays that are not numbers.
      ValueError: arrays that do not fit; the message names the array.
      OSError: the folder cannot be written to.
    """
    found = (scores.targets, scores.predictions)
    figures = {"learning_curves": draw_learning_curves(records, score, loss)}
    figures["sample"] = draw_sample(sample, dt, part)
    if scores.rates_hz:
        figures["firing_rates"] = _firing_rates(scores, part)
    if scores.times is not None:
        figures["manifold"] = _manifold(
            scores.times, np.asarray(scores.targets), dt, part, quantity
        )
    if scores.classes is None:
        figures["predictions"] = draw_predictions(*found, part, quantity, scores.score)
    else:
        figures["confusion"] = draw_confusion(*found, scores.classes, part)
    return save_all(figures, path)


def _firing_rates(scores: PartScores, part: str) -> Figure:
    figure = new_figure(8.0, 4.0)
    grow_to_legend(plot.firing_rates(scores.rates_hz, ax=figure.add_subplot()))
    headline(figure, f"firing rates on the {part} part, mean over samples and time")
    return figure


def _manifold(
    times: npt.ArrayLike, targets: np.ndarray, dt: float, part: str, quantity: str
) -> Figure:
    figure = new_figure(7.5, 6.0)
    one = targets.ndim == 1 or targets.shape[1] == 1
    plot.spike_time_manifold(
        times,
        targets if targets.ndim == 1 else targets[:, 0],
        dt=dt,
        coordinate=quantity if one else f"{quantity}, coordinate 0",
        ax=figure.add_subplot(projection="3d"),
    )
    headline(figure, f"input spike times, {len(targets)} samples of the {part} part")
    return figure
