"""Where two runs differ: lines of metrics, results, arrays of checkpoints; times are left out.

Two runs are the same if all their bits are: numbers are not compared within a tolerance.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from train.run.step import create_state
from train.store.layout import CHECKPOINTS
from train.store.read import open_checkpoint
from train.tasks import Task


class Difference(NamedTuple):
    """One place where two runs differ.

    Attributes:
      where: ``epoch 3``, ``result`` or ``checkpoint 10``.
      key: name of the number or of the array, such as ``rates_hz.hidden_1``.
      first: what the first run has there; None if nothing.
      second: what the second run has there.
    """

    where: str
    key: str
    first: Any
    second: Any

    def __str__(self) -> str:
        return (
            f"{self.where}, {self.key}: {_shown(self.first)} in the run, {_shown(self.second)} now"
        )


def metrics_differ(
    first: Sequence[Mapping[str, Any]], second: Sequence[Mapping[str, Any]], epochs: int
) -> Difference | None:
    """Returns the first difference between the metrics of two runs; None if they are the same.

    Args:
      first: metrics of the epochs of a run.
      second: those of the other one.
      epochs: epochs that are compared.
    """
    for epoch in range(1, epochs + 1):
        lines = [_of_epoch(records, epoch) for records in (first, second)]
        found = next(_differences(f"epoch {epoch}", *lines), None)
        if found is not None:
            return found
    return None


def results_differ(first: Mapping[str, Any], second: Mapping[str, Any]) -> Difference | None:
    """Returns the first difference between two results; None if they are the same."""
    return next(_differences("result", first, second), None)


def arrays_differ(
    task: Task, settings: Any, first: Path, second: Path, epoch: int
) -> tuple[int, list[Difference]]:
    """Compares the arrays that two runs have saved after an epoch, those of the optimiser too.

    Args:
      task: the task of both.
      settings: its settings.
      first: a run directory, which has a checkpoint of the epoch.
      second: another one.
      epoch: the epoch.

    Returns:
      The number of arrays, and those that differ, with words on how much.

    Raises:
      CheckpointError: one of them is damaged, or there is none.
    """
    trees = [_arrays(task, settings, run / CHECKPOINTS / str(epoch)) for run in (first, second)]
    found = []
    for (name, a), (_, b) in zip(*map(_named, trees), strict=True):
        if (a.dtype, a.shape) != (b.dtype, b.shape) or a.tobytes() != b.tobytes():
            found.append(Difference(f"checkpoint {epoch}", name, *_words(a, b)))
    return len(jax.tree.leaves(trees[0])), found


def saved_epochs(run: Path) -> list[int]:
    """Returns the epochs of which a run has a checkpoint."""
    folder = run / CHECKPOINTS
    names = [p.name for p in folder.iterdir()] if folder.is_dir() else []
    return sorted(int(name) for name in names if name.isdigit())


def _arrays(task: Task, settings: Any, path: Path) -> Any:
    checkpoint = open_checkpoint(path)
    model = task.build(settings)
    like = jax.eval_shape(
        lambda seed: create_state(model, settings.training, 1, seed), np.uint32(0)
    )
    state = checkpoint.restore(like, task.older_parameters(checkpoint.settings_version))
    names = ("step", "params", "opt_state", "noise_key")
    return {name: getattr(state, name) for name in names}


def _named(tree: Any) -> list[tuple[str, np.ndarray]]:
    leaves = jax.tree_util.tree_flatten_with_path(tree)[0]
    return [
        (jax.tree_util.keystr(path, simple=True, separator="."), np.asarray(leaf))
        for path, leaf in leaves
    ]


def _words(a: np.ndarray, b: np.ndarray) -> tuple[str, str]:
    """Returns what two arrays that differ are, in words."""
    if (a.dtype, a.shape) != (b.dtype, b.shape):
        return f"{a.dtype} {a.shape}", f"{b.dtype} {b.shape}"
    other = np.flatnonzero((a != b) | (np.signbit(a) != np.signbit(b)) if a.size else [])
    at = int(other[0]) if other.size else 0
    names = [f"[{', '.join(map(str, np.unravel_index(at, a.shape)))}] = " if a.shape else ""] * 2
    count = f" ({other.size} of {a.size} entries differ)" if a.size > 1 else ""
    one, two = (f"{n}{x.reshape(-1)[at]!s}" for n, x in zip(names, (a, b), strict=True))
    return one + count, two


def _of_epoch(records: Sequence[Mapping[str, Any]], epoch: int) -> Mapping[str, Any]:
    return next((record for record in records if record["epoch"] == epoch), {})


def _differences(
    where: str, first: Mapping[str, Any], second: Mapping[str, Any]
) -> Iterator[Difference]:
    one, two = dict(_flat(first)), dict(_flat(second))
    for key in dict.fromkeys((*one, *two)):
        if (key in one, repr(one.get(key))) != (key in two, repr(two.get(key))):
            yield Difference(where, key, one.get(key), two.get(key))


def _flat(tree: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Yields the numbers of a record by name, but for times and what names the run itself."""
    if not isinstance(tree, Mapping):
        yield name, tree
        return
    for key, value in tree.items():
        path = f"{name}.{key}" if name else str(key)
        if path not in _OF_THE_RUN:
            yield from _flat(value, path)


_OF_THE_RUN = {
    "seconds",
    "training_seconds",
    "first_step_unix_time",
    "run",
    "lines",
    "checksum",
}
"""What differs between two runs that are the same: times, and names of the runs themselves."""


def _shown(value: Any) -> str:
    return "nothing" if value is None else str(value)
