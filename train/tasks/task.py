"""What a task is: settings, data, a network and pictures; the rest of the app knows no task."""

from __future__ import annotations

import abc
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import jax
import numpy as np

from train.data.parts import Dataset, Part
from train.errors import ConfigError
from train.model import Model
from train.settings import RunOptions
from train.settings.idle import idle
from train.settings.size import RunSize
from train.settings.units import unusual


class Results(NamedTuple):
    """What a trained network does on a part of the data, for pictures of it.

    Attributes:
      path: the run directory.
      model: the network.
      params: its parameters.
      part: the samples.
      predictions: prediction for each sample, ``(S, ...)``.
      activity: spikes of each neuron per slot ``(N,)``, for each layer that spikes.
      score: the score on the part.
      records: metrics of the epochs.
    """

    path: Path
    model: Model
    params: Any
    part: Part
    predictions: np.ndarray
    activity: Mapping[str, np.ndarray]
    score: float
    records: Sequence[dict[str, Any]]


class Renaming(NamedTuple):
    """Names that parameters had in an older release.

    Attributes:
      old: from the parameters of today to those of then, a dict of dicts.
      new: the way back.
    """

    old: Callable[[dict[str, Any]], dict[str, Any]]
    new: Callable[[dict[str, Any]], dict[str, Any]]


class Task(abc.ABC):
    """A task of the app.

    Attributes:
      settings: dataclass of its settings, with a field ``training``; one flag a field.
      on_disk: whether its data can be prepared on disk and streamed (`--data tfds`).
      reads_files: whether it reads the files of a folder (`--data-dir`).
    """

    settings: ClassVar[type[Any]]
    on_disk: ClassVar[bool] = False
    reads_files: ClassVar[bool] = False

    @property
    def name(self) -> str:
        """Name that is stored with every checkpoint: that of the table, or ``module:Class``."""
        from train.tasks import TASKS

        place = f"{type(self).__module__}:{type(self).__qualname__}"
        return next((name for name, each in TASKS.items() if each == place), place)

    @property
    def folder(self) -> str:
        """Name of the folder of its runs."""
        return self.name.replace(":", ".")

    @property
    def command(self) -> str:
        """What runs the task."""
        run = f"run {self.name}" if ":" in self.name else self.name
        return f"python -m train.{run}"

    @property
    def description(self) -> str:
        """What ``--help`` says about it: the docstring of the class."""
        return inspect.cleandoc(type(self).__doc__ or "")

    def with_data(self, settings: Any, options: RunOptions) -> Any:
        """Returns settings in which it is said which files the data are, before `complete`.

        Args:
          settings: settings of the task.
          options: where data are kept.

        Raises:
          ConfigError: files that are not there, or others than those of the settings.
        """
        del options
        return settings

    def complete(self, settings: Any) -> Any:
        """Returns settings in which what follows from the data is filled in, such as sizes.

        A network is rebuilt from its settings alone, without the data.

        Raises:
          ConfigError: the data cannot be read.
        """
        return settings

    def check(self, settings: Any) -> None:
        """Refuses settings that cannot work, before anything is computed or written.

        Raises:
          ConfigError: the message names the flag and the remedy.
        """
        del settings

    def size(self, settings: Any) -> RunSize | None:
        """Returns the sizes that decide what a run needs; ``None``: they are not checked."""
        del settings
        return None

    def remarks(self, settings: Any) -> Iterator[str]:
        """Yields what the user should know before training: what was read, unusual settings.

        By default times that are unusually long or short for seconds, and settings that were
        changed and do nothing beside others.
        """
        yield from unusual(settings)
        yield from idle(settings)

    @abc.abstractmethod
    def load(self, settings: Any, options: RunOptions) -> Dataset:
        """Returns the data.

        Args:
          settings: settings of the task.
          options: where data are kept.
        """

    def dataset(self, settings: Any, options: RunOptions) -> Dataset:
        """Returns what `load` returns, once it is sure that it is a `Dataset`.

        Raises:
          ConfigError: it is something else.
        """
        found = self.load(settings, options)
        if not isinstance(found, Dataset):
            raise ConfigError(
                f"{self.name}: load: expected Dataset(train, validation, test), got {found!r:.80}"
            )
        for name, part in zip(Dataset._fields, found, strict=True):
            streamed = name == "train" and hasattr(part, "__getitem__") and hasattr(part, "__len__")
            if not isinstance(part, Part) and (isinstance(part, tuple) or not streamed):
                raise ConfigError(
                    f"{self.name}: load: expected Part(inputs, labels) as {name}, got {part!r:.80}"
                )
            if isinstance(part, Part):
                _check_arrays(f"{self.name}: load: {name}", part)
        return found

    @abc.abstractmethod
    def build(self, settings: Any) -> Model:
        """Returns the network."""

    def train_samples(self, settings: Any) -> int | None:
        """Returns the number of training samples; ``None``: the data have to be loaded first.

        Where it is known, the data are loaded while the network is compiled.
        """
        del settings
        return None

    def with_method(self, settings: Any, method: str) -> Any:
        """Returns settings with which another method runs the same parameters.

        Raises:
          ConfigError: networks of the task are run in one way only.
        """
        raise ConfigError(
            f"--method {method}: networks of the task {self.name} are run in one way only; leave"
            " it out"
        )

    def older_parameters(self, version: int) -> Renaming | None:
        """Returns the names that parameters had in a version of the settings; ``None``: as now."""
        del version
        return None

    def draw(self, results: Results) -> list[Path]:
        """Draws the pictures of a run into its folder ``plots``; returns the files.

        By default learning curves, and what was predicted against what was true.
        """
        from train.pictures import draw_results

        labels = np.asarray(results.part.labels)
        objective = results.model.objective
        return draw_results(
            results.path,
            records=results.records,
            targets=labels,
            predictions=results.predictions,
            classes=results.model.outputs if objective.score == "accuracy" else None,
            score=objective.score,
            value=results.score,
            loss=objective.unit,
        )


def _check_arrays(name: str, part: Part) -> None:
    """Refuses lists and the like where arrays are expected."""
    given = {"inputs": part.inputs, "labels": part.labels, "lengths": part.lengths}
    for field, tree in given.items():
        for leaf in jax.tree.leaves(tree, is_leaf=lambda x: isinstance(x, list | tuple)):
            if not isinstance(leaf, np.ndarray | jax.Array) or not leaf.ndim:
                raise ConfigError(f"{name}: {field}: expected an array, got {leaf!r:.80}")
    if part.inputs is None or part.labels is None:
        raise ConfigError(f"{name}: expected inputs and labels, got none")
