"""A run from settings to an evaluated checkpoint.

Order of things: check everything, make the data in a thread while XLA compiles, and only when
training can begin write to the run directory. While the device trains epoch n + 1, the host saves
and reports epoch n.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from train import compilation_cache, run_directory
from train.config import RunOptions, TrainingConfig
from train.config_json import to_json
from train.data import Dataset, Part, epoch_order, padded_order
from train.errors import InputError
from train.model import Model
from train.report import MetricsFile, Progress, farewell
from train.signals import Stop, stop_on_signal
from train.state import (
    Evaluation,
    Metrics,
    TrainState,
    create_state,
    evaluate,
    rates_hz,
    share,
    train_epoch,
)
from train.task import Task


class NotFiniteError(InputError):
    """The loss is no longer a number."""


@dataclasses.dataclass(frozen=True)
class Run:
    """What the parts of a run share.

    Attributes:
      model: the network.
      training: settings of the training.
      data: train, validation and test part, on the device.
      first: the state before the first update.
      train: compiled `train_epoch`.
      evaluate: `evaluate` of the model, compiled at its first call.
      path: the run directory.
    """

    model: Model
    training: TrainingConfig
    data: Dataset
    first: TrainState
    train: Any
    evaluate: Any
    path: Path


class Epoch(NamedTuple):
    """An epoch that has ended.

    Attributes:
      number: from 1.
      state: the state after it.
      train: means over its training batches.
      validation: evaluation after it.
    """

    number: int
    state: TrainState
    train: Metrics
    validation: Evaluation


def run_task(task: Task, config: Any, options: RunOptions) -> int:
    """Train, save, evaluate; see the module.

    Args:
      task: what to train.
      config: its settings.
      options: where the run goes and how it is shown.

    Returns:
      Exit code: 0 when finished, 130 or 143 when Ctrl-C or SIGTERM ended the run early.

    Raises:
      InputError: settings, a directory or a loss that the user has to mend.
    """
    started = time.time()
    task.check(config)
    path = run_directory.choose(options.workdir, task.name, options.overwrite)
    if options.cache:
        compilation_cache.enable(options.cache_dir)
    run = prepare(task, config, path)
    settings = to_json(task.name, config)
    run_directory.start(path, settings)
    with Progress(run.training.epochs, options.quiet) as progress:
        progress.note(_opening(run))
        code, first_step = _train(run, settings, progress)
    if code:
        print(
            f"stopped early; the last finished epoch is saved\nevaluate the best so far:"
            f" python -m train.evaluate --checkpoint {path}",
            file=sys.stderr,
        )
        return code
    result = _result(run, started, first_step)
    run_directory.write_json(path / run_directory.RESULT, result)
    print(farewell(path, result))
    return 0


def prepare(task: Task, config: Any, path: Path) -> Run:
    """Make data and compiled functions ready; writes nothing to the run directory.

    Args:
      task: what to train.
      config: its settings.
      path: the run directory.

    Returns:
      A run that can begin.
    """
    training: TrainingConfig = config.training
    with ThreadPoolExecutor(1) as pool:
        loading = pool.submit(task.load, config)
        model = task.build(config)
        samples = task.train_samples(config)
        batches = samples // training.batch_size
        create = functools.partial(create_state, model, training, batches * training.epochs)
        first = jax.jit(create)(jnp.uint32(training.seed))
        shapes = (
            jax.ShapeDtypeStruct((samples, *model.input_shape), jnp.uint8),
            jax.ShapeDtypeStruct((samples,), jnp.int32),
            jax.ShapeDtypeStruct((batches, training.batch_size), jnp.int32),
        )
        compiled = jax.jit(train_epoch).lower(first, *shapes).compile()
        data = loading.result()
    on_device = Dataset(*(Part(jnp.asarray(p.inputs), jnp.asarray(p.labels)) for p in data))
    score = jax.jit(functools.partial(evaluate, model))
    return Run(model, training, on_device, first, compiled, score, path)


def score_part(run: Run, params: Any, part: Part) -> Evaluation:
    """Evaluate parameters on one part of the data, in batches of the run's size."""
    order = padded_order(len(part.labels), run.training.batch_size)
    return run.evaluate(params, part.inputs, part.labels, order)


