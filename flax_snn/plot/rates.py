"""Firing rates: how a layer's activity is spread over its neurons."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from flax_snn.plot.axes import class_colors, legend_beside, new_axes
from flax_snn.plot.checks import finite, numbers

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
    r"""Draw a histogram of the firing rates of neurons, of one layer or several.

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
    layers: Mapping[str, npt.ArrayLike] = rates if isinstance(rates, Mapping) else {"": rates}
    checked = {name: _checked(name, values) for name, values in layers.items()}
    if not checked:
        raise ValueError("rates: expected at least one layer, got none; pass the rates of a layer")
    if bins < 1:
        raise ValueError(f"bins: expected at least 1, got {bins}")

    ax = new_axes(figsize=(8.0, 4.0))[0] if ax is None else ax
    top = max(float(values.max()) for values in checked.values())
    edges = np.linspace(0.0, top or 1.0, bins + 1)
    colors, handles = class_colors(len(checked)), []
    for color, (name, rates_N) in zip(colors, checked.items(), strict=True):
        handles.append(_draw_layer(ax, name, rates_N, edges, color, alone=len(checked) == 1))
    ax.set_xlim(0.0, edges[-1])
    ax.set_ylim(bottom=0.0)
    ax.set_xlabel("firing rate (Hz)")
    ax.set_ylabel("share of the neurons (%)")
    legend_beside(ax, handles)
    return ax


def _draw_layer(
    ax: Axes, name: str, rates_N: np.ndarray, edges: np.ndarray, color: Any, alone: bool
) -> Line2D:
    """Draw histogram and mean of a layer; returns its entry in the legend."""
    from matplotlib.lines import Line2D

    shares = 100.0 * np.histogram(rates_N, edges)[0] / rates_N.size
    ax.stairs(shares, edges, fill=alone, color=color, linewidth=1.5)
    mean, silent = float(rates_N.mean()), int((rates_N == 0.0).sum())
    # Above the axes, where no histogram hides it.
    above = ax.get_xaxis_transform()
    ax.plot(mean, 1.02, marker="v", color=color, clip_on=False, transform=above)
    text = f"mean {mean:.1f} Hz\n{silent or 'none'} of {rates_N.size} silent"
    return Line2D([], [], color=color, marker="v", label=f"{name}: {text}" if name else text)


def _checked(name: str, values: npt.ArrayLike) -> np.ndarray:
    what = f"rates of {name}" if name else "rates"
    array = numbers(what, values)
    if array.ndim != 1 or array.size == 0:
        raise ValueError(
            f"{what}: expected shape (N,) with at least one neuron, got {array.shape}; give one"
            " rate per neuron, the mean over samples and time"
        )
    rates_N = finite(what, array)
    if rates_N.min() < 0.0:
        raise ValueError(f"{what}: expected rates >= 0 Hz, got {rates_N.min():g}")
    return rates_N
