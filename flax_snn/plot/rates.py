"""Firing rates and numbers of spikes: how a layer's activity is spread over its neurons."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from flax_snn import checks
from flax_snn.plot.axes import class_colors, grow_to_legend, legend_beside, new_axes, set_ylabel

_FAR = 4.0
"""Values more than so many times as high as nine tenths of their layer share a bin of their own."""

_FEW = 5
"""Fewest active neurons of which a tenth may be set apart."""

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
    number of neurons that never spiked. Where a few neurons have rates far above all others, they
    share a hatched bin at the right edge, whose bound is written below it, and the legend says how
    many they are and how high they reach.

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
    new = ax is None
    ax = new_axes(figsize=(8.0, 4.0))[0] if ax is None else ax
    bound = _bound(list(layers.values()))
    top = max(float(values.max()) for values in layers.values())
    edges = np.linspace(0.0, top or 1.0, bins + 1)
    if bound is not None:
        edges = np.linspace(0.0, bound, bins + 1)
        edges = np.append(edges, edges[-1] + max(edges[1], bound / 20.0))
    colors, handles = class_colors(len(layers)), []
    for color, (name, values_N) in zip(colors, layers.items(), strict=True):
        text = mean.format(float(values_N.mean()))
        text += f"\n{int((values_N == 0.0).sum()) or 'none'} of {values_N.size} silent"
        if bound is not None:
            far = values_N[values_N > bound]
            text += f"\n{far.size} > {bound:g}, up to {far.max():.3g}" if far.size else ""
        # What is out of bounds is counted in the last bin, and drawn there.
        drawn_N = np.where(values_N > edges[-2], 0.5 * (edges[-2] + edges[-1]), values_N)
        _draw_layer(ax, values_N if bound is None else drawn_N, edges, color, len(layers) == 1)
        _draw_mean(ax, min(float(values_N.mean()), edges[-1]), color)
        handles.append(_entry(f"{name}: {text}" if name else text, color))
    ax.set_xlim(0.0, edges[-1])
    ax.set_ylim(bottom=0.0)
    ax.set_xlabel(xlabel)
    if bound is not None:
        _mark_far(ax, edges, bound)
    set_ylabel(ax, "share of the neurons (%)")
    legend_beside(ax, handles)
    if new:
        grow_to_legend(ax)
    return ax


def _bound(layers: Sequence[np.ndarray]) -> float | None:
    """Returns the value above which neurons share a bin, or None if none is far above the rest."""
    bulk, top = 0.0, 0.0
    for values_N in layers:
        active = values_N[values_N > 0.0]
        if active.size:
            share = 0.9 if active.size >= _FEW else 1.0
            bulk = max(bulk, float(np.quantile(active, share, method="lower")))
            top = max(top, float(active.max()))
    if top <= _FAR * bulk:
        return None
    # A round number, about twice as high as nine tenths of the neurons.
    step = 10.0 ** np.floor(np.log10(2.0 * bulk))
    return float(np.ceil(2.0 * bulk / step) * step)


def _draw_layer(ax: Axes, values_N: np.ndarray, edges: np.ndarray, color: Any, alone: bool) -> None:
    shares = 100.0 * np.histogram(values_N, edges)[0] / values_N.size
    ax.stairs(shares, edges, fill=alone, color=color, linewidth=1.5)


def _draw_mean(ax: Axes, mean: float, color: Any) -> None:
    """Marks the mean above the axes, where no histogram hides it."""
    above = ax.get_xaxis_transform()
    ax.plot(mean, 1.02, marker="v", color=color, clip_on=False, transform=above)


def _mark_far(ax: Axes, edges: np.ndarray, bound: float) -> None:
    """Hatches the last bin, and writes its bound below it in the place of ticks beyond."""
    from matplotlib.ticker import MaxNLocator

    ax.axvspan(edges[-2], edges[-1], facecolor="0.92", edgecolor="0.6", hatch="///", zorder=0.0)
    locator = MaxNLocator(8, steps=[1, 2, 5, 10])
    middle, clear = 0.5 * (edges[-2] + edges[-1]), 0.93 * bound
    ticks = [float(tick) for tick in locator.tick_values(0.0, bound) if 0.0 <= tick <= clear]
    ax.set_xticks([*ticks, middle], [*(f"{tick:g}" for tick in ticks), f"> {bound:g}"])


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
