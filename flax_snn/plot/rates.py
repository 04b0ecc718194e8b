"""Firing rates and numbers of spikes: how a layer's activity is spread over its neurons."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from flax_snn import checks
from flax_snn.plot.axes import class_colors, legend_beside, new_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.lines import Line2D
else:
    Axes = Line2D = Any


def firing_rates(
    rates: npt.ArrayLike | Mapping[str, npt.ArrayLike],
    *,
    bins: int = 30,
    ax: Axes | None = None,
) -> Axes:
    r"""Draws a histogram of the firing rates of neurons, of one layer or several.

    Layers share the bins, which reach from 0 to the highest rate, and are scaled to their size. A
    triangle on the upper edge marks the mean of a layer; the legend gives it in figures, with the
    number of neurons that never spiked.

    >>> from flax_snn import plot
    >>> ax = plot.firing_rates({"hidden_1": [0.0, 10.0, 20.0, 30.0]})
    >>> ax.get_xlabel(), ax.get_legend().get_texts()[0].get_text()
    ('firing rate (Hz)', 'hidden_1: mean 15.0 Hz\n1 of 4 silent')

    Args:
      rates: firing rate of each neuron in Hz, ``(N,)``; or such arrays by the name of the layer.
      bins: number of bins, 30 by default.
      ax: axes to draw into; those of a new figure by default.

    Returns:
      The axes: firing rate in Hz, share of the layer's neurons in %.

    Raises:
      ImportError: matplotlib is not installed.
      TypeError: rates that are not numbers.
      ValueError: no layers, rates of another rank, without neurons, negative or not finite; bins
        below 1.
    """
    layers = {name: _rates(name, values) for name, values in _by_name("rates", rates).items()}
    return _histogram(layers, bins, ax, "firing rate (Hz)", "mean {:.1f} Hz")


def spike_counts(
    counts: npt.ArrayLike | Mapping[str, npt.ArrayLike],
    *,
    bins: int = 30,
    ax: Axes | None = None,
) -> Axes:
    r"""Draws a histogram of the numbers of spikes of neurons, of one layer or several.

    As `firing_rates`, for spikes in continuous time, where a sample need not have an end: the
    number of spikes of a neuron is the mean over samples, and silent is one without a spike in any
    of them.

    >>> from flax_snn import plot
    >>> ax = plot.spike_counts({"hidden_1": [[1, 0, 2], [1, 0, 1]]})
    >>> ax.get_xlabel(), ax.get_legend().get_texts()[0].get_text()
    ('spikes per sample', 'hidden_1: mean 0.83 per sample\n1 of 3 silent')

    Args:
      counts: number of spikes of each neuron in each of S samples, ``(S, N)``; or such arrays by
        the name of the layer.
      bins: number of bins, 30 by default.
      ax: axes to draw into; those of a new figure by default.

    Returns:
      The axes: mean number of spikes per sample, share of the layer's neurons in %.

    Raises:
      ImportError: matplotlib is not installed.
      TypeError: counts that are not numbers.
      ValueError: no layers, counts of another rank, without samples or neurons, negative or not
        finite; bins below 1.
    """
    layers = {name: _counts(name, values) for name, values in _by_name("counts", counts).items()}
    return _histogram(layers, bins, ax, "spikes per sample", "mean {:.2f} per sample")


def _histogram(
    layers: Mapping[str, np.ndarray], bins: int, ax: Axes | None, xlabel: str, mean: str
) -> Axes:
    """Draws the histogram of the values ``(N,)`` of each layer; `mean` says their mean."""
    bins = checks.whole_number("bins", bins)
    ax = new_axes(figsize=(8.0, 4.0))[0] if ax is None else ax
    top = max(float(values.max()) for values in layers.values())
    edges = np.linspace(0.0, top or 1.0, bins + 1)
    colors, handles = class_colors(len(layers)), []
    for color, (name, values_N) in zip(colors, layers.items(), strict=True):
        text = mean.format(_draw_layer(ax, values_N, edges, color, alone=len(layers) == 1))
        text += f"\n{int((values_N == 0.0).sum()) or 'none'} of {values_N.size} silent"
        handles.append(_entry(f"{name}: {text}" if name else text, color))
    ax.set_xlim(0.0, edges[-1])
    ax.set_ylim(bottom=0.0)
    ax.set_xlabel(xlabel)
    ax.set_ylabel("share of the neurons (%)")
    legend_beside(ax, handles)
    return ax


def _draw_layer(
    ax: Axes, values_N: np.ndarray, edges: np.ndarray, color: Any, alone: bool
) -> float:
    """Draws histogram and mean of a layer; returns the mean."""
    shares = 100.0 * np.histogram(values_N, edges)[0] / values_N.size
    ax.stairs(shares, edges, fill=alone, color=color, linewidth=1.5)
    mean = float(values_N.mean())
    # Above the axes, where no histogram hides it.
    above = ax.get_xaxis_transform()
    ax.plot(mean, 1.02, marker="v", color=color, clip_on=False, transform=above)
    return mean


def _entry(text: str, color: Any) -> Line2D:
    from matplotlib.lines import Line2D

    return Line2D([], [], color=color, marker="v", label=text)


def _by_name(
    what: str, values: npt.ArrayLike | Mapping[str, npt.ArrayLike]
) -> Mapping[str, npt.ArrayLike]:
    """Returns the arrays by the names of their layers; a single array has the empty name."""
    layers: Mapping[str, npt.ArrayLike] = values if isinstance(values, Mapping) else {"": values}
    if not layers:
        raise ValueError(f"{what}: expected at least one layer, got none; pass the {what} of one")
    return layers


def _rates(name: str, values: npt.ArrayLike) -> np.ndarray:
    what = f"rates of {name}" if name else "rates"
    array = checks.real_array(what, values)
    if array.ndim != 1 or array.size == 0:
        raise ValueError(
            f"{what}: expected shape (N,) with at least one neuron, got {array.shape}; give one"
            " rate per neuron, the mean over samples and time"
        )
    rates_N = checks.finite_array(what, array)
    if rates_N.min() < 0.0:
        raise ValueError(f"{what}: expected rates >= 0 Hz, got {rates_N.min():g}")
    return rates_N


def _counts(name: str, values: npt.ArrayLike) -> np.ndarray:
    """Returns the mean over samples, ``(N,)``."""
    what = f"counts of {name}" if name else "counts"
    array = checks.real_array(what, values)
    if array.ndim != 2 or array.size == 0:
        raise ValueError(
            f"{what}: expected shape (S, N) with at least one sample and one neuron, got"
            f" {array.shape}; give the number of spikes of each neuron in each sample"
        )
    counts_SxN = checks.finite_array(what, array)
    if counts_SxN.min() < 0.0:
        raise ValueError(f"{what}: expected numbers of spikes >= 0, got {counts_SxN.min():g}")
    mean_N: np.ndarray = counts_SxN.mean(axis=0)
    return mean_N
