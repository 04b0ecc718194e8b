"""Everything that the report says of a run, as plain numbers, words and packed arrays."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from flax_snn import metrics
from flax_snn.diagnosis import SATURATED
from train.data.parts import Part
from train.errors import RunDirectoryError
from train.reporting.samples import samples_of
from train.reporting.weights import gradient_norms, initial, parameters_of
from train.restored.evaluation import confusion_of
from train.restored.run import Restored, restore
from train.run.costs import costs_of
from train.run.record import activity_of, rates_hz, share
from train.store import environment, run_directory
from train.store.layout import METRICS, PLOTS
from train.store.settings_json import flat, to_json

PICTURE = 400_000
"""Bytes of a picture of chips that is embedded; a larger one stays in its folder."""


def collect(path: Path, count: int = 8) -> dict[str, Any]:
    """Returns what the report shows of a run.

    Args:
      path: the run directory.
      count: samples of the test part to look at closely.

    Returns:
      A dict for JSON. A part that the run cannot show is a sentence that says why.

    Raises:
      RunDirectoryError: no run with a finished epoch, or a damaged one.
      CheckpointError: its checkpoints are damaged.
    """
    records, result = _files(path)
    trained = restore(path)
    data = trained.load_data()
    before, words = initial(trained)
    epochs = trained.settings.training.epochs
    return {
        "run": str(path),
        "task": trained.task.name,
        "about": trained.task.description.splitlines()[0],
        "finished": result is not None,
        "epochs_done": records[-1]["epoch"],
        "epochs": epochs,
        "checkpoint_epoch": trained.epoch,
        "score": trained.model.objective.score,
        "loss": trained.model.objective.unit,
        "settings": _settings(trained),
        "records": records,
        "result": result,
        "parts": {
            name: None if part is None else len(getattr(part, "labels", part))
            for name, part in zip(("train", "validation", "test"), data, strict=True)
        },
        "test": _test(trained, data.test),
        "samples": samples_of(trained, data.test, count),
        "steps": trained.model.slot_name == "step",
        "parameters": parameters_of(trained, before, words),
        "gradients": _gradients(trained, before, data.test),
        "costs": _costs(trained, data.test, result),
        "chips": _chips(path, trained),
        "environment": environment.read(path),
    }


def check_runs(paths: Sequence[Path]) -> None:
    """Refuses folders that are no runs, and runs with damaged files, before any of them is run.

    Args:
      paths: run directories.

    Raises:
      RunDirectoryError: one of them has no finished epoch, or is damaged.
    """
    for path in paths:
        _files(path)


def _files(path: Path) -> tuple[list[dict[str, Any]], dict[str, Any] | None]:
    """Returns the metrics of a run, and its result where it is finished."""
    stored, records = run_directory.stored_settings(path), run_directory.read_metrics(path)
    if stored is None or not records:
        raise RunDirectoryError(
            f"{path} is not the directory of a run with at least one finished epoch: expected"
            f" config.json and {METRICS} in it; give the one that --workdir named"
        )
    return records, run_directory.read_result(path)


def _settings(trained: Restored) -> list[dict[str, Any]]:
    """Returns settings in order, each with its default where the task has one."""
    now = dict(flat(to_json(trained.task.name, trained.settings)["config"]))
    try:
        default = dict(flat(to_json(trained.task.name, trained.task.settings())["config"]))
    except TypeError:  # A task of a user may have settings without a default.
        default = {}
    return [
        {
            "name": name,
            "value": value,
            "default": default.get(name),
            "differs": name in default and default[name] != value,
        }
        for name, value in now.items()
    ]


def _test(trained: Restored, part: Any) -> dict[str, Any]:
    """Returns scores, rates and, of classes, confusion on the test part."""
    scored, model = trained.evaluate(part), trained.model
    sums, score = scored.sums, trained.model.objective.score
    found: dict[str, Any] = {
        "samples": len(part.labels),
        score: share(sums.points, sums.samples),
        "loss": float(sums.loss / sums.samples),
        "rates_hz": rates_hz(model, sums),
        "layers": {
            name: {
                "rates": (each / model.slot).tolist(),
                "silent": np.flatnonzero(each == 0).tolist(),
                "saturated": np.flatnonzero(each >= SATURATED).tolist()
                if model.slot_name == "step"
                else [],
            }
            for name, each in activity_of(model, sums).items()
        },
    }
    if score == "accuracy":
        found["confusion"] = confusion_of(trained, scored.predictions, part.labels)
    else:
        values = np.asarray(scored.predictions)[:500].reshape(-1).tolist()
        found["values"] = [np.asarray(part.labels)[:500].reshape(-1).tolist(), values]
    return found


def _gradients(trained: Restored, before: Any, part: Part) -> dict[str, Any] | str:
    """Returns norms of gradients, which nothing but backpropagation follows."""
    if getattr(trained.settings.training, "rule", "bptt") != "bptt":
        return "The run was not trained by backpropagation: its updates are no gradients."
    return gradient_norms(trained, before, part)


def _costs(trained: Restored, part: Any, result: dict[str, Any] | None) -> dict[str, Any]:
    """Returns costs as the result has them; of older and unfinished runs they are counted now."""
    found = dict((result or {}).get("costs") or costs_of(trained.model, trained.params, part))
    if "effective_macs" in found:
        energy = metrics.energy_estimate(found["effective_macs"], found["effective_acs"])
        found["picojoules"] = energy["picojoules"]
        found["energy_source"] = str(energy["source"])
    return found


def _chips(path: Path, trained: Restored) -> dict[str, str] | str:
    file = path / PLOTS / "crossbar.png"
    if not file.is_file():
        return (
            "No picture of chips is in the run directory; train.evaluate --crossbar pcm makes one."
        )
    if file.stat().st_size > PICTURE:
        return f"The picture of chips, {file}, is larger than {PICTURE} bytes and not embedded."
    return {"image": "data:image/png;base64," + base64.b64encode(file.read_bytes()).decode("ascii")}
