"""Pictures of a network at work: spike rasters and membrane traces.

Every function draws into the axes that it is given, or into those of a new figure, and returns
them; none shows or saves a figure. What happened in step t is drawn at the time t * dt.

Needs matplotlib: ``pip install 'flax-snn[plot]'``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import jax.numpy as jnp
import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from matplotlib.axes import Axes
else:
    Axes = Any

__all__ = ["membrane", "raster"]

_TICK = 3.0
"""Height of a neuron's row, in points, from which on its spikes are ticks instead of dots."""

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
    """Draw spikes over time, one row per neuron.

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
    spikes_TxN = _spikes(spikes, sample)
    _check_dt(dt)
    if not isinstance(color, str) and len(color) != spikes_TxN.shape[1]:
        raise ValueError(
            f"color: expected a name, or one colour for each of {spikes_TxN.shape[1]} neurons, got"
            f" {len(color)} colours"
        )
    ax = _new_axes() if ax is None else ax
    steps, neurons = np.nonzero(spikes_TxN)
    height = _height(ax) / spikes_TxN.shape[1]
    colors = color if isinstance(color, str) else [color[int(n)] for n in neurons]
    _mark(ax, steps * dt * 1e3, neurons, spikes_TxN[steps, neurons], colors, height)
    _time_axis(ax, len(spikes_TxN), dt)
    ax.set_ylim(-0.5, spikes_TxN.shape[1] - 0.5)
    ax.set_ylabel("neuron index")
    ax.locator_params(axis="y", integer=True)
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
    ax: Axes | None = None,
) -> Axes:
    r"""Draw the membrane potential of some neurons over time, and their spikes above it.

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
      ax: axes to draw into; those of a new figure by default.

    Returns:
      The axes: time in ms, membrane potential.

    Raises:
      ImportError: matplotlib is not installed.
      TypeError: arrays that are not numbers.
      ValueError: arrays of another rank, without steps or neurons, not finite, or of different
        shapes; a sample or a neuron that is not there; dt not above 0; a threshold that is not
        finite.
    """
    v_TxN = _sequence("v", v, sample)
    _check_dt(dt)
    if threshold is not None and not math.isfinite(threshold):
        raise ValueError(f"threshold: expected a finite number or None, got {threshold!r}")
    if spikes is not None and np.shape(spikes) != np.shape(v):
        raise ValueError(
            f"spikes: expected the shape {np.shape(v)} of v, got {np.shape(spikes)}; pass both of"
            " the same run"
        )
    spikes_TxN = None if spikes is None else _spikes(spikes, sample)
    chosen = _chosen(neurons, v_TxN.shape[1])

    ax = _new_axes() if ax is None else ax
    times = np.arange(len(v_TxN)) * dt * 1e3
    top, row = _rows_above(v_TxN[:, chosen], threshold)
    for k, n in enumerate(chosen):
        (line,) = ax.plot(times, v_TxN[:, n], linewidth=1.0, label=f"neuron {n}")
        if spikes_TxN is not None:
            steps = np.flatnonzero(spikes_TxN[:, n])
            level = np.full(steps.shape, top + (k + 1) * row)
            _mark(ax, times[steps], level, spikes_TxN[steps, n], line.get_color(), 6.0)
    if threshold is not None:
        ax.axhline(threshold, linestyle="--", linewidth=0.8, color="0.4", label="threshold")
    _time_axis(ax, len(v_TxN), dt)
    unit = unit or f"threshold = {1.0 if threshold is None else threshold:g}"
    ax.set_ylabel(f"membrane potential\n({unit})")
    if len(ax.lines) > 1:
        ax.legend(
            loc="lower right",
            bbox_to_anchor=(1.0, 1.0),
            ncols=len(ax.lines),
            frameon=False,
            fontsize="small",
        )
    return ax


def _new_axes() -> Axes:
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise ImportError(
            "flax_snn.plot draws with matplotlib, which is not installed:"
            " pip install 'flax-snn[plot]'"
        ) from error
    return plt.subplots(layout="constrained")[1]


def _height(ax: Axes) -> float:
    """Height of the axes in points."""
    return ax.bbox.height / ax.figure.dpi * 72.0


def _mark(ax: Axes, x: Any, y: Any, counts: Any, colors: Any, height: float) -> None:
    """Draw a mark per spike in rows of so many points."""
    if height >= _TICK:
        length = min(0.8 * height, 12.0)
        ax.scatter(
            x, y, s=length**2, color=colors, marker="|", linewidths=counts * 1.0, rasterized=True
        )
    else:
        diameter = max(0.8 * height, 1.2)
        ax.scatter(
            x, y, s=counts * diameter**2, color=colors, marker="o", linewidths=0, rasterized=True
        )


def _time_axis(ax: Axes, steps: int, dt: float) -> None:
    ax.set_xlim(-0.5 * dt * 1e3, (steps - 0.5) * dt * 1e3)
    ax.set_xlabel("time (ms)")


def _rows_above(v_TxK: np.ndarray, threshold: float | None) -> tuple[float, float]:
    """Where the traces end, and the height of a row of spikes above them."""
    top, bottom = float(v_TxK.max()), float(v_TxK.min())
    if threshold is not None:
        top, bottom = max(top, threshold), min(bottom, threshold)
    return top, 0.06 * (top - bottom or 1.0)


def _sequence(name: str, values: npt.ArrayLike, sample: int | None) -> np.ndarray:
    """Return ``(T, N)`` in float64: the array itself, or one sample of ``(B, T, N)``.

    Raises:
      TypeError: not numbers.
      ValueError: another rank, nothing in it, not finite, a sample that is missing or not there.
    """
    array = np.asarray(values)
    real = (np.bool_, np.integer, np.floating)
    # JAX knows bfloat16 as a floating type, NumPy does not.
    if not any(jnp.issubdtype(array.dtype, kind) for kind in real):
        raise TypeError(f"{name}: expected real numbers or bool, got {array.dtype}")
    if array.ndim != (2 if sample is None else 3):
        wanted = "(T, N)" if sample is None else "(B, T, N) with a sample index"
        raise ValueError(
            f"{name}: expected shape {wanted}, got {array.shape}; pass sample=... for a batch, and"
            " only then"
        )
    if 0 in array.shape:
        raise ValueError(
            f"{name}: expected at least one time step and one neuron, got shape {array.shape}"
        )
    if sample is not None:
        if not _is_index(sample, len(array)):
            raise ValueError(f"sample: expected an index in [0, {len(array)}), got {sample!r}")
        array = array[sample]
    array = array.astype(np.float64)
    if not np.isfinite(array).all():
        bad = int((~np.isfinite(array)).sum())
        raise ValueError(f"{name}: expected finite numbers, got {bad} entries that are NaN or inf")
    return array


def _spikes(spikes: npt.ArrayLike, sample: int | None) -> np.ndarray:
    """Return numbers of spikes ``(T, N)``; refuse negative ones."""
    spikes_TxN = _sequence("spikes", spikes, sample)
    if (spikes_TxN < 0.0).any():
        raise ValueError(
            f"spikes: expected numbers of spikes >= 0, got {spikes_TxN.min():g}; draw potentials"
            " with plot.membrane"
        )
    return spikes_TxN


def _chosen(neurons: Sequence[int] | None, size: int) -> list[int]:
    chosen = list(range(min(size, _TRACES))) if neurons is None else list(neurons)
    if not chosen or not all(_is_index(n, size) for n in chosen):
        raise ValueError(f"neurons: expected one or more indices in [0, {size}), got {neurons!r}")
    return chosen


def _is_index(value: Any, size: int) -> bool:
    return isinstance(value, int | np.integer) and 0 <= int(value) < size


def _check_dt(dt: float) -> None:
    if not (math.isfinite(dt) and dt > 0.0):
        raise ValueError(f"dt: expected a step in seconds > 0, got {dt!r}")
