"""What is written down of an epoch, and of a result: plain numbers with their units."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from train.data.parts import Part
from train.errors import RunWarning
from train.model.model import Model
from train.progress.health import silent_share
from train.run.step import Evaluation, Sums
from train.tasks.task import Results, Task


def share(total: Any, samples: Any) -> float:
    """Returns a mean over samples as a number of at most 6 digits, free of float32's own: 0.434."""
    return round(float(total) / float(samples), 6)


def activity_of(model: Model, sums: Sums) -> dict[str, np.ndarray]:
    """Returns the spikes of each neuron per slot, for each layer that spikes, ``(N,)``.

    A slot is what the model says: of a time step, this is the share of steps with a spike.
    """
    samples = float(sums.samples)
    layers = zip(model.layers, sums.activity, strict=True)
    return {name: np.asarray(layer, np.float64) / samples for name, layer in layers}


def rates_hz(model: Model, sums: Sums) -> dict[str, float]:
    """Returns the mean firing rate in Hz of each layer that spikes."""
    return {k: float(np.mean(v)) / model.slot for k, v in activity_of(model, sums).items()}


def results_of(
    path: Path,
    model: Model,
    params: Any,
    part: Part,
    scored: Evaluation,
    records: Sequence[dict[str, Any]],
) -> Results:
    """Returns what a network does on a part of the data, for pictures of it.

    Args:
      path: the run directory.
      model: the network.
      params: its parameters.
      part: the samples.
      scored: evaluation of the parameters on them; predictions may have padding.
      records: metrics of the epochs.
    """
    samples, shape = len(part.labels), model.objective.label_shape
    predictions = np.asarray(scored.predictions).reshape(-1, *shape)[:samples]
    activity, sums = activity_of(model, scored.sums), scored.sums
    score = share(sums.points, sums.samples)
    return Results(path, model, params, part, predictions, activity, score, records)


def draw(task: Task, results: Results) -> list[Path]:
    """Draws the pictures of a run; where they cannot be written, nothing else is lost.

    Args:
      task: the task.
      results: what its network does.

    Returns:
      The files; none, after a `RunWarning`, where the directory is read-only or the disk full.
    """
    try:
        return task.draw(results)
    except OSError as error:
        words = f"{error.filename or results.path}: pictures cannot be written ({error.strerror})"
        warnings.warn(f"{words}; all else is done", RunWarning, stacklevel=2)
        return []


def epoch_record(
    model: Model,
    *,
    epoch: int,
    updates: int,
    train: Sums,
    validation: Sums,
    learning_rate: float,
    seconds: float,
) -> dict[str, Any]:
    """Returns the line of an epoch in the metrics file.

    Args:
      model: the network.
      epoch: its number, from 1.
      updates: updates done after it.
      train: sums over its training batches, each taken before its update.
      validation: sums over the validation part after it.
      learning_rate: that of its last update.
      seconds: training time of the run so far.

    Returns:
      Means over samples, mean firing rates in Hz, share of neurons that never spiked; where a layer
      has room for a limited number of spikes, those that were lost in both parts.
    """
    score = model.objective.score
    activity = activity_of(model, train)
    lost = {"lost_spikes": int(train.lost + validation.lost)} if model.bounded else {}
    return {
        "epoch": epoch,
        "step": updates,
        "train_loss": float(train.loss / train.samples),
        f"train_{score}": share(train.points, train.samples),
        "validation_loss": float(validation.loss / validation.samples),
        f"validation_{score}": share(validation.points, validation.samples),
        "rates_hz": rates_hz(model, train),
        "silent": {name: silent_share(layer) for name, layer in activity.items()},
        **lost,
        "grad_norm": float(train.grad_norm / train.samples),
        "learning_rate": learning_rate,
        "seconds": round(seconds, 3),
    }
