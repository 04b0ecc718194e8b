"""Readout: what the output neurons say about one sample, step by step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from flax_snn import checks
from flax_snn.plot.axes import (
    class_bar,
    class_colors,
    legend_beside,
    mark,
    new_axes,
    set_ylabel,
    size_in_points,
    time_axis,
)
from flax_snn.plot.drawable import sequence, spike_counts
from flax_snn.plot.roles import OTHER, Roles, class_roles

if TYPE_CHECKING:
    from matplotlib.axes import Axes
else:
    Axes = Any

_RASTER = 0.5
"""Height of the rows of spikes, as a multiple of the height of the running counts."""

_APART = 15.0
"""Least distance between two tick labels, in points."""


def readout(
    outputs: npt.ArrayLike,
    *,
    dt: float = 1e-3,
    sample: int | None = None,
    spiking: bool = False,
    label: int | None = None,
    predicted: int | None = None,
    targets: npt.ArrayLike | None = None,
    values: npt.ArrayLike | None = None,
    reading: str = "",
    unit: str | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draws the output neurons over time, one per class, with the true and the predicted class.

    Membranes are drawn as they are; of spiking neurons the running numbers of spikes, and above
    them the spikes, a row per neuron from the lowest class at the bottom.

    >>> import numpy as np
    >>> from flax_snn import plot
    >>> ax = plot.readout(np.zeros((50, 10)), label=3, predicted=3)
    >>> [text.get_text() for text in ax.get_legend().get_texts()]
    ['class 3: true and predicted', 'other classes']

    Args:
      outputs: membranes or spikes of the output neurons after each step: ``(T, C)``, or
        ``(B, T, C)`` with `sample`.
      dt: length of a step in seconds, 1e-3 by default.
      sample: which of the B samples.
      spiking: whether the outputs are spikes, or numbers of spikes; False by default.
      label: true class, highlighted where given.
      predicted: predicted class, highlighted where given.
      targets: for a regression, the value that each output should take, ``(C,)``: dashed lines;
        outputs are then called coordinates.
      values: for a regression, the value that is read from each output, ``(C,)``: dotted lines.
      reading: what is read from an output, such as "mean over time"; stands beside the values.
      unit: unit of the membrane potential, such as "mV"; by default that of the threshold, of a
        regression that of its targets.
      ax: axes to draw into; those of a new figure by default.

    Returns:
      The axes: time in ms; membrane potential, or number of spikes so far.

    Raises:
      ImportError: matplotlib is not installed.
      TypeError: outputs, targets or values that are not numbers.
      ValueError: arrays of another rank, without steps or neurons, not finite, spikes below 0; a
        sample or class that is not there; targets or values of another shape, or together with
        classes; dt not above 0.
    """
    check = spike_counts if spiking else sequence
    outputs_TxC = check("outputs", outputs, sample)
    steps, classes = outputs_TxC.shape
    dt = checks.positive("dt", dt, unit="seconds")
    roles = class_roles(label, predicted, classes)
    levels = {
        "targets": _levels("targets", targets, classes),
        "values": _levels("values", values, classes),
    }
    for name, given in levels.items():
        if given is not None and not (label is None and predicted is None and not spiking):
            raise ValueError(
                f"{name}: expected None where there are classes or spikes, got an array; a"
                " regression has membranes, neither label nor predicted"
            )

    ax = new_axes(figsize=(8.0, 4.0))[0] if ax is None else ax
    colors = [roles[c][1] if c in roles else OTHER for c in range(classes)]
    colors = colors if roles else class_colors(classes)
    times = np.arange(steps) * dt * 1e3
    if spiking:
        _draw_counts(ax, outputs_TxC, dt, colors, roles)
        _draw_spikes(ax, outputs_TxC, times, colors)
        set_ylabel(ax, "spikes so far")
    else:
        marker = "o" if steps == 1 else ""
        for c, color in enumerate(colors):
            ax.plot(times, outputs_TxC[:, c], marker=marker, color=color, **_style(c in roles))
        default = "threshold = 1" if levels["targets"] is None else "unit of the target"
        set_ylabel(ax, f"membrane potential\n({unit or default})")
    for name, levels_C in levels.items():
        for level, color in zip(levels_C if levels_C is not None else (), colors, strict=False):
            ax.axhline(level, color=color, **_LEVELS[name])
    _legend(ax, colors, roles, [name for name in levels if levels[name] is not None], reading)
    time_axis(ax, steps, dt)
    return ax


