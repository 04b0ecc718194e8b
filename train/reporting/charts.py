"""Charts as SVG: lines over epochs and bars, with their numbers in words for those who listen."""

from __future__ import annotations

import html
import math
from collections.abc import Callable, Mapping, Sequence

WIDTH, HEIGHT = 640, 300
LEFT, RIGHT, TOP, BOTTOM = 92, 46, 40, 64
DASHES = ("", "9 5", "2 5", "12 4 2 4", "5 3")
"""Of a number that shares no factor with that of the colours: 30 looks before one comes again."""

COLOURS = 6
DOTS = 12
"""Most points of a curve that are all marked by dots."""

LETTERS = 10.0
"""Narrowest bar, in units of the chart, that has a letter above it."""

Curve = tuple[Sequence[float], Sequence[float | None]]


def ticks(low: float, high: float, count: int = 5, whole: bool = False) -> list[float]:
    """Returns round numbers from `low` to `high`, about as many as asked for.

    Args:
      low: smallest value of the axis.
      high: largest value of the axis.
      count: about how many numbers.
      whole: whether what is counted has no fractions, such as epochs.
    """
    if not high > low:
        return [low]
    raw = (high - low) / count
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= raw * (1 - 1e-9))
    step = max(step, 1.0) if whole else step
    first = math.ceil(low / step - 1e-9)
    return [k * step for k in range(first, math.floor(high / step + 1e-9) + 1)]


def lines(
    series: Mapping[str, Curve],
    title: str,
    x_name: str,
    y_name: str,
    looks: Mapping[str, tuple[int, int]] | None = None,
    whole: bool = True,
    from_zero: bool = False,
) -> str:
    """Returns curves over each other, each with a colour and a dash.

    Args:
      series: x and y of each curve by name; where y is ``None``, the curve is broken.
      title: what is shown.
      x_name: name of the axis below, with its unit.
      y_name: name of the axis at the left, with its unit.
      looks: number of the colour and of the dash of each curve; in order, where it is left out.
      whole: whether the axis below counts something, such as epochs.
      from_zero: whether the axis at the left begins at zero.

    Returns:
      The SVG with its legend; a sentence where there is not a single number.
    """
    xs = [x for x_, y_ in series.values() for x, y in zip(x_, y_, strict=True) if y is not None]
    ys = [y for _, y_ in series.values() for y in y_ if y is not None]
    if not ys:
        return f"<p>{html.escape(title)}: the run has no such numbers.</p>"
    (x0, x1), (y0, y1) = _range(xs, 0.0), _range([*ys, *([0.0] if from_zero else [])], 0.04)
    y0 = 0.0 if from_zero and min(ys) >= 0.0 else y0

    def place(x: float, y: float) -> tuple[float, float]:
        across = (x - x0) / (x1 - x0) * (WIDTH - LEFT - RIGHT)
        up = (y - y0) / (y1 - y0) * (HEIGHT - TOP - BOTTOM)
        return LEFT + across, HEIGHT - BOTTOM - up

    below = [(place(x, y0)[0], x) for x in ticks(x0, x1, 6, whole)]
    parts, legend = _axes(below, y0, y1, place, x_name, y_name), []
    for k, (name, (x_, y_)) in enumerate(series.items()):
        colour, dash = (k, k) if looks is None else looks[name]
        drawn = f'class="line c{colour % COLOURS}" stroke-dasharray="{DASHES[dash % len(DASHES)]}"'
        strokes, dots = _path(x_, y_, place)
        parts.append(f'<path {drawn} d="{strokes}"/>')
        parts.append(f'<path class="dot c{colour % COLOURS}" d="{dots}"/>')
        key = f'<svg class="key" viewBox="0 0 46 8" aria-hidden="true"><path {drawn} d="M1 4H45"/>'
        legend.append(f"<li>{key}</svg> {html.escape(name)}</li>")
    words = f"{title}. " + "; ".join(_said(name, y_) for name, (_, y_) in series.items())
    return _figure(title, words, parts) + f'<ul class="legend">{"".join(legend)}</ul></figure>'


