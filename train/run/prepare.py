"""A run made ready: data on their way, functions compiled, nothing yet written."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import importlib
import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from flax_snn.time_loop import loops_noted
from train import processes
from train.data.check import check_dataset
from train.data.feed import Feed, fits_on_device, make_feed
from train.data.order import first_batch, padded_order
from train.data.parts import Dataset, Part
from train.errors import ConfigError
from train.model import Model
from train.run.check_numbers import watched
from train.run.devices import Devices, check_batch, find_devices
from train.run.init_from import weights_of
from train.run.resume import Start
from train.run.step import Evaluation, Sums, TrainState, create_state, evaluate, train_batches
from train.settings import RunOptions, TrainingConfig
from train.settings.checks import check_batch_size
from train.store.settings_json import to_json
from train.tasks import Task


@dataclasses.dataclass(frozen=True)
class Run:
    """What the parts of a run share.

    Attributes:
      model: the network.
      training: settings of the training.
      devices: where all that lies and runs.
      data: train, validation and test part; the last two on the devices.
      batches: batches of an epoch.
      first: the state before the first update.
      feed: where the batches come from.
      train: compiled `train_batches` of the model.
      program: what XLA has compiled of it for a whole chunk, to be looked into.
      loops: names of the time loops in it, none in continuous time.
      evaluate: `evaluate` of the model, compiled at its first call.
      path: the run directory.
      settings: settings of the whole run, for JSON.
      create: compiled `create_state`, from the seed.
      chunk: batches of a chunk, where samples are streamed; ``None`` where they are not.
      until: epoch after which it ends before its time; ``None``: as its settings say.
    """

    model: Model
    training: TrainingConfig
    devices: Devices
    data: Dataset
    batches: int
    first: TrainState
    feed: Feed
    train: Callable[..., tuple[TrainState, Sums]]
    program: jax.stages.Compiled
    loops: tuple[str, ...]
    evaluate: Callable[..., Evaluation]
    path: Path
    settings: dict[str, Any]
    create: Callable[[Any], TrainState]
    chunk: int | None
    until: int | None = None

    @property
    def last(self) -> int:
        """The last epoch."""
        return self.training.epochs if self.until is None else self.until

    def again(self, task: Task, settings: Any, path: Path) -> Run:
        """Returns a run that differs from this one in its seed alone; nothing is compiled.

        Args:
          task: the task.
          settings: its settings.
          path: its directory.
        """
        training = settings.training
        seed, size = training.seed, training.batch_size
        feed = make_feed(self.data.train, seed, size, self.chunk, self.devices)
        return dataclasses.replace(
            self,
            training=training,
            first=self.create(np.uint32(training.seed)),
            feed=feed,
            path=path,
            settings=to_json(task.name, settings),
        )

    def score(self, params: Any, part: Part) -> Evaluation:
        """Evaluates parameters on a part of the data, in batches; not waited for."""
        order = padded_order(len(part.labels), self.training.batch_size)
        return self.evaluate(params, part, self.devices.place(order, self.devices.batch(1)))

    def beginning(self, task: Task, note: Callable[[str], None]) -> Start:
        """Returns the place before the first update.

        Weights are rescaled on data if that is asked for, or are those of another run.

        Args:
          task: the task.
          note: shows the user a line of text.

        Raises:
          ConfigError: the other run has other layers.
        """
        if self.training.init_from:
            path = Path(self.training.init_from)
            params = weights_of(path, task, self.first.params)
            note(f"beginning with the weights of {path}")
            return self._start(params)
        batch = functools.partial(
            first_batch, self.data.train, self.training.seed, self.training.batch_size
        )
        # Where there is anything to do, each process does all of it on one device.
        here = jax.tree.map(jnp.asarray, processes.on_host(self.first.params))
        params, words = self.model.begin(here, batch)
        for line in words:
            note(line)
        return self._start(params)

    def _start(self, params: Any) -> Start:
        """Returns the place before the first update, with these parameters."""
        where = jax.tree.map(lambda x: x.sharding, self.first.params)
        placed = jax.tree.map(self.devices.place, params, where)
        return Start(self.first.replace(params=placed))


def prepare(
    task: Task, settings: Any, options: RunOptions, path: Path, data: Dataset | None = None
) -> Run:
    """Makes data and compiled functions ready; writes nothing to the run directory.

    Args:
      task: what to train.
      settings: its settings.
      options: how the run is fed.
      path: the run directory.
      data: the data, where they are there already; by default they are loaded.

    Returns:
      A run that can begin.

    Raises:
      ConfigError: settings that the network refuses, or data that do not fit it.
    """
    training: TrainingConfig = settings.training
    devices = find_devices(options)
    check_batch(training.batch_size, devices)
    if options.check_numbers and processes.count() > 1:
        raise ConfigError(
            "--check-numbers looks at all samples of a batch, of which each of several processes"
            " has a part; run one process with it"
        )
    if options.data == "tfds":
        _import_tfds()
    with ThreadPoolExecutor(1) as pool:
        loading = pool.submit(lambda: data or _load(task, settings, options))
        model = _network(task, settings, options, devices)
        samples = task.train_samples(settings)
        if samples is None:
            samples = _count(loading.result().train)
            check_batch_size(training.batch_size, samples)

        def have_lengths() -> bool:
            return loading.done() and _has_lengths(loading.result().train)

        programs = _compile(model, training, options, devices, samples, have_lengths)
        loaded = _check_data(loading.result(), model)
    train_part = loaded.train if programs.chunk is not None else devices.place(loaded.train)
    scored = (devices.place(part) for part in (loaded.validation, loaded.test))
    return Run(
        model=model,
        training=training,
        devices=devices,
        data=Dataset(train_part, *scored),
        feed=make_feed(train_part, training.seed, training.batch_size, programs.chunk, devices),
        evaluate=jax.jit(functools.partial(evaluate, model), out_shardings=devices.everywhere),
        path=path,
        settings=to_json(task.name, settings),
        **programs._asdict(),
    )


def _network(task: Task, settings: Any, options: RunOptions, devices: Devices) -> Model:
    """Returns the network, on its devices and with the loop over time that was asked for."""
    model = task.build(settings)
    if devices.mesh.size > 1:
        model = model.over(devices.mesh)
    return model if options.time_loop == "auto" else model.with_time_loop(options.time_loop)


class _Programs(NamedTuple):
    """The compiled functions of a run, and what they were compiled for; as in `Run`."""

    batches: int
    chunk: int | None
    create: Callable[[Any], TrainState]
    first: TrainState
    train: Callable[..., tuple[TrainState, Sums]]
    program: jax.stages.Compiled
    loops: tuple[str, ...]


def _compile(
    model: Model,
    training: TrainingConfig,
    options: RunOptions,
    devices: Devices,
    samples: int,
    have_lengths: Callable[[], bool],
) -> _Programs:
    """Compiles what makes the first state, and what trains.

    Args:
      model: the network.
      training: settings of the training.
      options: how the run is fed.
      devices: where it runs.
      samples: training samples.
      have_lengths: says whether they have lengths, as far as they are loaded by then.
    """
    size = training.batch_size
    batches = samples // size
    create = functools.partial(create_state, model, training, batches * training.epochs)
    seed = np.uint32(training.seed)
    where = (
        devices.of_state(jax.eval_shape(create, seed)) if devices.model > 1 else devices.everywhere
    )
    made = jax.jit(create, out_shardings=where)
    first = made(seed)
    train = jax.jit(
        functools.partial(train_batches, model, training),
        out_shardings=(where, devices.everywhere),
    )
    # Machines may differ in their memory, all processes have to do the same.
    copies = devices.mesh.size // processes.count()
    streams = processes.from_first(lambda: _streams(model, samples, options, copies))
    chunk = min(options.chunk, batches) if streams else None
    lengths = have_lengths()
    shapes: tuple[Part, Any]
    if chunk is not None:
        shapes = _samples_of(model, (chunk, size), lengths, devices.batch(1)), None
    else:
        order = jax.ShapeDtypeStruct((batches, size), np.int32, sharding=devices.batch(1))
        shapes = _samples_of(model, (samples,), lengths, devices.everywhere), order
    with loops_noted() as loops:
        lowered = train.lower(first, *shapes)
    compiled = lowered.compile()

    def call(state: TrainState, part: Part, order: Any) -> tuple[TrainState, Sums]:
        # The last chunk of an epoch, and the first one of a resumed run, may be shorter.
        whole = _forms((part, order)) == _forms(shapes)
        return (compiled if whole else train)(state, part, order)

    steps = watched(call, model, training) if options.check_numbers else call
    return _Programs(batches, chunk, made, first, steps, compiled, tuple(loops))


def _import_tfds() -> None:
    """Imports TFDS before there is a second thread.

    While it is imported, it changes what ``import`` does in all threads: modules that another one
    imports at that time are left empty.
    """
    with contextlib.suppress(ImportError):  # the task says what is to be installed
        importlib.import_module("flax_snn.datasets.tfds_prepare")


def _count(train: Any) -> int:
    return len(train.labels) if isinstance(train, Part) else len(train)


def _has_lengths(train: Any) -> bool:
    return (train.lengths if isinstance(train, Part) else train[0].get("length")) is not None


def _check_data(data: Dataset, model: Model) -> Dataset:
    objective = model.objective
    classes = model.outputs // model.population if objective.score == "accuracy" else None
    steps = model.steps if model.slot_name == "step" else None
    return check_dataset(data, model.encode.sample, objective.label_shape, classes, steps)


def _streams(model: Model, samples: int, options: RunOptions, copies: int) -> bool:
    """Whether samples come in chunks: as told, else where they do not fit on the device."""
    if options.data == "tfds" or options.feed == "streamed":
        return True
    leaves = jax.tree.leaves(model.encode.sample)
    size = samples * sum(math.prod(x.shape) * jnp.dtype(x.dtype).itemsize for x in leaves)
    return options.feed == "auto" and not fits_on_device(size, copies)


def _samples_of(model: Model, leading: tuple[int, ...], lengths: bool, where: Any) -> Part:
    """Shapes of samples with these leading axes, as they lie on the devices."""

    def form(shape: tuple[int, ...], dtype: Any) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct((*leading, *shape), dtype, sharding=where)

    inputs = jax.tree.map(lambda x: form(x.shape, x.dtype), model.encode.sample)
    labels = form(model.objective.label_shape, model.objective.label_dtype)
    return Part(inputs, labels, form((), jnp.int32) if lengths else None)


def _forms(tree: Any) -> Any:
    """Shapes of arrays, and the form of their tree, to be compared."""
    leaves, form = jax.tree.flatten(tree)
    return form, [leaf.shape for leaf in leaves]


def _load(task: Task, settings: Any, options: RunOptions) -> Dataset:
    """Returns the data; what is prepared on disk is prepared by one process, before others read."""
    if options.data != "tfds" or processes.first():
        try:
            return task.dataset(settings, options)
        finally:
            if options.data == "tfds":
                processes.wait("preparing data")
    processes.wait("preparing data")
    return task.dataset(settings, options)
