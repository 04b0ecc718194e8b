"""The sections on one run, each from what `train.reporting.collect` found of it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from train.reporting.charts import bars, lines
from train.reporting.tables import counted, escaped, framed, shown, table

NEURONS = 256
"""Most neurons of a layer with a bar of their own."""

NAMED = 20
"""Most silent or saturated neurons of a layer that are named."""

_COSTS = {
    "samples": "samples on which operations were counted",
    "footprint": "footprint, bytes",
    "state_per_sample": "state per sample, bytes",
    "parameter_count": "parameters",
    "connection_sparsity": "connection sparsity, from 0 to 1",
    "activation_sparsity": "activation sparsity, from 0 to 1",
    "effective_macs": "effective multiply-accumulates per sample",
    "effective_acs": "effective accumulates per sample",
    "dense": "operations of the dense network per sample",
    "membrane_updates": "membrane updates per sample",
    "picojoules": "energy per sample, pJ (estimate)",
}


def state(run: dict[str, Any]) -> str:
    """Returns in words whether the run is finished, and which network is shown."""
    words = "Finished"
    if not run["finished"]:
        done, epochs = run["epochs_done"], run["epochs"]
        words = f"Unfinished: {done} of {epochs} epochs are done"
        if done == epochs:
            words = f"Unfinished: all {epochs} epochs are done, its result is not written"
    return f"{words}. Shown is the network after epoch {run['checkpoint_epoch']}."


def data(run: dict[str, Any]) -> str:
    """Returns the section on the task and its parts."""
    sizes = [[name, "not known" if n is None else n] for name, n in run["parts"].items()]
    return (
        f"<p>{escaped(run['task'])}: {escaped(run['about'])}</p>"
        f"{table('Samples of each part', ['part', 'samples'], sizes)}"
    )


def settings(run: dict[str, Any]) -> str:
    """Returns the section on settings, closed at first; what differs is marked by a word too."""
    rows = "".join(
        ('<tr class="differs">' if each["differs"] else "<tr>")
        + f'<th scope="row">{escaped(each["name"])}</th>'
        f'<td class="n">{escaped(shown(each["value"]))}</td>'
        f'<td class="n">{escaped(shown(each["default"]))}</td>'
        f"<td>{'differs' if each['differs'] else ''}</td></tr>"
        for each in run["settings"]
    )
    many = sum(each["differs"] for each in run["settings"])
    head = (
        '<thead><tr><th scope="col">setting</th><th scope="col" class="n">value</th>'
        '<th scope="col" class="n">default</th><th scope="col">differs</th></tr></thead>'
    )
    differ = "differs from its default" if many == 1 else "differ from their defaults"
    return (
        f"<details><summary>{counted(len(run['settings']), 'setting')}, {many} {differ}</summary>"
        f"{framed('Settings', f'{head}<tbody>{rows}</tbody>')}</details>"
    )


def figures(run: dict[str, Any]) -> dict[str, Any]:
    """Returns scores, rates and costs by their names with units."""
    test = run["test"]
    found = {f"test {run['score']}": test[run["score"]], f"test loss, {run['loss']}": test["loss"]}
    found |= {f"rate of {name}, Hz": hz for name, hz in test["rates_hz"].items()}
    for name, value in run["costs"].items():
        if name not in ("energy_source", "not_counted"):
            found[_COSTS.get(name, name.replace("_", " "))] = value
    return found


def metrics(run: dict[str, Any]) -> str:
    """Returns the section on scores and costs."""
    words = table("Test part", ["metric", "value"], list(figures(run).items()))
    costs = run["costs"]
    if "energy_source" in costs:
        words += f"<p>Energy: arithmetic alone, from {escaped(costs['energy_source'])}.</p>"
    if costs.get("not_counted"):
        words += f"<p>Not counted: {escaped('; '.join(map(str, costs['not_counted'])))}.</p>"
    if run["result"] is None:
        return words + "<p>The run has no result.json yet: these are counted for this report.</p>"
    plain = [(n, repr(v) if isinstance(v, float) else v) for n, v in run["result"].items()]
    rows = [(n, v) for n, v in plain if not isinstance(v, dict | list)]
    inside = table("result.json", ["name", "value"], rows)
    return words + f"<details><summary>result.json</summary>{inside}</details>"


def curves(runs: Sequence[dict[str, Any]], names: Sequence[str]) -> str:
    """Returns learning curves: of several runs, each has a colour, and each part a dash."""
    alone, charts = len(runs) == 1, []
    scores = list(dict.fromkeys(run["score"] for run in runs))
    losses = ", ".join(dict.fromkeys(run["loss"] for run in runs))
    wanted: list[tuple[tuple[str, ...], str, str]] = [
        (("train_loss", "validation_loss"), "Loss", losses),
        *((tuple(f"{p}_{s}" for p in ("train", "validation")), s.capitalize(), s) for s in scores),
        (("learning_rate",), "Learning rate", "learning rate"),
        (("grad_norm",), "Norm of the gradient over all layers", "gradient norm"),
    ]
    for keys, title, unit in wanted:
        series, looks = {}, {}
        for k, run in enumerate(runs):
            records = run["records"]
            for j, key in enumerate(keys):
                if any(key in record for record in records):
                    label = key.replace("_", " ").replace("grad ", "gradient ")
                    label = label if alone else f"{names[k]}: {label}"
                    x = [record["epoch"] for record in records]
                    series[label] = (x, [record.get(key) for record in records])
                    looks[label] = (j, j) if alone else (k, j + 2 * (k // 6))
        zero = len(keys) == 1
        charts.append(
            f"<div>{lines(series, f'{title} by epoch', 'epoch', unit, looks, from_zero=zero)}</div>"
        )
    layers: dict[str, Any] = {}
    for run in runs if alone else ():
        for layer in run["records"][-1].get("rates_hz", {}):
            x = [record["epoch"] for record in run["records"]]
            layers[layer] = (x, [r.get("rates_hz", {}).get(layer) for r in run["records"]])
    if layers:
        chart = lines(layers, "Firing rate by epoch", "epoch", "rate, Hz", from_zero=True)
        charts.append(f"<div>{chart}</div>")
    return f'<div class="grid2">{"".join(charts)}</div>'


def explorer(k: int, run: dict[str, Any]) -> str:
    """Returns the section on samples, which the script of the page brings to life."""
    samples = run["samples"]
    if not samples:
        return "<p>The test part has no sample with any steps: there is nothing to run.</p>"
    about = ""
    if not run["steps"]:
        about = (
            "<p>The network runs in continuous time: its spikes have exact times, and membranes are"
            " left out since they are not computed between spikes. Decision time is the first spike"
            " of an output neuron.</p>"
        )
    by = "time step" if run["steps"] else "two hundredth of the time"
    head = ["sample", "label", "prediction"]
    rows = [[s["row"], s["target"], s["prediction"]] for s in samples]
    if any("decision" in s for s in samples):
        head.append("decision time, ms")
        for row, s in zip(rows, samples, strict=True):
            time = s.get("decision")
            row.append(None if time is None else round(time * 1e3, 3))
    return f"""{about}<noscript><p>The pictures of samples need JavaScript, which is turned off; the
 table below does not.</p></noscript><div class="explorer" data-run="{k}" role="group"
 aria-label="Samples of the test part"><p class="words" aria-live="polite"></p>
