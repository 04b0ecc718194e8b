"""Charts as SVG: lines over epochs, bars, and histograms, with a title that is read aloud."""

from __future__ import annotations

import html
import math
from collections.abc import Mapping, Sequence

WIDTH, HEIGHT = 640, 260
LEFT, RIGHT, TOP, BOTTOM = 62, 12, 10, 36
DASHES = ("", "7 4", "2 3", "9 3 2 3")
COLOURS = 6


def ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Returns round numbers from `low` to `high`, about as many as asked for."""
    if not high > low:
        return [low]
    raw = (high - low) / count
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= raw * (1 - 1e-9))
    first = math.ceil(low / step - 1e-9)
    return [k * step for k in range(first, math.floor(high / step + 1e-9) + 1)]


def lines(
    series: Mapping[str, tuple[Sequence[float], Sequence[float | None]]],
    title: str,
    x_name: str,
    y_name: str,
) -> str:
    """Returns curves over each other, each with a colour and a dash of its own.

    Args:
      series: x and y of each curve by name; where y is ``None``, the curve is broken.
      title: what is shown, for those who do not see it.
      x_name: name of the axis below, with its unit.
      y_name: name of the axis at the left, with its unit.

    Returns:
      The SVG with its legend; a sentence where there is not a single number.
    """
    xs = [x for x_, y_ in series.values() for x, y in zip(x_, y_, strict=True) if y is not None]
    ys = [y for _, y_ in series.values() for y in y_ if y is not None]
    if not ys:
        return f"<p>{html.escape(title)}: the run has no such numbers.</p>"
    (x0, x1), (y0, y1) = _range(xs), _range(ys)

    def place(x: float, y: float) -> tuple[float, float]:
        across = (x - x0) / (x1 - x0) * (WIDTH - LEFT - RIGHT)
        up = (y - y0) / (y1 - y0) * (HEIGHT - TOP - BOTTOM)
        return LEFT + across, HEIGHT - BOTTOM - up

    parts, legend = _axes(x0, x1, y0, y1, place, x_name, y_name), []
    for k, (name, (x_, y_)) in enumerate(series.items()):
        path, pen = [], "M"
        for x, y in zip(x_, y_, strict=True):
            if y is None:
                pen = "M"
                continue
            path.append("{}{:.1f} {:.1f}".format(pen, *place(x, y)))
            pen = "L"
        if len(path) == 1:
            path.append(path[0].replace("M", "L"))
        look = f'class="line c{k % COLOURS}" stroke-dasharray="{DASHES[k // 2 % len(DASHES)]}"'
        parts.append(f'<path {look} d="{"".join(path)}"/>')
        sample = (
            f'<svg class="key" viewBox="0 0 30 8" aria-hidden="true"><path {look} d="M0 4L30 4"/>'
        )
        legend.append(f"<li>{sample}</svg> {html.escape(name)}</li>")
    return f'{_svg(title, parts)}<ul class="legend">{"".join(legend)}</ul>'


def bars(values: Sequence[float], marks: Mapping[int, str], title: str, x: str, y: str) -> str:
    """Returns one bar per value; marked ones have a letter above them and another pattern.

    Args:
      values: heights, not negative.
      marks: a letter for some of them.
      title: what is shown, for those who do not see it.
      x: name of the axis below.
      y: name of the axis at the left, with its unit.
    """
    top = max([*values, 0.0]) or 1.0

    def place(across: float, up: float) -> tuple[float, float]:
        return (
            LEFT + across / len(values) * (WIDTH - LEFT - RIGHT),
            HEIGHT - BOTTOM - up / top * (HEIGHT - TOP - BOTTOM - 12),
        )

    parts = _axes(0, len(values), 0.0, top, place, x, y)
    wide = (WIDTH - LEFT - RIGHT) / len(values)
    for k, value in enumerate(values):
        left, upper = place(k, value)
        height = max(HEIGHT - BOTTOM - upper, 0.0)
        kind = "bar marked" if k in marks else "bar"
        parts.append(
            f'<rect class="{kind}" x="{left:.1f}" y="{upper:.1f}" width="{wide * 0.85:.2f}"'
            f' height="{height:.1f}"/>'
        )
        if k in marks:
            middle = left + 0.42 * wide
            parts.append(
                f'<text class="mark" x="{middle:.1f}" y="{upper - 3:.1f}">'
                f"{html.escape(marks[k])}</text>"
            )
    return _svg(title, parts)


def _range(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    if high > low:
        return low, high
    room = abs(low) * 0.05 or 1.0
    return low - room, high + room


def _svg(title: str, parts: Sequence[str]) -> str:
    words = html.escape(title, quote=True)
    return (
        f'<svg class="chart" role="img" viewBox="0 0 {WIDTH} {HEIGHT}" aria-label="{words}">'
        f"<title>{words}</title>{''.join(parts)}</svg>"
    )


def _axes(x0, x1, y0, y1, place, x_name, y_name) -> list[str]:  # type: ignore[no-untyped-def]
    parts = []
    for y in ticks(y0, y1, 4):
        _, up = place(x0, y)
        parts.append(f'<path class="grid" d="M{LEFT} {up:.1f}H{WIDTH - RIGHT}"/>')
        parts.append(f'<text class="ytick" x="{LEFT - 5}" y="{up + 4:.1f}">{y:.4g}</text>')
    for x in ticks(x0, x1, 6):
        across, _ = place(x, y0)
        parts.append(f'<text class="xtick" x="{across:.1f}" y="{HEIGHT - 20}">{x:.4g}</text>')
    middle = (HEIGHT - BOTTOM + TOP) / 2
    parts.append(
        f'<text class="name" x="{(WIDTH + LEFT) / 2}" y="{HEIGHT - 4}">{html.escape(x_name)}</text>'
        f'<text class="name" transform="translate(12 {middle}) rotate(-90)">'
        f"{html.escape(y_name)}</text>"
    )
    return parts