_LEVELS: dict[str, dict[str, Any]] = {
    "targets": {"linestyle": "--", "linewidth": 1.2},
    "values": {"linestyle": ":", "linewidth": 1.8},
}


def _style(highlighted: bool) -> dict[str, Any]:
    return {"linewidth": 2.0, "zorder": 3.0} if highlighted else {"linewidth": 1.0}


def _draw_counts(
    ax: Axes, spikes_TxC: np.ndarray, dt: float, colors: Sequence[Any], roles: Roles
) -> None:
    """Draws the running numbers of spikes as steps, to the edge of the axes."""
    steps = len(spikes_TxC)
    times = np.append(np.arange(steps), steps - 0.5) * dt * 1e3
    counts_TxC = np.cumsum(np.pad(spikes_TxC, ((0, 1), (0, 0))), axis=0)
    for c, color in enumerate(colors):
        ax.step(times, counts_TxC[:, c], where="post", color=color, **_style(c in roles))


def _draw_spikes(
    ax: Axes, spikes_TxC: np.ndarray, times: np.ndarray, colors: Sequence[Any]
) -> None:
    """Draws a row of spikes per class above the counts."""
    from matplotlib.ticker import MaxNLocator

    classes, top = len(colors), max(float(spikes_TxC.sum(axis=0).max()), 1.0)
    row = _RASTER * top / classes
    # As much room between them as the labels of the highest count and of the lowest row need.
    room = min(_APART, 0.2 * size_in_points(ax)[1])
    points = (size_in_points(ax)[1] - room) / (top * (1.03 + _RASTER))
    bottom = top + room / points
    height = points * row
    steps, neurons = np.nonzero(spikes_TxC)
    levels = bottom + (neurons + 0.5) * row
    colors = [colors[int(n)] for n in neurons]
    mark(ax, times[steps], levels, spikes_TxC[steps, neurons], colors, height)
    ax.axhline(0.5 * (top + bottom), color="0.8", linewidth=0.8)
    ax.set_ylim(-0.03 * top, bottom + _RASTER * top)
    most = max(min(int(points * top / _APART), 4), 1)
    ticks = MaxNLocator(most, integer=True, min_n_ticks=1).tick_values(0, top)
    counts = [int(c) for c in ticks if 0 <= c <= top]
    ends = sorted({0, classes - 1}) if height * (classes - 1) >= _APART else [0]
    ax.set_yticks(
        [*counts, *(bottom + (c + 0.5) * row for c in ends)],
        [*map(str, counts), *(f"class {c}" for c in ends)],
    )


def _legend(
    ax: Axes, colors: Sequence[Any], roles: Roles, levels: Sequence[str], reading: str
) -> None:
    """Names the classes, where any has a role only those that have one, and the levels."""
    from matplotlib.lines import Line2D

    noun = "coordinate" if levels else "class"

    def called(c: int) -> str:
        return "output" if levels and len(colors) == 1 else f"{noun} {c}"

    shown = {c: f": {role}" for c, (role, _) in roles.items()} or dict.fromkeys(
        range(len(colors)), ""
    )
    handles = [
        Line2D([], [], color=colors[c], linewidth=2.0, label=f"{called(c)}{role}")
        for c, role in shown.items()
    ]
    if not roles and class_bar(ax, colors, noun):
        handles = []
    if len(shown) < len(colors):
        handles.append(Line2D([], [], color=OTHER, label="other classes"))
    names = {"targets": "target", "values": f"read: {reading}" if reading else "read"}
    for name in levels:
        handles.append(Line2D([], [], color="0.3", label=names[name], **_LEVELS[name]))
    if handles:
        legend_beside(ax, handles)


def _levels(name: str, levels: npt.ArrayLike | None, outputs: int) -> np.ndarray | None:
    if levels is None:
        return None
    array = checks.real_array(name, levels)
    if array.shape != (outputs,):
        raise ValueError(
            f"{name}: expected shape {(outputs,)}, one value per output, got {array.shape}"
        )
    return checks.finite_array(name, array)
