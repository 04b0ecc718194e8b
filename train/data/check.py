"""Data of a task are checked before a network sees them: forms, finite numbers, known classes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from flax_snn import checks
from train.data.parts import Dataset, Part
from train.errors import ConfigError


def check_dataset(
    data: Dataset, sample: Any, label_shape: tuple[int, ...], classes: int | None, steps: int | None
) -> Dataset:
    """Refuses data that do not fit the network, or that it would silently learn nothing from.

    Args:
      data: the data; a train part that is read sample by sample is checked as it is read.
      sample: shape and dtype of one stored sample, a tree of ``jax.ShapeDtypeStruct``.
      label_shape: shape of one label.
      classes: number of classes; ``None`` where values are predicted.
      steps: time steps of a sample; ``None`` for a network in continuous time.

    Returns:
      The data; a train part that is read sample by sample as `CheckedSamples`.

    Raises:
      ConfigError: the message names the part, what was expected and what came.
    """
    form = sample, label_shape, classes, steps
    found = {}
    for name, part in zip(Dataset._fields, data, strict=True):
        where = f"data set, {name} part"
        if isinstance(part, Part):
            _check_part(where, part, *form)
            found[name] = part
        else:
            # The first one at once, so that a wrong form is found before training.
            _check_part(where, jax.tree.map(_stacked, _as_part(part[0])), *form)
            found[name] = checked_samples(part, where, *form)
    return Dataset(**found)


def checked_samples(source: Any, where: str, *form: Any) -> Any:
    """Returns a source whose samples are checked when they are read.

    Args:
      source: anything with ``len`` whose items are ``{"inputs": ..., "label": ...}``; a method
        ``batch(rows)`` of it is kept.
      where: its name, for errors.
      *form: what `check_dataset` is given of one sample.

    Returns:
      The source; reading raises a ConfigError at a sample that does not fit.
    """
    kind = _CheckedBatches if hasattr(source, "batch") else CheckedSamples
    return kind(source, where, form)


class CheckedSamples:
    """Samples that are checked when they are read, one by one."""

    def __init__(self, source: Any, where: str, form: tuple[Any, ...]):
        self._source, self._where, self._form = source, where, form

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, row: int) -> Mapping[str, Any]:
        found: Mapping[str, Any] = self._source[row]
        one = _as_part(found)
        _check_part(f"{self._where}, sample {row}", jax.tree.map(_stacked, one), *self._form)
        return found


class _CheckedBatches(CheckedSamples):
    """Samples that are checked when they are read, many at once."""

    def batch(self, rows: Any) -> Mapping[str, Any]:
        """Returns several samples, stacked."""
        found: Mapping[str, Any] = self._source.batch(rows)
        part = jax.tree.map(np.asarray, _as_part(found))
        _check_part(f"{self._where}, samples {checks.shown(list(rows))}", part, *self._form)
        return found


def _as_part(found: Mapping[str, Any]) -> Part:
    return Part(found["inputs"], found["label"], found.get("length"))


def _stacked(array: Any) -> np.ndarray:
    return np.asarray(array)[None]


def _check_part(
    name: str,
    part: Part,
    sample: Any,
    label_shape: tuple[int, ...],
    classes: int | None,
    steps: int | None,
) -> None:
    found: Any = jax.tree.structure(part.inputs)
    wanted = jax.tree.structure(sample)
    if found != wanted:
        raise ConfigError(f"{name}: expected inputs of the form {wanted}, got {found}")
    leaves = [np.asarray(x) for x in jax.tree.leaves(part.inputs)]
    labels = np.asarray(part.labels)
    for array, each in zip(leaves, jax.tree.leaves(sample), strict=True):
        if array.shape[1:] != each.shape or array.dtype != each.dtype:
            raise ConfigError(
                f"{name}: expected inputs (samples, {', '.join(map(str, each.shape))}) of dtype"
                f" {np.dtype(each.dtype)}, as the task says, got {array.shape} of {array.dtype}"
            )
        if np.issubdtype(array.dtype, np.floating) and not np.isfinite(array).all():
            where = tuple(np.argwhere(~np.isfinite(array))[0].tolist())
            raise ConfigError(f"{name}: expected finite inputs, got {array[where]} at {where}")
    samples = len(leaves[0])
    sizes = [len(array) for array in leaves]
    if any(size != samples for size in sizes):
        raise ConfigError(f"{name}: expected {samples} samples in all inputs, got {sizes}")
    if not samples:
        raise ConfigError(f"{name}: expected at least one sample, got none")
    if labels.shape != (samples, *label_shape):
        raise ConfigError(
            f"{name}: expected labels of shape {(samples, *label_shape)}, got {labels.shape}"
        )
    if classes is None:
        if not np.issubdtype(labels.dtype, np.floating) or not np.isfinite(labels).all():
            raise ConfigError(f"{name}: expected finite floating values as labels")
    elif not np.issubdtype(labels.dtype, np.integer):
        raise ConfigError(f"{name}: expected integers as labels, got {labels.dtype}")
    elif labels.min() < 0 or labels.max() >= classes:
        raise ConfigError(
            f"{name}: expected labels from 0 to {classes - 1}, got {labels.min()} to {labels.max()}"
        )
    if part.lengths is not None:
        _check_lengths(name, np.asarray(part.lengths), samples, steps)


def _check_lengths(name: str, lengths: np.ndarray, samples: int, steps: int | None) -> None:
    if steps is None:
        raise ConfigError(f"{name}: lengths are counted in time steps, this network has none")
    if lengths.shape != (samples,) or not np.issubdtype(lengths.dtype, np.integer):
        raise ConfigError(
            checks.error_text(
                f"{name}: lengths", f"{samples} integers", f"{lengths.dtype} {lengths.shape}"
            )
        )
    if lengths.min() < 0 or lengths.max() > steps:
        raise ConfigError(
            f"{name}: expected lengths from 0 to {steps} steps, got {lengths.min()} to"
            f" {lengths.max()}"
        )
