"""What follows from a file: sizes, kind of labels, form of the samples; what does not fit it."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping

import numpy as np

from train.errors import ConfigError
from train.tasks.spikes.parts import Rows
from train.tasks.spikes.recordings import Recordings
from train.tasks.spikes.samples import inputs_of
from train.tasks.spikes.settings import SpikesData

MOST_STEPS, MOST_INPUTS = 65_534, 65_535
"""What 16 bits count, one number left for what is no spike."""


def complete(data: SpikesData, parts: Mapping[str, Rows], digest: str) -> SpikesData:
    """Returns the settings with what follows from the file.

    Args:
      data: settings of the data.
      parts: the samples of each part.
      digest: SHA-256 of the file.

    Raises:
      ConfigError: settings and file do not fit.
    """
    sources = sources_of(parts)
    train = parts["train"].labels
    classes = data.predict == "classes" or (data.predict == "auto" and train.dtype.kind != "f")
    outputs, variance = _classes(data, parts) if classes else _values(data, sources, train)
    data = dataclasses.replace(
        data,
        steps=data.steps or max(source.steps for source in sources),
        units=data.units or max(source.units for source in sources),
        outputs=outputs,
        predict="classes" if classes else "values",
        analog=any(source.analog for source in sources),
        variance=variance,
        digest=digest,
    )
    check_sizes(data)
    for source in sources:
        _check_source(source, data)
    counts = np.concatenate([source.counts(data.steps) for source in sources])
    if not counts.any():
        raise ConfigError(f"--file {data.file}: it has no spikes at all")
    slots, longest = data.steps * inputs_of(data), int(counts.max())
    return dataclasses.replace(
        data,
        capacity=longest if not data.analog and 4 * longest < slots else 0,
        input_rate=max(float(counts.mean()) / (slots * data.dt), 1e-3),
    )


def sources_of(parts: Mapping[str, Rows]) -> list[Recordings]:
    """Returns the files of the parts, each once."""
    return list({id(part.source): part.source for part in parts.values()}.values())


def check_sizes(data: SpikesData) -> None:
    """Refuses more steps and inputs than are stored.

    Raises:
      ConfigError: the message says what to do.
    """
    if data.steps > MOST_STEPS:
        raise ConfigError(
            f"--steps: expected at most {MOST_STEPS} steps, got {data.steps} steps of --dt"
            f" {data.dt:g} s; use longer steps, or times in seconds if they are in another unit"
        )
    if inputs_of(data) > MOST_INPUTS:
        raise ConfigError(
            f"--units: expected at most {MOST_INPUTS} inputs, got {data.units} units; use --pool"
        )


def describe(data: SpikesData, parts: Mapping[str, Rows]) -> Iterator[str]:
    """Yields what was read, in words, and what is unusual about it."""
    for source in sources_of(parts):
        yield from source.remarks
    sizes = ", ".join(f"{len(part.rows)} {name}" for name, part in parts.items())
    what = f"{data.outputs} classes" if data.predict == "classes" else f"{data.outputs} values"
    pooled = f" of {data.units} units" if data.pool > 1 else ""
    form = "lists of spikes" if data.capacity else "rasters"
    yield (
        f"{data.file}: {sizes} samples; {data.steps} steps of {data.dt * 1e3:g} ms,"
        f" {inputs_of(data)} inputs{pooled}, {what}, {data.input_rate:.3g} Hz an input; kept as"
        f" {form}"
    )


def _classes(data: SpikesData, parts: Mapping[str, Rows]) -> tuple[int, float]:
    """Returns the number of classes."""
    for source in sources_of(parts):
        _check_classes(source, data)
    seen = {name: np.unique(part.labels).astype(np.int64) for name, part in parts.items()}
    every = np.unique(np.concatenate(list(seen.values())))
    if len(every) < 2:
        raise ConfigError(
            f"--file {data.file}: all labels are {every[0]}; expected at least two classes"
        )
    for name in ("validation", "test"):
        unknown = np.setdiff1d(seen[name], seen["train"])
        if unknown.size:
            raise ConfigError(
                f"--file {data.file}: the {name} part has samples of class {unknown[0]}, of which"
                " training has none; check the labels, or give some to training"
            )
    outputs = data.outputs or int(every[-1]) + 1
    if not data.outputs and outputs > 10 * len(every):
        raise ConfigError(
            f"--file {data.file}: expected classes that are counted from 0, got {len(every)}"
            f" different ones up to {every[-1]}; save np.unique(labels, return_inverse=True)[1], or"
            f" add --outputs {outputs}"
        )
    return outputs, 0.0


def _check_classes(source: Recordings, data: SpikesData) -> None:
    labels = source.labels
    if labels.ndim != 1:
        raise ConfigError(
            f"--file {source.name}: expected labels (samples,) for classes, got {labels.shape};"
            " save labels.argmax(1) if they are one-hot, labels[:, 0] if they are a column; add"
            " --predict values if they are values"
        )
    if labels.dtype.kind == "f" and not (
        np.isfinite(labels).all() and (labels == np.floor(labels)).all()
    ):
        raise ConfigError(
            f"--file {source.name}: expected whole numbers for classes, got"
            f" {labels[~(labels == np.floor(labels))][0]}; drop --predict classes"
        )
    if labels.min() < 0:
        raise ConfigError(f"--file {source.name}: expected classes from 0 on, got {labels.min()}")
    if data.outputs and labels.max() >= data.outputs:
        raise ConfigError(
            f"--file {source.name}: expected classes from 0 to {data.outputs - 1}, as --outputs"
            f" says, got {labels.max()}"
        )


def _values(data: SpikesData, sources: list[Recordings], train: np.ndarray) -> tuple[int, float]:
    """Returns the number of values, and their mean variance over the training samples."""
    for source in sources:
        wrong = np.argwhere(~np.isfinite(source.labels))
        if wrong.size:
            where = tuple(wrong[0].tolist())
            raise ConfigError(
                f"--file {source.name}: labels: expected finite values, got"
                f" {source.labels[where]} of sample {where[0]}"
            )
    columns = train.reshape(len(train), -1).astype(np.float64)
    if data.outputs and data.outputs != columns.shape[1]:
        raise ConfigError(
            f"--outputs: expected {columns.shape[1]}, the values of a label, got {data.outputs}"
        )
    variance = float(columns.var(axis=0).mean())
    if not (variance > 0.0 and math.isfinite(variance)):
        raise ConfigError(f"--file {data.file}: the values to predict are all the same")
    return columns.shape[1], variance


def _check_source(source: Recordings, data: SpikesData) -> None:
    name, steps = source.name, data.steps
    if source.units > data.units:
        raise ConfigError(
            f"--file {name}: it has {source.units} units, --units is {data.units}; raise it, or"
            " leave it out"
        )
    if source.raster is not None and source.steps != steps:
        raise ConfigError(
            f"--file {name}: its rasters have {source.steps} steps, --steps is {steps}; leave it"
            " out, or cut the rasters"
        )
    if source.steps > steps and data.late == "error":
        outside = int(np.sum(source.step >= steps))
        raise ConfigError(
            f"--file {name}: {outside} of {len(source.step)} spikes come at or after step {steps},"
            f" the last in step {source.steps - 1}; raise --steps, or drop them with --late drop"
        )
    if source.lengths is not None and data.lengths == "file" and source.lengths.max() > steps:
        raise ConfigError(
            f"--file {name}: expected lengths of at most {steps} steps, got {source.lengths.max()}"
            + ("" if source.raster is not None else "; add --steps")
        )
