"""A trained network on a part of its data: scores, what its layers do, the pictures of its run."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from flax_snn import diagnosis, metrics
from train.errors import NotFiniteError, RunDirectoryError
from train.restored.run import Restored, restore
from train.run.record import activity_of, draw, rates_hz, results_of, share
from train.settings import NO_CROSSBAR
from train.store import run_directory
from train.store.layout import METRICS


def evaluate_network(trained: Restored, path: Path, part: str = "test") -> dict[str, Any]:
    """Evaluates a network on a part of the data of its task.

    Args:
      trained: the network.
      path: where it came from.
      part: ``train``, ``validation`` or ``test``.

    Returns:
      ``<part>_<score>`` with the ``score`` of the task, ``<part>_loss``, for classes ``confusion``
      (rows: true class, columns: predicted class, samples), ``rates_hz`` and ``activity`` (spikes
      per neuron and ``slot``, a time step or a sample) of each layer that spikes, ``lost_spikes``
      where layers have limited room, ``chip`` where weights were on one, and what was evaluated:
      ``task``, ``checkpoint``, ``epoch``, ``part``, ``samples``.

    Raises:
      NotFiniteError: the loss is no number.
    """
    model, data = trained.model, getattr(trained.load_data(), part)
    scored = trained.evaluate(data)
    score, sums = model.objective.score, scored.sums
    loss = float(sums.loss / sums.samples)
    if not math.isfinite(loss):
        raise NotFiniteError(
            f"{path}: expected a finite loss on the {part} part, got {loss}: a layer computes NaN"
            " or infinity; flax_snn.diagnosis.first_not_finite says which"
        )
    found = {
        "task": trained.task.name,
        "checkpoint": str(path),
        "epoch": trained.epoch,
        "part": part,
        "samples": len(data.labels),
        "score": score,
        f"{part}_{score}": share(sums.points, sums.samples),
        f"{part}_loss": loss,
        "rates_hz": rates_hz(model, sums),
        "activity": {k: float(v.mean()) for k, v in activity_of(model, sums).items()},
        "slot": model.slot_name,
    }
    kind = getattr(trained.settings, "crossbar", NO_CROSSBAR).crossbar
    if model is not model.without_crossbars():
        found["chip"] = kind
    if model.bounded:
        found["lost_spikes"] = int(sums.lost)
    if score == "accuracy":
        found["confusion"] = confusion_of(trained, scored.predictions, data.labels)
    return found


def confusion_of(trained: Restored, predictions: Any, labels: Any) -> list[list[int]]:
    """Returns the confusion matrix of a network that tells classes apart.

    Args:
      trained: the network.
      predictions: class of each sample as the network has it.
      labels: true class of each sample.

    Returns:
      Samples of each true class (row) that were taken for each class (column).
    """
    classes = trained.model.outputs // trained.model.population
    table: list[list[int]] = metrics.confusion_matrix(predictions, labels, classes).tolist()
    return table


def diagnose(
    path: Path, part: str = "test", method: str | None = None, *, size_limit: bool = True
) -> str:
    """Returns what each layer of a trained network does, as `flax_snn.diagnosis` says it.

    Args:
      path: a run directory or a checkpoint.
      part: ``train``, ``validation`` or ``test``, of which the first 250 samples are used.
      method: run the network by this method instead of the one that it was trained by.
      size_limit: whether a network beyond the memory is refused.

    Returns:
      A table, and words where a layer needs them.

    Raises:
      CheckpointError: missing, damaged, or of another model or version.
      ConfigError: the network has no time steps.
    """
    trained = restore(path, method, size_limit=size_limit)
    samples = getattr(trained.load_data(), part).take(slice(0, 250))
    network, inputs = trained.model.on_grid(samples.inputs)
    variables = {"params": trained.params}
    return str(diagnosis.diagnose(network, variables, inputs, seq_lengths=samples.lengths))


def draw_plots(path: Path, **how: Any) -> list[Path]:
    """Draws the pictures of a run into its folder ``plots``.

    Args:
      path: the run directory.
      **how: memory and devices, as `train.restored.run.restore` takes them.

    Returns:
      The files.

    Raises:
      CheckpointError: the run has no checkpoint that can be read.
      RunDirectoryError: not a run directory: it has no metrics.
    """
    records = run_directory.read_metrics(path)
    if not records:
        raise RunDirectoryError(f"--plots: {path} has no {METRICS}; give the directory of a run")
    trained = restore(path, **how)
    test = trained.load_data().test
    scored = trained.evaluate(test)
    results = results_of(path, trained.model, trained.params, test, scored, records)
    return draw(trained.task, results)
