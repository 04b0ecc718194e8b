"""A run made ready: data on their way, functions compiled, nothing yet written."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from train.config import RunOptions, TrainingConfig
from train.config_json import to_json
from train.data import Dataset, Part, first_batch, padded_order
from train.feed import Feed, fits_on_device, make_feed
from train.model import Model
from train.resume import Start
from train.state import Evaluation, Sums, TrainState, create_state, evaluate, train_batches
from train.task import Task


@dataclasses.dataclass(frozen=True)
class Run:
    """What the parts of a run share.

    Attributes:
      model: the network.
      training: settings of the training.
      data: train, validation and test part; the last two on the device.
      batches: batches of an epoch.
      first: the state before the first update.
      feed: where the batches come from.
      train: compiled `train_batches` of the model.
      evaluate: `evaluate` of the model, compiled at its first call.
      path: the run directory.
      settings: settings of the whole run, for JSON.
    """

    model: Model
    training: TrainingConfig
    data: Dataset
    batches: int
    first: TrainState
    feed: Feed
    train: Callable[..., tuple[TrainState, Sums]]
    evaluate: Callable[..., Evaluation]
    path: Path
    settings: dict[str, Any]

    def score(self, params: Any, part: Part) -> Evaluation:
        """Evaluate parameters on a part of the data, in batches; not waited for."""
        order = padded_order(len(part.labels), self.training.batch_size)
        return self.evaluate(params, part.inputs, part.labels, order)

    def beginning(self, note: Callable[[str], None]) -> Start:
        """Return the place before the first update; weights are rescaled on data if asked for.

        Args:
          note: shows the user a line of text.
        """
        batch = functools.partial(
            first_batch, self.data.train, self.training.seed, self.training.batch_size
        )
        params, words = self.model.begin(self.first.params, batch)
        for line in words:
            note(line)
        return Start(self.first.replace(params=params))


def prepare(task: Task, config: Any, options: RunOptions, path: Path) -> Run:
    """Make data and compiled functions ready; writes nothing to the run directory.

    Args:
      task: what to train.
      config: its settings.
      options: how the run is fed.
      path: the run directory.

    Returns:
      A run that can begin.
    """
    training: TrainingConfig = config.training
    size = training.batch_size
    with ThreadPoolExecutor(1) as pool:
        loading = pool.submit(task.load, config, options)
        model = task.build(config)
        if options.time_loop != "auto":
            model = model.with_time_loop(options.time_loop)
        samples = task.train_samples(config)
        batches = samples // size
        create = functools.partial(create_state, model, training, batches * training.epochs)
        first = jax.jit(create)(jnp.uint32(training.seed))
        train = jax.jit(functools.partial(train_batches, model, training))
        chunk = min(options.chunk, batches) if _streams(model, samples, options) else None
        shapes = _chunk_shapes(model, samples, batches, size, chunk)
        compiled = train.lower(first, *shapes).compile()
        data = loading.result()

    def call(state: TrainState, inputs: Any, labels: Any, order: Any) -> tuple[TrainState, Sums]:
        # The last chunk of an epoch, and the first one of a resumed run, may be shorter.
        whole = order.shape == shapes[-1].shape
        return (compiled if whole else train)(state, inputs, labels, order)

    scored = (Part(*map(jnp.asarray, part)) for part in (data.validation, data.test))
    return Run(
        model=model,
        training=training,
        data=Dataset(data.train, *scored),
        batches=batches,
        first=first,
        feed=make_feed(data.train, training.seed, size, chunk),
        train=call,
        evaluate=jax.jit(functools.partial(evaluate, model)),
        path=path,
        settings=to_json(task.name, config),
    )


def _streams(model: Model, samples: int, options: RunOptions) -> bool:
    """Whether samples come in chunks: as told, else where they do not fit on the device."""
    if options.data == "tfds" or options.feed == "streamed":
        return True
    size = samples * math.prod(model.input_shape) * jnp.dtype(model.input_dtype).itemsize
    return options.feed == "auto" and not fits_on_device(size)


def _chunk_shapes(
    model: Model, samples: int, batches: int, batch_size: int, chunk: int | None
) -> tuple[jax.ShapeDtypeStruct, ...]:
    """Shapes of the inputs, labels and order of one compiled call."""
    if chunk is not None:
        samples, batches = chunk * batch_size, chunk
    objective = model.objective
    return (
        jax.ShapeDtypeStruct((samples, *model.input_shape), model.input_dtype),
        jax.ShapeDtypeStruct((samples, *objective.label_shape), objective.label_dtype),
        jax.ShapeDtypeStruct((batches, batch_size), jnp.int32),
    )
