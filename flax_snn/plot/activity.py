"""Activity over time: spike rasters and membrane traces."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from flax_snn import checks
from flax_snn.plot.axes import (
    class_colors,
    legend_inside,
    mark,
    neuron_axis,
    new_axes,
    set_ylabel,
    size_in_points,
    time_axis,
)
from flax_snn.plot.drawable import sequence, spike_counts

if TYPE_CHECKING:
    from matplotlib.axes import Axes
else:
    Axes = Any

_TRACES = 5
"""Most traces that `membrane` draws when it is not told which."""


def raster(
    spikes: npt.ArrayLike,
    *,
    dt: float = 1e-3,
    sample: int | None = None,
    color: str | Sequence[Any] = "black",
    ax: Axes | None = None,
) -> Axes:
    """Draws spikes over time, one row per neuron.

    Spikes are ticks where the rows are high enough, else dots. Several spikes in a step make a
    wider tick or a larger dot. The marks are pixels also in vector formats, so that a PDF of a
    large network stays small.

    >>> import numpy as np
    >>> from flax_snn import plot
    >>> ax = plot.raster(np.eye(50, 8), dt=2e-3)
    >>> ax.get_xlabel(), ax.get_ylabel(), ax.collections[0].get_offsets()[3].tolist()
    ('time (ms)', 'neuron index', [6.0, 3.0])

    Args:
      spikes: spikes, or numbers of spikes, per step: (T, N), or (B, T, N) with `sample`.
      dt: length of a step in seconds, 1e-3 by default.
      sample: which of the B samples.
      color: a colour by name, black by default, or a sequence of N colours, one per neuron.
      ax: axes to draw into; those of a new figure by default.

    Returns:
      The axes: time in ms, neuron index.

    Raises:
      ImportError: matplotlib is not installed.
      TypeError: spikes that are not numbers.
      ValueError: spikes of another rank, without steps or neurons, negative or not finite; a
        sample that is not there, or is missing; dt not above 0; another number of colours than
        neurons.
    """
    spikes_TxN = spike_counts("spikes", spikes, sample)
    dt = checks.positive("dt", dt, unit="seconds")
    if not isinstance(color, str) and len(color) != spikes_TxN.shape[1]:
        raise ValueError(
            f"color: expected a name, or one colour for each of {spikes_TxN.shape[1]} neurons, got"
            f" {len(color)} colours"
        )
    ax = new_axes()[0] if ax is None else ax
    steps, neurons = np.nonzero(spikes_TxN)
    height = size_in_points(ax)[1] / spikes_TxN.shape[1]
    colors = color if isinstance(color, str) else [color[int(n)] for n in neurons]
    mark(ax, steps * dt * 1e3, neurons, spikes_TxN[steps, neurons], colors, height)
    time_axis(ax, len(spikes_TxN), dt)
    neuron_axis(ax, spikes_TxN.shape[1], height)
    return ax


def membrane(
    v: npt.ArrayLike,
    *,
    dt: float = 1e-3,
    sample: int | None = None,
    threshold: float | None = None,
    spikes: npt.ArrayLike | None = None,
    neurons: Sequence[int] | None = None,
    unit: str | None = None,
    legend: bool = True,
    ax: Axes | None = None,
) -> Axes:
    r"""Draws the membrane potential of some neurons over time, and their spikes above it.

    >>> import numpy as np
    >>> from flax_snn import plot
    >>> ax = plot.membrane(np.ones((50, 8)), neurons=[2, 5], threshold=1.0)
    >>> ax.get_ylabel(), [line.get_label() for line in ax.lines]
    ('membrane potential\n(threshold = 1)', ['neuron 2', 'neuron 5', 'threshold'])

    Args:
      v: membrane potential after each step: (T, N), or (B, T, N) with `sample`.
      dt: length of a step in seconds, 1e-3 by default.
      sample: which of the B samples.
      threshold: drawn as a dashed line where given.
      spikes: spikes, or numbers of spikes, in the shape of `v`: ticks above the traces, a row for
        each neuron.
      neurons: indices of the neurons; by default the first ones, at most 5.
      unit: unit of the membrane potential, such as "mV"; by default the one in which the
        threshold has its value, 1 where none is given.
      legend: whether neurons and threshold are named, inside the axes and above the traces; True by
        default.
      ax: axes to draw into; those of a new figure by default.

    Returns:
      The axes: time in ms, membrane potential.

    Raises:
      ImportError: matplotlib is not installed.
      TypeError: arrays that are not numbers.
      ValueError: arrays of another rank, without steps or neurons, not finite, or of different
        shapes; a sample or a neuron outside the range; dt not above 0; a threshold that is not
        finite.
    """
    v_TxN = sequence("v", v, sample)
    dt = checks.positive("dt", dt, unit="seconds")
    if threshold is not None:
        threshold = checks.number("threshold", threshold, remedy="leave it out to draw none")
    if spikes is not None and np.shape(spikes) != np.shape(v):
        raise ValueError(
            f"spikes: expected the shape {np.shape(v)} of v, got {np.shape(spikes)}; pass both of"
            " the same run"
        )
    spikes_TxN = None if spikes is None else spike_counts("spikes", spikes, sample)
    chosen = _chosen(neurons, v_TxN.shape[1])

    ax = new_axes()[0] if ax is None else ax
    times = np.arange(len(v_TxN)) * dt * 1e3
    top, row = _rows_above(v_TxN[:, chosen], threshold)
    style: dict[str, Any] = {"linewidth": 1.0, "marker": "o" if len(v_TxN) == 1 else ""}
    for k, (n, color) in enumerate(zip(chosen, class_colors(len(chosen)), strict=True)):
        (line,) = ax.plot(times, v_TxN[:, n], color=color, label=f"neuron {n}", **style)
        if spikes_TxN is not None:
            steps = np.flatnonzero(spikes_TxN[:, n])
            level = np.full(steps.shape, top + (k + 1) * row)
            mark(ax, times[steps], level, spikes_TxN[steps, n], line.get_color(), 6.0)
    if threshold is not None:
        ax.axhline(threshold, linestyle="--", linewidth=0.8, color="0.4", label="threshold")
    time_axis(ax, len(v_TxN), dt)
    unit = unit or f"threshold = {1.0 if threshold is None else threshold:g}"
    set_ylabel(ax, f"membrane potential\n({unit})")
    if legend and len(ax.lines) > 1:
        legend_inside(ax, ax.lines)
    return ax


def _rows_above(v_TxK: np.ndarray, threshold: float | None) -> tuple[float, float]:
    """Returns where the traces end, and the height of a row of spikes above them."""
    top, bottom = float(v_TxK.max()), float(v_TxK.min())
    if threshold is not None:
        top, bottom = max(top, threshold), min(bottom, threshold)
    return top, 0.06 * (top - bottom or 1.0)


def _chosen(neurons: Sequence[int] | None, size: int) -> list[int]:
    chosen = list(range(min(size, _TRACES))) if neurons is None else list(neurons)
    if not chosen:
        raise ValueError(f"neurons: expected one or more indices in [0, {size}), got none")
    for neuron in chosen:
        checks.index("neurons", neuron, size)
    return chosen
