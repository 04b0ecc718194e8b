"""Learning curves: loss, score and firing rates of one run or several, against epochs."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from flax_snn import checks
from flax_snn.plot.axes import class_colors, legend_beside, new_axes, set_ylabel

if TYPE_CHECKING:
    from matplotlib.axes import Axes
else:
    Axes = Any

Records: TypeAlias = Sequence[Mapping[str, Any]]
"""Metrics of a run, one mapping per epoch."""

_TRAINING: dict[str, Any] = {"linestyle": "--", "linewidth": 1.0, "alpha": 0.6}
_VALIDATION: dict[str, Any] = {"linestyle": "-", "linewidth": 1.5}
_BEST: dict[str, Any] = {"marker": "*", "markersize": 11.0, "linestyle": "none"}

_LAYER_MARKS = ("o", "^", "s", "D", "v", "X", "P", "<", ">", "p")
"""Mark of each layer where colours already tell the runs apart; dashes are training alone."""

_MARKS = 8
"""Marks on a line, about."""

_POINTS = 20
"""Most epochs of which each is marked by a point: a line through one epoch would be invisible."""


def learning_curves(
    runs: Records | Mapping[str, Records],
    *,
    score: str = "accuracy",
    loss: str = "loss",
    axes: Sequence[Axes] | None = None,
) -> list[Axes]:
    """Draws loss, score and firing rates against epochs; a star marks the best epoch.

    The best epoch is that of the highest validation score, of equal ones the last. The axis of the
    loss is logarithmic where the losses span a factor of 10 or more. An accuracy is drawn in %; R2
    below -1 is left outside its axis, unless no epoch did better.

    >>> from flax_snn import plot
    >>> record = dict(epoch=1, train_loss=2.3, validation_loss=2.0, rates_hz={"hidden_1": 5.1})
    >>> axes = plot.learning_curves([record | dict(train_accuracy=0.2, validation_accuracy=0.3)])
    >>> [ax.get_ylabel() for ax in axes]
    ['loss', 'accuracy (%)', 'firing rate (Hz)']

    Args:
      runs: one mapping per epoch with the keys ``epoch``, ``train_loss``, ``validation_loss``,
        ``train_<score>``, ``validation_<score>`` and, where wanted, ``rates_hz``, a mapping from
        the name of a layer to its mean firing rate in Hz; or several such runs by name.
      score: what the score is called in the records, "accuracy" by default, a share of samples,
        or "r2" for a regression, or any other score of which more is better.
      loss: what the axis of the loss is called, with its unit, such as "cross-entropy (nats)".
      axes: two axes, or three with firing rates, to draw into; by default those of a new figure,
        one below the other.

    Returns:
      The axes of loss, score and, where any record has them, firing rates.

    Raises:
      ImportError: matplotlib is not installed.
      ValueError: no runs, a run without epochs, a metric that is missing or not finite, epochs
        that do not rise, another number of axes.
    """
    named: Mapping[str, Records] = runs if isinstance(runs, Mapping) else {"": runs}
    if not named:
        raise ValueError("runs: expected at least one run, got none; pass the records of a run")
    colors = class_colors(len(named))
    drawn = [
        _run(name, color, records, score)
        for color, (name, records) in zip(colors, named.items(), strict=True)
    ]
    layers = list(dict.fromkeys(layer for run in drawn for layer in run.rates))
    panels = 3 if layers else 2
    if axes is not None and len(axes) != panels:
        raise ValueError(f"axes: expected {panels} axes, one per quantity, got {len(axes)}")

    new = axes is None
    axes = new_axes(panels, sharex=True, figsize=(8.0, 2.3 * panels)) if axes is None else axes
    few_epochs = all(len(run.epochs) <= _POINTS for run in drawn)
    marker: dict[str, Any] = {"marker": "o", "markersize": 3.0} if few_epochs else {}
    for ax, what, factor in zip(axes, ("loss", score), (1.0, _factor(score)), strict=False):
        for run in drawn:
            _draw_curves(ax, run, what, factor, marker)
    _loss_axis(axes[0], loss)
    _score_axis(axes[1], score)
    if layers:
        _draw_rates(axes[2], drawn, layers, marker)
    _legend(axes[0], drawn, score)
    _epoch_axes(axes, drawn)
    for ax in axes if new else ():
        ax.label_outer()
    return list(axes)


@dataclasses.dataclass(frozen=True)
class _Run:
    """A run as it is drawn: columns (E,) of its metrics, epochs and rates of each layer."""

    name: str
    color: Any
    metrics: Mapping[str, np.ndarray]
    best: int
    rates: Mapping[str, tuple[np.ndarray, np.ndarray]]

    @property
    def epochs(self) -> np.ndarray:
        return self.metrics["epoch"]


def _run(name: str, color: Any, records: Records, score: str) -> _Run:
    """Checks the records of a run and turns them into columns."""
    which = f"run {name!r}" if name else "runs"
    if len(records) == 0:
        raise ValueError(f"{which}: expected records of at least one epoch, got none")
    keys = [f"{part}_{what}" for what in ("loss", score) for part in ("train", "validation")]
    metrics = {key: _column(which, records, key) for key in ("epoch", *keys)}
    if (np.diff(metrics["epoch"]) <= 0).any():
        raise ValueError(
            f"{which}: expected epochs that rise, got {metrics['epoch'].tolist()}; pass the records"
            " of one run in their order"
        )
    scores = metrics[f"validation_{score}"]
    best = int(np.flatnonzero(scores == scores.max())[-1])
    rates: dict[str, list[tuple[float, float]]] = {}
    for record in records:
        for layer, rate in (record.get("rates_hz") or {}).items():
            checks.number(f"{which}, rate of {layer}", rate, remedy="leave that epoch out")
            rates.setdefault(layer, []).append((record["epoch"], rate))
    columns = {layer: tuple(np.array(means, np.float64).T) for layer, means in rates.items()}
    return _Run(name, color, metrics, best, columns)


def _column(which: str, records: Records, key: str) -> np.ndarray:
    for record in records:
        if key not in record:
            raise ValueError(
                f"{which}: expected the metric {key!r} in every record, got {sorted(record)}; pass"
                " score=... if the score has another name"
            )
        checks.number(f"{which}, {key}", record[key], remedy="leave that epoch out")
    return np.array([record[key] for record in records], np.float64)


def _draw_curves(ax: Axes, run: _Run, what: str, factor: float, marker: Mapping[str, Any]) -> None:
    """Draws training, validation and best epoch of one metric."""
    for part, style in (("train", _TRAINING), ("validation", _VALIDATION)):
        values = factor * run.metrics[f"{part}_{what}"]
        ax.plot(run.epochs, values, color=run.color, **style, **marker)
    best = slice(run.best, run.best + 1)
    ax.plot(run.epochs[best], values[best], color=run.color, **_BEST)


def _factor(score: str) -> float:
    return 100.0 if score == "accuracy" else 1.0


def _values(ax: Axes) -> np.ndarray:
    return np.concatenate([np.asarray(line.get_ydata()) for line in ax.lines])


def _loss_axis(ax: Axes, name: str) -> None:
    set_ylabel(ax, name)
    values = _values(ax)
    if values.min() > 0.0 and values.max() >= 10.0 * values.min():
        ax.set_yscale("log")


def _score_axis(ax: Axes, score: str) -> None:
    """Shows the accuracy up to 100 %, R2 up to 1, where the curves should arrive."""
    names = {"accuracy": "accuracy (%)", "r2": "R²"}
    set_ylabel(ax, names.get(score, score.replace("_", " ")))
    if score in names:
        top = _factor(score)
        low, high = float(_values(ax).min()), float(_values(ax).max())
        low = max(low, -1.0) if high > -1.0 else low
        margin = max(0.06 * (top - low), 0.01 * top)
        ax.set_ylim(low - margin, top + margin)


def _draw_rates(
    ax: Axes, runs: Sequence[_Run], layers: Sequence[str], marker: Mapping[str, Any]
) -> None:
    """Draws the rates; colours tell runs apart and marks layers, of one run colours do."""
    from matplotlib.lines import Line2D

    several = len(runs) > 1
    handles = []
    for k, (layer, color) in enumerate(zip(layers, class_colors(len(layers)), strict=True)):
        for n, run in enumerate(runs):
            if layer in run.rates:
                line = {"color": color, **marker}
                if several:
                    line = _marked(k, n, len(run.rates[layer][0])) | {"color": run.color}
                ax.plot(*run.rates[layer], **line)
        mark = _marked(k, 0, 1) if several else {}
        handles.append(Line2D([], [], color="0.3" if several else color, label=layer, **mark))
    set_ylabel(ax, "firing rate (Hz)")
    top = float(_values(ax).max()) or 1.0
    # A silent layer lies above the edge, not on it.
    ax.set_ylim(-0.04 * top, 1.06 * top)
    legend_beside(ax, handles)


def _marked(layer: int, run: int, epochs: int) -> dict[str, Any]:
    """Returns a line with a mark of its layer at some epochs, not the same ones in all runs."""
    every = max(epochs // _MARKS, 1)
    return {
        "marker": _LAYER_MARKS[layer % len(_LAYER_MARKS)],
        "markersize": 5.0,
        "markevery": (3 * run % every, every),
        "linewidth": 1.2,
    }


def _legend(ax: Axes, runs: Sequence[_Run], score: str) -> None:
    """Says which line is training and which validation, which colour is which run, and its best."""
    from matplotlib.lines import Line2D

    several = len(runs) > 1
    color = "0.3" if several else runs[0].color
    bests = [_best(run, score) for run in runs]
    best = "best epoch" if several else f"best epoch: {bests[0]}"
    handles = [
        Line2D([], [], color=color, label=label, **style)
        for label, style in (("training", _TRAINING), ("validation", _VALIDATION), (best, _BEST))
    ]
    for run, text in zip(runs, bests, strict=True):
        if run.name:
            label = f"{run.name}\nbest epoch: {text}" if several else run.name
            handles.append(Line2D([], [], color=run.color, label=label))
    legend_beside(ax, handles)


def _best(run: _Run, score: str) -> str:
    value = run.metrics[f"validation_{score}"][run.best]
    texts = {"accuracy": f"{100.0 * value:.2f} %", "r2": f"R² {value:.3f}"}
    return f"{run.epochs[run.best]:.0f} ({texts.get(score, f'{value:.4g}')})"


def _epoch_axes(axes: Sequence[Axes], runs: Sequence[_Run]) -> None:
    from matplotlib.ticker import MaxNLocator

    first = min(float(run.epochs[0]) for run in runs)
    last = max(float(run.epochs[-1]) for run in runs)
    margin = max(0.02 * (last - first), 0.5)
    for ax in axes:
        ax.set_xlim(first - margin, last + margin)
        ax.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        ax.set_xlabel("epoch")
        ax.grid(alpha=0.25)