def _train(run: Run, settings: dict[str, Any], progress: Progress) -> tuple[int, float]:
    """Train until the end or a signal; returns its exit code, and when the first step began."""
    with stop_on_signal(progress.note) as stop:
        running = _dispatch(run, run.first, 1)
        begun = time.time()
        # The device is at work: time to import Orbax and to compile the evaluation.
        from train.checkpoint import CheckpointWriter

        progress.note(_before(run))
        with CheckpointWriter(run.path, settings) as writer, MetricsFile(run.path) as metrics:
            for epoch in _epochs(run, running, stop, progress):
                record = _record(run, epoch, time.time() - begun)
                metrics.write(record)
                position = {"epochs_done": epoch.number, "order_seed": run.training.seed}
                writer.save(epoch.number, epoch.state, position, record)
                progress.epoch(record)
    finished = epoch.number == run.training.epochs
    return 0 if finished else stop.code, begun


def _epochs(
    run: Run, running: tuple[TrainState, Metrics], stop: Stop, progress: Progress
) -> Iterator[Epoch]:
    """Yield each epoch when it has ended; the one after it is running by then."""
    state, metrics = running
    for number in range(1, run.training.epochs + 1):
        _wait(metrics, progress)
        ended = Epoch(number, state, metrics, score_part(run, state.params, run.data.validation))
        last = bool(stop) or number == run.training.epochs
        if not last:
            state, metrics = _dispatch(run, state, number + 1)
        _wait(ended.validation, progress)
        yield ended
        if last:
            return


def _dispatch(run: Run, state: TrainState, epoch: int) -> tuple[TrainState, Metrics]:
    """Start an epoch; returns at once, with arrays that are still being computed."""
    part = run.data.train
    order = epoch_order(run.training.seed, epoch, len(part.labels), run.training.batch_size)
    started: tuple[TrainState, Metrics] = run.train(state, part.inputs, part.labels, order)
    return started


def _wait(arrays: Any, progress: Progress) -> None:
    """Wait for arrays in Python, where signals arrive and the bar goes on."""
    while not all(array.is_ready() for array in jax.tree.leaves(arrays)):
        time.sleep(0.02)
        progress.tick()


def _record(run: Run, epoch: Epoch, seconds: float) -> dict[str, Any]:
    """Return the line of an epoch in the metrics file."""
    validation = epoch.validation.metrics
    loss, validation_loss = float(epoch.train.loss), float(validation.loss)
    if not math.isfinite(loss + validation_loss):
        raise NotFiniteError(
            f"the loss is no longer a number in epoch {epoch.number} (training {loss}, validation"
            f" {validation_loss}); what was saved before is kept in {run.path}; lower"
            " --learning-rate and train again with --overwrite"
        )
    return {
        "epoch": epoch.number,
        "step": int(epoch.state.step),
        "train_loss": loss,
        "train_accuracy": share(epoch.train.accuracy),
        "validation_loss": validation_loss,
        "validation_accuracy": share(validation.accuracy),
        "rates_hz": rates_hz(run.model, epoch.train),
        "seconds": round(seconds, 3),
    }


def _result(run: Run, started: float, first_step: float) -> dict[str, Any]:
    """Evaluate the best checkpoint, as it was saved, on the test part: content of result.json."""
    from train.checkpoint import find_checkpoint, open_checkpoint

    best = open_checkpoint(find_checkpoint(run.path))
    test = score_part(run, best.restore(run.first).params, run.data.test).metrics
    return {
        "test_accuracy": share(test.accuracy),
        "test_loss": float(test.loss),
        "test_rates_hz": rates_hz(run.model, test),
        "validation_accuracy": best.meta["metrics"]["validation_accuracy"],
        "best_epoch": best.meta["epoch"],
        "epochs": run.training.epochs,
        "seed": run.training.seed,
        "seconds": round(time.time() - started, 3),
        "first_step_unix_time": first_step,
    }


def _opening(run: Run) -> str:
    samples, size = len(run.data.train.labels), run.training.batch_size
    left = samples % size
    parameters = sum(leaf.size for leaf in jax.tree.leaves(run.first.params))
    return (
        f"{run.path}: {samples} training samples in {samples // size} batches of {size}"
        + (f" ({left} sit out each epoch, others every time)" if left else "")
        + f", {parameters} parameters, epochs: {run.training.epochs}, seed: {run.training.seed}"
    )


def _before(run: Run) -> str:
    metrics = score_part(run, run.first.params, run.data.validation).metrics
    rates = ", ".join(f"{name} {hz:.1f} Hz" for name, hz in rates_hz(run.model, metrics).items())
    return f"before training: validation {float(metrics.accuracy):.1%}, {rates}"
