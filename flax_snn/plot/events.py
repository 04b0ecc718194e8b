"""Event rasters: spikes that are pairs of a time and a neuron, as `flax_snn.event` has them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from flax_snn import checks
from flax_snn.plot.axes import legend_beside, mark, neuron_axis, new_axes, size_in_points
from flax_snn.plot.roles import OTHER, Roles, class_roles

if TYPE_CHECKING:
    from matplotlib.axes import Axes
else:
    Axes = Any

_NAMED = 10
"""Most neurons of which each has a tick of its own."""

_LEAST = 3.5
"""Least height of a mark, in points: events are few, and may reach into the next rows."""


def spike_events(
    time: npt.ArrayLike,
    index: npt.ArrayLike,
    size: int,
    *,
    sample: int | None = None,
    first: bool = False,
    label: int | None = None,
    predicted: int | None = None,
    end: float | None = None,
    legend: bool = True,
    ax: Axes | None = None,
) -> Axes:
    """Draws the spikes of one layer in one sample, at their exact times, one row per neuron.

    Of output neurons, one per class, the rows of the true and of the predicted class are coloured,
    also where the neuron is silent.

    >>> import numpy as np
    >>> from flax_snn import plot
    >>> time, index = [3.2e-3, 4.5e-3, 9.0e-3, np.inf], [1, 0, 1, -1]
    >>> ax = plot.spike_events(time, index, 3, first=True, label=1, predicted=1)
    >>> ax.get_xlabel(), [text.get_text() for text in ax.get_legend().get_texts()]
    ('time (ms)', ['class 1: true and predicted', 'later spikes'])

    Args:
      time: spike times in seconds ``(K,)``, ascending, +inf where a slot is empty; or ``(B, K)``
        with `sample`.
      index: neuron of each spike, integers in the shape of `time`, -1 where a slot is empty.
      size: number of neurons.
      sample: which of the B samples.
      first: whether later spikes of a neuron are thin and grey, so that the first ones stand out;
        False by default.
      label: true class, where neurons stand for classes.
      predicted: predicted class.
      end: end of the time axis in seconds; by default a little after the last spike.
      legend: whether classes and later spikes are named beside the axes; True by default.
      ax: axes to draw into; those of a new figure by default.

    Returns:
      The axes: time in ms, neuron index.

    Raises:
      ImportError: matplotlib is not installed.
      TypeError: times that are not numbers, neurons that are not integers.
      ValueError: arrays of another rank or of different shapes; times that are NaN, -inf or not
        ascending; a neuron that is not there; a slot that is empty in one array only; a sample that
        is not there, or is missing; classes that are not there; an end that is not finite, or
        before the last spike.
    """
    size = checks.whole_number("size", size)
    roles = class_roles(label, predicted, size)
    time_S, index_S = _spikes(time, index, size, sample)
    last = float(time_S.max(initial=0.0))
    if end is not None and not last <= end < np.inf:
        raise ValueError(
            f"end: expected seconds, not before the last spike at {last:g}, got {end!r}; set the"
            " limits of the axes to see a part"
        )

    ax = new_axes(figsize=(8.0, 4.0))[0] if ax is None else ax
    later = _is_later(index_S) if first else np.zeros(index_S.shape, bool)
    for row, (_, color) in roles.items():
        ax.axhspan(row - 0.5, row + 0.5, color=color, alpha=0.12, linewidth=0.0)
    height = max(size_in_points(ax)[1] / size, _LEAST)
    colors = [roles[int(n)][1] if int(n) in roles else "black" for n in index_S]
    colors = [OTHER if late else color for late, color in zip(later, colors, strict=True)]
    widths = np.where(later, 1.0, 2.0 if first else 1.0)
    mark(ax, time_S * 1e3, index_S, widths, colors, height)
    _time_axis(ax, float(time_S.min(initial=0.0)), (end or 1.05 * last or 1e-3))
    neuron_axis(ax, size, height, ticks=_NAMED)
    if legend and (roles or later.any()):
        legend_beside(ax, _handles(roles, bool(later.any())))
    return ax


def _is_later(index_S: np.ndarray) -> np.ndarray:
    """Returns whether the neuron of each spike has spiked before."""
    later = np.ones(index_S.shape, bool)
    later[np.unique(index_S, return_index=True)[1]] = False
    return later


def _time_axis(ax: Axes, start: float, end: float) -> None:
    """Shows the time from start to end in ms; a spike at the start is not on the edge."""
    ax.set_xlim(1e3 * (start - 0.02 * (end - start)), 1e3 * end)
    ax.set_xlabel("time (ms)")


def _handles(roles: Roles, later: bool) -> list[Any]:
    from matplotlib.lines import Line2D

    handles = [
        Line2D([], [], color=color, linewidth=2.0, label=f"class {c}: {role}")
        for c, (role, color) in roles.items()
    ]
    if later:
        handles.append(Line2D([], [], color=OTHER, linewidth=1.0, label="later spikes"))
    return handles


def _spikes(
    time: npt.ArrayLike, index: npt.ArrayLike, size: int, sample: int | None
) -> tuple[np.ndarray, np.ndarray]:
    """Returns times and neurons of the S spikes of the sample, without the empty slots."""
    times, neurons = checks.real_array("time", time), np.asarray(index)
    if times.ndim != (1 if sample is None else 2):
        wanted = "(K,)" if sample is None else "(B, K) with a sample index"
        raise ValueError(
            f"time: expected shape {wanted}, got {times.shape}; pass sample=... for a batch, and"
            " only then"
        )
    if neurons.shape != times.shape:
        raise ValueError(
            f"index: expected the shape {times.shape} of time, got {neurons.shape}; pass both of"
            " the same spikes"
        )
    if neurons.size:
        checks.integers("index", neurons)
    if sample is not None:
        sample = checks.index("sample", sample, len(times))
        times, neurons = times[sample], neurons[sample]
    time_K = times.astype(np.float64)
    _check_slots(time_K, neurons, size)
    used = neurons >= 0
    return time_K[used], neurons[used].astype(np.int64)


def _check_slots(time_K: np.ndarray, index_K: np.ndarray, size: int) -> None:
    if np.isnan(time_K).any() or np.isneginf(time_K).any():
        raise ValueError("time: expected seconds or +inf, got NaN or -inf")
    # Neighbours are compared, since the difference of two empty slots is NaN.
    if (time_K[1:] < time_K[:-1]).any():
        raise ValueError("time: expected ascending times, empty slots (+inf) last; sort the spikes")
    if index_K.size and not (index_K.min() >= -1 and index_K.max() < size):
        raise ValueError(
            f"index: expected neurons in [0, {size}), or -1 for an empty slot, got"
            f" {index_K.min()} to {index_K.max()}"
        )
    if ((index_K < 0) != np.isposinf(time_K)).any():
        raise ValueError("index: expected -1 exactly where time is +inf; mark empty slots in both")
