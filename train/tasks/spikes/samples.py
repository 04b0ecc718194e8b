"""Samples of a file in the form that the encoder of the network takes."""

from __future__ import annotations

import numpy as np

from train.data.parts import Part
from train.errors import ConfigError
from train.tasks.spikes.parts import Rows
from train.tasks.spikes.settings import SpikesData


def part_of(rows: Rows, data: SpikesData) -> Part:
    """Returns samples as rasters, or as lists of spikes where the settings have a capacity.

    Args:
      rows: the samples.
      data: settings of the data, complete.

    Raises:
      ConfigError: more spikes of an input in one step than a byte counts.
    """
    labels = rows.labels
    if data.predict == "classes":
        labels = labels.astype(np.int32)
    else:
        labels = labels.reshape(len(labels), -1).astype(np.float32)
    if data.analog:
        return Part(_analog(rows, data), labels, _lengths(rows, data))
    row, step, unit, count = _spikes(rows, data)
    if data.capacity:
        each = np.repeat(np.arange(len(row)), count)
        inputs = _lists(len(labels), row[each], step[each], unit[each], data)
        return Part(inputs, labels, _lengths(rows, data))
    return Part(_raster(rows, (row, step, unit, count), data), labels, _lengths(rows, data))


def inputs_of(data: SpikesData) -> int:
    """Returns the inputs of the network: units of the file, pooled."""
    return -(-data.units // data.pool)


def _lengths(rows: Rows, data: SpikesData) -> np.ndarray | None:
    if data.lengths == "last_spike":
        # A sample without spikes counts with one step.
        return np.clip(rows.source.last_steps()[rows.rows], 1, data.steps).astype(np.int32)
    if data.lengths == "file" and rows.source.lengths is not None:
        return np.asarray(rows.source.lengths[rows.rows].astype(np.int32))
    return None


def _spikes(rows: Rows, data: SpikesData) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Returns row among the samples, rising, step, input and number of their spikes."""
    source, chosen = rows
    if source.raster is not None:
        raster = source.raster[chosen]
        row, step, unit = np.nonzero(raster)
        return row, step, unit // data.pool, raster[row, step, unit].astype(np.int64)
    place = np.full(len(source.labels), -1)
    place[chosen] = np.arange(len(chosen))
    inside = (place[source.sample] >= 0) & (source.step < data.steps)
    row = place[source.sample[inside]]
    order = np.argsort(row, kind="stable")
    step, unit = source.step[inside][order], source.unit[inside][order]
    return row[order], step, unit // data.pool, np.ones(len(row), np.int64)


def _raster(rows: Rows, spikes: tuple[np.ndarray, ...], data: SpikesData) -> np.ndarray:
    row, step, unit, count = spikes
    inputs = inputs_of(data)
    slots, place = np.unique((row * data.steps + step) * inputs + unit, return_inverse=True)
    counts = np.bincount(place, weights=count, minlength=len(slots))
    if counts.max(initial=0) > 255:
        raise ConfigError(
            f"--file {rows.source.name}: {counts.max():.0f} spikes of an input in one step, at most"
            " 255 can be stored; use shorter steps (--dt) or less --pool"
        )
    raster = np.zeros((len(rows.rows), data.steps, inputs), np.uint8)
    raster.reshape(-1)[slots] = counts
    return raster


def _lists(
    samples: int, row: np.ndarray, step: np.ndarray, unit: np.ndarray, data: SpikesData
) -> dict[str, np.ndarray]:
    begin = np.searchsorted(row, np.arange(samples))
    place = np.arange(len(row)) - begin[row]
    steps = np.full((samples, data.capacity), data.steps, np.uint16)
    units = np.zeros((samples, data.capacity), np.uint16)
    steps[row, place], units[row, place] = step, unit
    return {"step": steps, "unit": units}


def _analog(rows: Rows, data: SpikesData) -> np.ndarray:
    raster = rows.source.raster[rows.rows].astype(np.float32)  # type: ignore[index]
    inputs = inputs_of(data)
    missing = inputs * data.pool - raster.shape[2]
    if missing:
        raster = np.pad(raster, ((0, 0), (0, 0), (0, missing)))
    if data.pool > 1:
        raster = raster.reshape(*raster.shape[:2], inputs, data.pool).sum(axis=3)
    return raster
