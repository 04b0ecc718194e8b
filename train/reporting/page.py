"""The page: HTML of collected runs, in which everything that comes from files is escaped."""

from __future__ import annotations

import html
import json
from collections.abc import Callable, Iterable, Sequence
from importlib import resources
from typing import Any

from train.reporting.charts import bars, lines

NEURONS = 256
"""Most neurons of a layer with a bar of their own."""


def page(runs: Sequence[dict[str, Any]]) -> str:
    """Returns the report of runs, as `train.reporting.collect` returns them, as one HTML file."""
    assets = resources.files("train.reporting") / "assets"
    style, script = ((assets / f"report.{kind}").read_text("utf-8") for kind in ("css", "js"))
    # In a script element only `<` could end it, or open a comment.
    data = json.dumps(
        [run["samples"] for run in runs], allow_nan=False, separators=(",", ":")
    ).replace("<", "\\u003c")
    names = [_e(run["run"]) for run in runs]
    links = "".join(f'<li><a href="#run{k}">{name}</a></li>' for k, name in enumerate(names))
    several = '<li><a href="#compared">Compared</a></li>' if len(runs) > 1 else ""
    sections = [_compared(runs)] if len(runs) > 1 else []
    sections += [_run(k, run) for k, run in enumerate(runs)]
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>Report: {', '.join(names)}</title><style>{style}</style></head><body>"
        '<a class="skip" href="#main">Skip to the report</a>'
        f"<header><h1>Report of {', '.join(names)}</h1>"
        '<button id="theme" type="button">Light or dark</button>'
        f'<nav aria-label="Runs"><ul>{several}{links}</ul></nav></header>'
        f'<main id="main">{"".join(sections)}</main>'
        "<footer><p>Written by python -m train.report.</p></footer>"
        f'<script type="application/json" id="data">{data}</script><script>{script}</script>'
        "</body></html>\n"
    )


def _e(value: Any) -> str:
    return html.escape(str(value), quote=True)


def _show(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:.6g}"
    return json.dumps(value) if isinstance(value, list | dict) else str(value)


