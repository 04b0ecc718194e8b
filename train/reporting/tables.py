"""Words and tables of the page, in which everything that comes from files is escaped."""

from __future__ import annotations

import html
import json
from collections.abc import Iterable, Sequence
from typing import Any


def escaped(value: Any) -> str:
    """Returns a value as text that HTML shows and does not read."""
    return html.escape(str(value), quote=True)


def shown(value: Any) -> str:
    """Returns a value as a reader wants it: six digits, a dash for nothing."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list | tuple):
        return ", ".join(map(shown, value)) or "none"
    return json.dumps(value) if isinstance(value, dict) else str(value)


def counted(number: int, noun: str) -> str:
    """Returns a number with its noun: 1 spike, 2 spikes."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def table(caption: str, head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Returns a table whose first column names its rows.

    Args:
      caption: what it shows.
      head: names of the columns.
      rows: the name of each row, then its values.
    """
    number = "".join(f'<th scope="col" class="n">{escaped(name)}</th>' for name in head[1:])
    top = f'<th scope="col">{escaped(head[0])}</th>{number}'
    body = "".join(
        f'<tr><th scope="row">{escaped(shown(row[0]))}</th>'
        + "".join(f'<td class="n">{escaped(shown(value))}</td>' for value in row[1:])
        + "</tr>"
        for row in rows
    )
    return framed(caption, f"<thead><tr>{top}</tr></thead><tbody>{body}</tbody>")


def framed(caption: str, inside: str) -> str:
    """Returns a table in a frame that scrolls, by keyboard too, where the page is narrow.

    Args:
      caption: what it shows.
      inside: head and body of the table, as HTML.
    """
    words = escaped(caption)
    return (
        f'<p class="caption">{words}</p>'
        f'<div class="scroll" role="region" tabindex="0" aria-label="{words}">'
        f'<table><caption class="heard">{words}</caption>{inside}</table></div>'
    )