<label>Sample <span class="which"></span> <input class="pick" type="range" aria-label="Sample"
 min="0" max="{len(samples) - 1}" value="0" step="1"></label>
<label>Time <span class="now"></span> <input class="time" type="range" aria-label="Time" min="0"
 max="1000" value="0" step="1"></label>
<p class="hint"><button class="play" type="button">Play</button> Arrow keys move a slider by one
 sample or one {by}.</p>
<p class="caption">Activity: a neuron lights up with its spike and fades within
 <span class="fade"></span></p>
<canvas class="activity" role="img" aria-label="Neurons that spiked just before the chosen time;
 numbers of spikes stand in the sentence above"></canvas>
<p class="caption">Spikes of each layer</p>
<canvas class="raster" role="img" aria-label="Spikes of each layer against time in
 milliseconds"></canvas>
<p class="caption membranes">Membrane potentials of some neurons, from the one with most spikes to
 the one with fewest</p>
<canvas class="membrane" role="img" aria-label="Membrane potentials against time in milliseconds,
 with the threshold"></canvas></div>{table("Chosen samples of the test part", head, rows)}"""


def rates(run: dict[str, Any]) -> str:
    """Returns the section on firing rates; silent and saturated neurons are marked."""
    found = []
    for name, layer in run["test"]["layers"].items():
        values, silent, saturated = layer["rates"], layer["silent"], layer["saturated"]
        marks = {**dict.fromkeys(silent, "0"), **dict.fromkeys(saturated, "S")}
        words = (
            f"{counted(len(values), 'neuron')}, {_some(silent, 'silent', '0')},"
            f" {_some(saturated, 'saturated', 'S')}."
        )
        seen = {i: m for i, m in marks.items() if i < NEURONS}
        more = f" Bars are of the first {NEURONS} neurons." if len(values) > NEURONS else ""
        title = f"Firing rate of each neuron of {name}"
        said = f"Lowest {min(values):.4g} Hz, highest {max(values):.4g} Hz."
        chart = bars(values[:NEURONS], seen, title, "neuron", "rate, Hz", said)
        found.append(f"<div>{chart}<p>{escaped(name)}: {words}{more}</p></div>")
    body = "".join(found)
    return f'<div class="grid2">{body}</div>' if body else "<p>No layer of the network spikes.</p>"


