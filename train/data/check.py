"""Data of a task are checked before a network sees them: forms, finite numbers, known classes."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

from flax_snn import checks
from train.data.parts import Dataset, Part
from train.errors import ConfigError


def check_dataset(
    data: Dataset, sample: Any, label_shape: tuple[int, ...], classes: int | None, steps: int | None
) -> None:
    """Refuses data that do not fit the network, or that it would silently learn nothing from.

    Args:
      data: the data; a train part that is read sample by sample is checked by its first one.
      sample: shape and dtype of one stored sample, a tree of ``jax.ShapeDtypeStruct``.
      label_shape: shape of one label.
      classes: number of classes; ``None`` where values are predicted.
      steps: time steps of a sample; ``None`` for a network in continuous time.

    Raises:
      ConfigError: the message names the part, what was expected and what came.
    """
    for name, part in zip(("train", "validation", "test"), data, strict=True):
        if not isinstance(part, Part):
            first = part[0]
            part = jax.tree.map(
                lambda x: np.asarray(x)[None],
                Part(first["inputs"], first["label"], first.get("length")),
            )
        _check_part(f"data set, {name} part", part, sample, label_shape, classes, steps)


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
