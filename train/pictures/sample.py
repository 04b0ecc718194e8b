"""One sample in time steps: inputs, hidden layers, membranes and readout, one below the other."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from flax_snn import plot
from flax_snn.plot.axes import legend_beside, set_ylabel
from train.pictures.figure import headline, new_figure, number, spike_total, spread, title, which

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LAYERS = 3
"""Most hidden layers of which the picture of a sample has a raster."""


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
      reading: what is read from each output, in words, such as "mean over time"; "" leaves it out.
    """

    inputs: npt.ArrayLike
    hidden: Mapping[str, LayerActivity]
    output: npt.ArrayLike
    spiking: bool
    target: Any
    prediction: Any
    threshold: float | None = 1.0
    reading: str = ""


def draw_sample(sample: SampleActivity, dt: float, part: str = "test") -> Figure:
    """Draws what a network does in one sample, from the inputs at the top to the readout.

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
    shown = spread(list(sample.hidden), LAYERS)
    heights = [1.1, *(1.5 for _ in shown), *(1.7 for _ in shown[-1:]), 2.2]
    figure = new_figure(9.0, sum(heights) + 0.6)
    rows = list(figure.subplots(len(heights), 1, sharex=True, height_ratios=heights, squeeze=False))
    axes: list[Axes] = [row[0] for row in rows]
    # The rows are empty until they are drawn, and the marks follow the size of the axes.
    figure.draw_without_rendering()
    inputs = np.asarray(sample.inputs)
    plot.raster(inputs, dt=dt, ax=axes[0])
    set_ylabel(axes[0], "input unit")
    title(axes[0], f"input: {spike_total(inputs)} of {number(inputs.shape[1], 'unit')}")
    for ax, name in zip(axes[1:], shown, strict=False):
        spikes = np.asarray(sample.hidden[name].spikes)
        plot.raster(spikes, dt=dt, ax=ax)
        layer = which(list(sample.hidden), name, LAYERS)
        neurons = number(spikes.shape[1], "neuron")
        title(ax, f"{name}{layer}: {spike_total(spikes)} of {neurons}")
    for name in shown[-1:]:
        _membranes(axes[-2], name, sample.hidden[name], dt, sample.threshold)
    headline(figure, f"one sample of the {part} part: {_readout(axes[-1], sample, dt)}")
    figure.align_ylabels(axes)
    for ax in axes:
        ax.label_outer()
    return figure


def _membranes(
    ax: Axes, name: str, layer: LayerActivity, dt: float, threshold: float | None
) -> None:
    spikes_TxN = np.asarray(layer.spikes)
    ranked = np.argsort(-spikes_TxN.sum(axis=0), kind="stable").tolist()
    neurons = sorted(spread(ranked, 3))
    options: dict[str, Any] = {"threshold": threshold, "neurons": neurons, "legend": False}
    plot.membrane(layer.v, dt=dt, spikes=spikes_TxN, ax=ax, **options)
    # Beside the axes, as that of the readout.
    legend_beside(ax)
    title(ax, f"{name}: membranes")


def _readout(ax: Axes, sample: SampleActivity, dt: float) -> str:
    """Draws the readout; returns what was true and what predicted, in words."""
    options: dict[str, Any] = {"dt": dt, "spiking": sample.spiking, "ax": ax}
    target, prediction = np.asarray(sample.target), np.asarray(sample.prediction)
    title(ax, f"readout: {sample.reading} of each output" if sample.reading else "readout")
    if np.issubdtype(target.dtype, np.integer):
        plot.readout(sample.output, label=int(target), predicted=int(prediction), **options)
        verdict = "right" if int(target) == int(prediction) else "wrong"
        return f"true class {target}, predicted class {prediction} ({verdict})"
    options |= {"targets": np.atleast_1d(target), "values": np.atleast_1d(prediction)}
    plot.readout(sample.output, reading=sample.reading, **options)
    return f"true {_listed(target)}, predicted {_listed(prediction)}"


def _listed(values: np.ndarray) -> str:
    return ", ".join(f"{value:.3g}" for value in np.atleast_1d(values))