def _table(caption: str, head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    top = "".join(f'<th scope="col">{_e(name)}</th>' for name in head)
    body = "".join(
        f'<tr><th scope="row">{_e(_show(row[0]))}</th>'
        + "".join(f'<td class="n">{_e(_show(value))}</td>' for value in row[1:])
        + "</tr>"
        for row in rows
    )
    return (
        f'<div class="scroll" role="region" tabindex="0" aria-label="{_e(caption)}"><table>'
        f"<caption>{_e(caption)}</caption><thead><tr>{top}</tr></thead><tbody>{body}</tbody>"
        "</table></div>"
    )


def _run(k: int, run: dict[str, Any]) -> str:
    state = "Finished"
    if not run["finished"]:
        done, epochs = run["epochs_done"], run["epochs"]
        state = f"Unfinished: {done} of {epochs} epochs are done"
        if done == epochs:
            state = f"Unfinished: all {epochs} epochs are done, its result is not written"
    parts: list[tuple[str, Callable[[], str]]] = [
        ("Task and data", lambda: _data(run)),
        ("Settings", lambda: _settings(run)),
        ("Metrics", lambda: _metrics(run)),
        ("Learning curves", lambda: _curves([run])),
        ("Samples", lambda: _explorer(k, run)),
        ("Firing rates", lambda: _rates(run)),
        ("Predictions", lambda: _predictions(run)),
        ("Parameters before and after training", lambda: _parameters(run)),
        ("Gradients by parameter", lambda: _gradients(run)),
        ("Crossbar chips", lambda: _chips(run)),
        ("Versions and environment", lambda: _environment(run)),
    ]
    body = "".join(f"<h3>{title}</h3>{make()}" for title, make in parts)
    return (
        f'<section id="run{k}" aria-labelledby="h{k}"><h2 id="h{k}">{_e(run["run"])}</h2>'
        f'<p class="state">{_e(state)}. Shown is the network after epoch'
        f" {run['checkpoint_epoch']}.</p>{body}</section>"
    )


def _data(run: dict[str, Any]) -> str:
    sizes = [[name, "not known" if n is None else n] for name, n in run["parts"].items()]
    return (
        f"<p>{_e(run['task'])}: {_e(run['about'])}</p>"
        f"{_table('samples of each part', ['part', 'samples'], sizes)}"
    )


def _settings(run: dict[str, Any]) -> str:
    rows = "".join(
        ('<tr class="differs">' if each["differs"] else "<tr>")
        + f'<th scope="row">{_e(each["name"])}</th><td class="n">{_e(_show(each["value"]))}</td>'
        f'<td class="n">{_e(_show(each["default"]))}</td>'
        f"<td>{'differs' if each['differs'] else ''}</td></tr>"
        for each in run["settings"]
    )
    many = sum(each["differs"] for each in run["settings"])
    return (
        f"<details><summary>{len(run['settings'])} settings, {many} differ from the defaults"
        '</summary><div class="scroll" role="region" tabindex="0" aria-label="settings"><table>'
        '<thead><tr><th scope="col">setting</th><th scope="col">value</th>'
        '<th scope="col">default</th><th scope="col">differs</th></tr></thead>'
        f"<tbody>{rows}</tbody></table></div></details>"
    )


def _figures(run: dict[str, Any]) -> dict[str, Any]:
    test, costs = run["test"], run["costs"]
    found = {f"test {run['score']}": test[run["score"]], f"test loss, {run['loss']}": test["loss"]}
    found |= {f"rate of {name}, Hz": hz for name, hz in test["rates_hz"].items()}
    for name, value in costs.items():
        if name in ("energy_source", "not_counted"):
            continue
        unit = "energy per sample, pJ (estimate)" if name == "picojoules" else name
        found[unit.replace("_", " ")] = value
    return found


def _metrics(run: dict[str, Any]) -> str:
    words = _table("test part", ["metric", "value"], list(_figures(run).items()))
    costs = run["costs"]
    if "energy_source" in costs:
        words += f"<p>Energy: arithmetic alone, from {_e(costs['energy_source'])}.</p>"
    if costs.get("not_counted"):
        words += f"<p>Not counted: {_e('; '.join(map(str, costs['not_counted'])))}.</p>"
    if run["result"] is None:
        return words + "<p>The run has no result.json yet: these are counted for this report.</p>"
    plain = [(n, v) for n, v in run["result"].items() if not isinstance(v, dict | list)]
    return words + _table("result.json", ["name", "value"], plain)


def _curves(runs: Sequence[dict[str, Any]]) -> str:
    alone = len(runs) == 1
    charts = []
    scores = list(dict.fromkeys(run["score"] for run in runs))
    wanted: list[tuple[tuple[str, ...], str]] = [(("train_loss", "validation_loss"), "loss")]
    wanted += [((f"train_{s}", f"validation_{s}"), s) for s in scores]
    wanted += [(("learning_rate",), "learning rate"), (("grad_norm",), "gradient norm, all layers")]
    for keys, name in wanted:
        series = {}
        for run in runs:
            records = run["records"]
            for key in keys:
                if any(key in record for record in records):
                    label = key.replace("_", " ")
                    x = [record["epoch"] for record in records]
                    y = [record.get(key) for record in records]
                    series[label if alone else f"{run['run']}: {label}"] = (x, y)
        charts.append(f"<div>{lines(series, f'{name} by epoch', 'epoch', name)}</div>")
    layers: dict[str, Any] = {}
    for run in runs if alone else ():
        for layer in run["records"][-1].get("rates_hz", {}):
            x = [record["epoch"] for record in run["records"]]
            layers[layer] = (x, [r.get("rates_hz", {}).get(layer) for r in run["records"]])
    if layers:
        charts.append(f"<div>{lines(layers, 'firing rate by epoch', 'epoch', 'rate, Hz')}</div>")
    return f'<div class="grid2">{"".join(charts)}</div>'


def _explorer(k: int, run: dict[str, Any]) -> str:
    samples = run["samples"]
    if not samples:
        return "<p>The test part has no sample with any steps: there is nothing to run.</p>"
    about = (
        ""
        if run["steps"]
        else (
            "<p>The network runs in continuous time: its spikes have exact times, and membranes are"
            " left out since they are not computed between spikes. Decision time is the first spike"
            " of an output neuron.</p>"
        )
    )
    rows = [
        [s["row"], s["target"], s["prediction"]]
        + [None if s.get("decision") is None else s["decision"] * 1e3]
        for s in samples
    ]
    head = ["sample", "label", "prediction", "decision time, ms"]
    return f"""{about}<div class="explorer" data-run="{k}" role="group" aria-label="Samples of the
 test part"><p class="words" aria-live="polite"></p>
<label>Sample (arrow keys move) <input class="pick" type="range" min="0" max="{len(samples) - 1}"
 value="0" step="1"></label>
<label>Time: <output class="now"></output> <input class="time" type="range" min="0" max="1000"
 value="1000" step="1"></label>
<button class="play" type="button" aria-pressed="false">Play</button>
<canvas class="activity" role="img" aria-label="Neurons that spiked just before the chosen time;
 numbers of spikes stand in the sentence above"></canvas>
<canvas class="raster" role="img" aria-label="Spikes of each layer against time"></canvas>
<canvas class="membrane" role="img" aria-label="Membrane potentials against time, with the
 threshold"></canvas></div>{_table("chosen samples of the test part", head, rows)}"""


def _rates(run: dict[str, Any]) -> str:
    found = []
    for name, layer in run["test"]["layers"].items():
        rates = layer["rates"]
        silent, saturated = layer["silent"], layer["saturated"]
        marks = {**dict.fromkeys(silent, "0"), **dict.fromkeys(saturated, "S")}
        words = f"{name}: {len(rates)} neurons, {len(silent)} silent (0), "
        words += f"{len(saturated)} saturated (S)"
        shown = {i: m for i, m in marks.items() if i < NEURONS}
        more = f"<p>Bars are of the first {NEURONS} neurons.</p>" if len(rates) > NEURONS else ""
        chart = bars(
            rates[:NEURONS], shown, f"firing rate of each neuron of {name}", "neuron", "Hz"
        )
        found.append(f"<div><p>{_e(words)}.</p>{chart}{more}</div>")
    body = "".join(found)
    return f'<div class="grid2">{body}</div>' if body else "<p>No layer of the network spikes.</p>"


def _predictions(run: dict[str, Any]) -> str:
    test = run["test"]
    if "confusion" not in test:
        true, predicted = test["values"]
        rows = list(zip(range(len(true)), true, predicted, strict=True))[:40]
        return "<p>Values are predicted, so that there is no confusion matrix.</p>" + _table(
            "first values of the test part", ["number", "true", "predicted"], rows
        )
    table = test["confusion"]
    head = "".join(f'<th scope="col">{c}</th>' for c in range(len(table)))
    lines = "".join(
        f'<tr><th scope="row">{true}</th>'
        + "".join(
            f'<td class="n{" hit" if true == c else ""}">{n}</td>' for c, n in enumerate(counts)
        )
        + "</tr>"
        for true, counts in enumerate(table)
    )
    return (
        '<div class="scroll" role="region" tabindex="0" aria-label="confusion matrix"><table>'
        "<caption>confusion: rows are true classes, columns predicted ones; right ones are bold"
        f"</caption><thead><tr><td></td>{head}</tr></thead><tbody>{lines}</tbody></table></div>"
    )


def _parameters(run: dict[str, Any]) -> str:
    found = run["parameters"]
    rows, charts = [], []
    for row in found["rows"]:
        before, after = row["before"] or {}, row["after"]
        rows.append(
            [row["name"], "×".join(map(str, row["shape"])) or "1"]
            + [x.get(n) for x in (before, after) for n in ("mean", "std", "min", "max")]
        )
        edges = row["edges"]
        middle = [(a + b) / 2 for a, b in zip(edges, edges[1:], strict=False)]
        series = {"after": (middle, row["counts"])}
        if row["counts_before"] is not None:
            series["before"] = (middle, row["counts_before"])
        image = ""
        if "image" in row:
            words = (
                f"{row['name']} as an image: a row per source, a column per target; orange is"
                " positive, blue negative, white zero; its numbers are in the table"
            )
            image = f'<img class="matrix" alt="{_e(words)}" src="{row["image"]}">'
        chart = lines(series, f"histogram of {row['name']}", row["kind"], "count")
        charts.append(f"<div><h4>{_e(row['name'])}</h4>{chart}{image}</div>")
    head = ["parameter", "shape"]
    head += [f"{f} {w}" for w in ("before", "after") for f in ("mean", "std", "min", "max")]
    words = _e(found["words"])
    kinds = {row["kind"] for row in found["rows"]}
    left = [
        name
        for name, mark in (("time constants", "tau"), ("thresholds", "thresh"), ("delays", "delay"))
        if not any(mark in kind for kind in kinds)
    ]
    fixed = f" The run did not learn {', '.join(left)}: they are as set." if left else ""
    return (
        f"<p>{words}{fixed}</p>{_table('parameters', head, rows)}"
        f'<div class="grid2">{"".join(charts)}</div>'
    )


def _gradients(run: dict[str, Any]) -> str:
    found = run["gradients"]
    if isinstance(found, str):
        return f"<p>{_e(found)}</p>"
    return (
        "<p>Of the loss on the first samples of the test part, after training; the run itself"
        " stores the norm over all layers, above.</p>"
        + _table("norm of the gradient", ["parameter", "norm"], list(found.items()))
    )


def _chips(run: dict[str, Any]) -> str:
    found = run["chips"]
    if isinstance(found, str):
        return f"<p>{_e(found)}</p>"
    words = "accuracy on crossbar chips against their age, as train.evaluate printed it"
    return f'<img class="plot" alt="{_e(words)}" src="{found["image"]}">'


def _environment(run: dict[str, Any]) -> str:
    found = run["environment"]
    if not found:
        return "<p>The run has no environment.json: an older release made it.</p>"
    text = _e(json.dumps(found, indent=1))
    return f'<details><summary>environment.json</summary><pre class="scroll">{text}</pre></details>'


def _compared(runs: Sequence[dict[str, Any]]) -> str:
    names = [run["run"] for run in runs]
    settings = [{each["name"]: each["value"] for each in run["settings"]} for run in runs]
    keys = [key for each in settings for key in each]
    rows = [[key, *(each.get(key) for each in settings)] for key in dict.fromkeys(keys)]
    differing = [row for row in rows if len({repr(value) for value in row[1:]}) > 1]
    figures = [_figures(run) for run in runs]
    metrics = [
        [key, *(each.get(key) for each in figures)]
        for key in dict.fromkeys(key for each in figures for key in each)
    ]
    return (
        '<section id="compared" aria-labelledby="hc"><h2 id="hc">Runs compared</h2>'
        f"{_table('metrics', ['metric', *names], metrics)}"
        f"{_table('settings that differ', ['setting', *names], differing)}{_curves(runs)}</section>"
    )
