"""Pictures of networks on chips: scores and firing rates as chips age, scores by their devices."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from flax_snn import plot
from flax_snn.plot.axes import class_colors, legend_beside, set_ylabel
from train.pictures.figure import headline, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def draw_chips(results: Mapping[str, dict[str, Any]], sweeps: Mapping[str, str]) -> Figure:
    """Draws scores against age, firing rates against age, and scores against each property.

    Args:
      results: what `train.chips.deploy` returned, by what it is; the same protocol for all.
      sweeps: names of the properties in words.

    Returns:
      The figure.
    """
    first = next(iter(results.values()))
    varied = list(first.get("sweeps", {}))
    rows = 1 + -(-len(varied) // 2)
    figure = new_figure(12.0, 3.4 * rows)
    axes = list(figure.subplots(rows, 2, squeeze=False).ravel())
    _against_time(axes[0], results)
    _rates(axes[1], results)
    for ax, name in zip(axes[2:], varied, strict=False):
        _against_property(ax, results, name, sweeps[name])
    for ax in axes[2 + len(varied) :]:
        ax.remove()
    headline(
        figure,
        f"{first['device']}, layers: {first['layers']}, {first['repeats']} chips,"
        f" {first['samples']} samples",
    )
    return figure


def _against_time(ax: Axes, results: Mapping[str, dict[str, Any]]) -> None:
    first = next(iter(results.values()))
    lines = {}
    for name, result in results.items():
        for compensation in dict.fromkeys(row["compensation"] for row in result["times"]):
            rows = [row for row in result["times"] if row["compensation"] == compensation]
            what = "compensated" if compensation else "as it is"
            label = f"{name}, {what}" if len(results) > 1 else what
            lines[label] = [row["scores"] for row in rows]
    times = {row["seconds"]: row["time"] for row in first["times"]}
    plot.chip_scores(
        _places(times),
        lines,
        digital=first["digital"]["score"],
        quantity="time since programming",
        labels=list(times.values()),
        score=first["score"],
        ax=ax,
    )


def _against_property(ax: Axes, results: Mapping[str, Any], name: str, words: str) -> None:
    first = next(iter(results.values()))
    values = [row["value"] for row in first["sweeps"][name]]
    lines = {
        label if len(results) > 1 else first["device"]: [
            row["scores"] for row in result["sweeps"][name]
        ]
        for label, result in results.items()
    }
    share = name == "faults"
    plot.chip_scores(
        values,
        lines,
        digital=first["digital"]["score"],
        quantity=f"{words}, %" if share else words,
        labels=[f"{100 * v:g}" if share else f"{v:g}" for v in values],
        score=first["score"],
        logarithmic=False,
        ax=ax,
    )


def _rates(ax: Axes, results: Mapping[str, dict[str, Any]]) -> None:
    """Draws the firing rates of each layer as a share of those without a crossbar."""
    styles = {True: "-", False: ":"}
    colors = iter(class_colors(sum(len(r["digital"]["rates_hz"]) for r in results.values())))
    for name, result in results.items():
        digital = result["digital"]["rates_hz"]
        for (layer, rate), color in zip(digital.items(), colors, strict=False):
            for compensated, style in styles.items():
                rows = [r for r in result["times"] if bool(r["compensation"]) == compensated]
                if not rows or not rate:
                    continue
                label = f"{name}, {layer}" if len(results) > 1 else layer
                ax.plot(
                    _places([row["seconds"] for row in rows]),
                    [100.0 * row["rates_hz"][layer] / rate for row in rows],
                    style,
                    marker="o",
                    markersize=3.0,
                    color=color,
                    label=f"{label}, {'compensated' if compensated else 'as it is'}",
                )
    times = {row["seconds"]: row["time"] for row in next(iter(results.values()))["times"]}
    ax.axhline(100.0, color="black", linestyle="--", linewidth=1.0)
    ax.set_xscale("log")
    ax.set_xticks(_places(times), list(times.values()))
    ax.minorticks_off()
    ax.set_xlabel("time since programming")
    set_ylabel(ax, "firing rate (% of digital)")
    if ax.get_legend_handles_labels()[0]:  # a silent network has no rates to compare
        legend_beside(ax)


def _places(times: Iterable[float]) -> list[float]:
    """Returns where times stand on a logarithmic axis: 0 a decade in front of the others."""
    times = list(times)
    first = min((t for t in times if t > 0), default=1.0)
    return [t if t > 0 else first / 10.0 for t in times]
