"""Pictures of a run: PNG files in its folder ``plots``, drawn from plain arrays.

    learning_curves.png   loss, score and firing rates against epochs
    sample.png            one sample: inputs, hidden layers, membranes, readout
    firing_rates.png      firing rates of the neurons of each layer
    manifold.png          spike times of three input units, in 3-D
    confusion.png         of a classification: which class is taken for which
    predictions.png       of a regression: predicted against true values

They need no display and no state of pyplot, so that a thread may draw them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from flax_snn import metrics, plot
from flax_snn.plot.axes import legend_beside
from flax_snn.plot.learning import Records

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PLOTS = "plots"
"""Folder of the pictures in a run directory."""

_LAYERS = 3
"""Most hidden layers of which the picture of a sample has a raster."""

_DPI = 100


class LayerActivity(NamedTuple):
    """What a hidden layer does in one sample.

    Attributes:
      spikes: spikes of each step, ``(T, N)``.
      v: membrane potential after each step, ``(T, N)``.
    """

    spikes: npt.ArrayLike
    v: npt.ArrayLike


class SampleActivity(NamedTuple):
    """What a network does in one sample.

    Attributes:
      inputs: numbers of input spikes, ``(T, F)``.
      hidden: the hidden layers by name, in order; a network without any has an empty mapping.
      output: what the network returns, ``(T, C)``: spikes, or membranes of a readout that does not
        spike. One output per class, or per coordinate of a regression.
      spiking: whether the output is spikes.
      target: true class; of a regression the true values, floating ``(C,)``.
      prediction: predicted class; of a regression the predicted values, floating ``(C,)``.
      threshold: of the hidden layers, drawn with their membranes; ``None`` leaves it out.
    """

    inputs: npt.ArrayLike
    hidden: Mapping[str, LayerActivity]
    output: npt.ArrayLike
    spiking: bool
    target: Any
    prediction: Any
    threshold: float | None = 1.0


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
    """

    rates_hz: Mapping[str, npt.ArrayLike]
    targets: npt.ArrayLike
    predictions: npt.ArrayLike
    classes: int | None
    times: npt.ArrayLike | None


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
    """Draw the pictures of a run; each file is there whole or not at all.

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
    folder = path / PLOTS
    folder.mkdir(parents=True, exist_ok=True)
    figures = {"learning_curves": _learning_curves(records, score, loss)}
    figures["sample"] = draw_sample(sample, dt, part)
    if scores.rates_hz:
        figures["firing_rates"] = _firing_rates(scores, part)
    if scores.times is not None:
        figures["manifold"] = _manifold(
            scores.times, np.asarray(scores.targets), dt, part, quantity
        )
    if scores.classes is None:
        figures["predictions"] = _predictions(scores, part, quantity)
    else:
        figures["confusion"] = _confusion(scores, scores.classes, part)
    return [save(figure, folder / f"{name}.png") for name, figure in figures.items()]


def new_figure(width: float, height: float) -> Figure:
    """Return a figure that pyplot knows nothing of.

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
    """Write a figure as PNG, whole or not at all.

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


def draw_sample(sample: SampleActivity, dt: float, part: str = "test") -> Figure:
    """Draw what a network does in one sample, from the inputs at the top to the readout.

    Of more than three hidden layers, the first, the middle and the last have a raster. Membranes
    are those of three neurons of the last hidden layer: the one with most spikes, the one in the
    middle, the one with fewest.

    Args:
      sample: activity in one sample.
      dt: length of a step in seconds.
      part: name of the part that the sample is of.

    Returns:
      The figure.

    Raises:
      TypeError, ValueError: as `draw_run`.
    """
    shown = _spread(list(sample.hidden), _LAYERS)
    heights = [1.1, *(1.5 for _ in shown), *(1.7 for _ in shown[-1:]), 2.2]
    figure = new_figure(9.0, sum(heights) + 0.6)
    rows = list(figure.subplots(len(heights), 1, sharex=True, height_ratios=heights, squeeze=False))
    axes: list[Axes] = [row[0] for row in rows]
    inputs = np.asarray(sample.inputs)
    plot.raster(inputs, dt=dt, ax=axes[0])
    axes[0].set_ylabel("input unit")
    _title(axes[0], f"input: {_spikes(inputs)} of {inputs.shape[1]} units")
    for ax, name in zip(axes[1:], shown, strict=False):
        spikes = np.asarray(sample.hidden[name].spikes)
        plot.raster(spikes, dt=dt, ax=ax)
        which = _which(list(sample.hidden), name)
        _title(ax, f"{name}{which}: {_spikes(spikes)} of {spikes.shape[1]} neurons")
    for name in shown[-1:]:
        _membranes(axes[-2], name, sample.hidden[name], dt, sample.threshold)
    figure.suptitle(f"one sample of the {part} part: {_readout(axes[-1], sample, dt)}")
    figure.align_ylabels(axes)
    for ax in axes:
        ax.label_outer()
    return figure


def _membranes(
    ax: Axes, name: str, layer: LayerActivity, dt: float, threshold: float | None
) -> None:
    spikes_TxN = np.asarray(layer.spikes)
    ranked = np.argsort(-spikes_TxN.sum(axis=0), kind="stable").tolist()
    neurons = sorted(_spread(ranked, 3))
    plot.membrane(layer.v, dt=dt, spikes=spikes_TxN, threshold=threshold, neurons=neurons, ax=ax)
    # Beside instead of above, where the title stands.
    legend_beside(ax)
    _title(ax, f"{name}: membranes")


def _readout(ax: Axes, sample: SampleActivity, dt: float) -> str:
    """Draw the readout; returns what was true and what predicted, in words."""
    options: dict[str, Any] = {"dt": dt, "spiking": sample.spiking, "ax": ax}
    target, prediction = np.asarray(sample.target), np.asarray(sample.prediction)
    _title(ax, "readout")
    if np.issubdtype(target.dtype, np.integer):
        plot.readout(sample.output, label=int(target), predicted=int(prediction), **options)
        verdict = "right" if int(target) == int(prediction) else "wrong"
        return f"true class {target}, predicted class {prediction} ({verdict})"
    plot.readout(sample.output, targets=np.atleast_1d(target), **options)
    return f"true {_listed(target)}, predicted {_listed(prediction)}"


def _learning_curves(records: Records, score: str, loss: str) -> Figure:
    panels = 3 if any(record.get("rates_hz") for record in records) else 2
    figure = new_figure(8.0, 2.3 * panels)
    axes: Sequence[Axes] = list(figure.subplots(panels, 1, sharex=True))
    for ax in plot.learning_curves(records, score=score, loss=loss, axes=axes):
        ax.label_outer()
    return figure


def _firing_rates(scores: PartScores, part: str) -> Figure:
    figure = new_figure(8.0, 4.0)
    plot.firing_rates(scores.rates_hz, ax=figure.add_subplot())
    figure.suptitle(f"firing rates on the {part} part, mean over samples and time")
    return figure


def _manifold(
    times: npt.ArrayLike, targets: np.ndarray, dt: float, part: str, quantity: str
) -> Figure:
    figure = new_figure(7.5, 6.0)
    one = targets.ndim == 1
    plot.spike_time_manifold(
        times,
        targets if one else targets[:, 0],
        dt=dt,
        coordinate=quantity if one else f"{quantity}, coordinate 0",
        ax=figure.add_subplot(projection="3d"),
    )
    figure.suptitle(f"input spike times, {len(targets)} samples of the {part} part")
    return figure


def _confusion(scores: PartScores, classes: int, part: str) -> Figure:
    counts = metrics.confusion_matrix(scores.targets, scores.predictions, classes)
    side = min(max(0.36 * classes, 3.8), 7.6)
    figure = new_figure(side + 1.6, side + 0.8)
    plot.confusion_matrix(counts, ax=figure.add_subplot())
    share = metrics.accuracy(scores.targets, scores.predictions)
    figure.suptitle(f"{part}: {100.0 * share:.2f} % of {counts.sum()} samples right")
    return figure


def _predictions(scores: PartScores, part: str, quantity: str) -> Figure:
    figure = new_figure(5.6, 5.7)
    plot.predictions(scores.targets, scores.predictions, quantity=quantity, ax=figure.add_subplot())
    figure.suptitle(f"{len(np.asarray(scores.targets))} samples of the {part} part")
    return figure


def _spread(items: list[Any], most: int) -> list[Any]:
    """Return at most so many items: the first, the last, and others evenly between."""
    if len(items) <= most:
        return items
    return [items[round(k * (len(items) - 1) / (most - 1))] for k in range(most)]


def _which(layers: list[str], name: str) -> str:
    """Say which layer it is where not all of them are drawn."""
    return f" ({layers.index(name) + 1} of {len(layers)})" if len(layers) > _LAYERS else ""


def _spikes(spikes: np.ndarray) -> str:
    count = int(spikes.sum())
    return "1 spike" if count == 1 else f"{count or 'no'} spikes"


def _listed(values: np.ndarray) -> str:
    return ", ".join(f"{value:.3g}" for value in np.atleast_1d(values))


def _title(ax: Axes, text: str) -> None:
    ax.set_title(text, loc="left", fontsize="medium")
