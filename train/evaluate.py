"""Evaluate a checkpoint; model and data are rebuilt from the checkpoint alone.

    python -m train.evaluate --checkpoint checkpoints/randman_reference

takes a run directory, whose best checkpoint by validation accuracy is meant, or one of the numbered
folders in its ``checkpoints``, and prints accuracy, confusion matrix and firing rates; with
``--json`` one JSON object, as the last line.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import tyro

from train.errors import CheckpointError, ConfigError, exit_code

if TYPE_CHECKING:
    from train.task import Task

COMMAND = "python -m train.evaluate"


@dataclasses.dataclass(frozen=True)
class EvaluateOptions:
    """What to evaluate, and how to say it."""

    checkpoint: Path
    """A run directory, or one of the numbered folders in its checkpoints."""
    part: Literal["train", "validation", "test"] = "test"
    """Part of the data set."""
    json: bool = False
    """Print one JSON object instead of text."""


def evaluate_checkpoint(path: Path, part: str = "test") -> dict[str, Any]:
    """Evaluate a checkpoint on a part of the data it was trained on.

    Args:
      path: a run directory or a checkpoint.
      part: ``train``, ``validation`` or ``test``.

    Returns:
      ``<part>_accuracy``, ``<part>_loss`` (nats), ``confusion`` (rows: true class, columns:
      predicted class, samples), ``rates_hz`` and ``activity`` (share of slots) of each layer that
      spikes, and what was evaluated: ``task``, ``checkpoint``, ``epoch``, ``part``, ``samples``.

    Raises:
      CheckpointError: missing, damaged, or of another model or version.
    """
    import jax
    import numpy as np

    from train.checkpoint import find_checkpoint, open_checkpoint
    from train.data import padded_order
    from train.state import create_state, evaluate, rates_hz, share

    checkpoint = open_checkpoint(find_checkpoint(path))
    task, config = _settings(checkpoint.path, checkpoint.meta["settings"])
    model = task.build(config)
    abstract = jax.eval_shape(
        lambda seed: create_state(model, config.training, 1, seed), np.uint32(0)
    )
    params = checkpoint.restore(abstract).params
    inputs, labels = getattr(task.load(config), part)
    order = padded_order(len(labels), config.training.batch_size)
    scored = jax.jit(lambda *a: evaluate(model, *a))(params, inputs, labels, order)
    predictions = np.asarray(scored.predictions).reshape(-1)[: len(labels)]
    activity = np.asarray(scored.metrics.activity, np.float64)
    return {
        "task": task.name,
        "checkpoint": str(path),
        "epoch": checkpoint.meta["epoch"],
        "part": part,
        "samples": len(labels),
        f"{part}_accuracy": share(scored.metrics.accuracy),
        f"{part}_loss": float(scored.metrics.loss),
        "rates_hz": rates_hz(model, scored.metrics),
        "activity": dict(zip(model.layers, activity.tolist(), strict=True)),
        "confusion": _confusion(labels, predictions, int(labels.max()) + 1).tolist(),
    }


def describe(result: dict[str, Any]) -> str:
    """Return the result of `evaluate_checkpoint` as text."""
    part, confusion = result["part"], result["confusion"]
    width = max(len(str(n)) for n in (*sum(confusion, []), len(confusion) - 1)) + 1
    header = "".join(f"{c:>{width}}" for c in range(len(confusion)))
    rows = [
        f"  {true:>5} |" + "".join(f"{n or '.':>{width}}" for n in row)
        for true, row in enumerate(confusion)
    ]
    rates = [
        f"  {layer:<10} {hz:7.2f} Hz   {result['activity'][layer]:7.2%} of slots"
        for layer, hz in result["rates_hz"].items()
    ]
    return "\n".join(
        [
            f"{result['checkpoint']}: task {result['task']}, epoch {result['epoch']}",
            f"{part} accuracy {result[f'{part}_accuracy']:.2%}, loss {result[f'{part}_loss']:.4f}"
            f" ({result['samples']} samples)",
            "",
            "confusion matrix (rows: true class, columns: predicted class)",
            f"        |{header}",
            *rows,
            "",
            "mean firing rate",
            *rates,
        ]
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run ``python -m train.evaluate``; returns the exit code."""
    options = tyro.cli(EvaluateOptions, prog=COMMAND, description=__doc__, args=arguments)

    def work() -> int:
        result = evaluate_checkpoint(options.checkpoint, options.part)
        print(json.dumps(result, allow_nan=False) if options.json else describe(result))
        return 0

    return exit_code(COMMAND, work)


def _settings(path: Path, stored: Any) -> tuple[Task, Any]:
    """Return task and settings of a checkpoint."""
    from train.config_json import from_json, task_of
    from train.task import find_task

    try:
        task = find_task(task_of(stored))
        config = from_json(task.config, stored)
        task.check(config)
    except ConfigError as error:
        raise CheckpointError(f"{path}: {error}") from error
    return task, config


def _confusion(labels: Any, predictions: Any, classes: int) -> Any:
    import numpy as np

    counts = np.zeros((classes, classes), np.int64)
    np.add.at(counts, (labels, predictions), 1)
    return counts


if __name__ == "__main__":
    raise SystemExit(main())