def bars(
    values: Sequence[float], marks: Mapping[int, str], title: str, x: str, y: str, words: str = ""
) -> str:
    """Returns one bar per value; marked ones have a letter, and a stroke below the axis.

    Args:
      values: heights, not negative.
      marks: a letter for some of them.
      title: what is shown.
      x: name of the axis below.
      y: name of the axis at the left, with its unit.
      words: what the bars say, for those who do not see them.
    """
    top = max([*values, 0.0]) or 1.0
    wide = (WIDTH - LEFT - RIGHT) / max(len(values), 1)

    def place(across: float, up: float) -> tuple[float, float]:
        return LEFT + across * wide, HEIGHT - BOTTOM - up / top * (HEIGHT - TOP - BOTTOM - 14)

    last = len(values) - 1
    below = [(place(k + 0.425, 0.0)[0], k) for k in ticks(0, last, 6, whole=True)]
    parts = _axes(below, 0.0, top, place, x, y)
    for k, value in enumerate(values):
        left, upper = place(k, value)
        height = max(HEIGHT - BOTTOM - upper, 0.0)
        kind = "bar marked" if k in marks else "bar"
        parts.append(
            f'<rect class="{kind}" x="{left:.1f}" y="{upper:.1f}" width="{wide * 0.85:.2f}"'
            f' height="{height:.1f}"/>'
        )
        if k not in marks:
            continue
        middle = left + 0.425 * wide
        parts.append(f'<path class="below" d="M{middle:.1f} {HEIGHT - BOTTOM}v7"/>')
        if wide >= LETTERS:
            parts.append(
                f'<text class="mark" x="{middle:.1f}" y="{upper - 4:.1f}">'
                f"{html.escape(marks[k])}</text>"
            )
    return _figure(title, f"{title}. {words}", parts) + "</figure>"


def _path(
    xs: Sequence[float],
    ys: Sequence[float | None],
    place: Callable[[float, float], tuple[float, float]],
) -> tuple[str, str]:
    """Returns the strokes of a curve, and its dots: those of a short one, and of lonely points."""
    strokes, dots = "", ""
    few = sum(y is not None for y in ys) <= DOTS
    for k, (x, y) in enumerate(zip(xs, ys, strict=True)):
        if y is None:
            continue
        before = k > 0 and ys[k - 1] is not None
        after = k + 1 < len(ys) and ys[k + 1] is not None
        where = "{:.1f} {:.1f}".format(*place(x, y))
        strokes += f"{'L' if before else 'M'}{where}"
        if few or not (before or after):
            dots += f"M{where}h0"
    return strokes, dots


def _said(name: str, values: Sequence[float | None]) -> str:
    """Returns a curve in words: where it begins and ends, and how far it goes."""
    found = [y for y in values if y is not None]
    if not found:
        return f"{name}: no numbers"
    if len(found) == 1:
        return f"{name}: {found[0]:.4g}"
    return (
        f"{name}: from {found[0]:.4g} to {found[-1]:.4g}, lowest {min(found):.4g},"
        f" highest {max(found):.4g}"
    )


def _range(values: Sequence[float], share: float) -> tuple[float, float]:
    """Returns the ends of an axis, with a share of it left free at each end."""
    low, high = min(values), max(values)
    if high > low:
        room = share * (high - low)
        return low - room, high + room
    room = abs(low) * 0.05 or 1.0
    return low - room, high + room


def _figure(title: str, words: str, parts: Sequence[str]) -> str:
    """Returns an open figure: whoever calls it adds a legend, or none, and closes it."""
    said = html.escape(words.strip(), quote=True)
    return (
        f'<figure class="plain"><figcaption>{html.escape(title)}</figcaption>'
        f'<svg class="chart" role="img" viewBox="0 0 {WIDTH} {HEIGHT}" aria-label="{said}">'
        f"{''.join(parts)}</svg>"
    )


def _axes(
    below: Sequence[tuple[float, float]],
    y0: float,
    y1: float,
    place: Callable[[float, float], tuple[float, float]],
    x_name: str,
    y_name: str,
) -> list[str]:
    """Returns both axes: numbers at round places, names with their units."""
    parts, floor = [], HEIGHT - BOTTOM
    for y in ticks(y0, y1, 4):
        _, up = place(0.0, y)
        parts.append(f'<path class="grid" d="M{LEFT} {up:.1f}H{WIDTH - RIGHT}"/>')
        parts.append(f'<text class="ytick" x="{LEFT - 8}" y="{up + 5:.1f}">{y:.4g}</text>')
    for across, x in below:
        parts.append(f'<path class="axis" d="M{across:.1f} {floor}v5"/>')
        parts.append(f'<text class="xtick" x="{across:.1f}" y="{floor + 28}">{x:.4g}</text>')
    parts.append(
        f'<path class="axis" d="M{LEFT} {TOP - 6}V{floor}H{WIDTH - RIGHT}"/>'
        f'<text class="xname" x="{WIDTH - RIGHT}" y="{HEIGHT - 8}">{html.escape(x_name)}</text>'
        f'<text class="yname" x="8" y="22">{html.escape(y_name)}</text>'
    )
    return parts
