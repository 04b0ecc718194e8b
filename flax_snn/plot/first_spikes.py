"""First spikes over the plane: when a neuron spikes for which input."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from flax_snn import checks
from flax_snn.plot.axes import new_axes
from flax_snn.plot.drawable import Extent, check_extent
from flax_snn.plot.outline import draw_outline, outline_grid

if TYPE_CHECKING:
    from matplotlib.axes import Axes
else:
    Axes = Any

_SILENT = "0.75"
"""Colour of inputs at which a neuron is silent: none of the colours of times."""

_COLUMNS = 5
"""Most panels side by side in a new figure."""


def first_spike_map(
    times: npt.ArrayLike,
    *,
    names: Sequence[str] | None = None,
    outline: npt.ArrayLike | None = None,
    extent: Extent = (0.0, 1.0, 0.0, 1.0),
    axes: Sequence[Axes] | None = None,
) -> list[Axes]:
    """Draws the time of the first spike of some neurons over the plane of inputs.

    The neurons share one scale of colours. Where a neuron is silent, its panel is grey.

    >>> import numpy as np
    >>> from flax_snn import plot
    >>> x, y = np.meshgrid(np.linspace(0.0, 1.0, 50), np.linspace(0.0, 1.0, 50))
    >>> early = 20e-3 * np.where(x > 0.5, x, np.inf)
    >>> axes = plot.first_spike_map([early, 10e-3 * y], names=["neuron 3", "neuron 7"])
    >>> [ax.get_title() for ax in axes]
    ['neuron 3', 'neuron 7']

    Args:
      times: first spike times in seconds of N neurons at the centres of H x W equal cells that
        fill `extent`, ``(N, H, W)``, or ``(H, W)`` of one neuron; rows from low to high y, columns
        from low to high x, as ``np.meshgrid`` orders them; +inf where a neuron is silent, NaN
        where it was not asked: the cell is left white.
      names: title of each panel; "neuron 0", "neuron 1", ... by default.
      outline: true classes on a grid over the same extent, integers, -1 outside of what the data
        cover: the boundaries between them are drawn.
      extent: edges of the grids: x low, x high, y low, y high; the unit square by default.
      axes: one axes for each neuron, of one figure; those of a new figure by default.

    Returns:
      The axes, one for each neuron: x, y, to the same scale.

    Raises:
      ImportError: matplotlib is not installed.
      TypeError: times that are not numbers, classes that are not integers.
      ValueError: grids of another rank, without neurons or cells, times of -inf, classes below -1;
        another number of names or axes than neurons.
    """
    check_extent(extent)
    ms_NxHxW = 1e3 * _times(times)
    outline_HxW = outline_grid(outline)
    names = [f"neuron {n}" for n in range(len(ms_NxHxW))] if names is None else list(names)
    for name, items in (("names", names), ("axes", axes)):
        if items is not None and len(items) != len(ms_NxHxW):
            raise ValueError(
                f"{name}: expected one for each of {len(ms_NxHxW)} neurons, got {len(items)}"
            )

    panels = _new_panels(len(ms_NxHxW)) if axes is None else list(axes)
    finite = ms_NxHxW[np.isfinite(ms_NxHxW)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
    for ax, name, ms_HxW in zip(panels, names, ms_NxHxW, strict=True):
        _shade_silence(ax, ms_HxW, extent)
        image = ax.imshow(
            np.ma.masked_invalid(ms_HxW),
            cmap="viridis",
            vmin=low,
            vmax=high,
            origin="lower",
            extent=extent,
            interpolation="nearest",
        )
        if outline_HxW is not None:
            draw_outline(ax, outline_HxW, extent)
        ax.set_title(name, fontsize="medium")
        ax.set(xlim=extent[:2], ylim=extent[2:], xlabel="x", ylabel="y")
        ax.locator_params(nbins=3)
        # As short as can be: the last tick of a panel stands close to the first of the next one.
        ax.xaxis.set_major_formatter("{x:g}")
        ax.yaxis.set_major_formatter("{x:g}")
    if axes is None:
        _label_outer(panels)
    label = "first spike (ms)" + ("\ngrey: silent" if np.isposinf(ms_NxHxW).any() else "")
    bar = panels[0].figure.colorbar(image, ax=panels, label=label)
    if not finite.size:
        bar.set_ticks([])
    return panels


def _new_panels(neurons: int) -> list[Axes]:
    """Returns square panels in rows of at most so many that they fit a page."""
    columns = min(neurons, _COLUMNS)
    rows = -(-neurons // columns)
    size = (2.2 * columns + 1.2, 2.2 * rows + 0.4)
    panels = new_axes(rows, columns, figsize=size)
    for ax in panels[neurons:]:
        ax.remove()
    return panels[:neurons]


def _label_outer(panels: Sequence[Axes]) -> None:
    """Leaves the labels to the first panel of each row and the last one of each column."""
    for n, ax in enumerate(panels):
        if n % _COLUMNS:
            ax.set_ylabel("")
            ax.tick_params(labelleft=False)
        if n + _COLUMNS < len(panels):
            ax.set_xlabel("")
            ax.tick_params(labelbottom=False)


def _shade_silence(ax: Axes, ms_HxW: np.ndarray, extent: Extent) -> None:
    from matplotlib.colors import ListedColormap

    silent = np.ma.masked_where(~np.isposinf(ms_HxW), np.zeros(ms_HxW.shape))
    options: dict[str, Any] = {"origin": "lower", "interpolation": "nearest"}
    ax.imshow(silent, cmap=ListedColormap([_SILENT]), vmin=0.0, vmax=1.0, extent=extent, **options)


def _times(times: npt.ArrayLike) -> np.ndarray:
    """Returns times ``(N, H, W)`` in float64."""
    array = checks.real_array("times", times).astype(np.float64)
    array = array[None] if array.ndim == 2 else array
    if array.ndim != 3 or array.size == 0:
        raise ValueError(
            f"times: expected shape (N, H, W) or (H, W) with at least one cell, got {array.shape};"
            " give the first spike of each neuron at each cell of a grid"
        )
    if np.isneginf(array).any():
        raise ValueError("times: expected seconds, +inf or NaN, got -inf")
    return array
