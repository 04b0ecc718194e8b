"""Some samples in continuous time, side by side: the spikes of each layer, the input at the top."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from flax_snn import plot
from flax_snn.plot.roles import OTHER, PREDICTED, TRUE
from train.pictures.figure import headline, new_figure, spike_total, spread, title, which

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LAYERS = 3
"""Most hidden layers that are drawn."""


@dataclasses.dataclass(frozen=True)
class LayerSpikes:
    """Spikes of a layer in one sample, in K slots.

    Attributes:
      time: seconds ``(K,)``, ascending, +inf where a slot is empty.
      index: neurons, integers ``(K,)``, -1 where a slot is empty.
      size: number of neurons.
    """

    time: npt.ArrayLike
    index: npt.ArrayLike
    size: int


@dataclasses.dataclass(frozen=True)
class SampleSpikes:
    """What spikes in one sample.

    Attributes:
      inputs: spikes of the input.
      hidden: those of the hidden layers by name, in order.
      output: those of the output neurons, one per class; ``None`` where these do not spike.
      target: true class.
      prediction: predicted class.
    """

    inputs: LayerSpikes
    hidden: Mapping[str, LayerSpikes]
    output: LayerSpikes | None
    target: int
    prediction: int


def draw_spikes(samples: Sequence[SampleSpikes], part: str = "test") -> Figure:
    """Draws the spikes of samples over time, a column for each.

    First spikes of hidden and output neurons stand out. Of more than three hidden layers, the
    first, the middle and the last are drawn.

    Args:
      samples: spikes of one sample or more, of one network.
      part: name of the part that they are of.

    Returns:
      The figure.

    Raises:
      TypeError, ValueError: as `flax_snn.plot.spike_events`.
    """
    if not samples:
        raise ValueError("samples: expected at least one sample, got none")
    hidden = spread(list(samples[0].hidden), LAYERS)
    outputs = samples[0].output is not None
    heights = [1.0, *(2.2 for _ in hidden), *([1.1] if outputs else [])]
    figure = new_figure(max(3.7 * len(samples), 6.0), sum(heights) + 1.3)
    options: dict[str, Any] = {
        "sharex": True,
        "sharey": "row",
        "height_ratios": heights,
        "squeeze": False,
    }
    grid = figure.subplots(len(heights), len(samples), **options)
    # The rows are empty until they are drawn, and the marks follow the size of the axes.
    figure.draw_without_rendering()
    end = 1.05 * max(map(_last, samples)) or None
    for column, sample in zip(grid.T, samples, strict=True):
        _draw_column(list(column), sample, hidden, end)
    for ax in grid.flat:
        ax.label_outer()
    headline(figure, f"spikes in samples of the {part} part")
    _legend(figure, samples)
    return figure


def _draw_column(
    axes: list[Axes], sample: SampleSpikes, hidden: list[str], end: float | None
) -> None:
    verdict = "right" if sample.target == sample.prediction else "wrong"
    heading = f"true class {sample.target}, predicted {sample.prediction} ({verdict})\n"
    _draw_layer(axes[0], sample.inputs, heading, "input", end)
    axes[0].set_ylabel("input")
    for ax, name in zip(axes[1:], hidden, strict=False):
        place = which(list(sample.hidden), name, LAYERS)
        _draw_layer(ax, sample.hidden[name], "", f"{name}{place}", end, first=True)
    if sample.output is not None:
        layer = sample.output
        roles = {"label": sample.target, "predicted": sample.prediction}
        _draw_layer(axes[-1], layer, "", "output", end, first=True, **roles)
        axes[-1].set_ylabel("class")


def _draw_layer(
    ax: Axes, layer: LayerSpikes, heading: str, name: str, end: float | None, **options: Any
) -> None:
    plot.spike_events(layer.time, layer.index, layer.size, end=end, legend=False, ax=ax, **options)
    count = int(np.isfinite(np.asarray(layer.time)).sum())
    title(ax, f"{heading}{name}: {spike_total(count)}")


def _last(sample: SampleSpikes) -> float:
    """Returns the time of the last spike in seconds, 0 where there is none."""
    layers = [sample.inputs, *sample.hidden.values(), *filter(None, [sample.output])]
    times = np.concatenate([np.asarray(layer.time, np.float64) for layer in layers])
    return float(times[np.isfinite(times)].max(initial=0.0))


def _legend(figure: Figure, samples: Sequence[SampleSpikes]) -> None:
    """Name the colours that occur."""
    from matplotlib.lines import Line2D

    named: dict[str, str] = {}
    if samples[0].output is not None:
        named["true class"] = TRUE
        if any(sample.target != sample.prediction for sample in samples):
            named["predicted class, where it is another"] = PREDICTED
    if any(map(_repeats, samples)):
        named["later spikes of a neuron"] = OTHER
    handles = [
        Line2D([], [], color=color, linewidth=2.0, label=name) for name, color in named.items()
    ]
    if handles:
        figure.legend(
            handles=handles, loc="outside lower center", ncols=len(handles), frameon=False
        )


def _repeats(sample: SampleSpikes) -> bool:
    """Whether a neuron spikes more than once."""
    layers = [*sample.hidden.values(), *filter(None, [sample.output])]
    neurons = [np.asarray(layer.index)[np.asarray(layer.index) >= 0] for layer in layers]
    return any(len(np.unique(indices)) < len(indices) for indices in neurons)
