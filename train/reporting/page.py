"""The page: HTML of collected runs, one below the other, with what tells them apart on top."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from importlib import resources
from typing import Any

import flax_snn
from train.reporting import change, sections
from train.reporting.tables import escaped, table

Make = Callable[[], str]


def page(runs: Sequence[dict[str, Any]]) -> str:
    """Returns the report of runs, as `train.reporting.collect` returns them, as one HTML file."""
    assets = resources.files("train.reporting") / "assets"
    style, script = ((assets / f"report.{kind}").read_text("utf-8") for kind in ("css", "js"))
    # In a script element only `<` could end it, or open a comment.
    data = json.dumps(
        [run["samples"] for run in runs], allow_nan=False, separators=(",", ":")
    ).replace("<", "\\u003c")
    names = short_names([run["run"] for run in runs])
    title = f"Report of {escaped(names[0])}" if len(runs) == 1 else f"Report of {len(runs)} runs"
    body = [_compared(runs, names)] if len(runs) > 1 else []
    body += [_run(k, run, names[k]) for k, run in enumerate(runs)]
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{title}</title><style>{style}</style></head><body>"
        '<a class="skip" href="#main">Skip to the report</a>'
        f"<header><h1>{title}</h1>"
        '<button id="theme" type="button">Light or dark</button>'
        f'{_contents(names)}</header><main id="main">{"".join(body)}</main>'
        f"<footer><p>Written by python -m train.report, flax_snn {flax_snn.__version__}.</p>"
        "</footer>"
        f'<script type="application/json" id="data">{data}</script><script>{script}</script>'
        "</body></html>\n"
    )


def short_names(paths: Sequence[str]) -> list[str]:
    """Returns names of runs without the folders that all of them share; one keeps its path."""
    if len(paths) < 2:
        return list(paths)
    parts = [os.path.normpath(path).split(os.sep) for path in paths]
    shortest = min(map(len, parts)) - 1
    shared = 0
    while shared < shortest and len({each[shared] for each in parts}) == 1:
        shared += 1
    return ["/".join(each[shared:]) for each in parts]


def _parts(k: int, run: dict[str, Any]) -> list[tuple[str, str, Make]]:
    """Returns the sections on a run: anchor, title, and what makes it."""
    return [
        ("data", "Task and data", lambda: sections.data(run)),
        ("settings", "Settings", lambda: sections.settings(run)),
        ("metrics", "Metrics", lambda: sections.metrics(run)),
        ("curves", "Learning curves", lambda: sections.curves([run], [""])),
        ("samples", "Samples", lambda: sections.explorer(k, run)),
        ("rates", "Firing rates", lambda: sections.rates(run)),
        ("predictions", "Predictions", lambda: sections.predictions(run)),
        ("parameters", "Parameters before and after training", lambda: change.parameters(run)),
        ("gradients", "Gradients by parameter", lambda: change.gradients(run)),
        ("chips", "Crossbar chips", lambda: sections.chips(run)),
        ("environment", "Versions and environment", lambda: sections.environment(run)),
    ]


def _contents(names: Sequence[str]) -> str:
    """Returns links to the sections of one run, or to several runs."""
    if len(names) == 1:
        links = [(f"run0-{anchor}", title) for anchor, title, _ in _parts(0, {})]
    else:
        links = [("compared", "Runs compared")]
        links += [(f"run{k}", name) for k, name in enumerate(names)]
    items = "".join(f'<li><a href="#{to}">{escaped(words)}</a></li>' for to, words in links)
    return f'<nav aria-label="Contents"><ul>{items}</ul></nav>'


def _run(k: int, run: dict[str, Any], name: str) -> str:
    body = "".join(
        f'<h3 id="run{k}-{anchor}">{title}</h3>{make()}' for anchor, title, make in _parts(k, run)
    )
    path = "" if name == run["run"] else f"<p>{escaped(run['run'])}</p>"
    return (
        f'<section id="run{k}" aria-labelledby="h{k}"><h2 id="h{k}">{escaped(name)}</h2>{path}'
        f'<p class="state">{escaped(sections.state(run))}</p>{body}</section>'
    )


def _compared(runs: Sequence[dict[str, Any]], names: Sequence[str]) -> str:
    settings = [{each["name"]: each["value"] for each in run["settings"]} for run in runs]
    keys = [key for each in settings for key in each]
    rows = [[key, *(each.get(key) for each in settings)] for key in dict.fromkeys(keys)]
    differing = [row for row in rows if len({repr(value) for value in row[1:]}) > 1]
    figures = [sections.figures(run) for run in runs]
    metrics = [
        [key, *(each.get(key) for each in figures)]
        for key in dict.fromkeys(key for each in figures for key in each)
    ]
    metrics.insert(0, ["state", *("finished" if run["finished"] else "unfinished" for run in runs)])
    if differing:
        words = table("Settings that differ", ["setting", *names], differing)
    else:
        words = "<p>The runs have the same settings.</p>"
    return (
        '<section id="compared" aria-labelledby="hc"><h2 id="hc">Runs compared</h2>'
        f"{table('Metrics', ['metric', *names], metrics)}{words}"
        f"<h3>Learning curves</h3>{sections.curves(runs, names)}</section>"
    )