def _some(neurons: Sequence[int], kind: str, mark: str) -> str:
    """Returns how many neurons are of a kind, their mark in the chart, and which they are."""
    if not neurons:
        return f"none {kind}"
    names = ", ".join(map(str, neurons[:NAMED])) + (", …" if len(neurons) > NAMED else "")
    return f"{len(neurons)} {kind} ({mark}: {names})"


def predictions(run: dict[str, Any]) -> str:
    """Returns the section on predictions: confusion of classes, or the first values."""
    test = run["test"]
    if "confusion" not in test:
        true, predicted = test["values"]
        rows = list(zip(range(len(true)), true, predicted, strict=True))[:40]
        return "<p>Values are predicted, so that there is no confusion matrix.</p>" + table(
            "First values of the test part", ["number", "true", "predicted"], rows
        )
    confusion = test["confusion"]
    head = "".join(f'<th scope="col" class="n">{c}</th>' for c in range(len(confusion)))
    body = "".join(
        f'<tr><th scope="row">{true}</th>'
        + "".join(
            f'<td class="n heat{" hit" if true == c else ""}"'
            f' style="--share:{n / (sum(counts) or 1):.2f}">{n}</td>'
            for c, n in enumerate(counts)
        )
        + "</tr>"
        for true, counts in enumerate(confusion)
    )
    words = "Confusion: rows are true classes, columns predicted ones; right ones are bold"
    return framed(
        words,
        f'<thead><tr><th scope="col">true \\ predicted</th>{head}</tr></thead>'
        f"<tbody>{body}</tbody>",
    )


def chips(run: dict[str, Any]) -> str:
    """Returns the section on crossbar chips: the picture of the run, or why there is none."""
    found = run["chips"]
    if isinstance(found, str):
        return f"<p>{escaped(found)}</p>"
    words = (
        "Accuracy and firing rates on crossbar chips against their age, as train.evaluate drew them"
    )
    return (
        f'<figure class="plain"><img class="plot" alt="{escaped(words)}" src="{found["image"]}">'
        f"<figcaption>{escaped(words)}</figcaption></figure>"
    )


def environment(run: dict[str, Any]) -> str:
    """Returns the section on versions and the machine."""
    found = run["environment"]
    if not found:
        return "<p>The run has no environment.json: an older release made it.</p>"
    text = escaped(json.dumps(found, indent=1))
    return (
        '<details><summary>environment.json</summary><pre class="scroll" tabindex="0"'
        f' role="region" aria-label="environment.json">{text}</pre></details>'
    )
