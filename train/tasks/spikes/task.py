"""The task of spikes from a file."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from train.data.parts import Dataset, Part
from train.errors import ConfigError
from train.model.encoders import Encoder, Rasters, SpikeLists
from train.model.objectives import squared_error
from train.settings import RunOptions
from train.settings.checks import number, whole
from train.tasks.raster import RasterTask, Shape
from train.tasks.spikes.recordings import PARTS, Recordings, digest, read_file
from train.tasks.spikes.settings import SpikesConfig, SpikesData


class Spikes(RasterTask):
    """Train a spiking network on spikes of your own, without a line of code.

        python -m train.spikes --file my.npz

    The file has `raster` (samples, steps, units) of spike counts, or `events` (spikes, 3) of whole
    numbers sample, step, unit, or three arrays `sample`, `time` in seconds, `unit`; `labels`
    (samples,), whole numbers for classes, floating-point numbers for values to predict; perhaps
    `lengths` (samples,) in steps and `part` (samples,) of the words train, validation, test. An
    HDF5 file of the layout of the Heidelberg data sets works too, and so does a folder with files
    for training and test:

        python -m train.spikes --file shd_train.h5 --dt 10e-3 --pool 5
        python -m train.spikes --file folder --readout mean --predict values
    """

    settings = SpikesConfig

    def complete(self, settings: Any) -> Any:
        """Returns settings with sizes, rates and the digest of the file."""
        data: SpikesData = settings.data
        _check_flags(data)
        files, parts = _read(data)
        found = digest(files)
        if data.digest and data.digest != found:
            raise ConfigError(
                f"--file {data.file}: it has other contents than when the run began (SHA-256"
                f" {found[:12]}..., was {data.digest[:12]}...); restore it, or train anew"
            )
        return dataclasses.replace(settings, data=_completed(data, parts, found))

    def check(self, settings: Any) -> None:
        """Refuses settings that cannot work."""
        data: SpikesData = settings.data
        _check_flags(data)
        for name in ("steps", "units", "outputs"):
            whole(f"--{name}", getattr(data, name), 1)
        super().check(settings)

    def shape(self, settings: Any) -> Shape:
        """Returns the sizes."""
        data: SpikesData = settings.data
        inputs = -(-data.units // data.pool)
        values = None
        if data.predict == "values":
            values = squared_error.make(data.outputs, data.variance)
        return Shape(data.steps, inputs, data.outputs, data.dt, data.input_rate, values)

    def encoder(self, settings: Any) -> Encoder:
        """Returns rasters, or lists of spikes where these take less memory."""
        data: SpikesData = settings.data
        steps, inputs, _, dt, *_ = self.shape(settings)
        if data.capacity:
            return SpikeLists(steps, inputs, dt, data.capacity)
        return Rasters(steps, inputs, dt, jnp.float32 if data.analog else jnp.uint8)

    def load(self, settings: Any, options: RunOptions) -> Dataset:
        """Reads the file.

        Raises:
          ConfigError: it cannot be read, or is not the one that the run was trained on.
        """
        del options
        data: SpikesData = settings.data
        files, parts = _read(data)
        if digest(files) != data.digest:
            raise ConfigError(
                f"--file {data.file}: it has other contents than when the run began; restore it"
            )
        return Dataset(*(_part(parts[name], data) for name in PARTS))


class Rows(NamedTuple):
    """Some samples of a file."""

    source: Recordings
    rows: np.ndarray


def _check_flags(data: SpikesData) -> None:
    if not data.file:
        raise ConfigError("--file: expected a file of spikes, got none; try --file my.npz")
    number("--dt", data.dt, "> 0", "seconds")
    whole("--pool", data.pool, 1)
    whole("--data-seed", data.data_seed, 0)
    for name in ("steps", "units", "outputs", "capacity"):
        whole(f"--{name}", getattr(data, name), 0)
    for name in ("validation", "test"):
        number(f"--{name}", getattr(data, name), ">= 0")
    if data.validation + data.test >= 1.0:
        raise ConfigError(
            "--validation, --test: expected shares that leave something to train on, got"
            f" {data.validation!r} and {data.test!r}"
        )
    if data.steps > 65_534 or data.units > 65_535 * data.pool:
        raise ConfigError(
            "--steps, --units: expected at most 65534 steps and 65535 inputs, got"
            f" {data.steps} and {data.units}; use longer steps (--dt) or --pool"
        )


def _read(data: SpikesData) -> tuple[list[Path], dict[str, Rows]]:
    """Returns the files, and the samples of each part."""
    path = Path(data.file)
    if not path.is_dir():
        found = read_file(path, data.dt, data.units)
        return [path], _split(found, np.arange(len(found.labels)), data)
    files = _files_of(path)
    read = {part: read_file(file, data.dt, data.units) for part, file in files.items()}
    _check_alike(read)
    rows = {part: Rows(each, np.arange(len(each.labels))) for part, each in read.items()}
    if "validation" not in rows:
        every = read["train"]
        kept = dataclasses.replace(data, test=0.0)
        rows = {"test": rows["test"], **_split(every, rows["train"].rows, kept, without=("test",))}
    return list(files.values()), rows


def _files_of(folder: Path) -> dict[str, Path]:
    """Returns the file of each part, by its name."""
    files: dict[str, Path] = {}
    for part, word in (("train", "train"), ("validation", "valid"), ("test", "test")):
        named = [
            p
            for p in sorted(folder.iterdir())
            if word in p.name and p.suffix in (".npz", ".h5", ".hdf5")
        ]
        if len(named) > 1:
            raise ConfigError(
                f"--file {folder}: expected one file with {word!r} in its name, got"
                f" {', '.join(p.name for p in named)}"
            )
        if named:
            files[part] = named[0]
    missing = [part for part in ("train", "test") if part not in files]
    if missing:
        raise ConfigError(
            f"--file {folder}: expected files such as train.npz and test.npz, found none for"
            f" {' and '.join(missing)}"
        )
    return files


def _check_alike(read: dict[str, Recordings]) -> None:
    forms = {name: each.raster is not None for name, each in read.items()}
    kinds = {name: each.labels.dtype.kind == "f" for name, each in read.items()}
    sizes = {name: each.units for name, each in read.items() if each.raster is not None}
    if len(set(forms.values())) > 1 or len(set(kinds.values())) > 1 or len(set(sizes.values())) > 1:
        raise ConfigError(
            "--file: expected files of one kind, all rasters of the same units or all events, all"
            f" with classes or all with values, got {', '.join(r.name for r in read.values())}"
        )


def _split(
    found: Recordings, rows: np.ndarray, data: SpikesData, without: tuple[str, ...] = ()
) -> dict[str, Rows]:
    """Returns the parts of a file: as it says, or by shares, class by class."""
    if found.part is not None:
        parts = {name: rows[found.part == name] for name in PARTS}
    else:
        parts = _by_shares(found, rows, data)
    for name in without:
        del parts[name]
    empty = [name for name, each in parts.items() if not len(each)]
    if empty:
        raise ConfigError(
            f"--file {found.name}: no sample is left for {' and '.join(empty)} of"
            f" {len(rows)} samples; raise --validation and --test, or give more samples"
        )
    return {name: Rows(found, each) for name, each in parts.items()}


def _by_shares(found: Recordings, rows: np.ndarray, data: SpikesData) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(data.data_seed)
    shuffled = rng.permutation(rows)
    if found.labels.ndim == 1 and found.labels.dtype.kind != "f":
        # The samples of a class spread evenly over the order, so that each part has its share.
        labels = found.labels[shuffled]
        order = np.argsort(labels, kind="stable")
        count = np.bincount(labels - labels.min())[labels[order] - labels.min()]
        begin = np.searchsorted(labels[order], labels[order], side="left")
        place = (np.arange(len(order)) - begin + 0.5) / count
        shuffled = shuffled[order][np.argsort(place, kind="stable")]
    first = round(data.test * len(rows))
    second = first + round(data.validation * len(rows))
    cut = np.split(shuffled, [first, second])
    return {"train": np.sort(cut[2]), "validation": np.sort(cut[1]), "test": np.sort(cut[0])}


def _completed(data: SpikesData, parts: dict[str, Rows], found: str) -> SpikesData:
    """Returns the settings with what follows from the file."""
    sources = list({id(p.source): p.source for p in parts.values()}.values())
    train = parts["train"]
    units = data.units or max(source.units for source in sources)
    steps = data.steps or max(source.steps for source in sources)
    labels = train.source.labels[train.rows]
    classes = data.predict == "classes" or (data.predict == "auto" and labels.dtype.kind != "f")
    outputs, variance = _labels(data, sources, labels, classes)
    inputs, longest, spikes, analog = -(-units // data.pool), 0, 0.0, False
    for source in sources:
        _check_source(source, data, steps, units)
        if source.raster is None:
            inside = source.step < steps  # type: ignore[operator]
            counts = np.bincount(source.sample[inside], minlength=1)  # type: ignore[index]
            longest, spikes = max(longest, int(counts.max())), spikes + float(counts.sum())
        else:
            analog = analog or source.raster.dtype.kind == "f"
            spikes += float(np.abs(source.raster).sum())
    samples = sum(len(source.labels) for source in sources)
    lists = not analog and sources[0].raster is None and 4 * longest < steps * inputs
    return dataclasses.replace(
        data,
        steps=steps,
        units=units,
        outputs=outputs,
        predict="classes" if classes else "values",
        capacity=longest if lists else 0,
        analog=analog,
        variance=variance,
        input_rate=max(spikes / (samples * inputs * steps * data.dt), 1e-3),
        digest=found,
    )


def _labels(
    data: SpikesData, sources: list[Recordings], train: np.ndarray, classes: bool
) -> tuple[int, float]:
    """Returns the number of outputs, and the variance of values."""
    for source in sources:
        labels = source.labels
        if classes:
            if labels.ndim != 1 or labels.dtype.kind == "f":
                raise ConfigError(
                    f"--file {source.name}: classes are whole numbers (samples,), got"
                    f" {labels.dtype} {labels.shape}; add --predict values"
                )
            if labels.min() < 0 or (data.outputs and labels.max() >= data.outputs):
                raise ConfigError(
                    f"--file {source.name}: expected classes from 0 to"
                    f" {data.outputs - 1 if data.outputs else 'the largest'}, got {labels.min()} to"
                    f" {labels.max()}"
                )
        elif not np.isfinite(labels).all():
            raise ConfigError(f"--file {source.name}: expected finite labels")
    if classes:
        outputs = data.outputs or max(int(source.labels.max()) for source in sources) + 1
        if outputs < 2:
            raise ConfigError(f"--file {sources[0].name}: all samples are of one class")
        return outputs, 0.0
    columns = train.reshape(len(train), -1).astype(np.float64)
    if data.outputs and data.outputs != columns.shape[1]:
        raise ConfigError(
            f"--outputs: expected {columns.shape[1]}, the values of a label, got {data.outputs}"
        )
    variance = float(columns.var(axis=0).mean())
    if not variance > 0.0:
        raise ConfigError(f"--file {sources[0].name}: the values to predict are all the same")
    return columns.shape[1], variance


def _check_source(source: Recordings, data: SpikesData, steps: int, units: int) -> None:
    if source.units > units:
        raise ConfigError(
            f"--file {source.name}: it has a spike of unit {source.units - 1}, --units is {units};"
            " raise it"
        )
    if source.raster is not None and source.steps != steps:
        raise ConfigError(
            f"--file {source.name}: its rasters have {source.steps} steps, --steps is {steps};"
            " leave it out, or cut the rasters"
        )
    if source.steps > steps and data.late == "error":
        outside = int(np.sum(source.step >= steps))  # type: ignore[operator]
        raise ConfigError(
            f"--file {source.name}: {outside} of {len(source.step)} spikes"  # type: ignore[arg-type]
            f" come at or after step {steps}, the last in step {source.steps - 1}; raise --steps,"
            " or drop them with --late drop"
        )
    if source.lengths is not None and data.lengths == "file" and source.lengths.max() > steps:
        raise ConfigError(
            f"--file {source.name}: expected lengths of at most {steps} steps, got"
            f" {source.lengths.max()}"
        )


def _part(rows: Rows, data: SpikesData) -> Part:
    """Returns samples in the form that the encoder takes."""
    source, chosen = rows
    labels = source.labels[chosen]
    if data.predict == "classes":
        labels = labels.astype(np.int32)
    else:
        labels = labels.reshape(len(labels), -1).astype(np.float32)
    lengths = None
    if data.lengths == "last_spike":
        lengths = np.minimum(source.last_steps()[chosen], data.steps)
    elif data.lengths == "file" and source.lengths is not None:
        lengths = source.lengths[chosen].astype(np.int32)
    inputs = -(-data.units // data.pool)
    if source.raster is not None:
        return Part(_pooled(source, chosen, data, inputs), labels, lengths)
    row, step, unit = _events_of(source, chosen, data)
    if data.capacity:
        return Part(_lists(len(chosen), row, step, unit, data), labels, lengths)
    raster = np.zeros((len(chosen), data.steps, inputs), np.uint16)
    np.add.at(raster, (row, step, unit), 1)
    if raster.max(initial=0) > 255:
        raise ConfigError(
            f"--file {source.name}: {raster.max()} spikes of an input in one step, at most 255 can"
            " be stored; use shorter steps (--dt) or less --pool"
        )
    return Part(raster.astype(np.uint8), labels, lengths)


def _pooled(source: Recordings, chosen: np.ndarray, data: SpikesData, inputs: int) -> np.ndarray:
    raster = source.raster[chosen]  # type: ignore[index]
    if data.pool > 1:
        padded = np.pad(raster, ((0, 0), (0, 0), (0, inputs * data.pool - raster.shape[2])))
        raster = padded.reshape(*raster.shape[:2], inputs, data.pool).sum(axis=3)
    elif raster.shape[2] < inputs:
        raster = np.pad(raster, ((0, 0), (0, 0), (0, inputs - raster.shape[2])))
    if data.analog:
        return raster.astype(np.float32)
    if raster.max(initial=0) > 255:
        raise ConfigError(
            f"--file {source.name}: {raster.max()} spikes of an input in one step, at most 255 can"
            " be stored; use less --pool"
        )
    return raster.astype(np.uint8)


def _events_of(
    source: Recordings, chosen: np.ndarray, data: SpikesData
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns row among the chosen samples, step and input of each of their spikes."""
    sample, step, unit = source.sample, source.step, source.unit
    assert sample is not None and step is not None and unit is not None
    place = np.full(len(source.labels), -1)
    place[chosen] = np.arange(len(chosen))
    inside = (place[sample] >= 0) & (step < data.steps)
    row = place[sample[inside]]
    order = np.argsort(row, kind="stable")
    return row[order], step[inside][order], unit[inside][order] // data.pool


def _lists(
    samples: int, row: np.ndarray, step: np.ndarray, unit: np.ndarray, data: SpikesData
) -> dict[str, np.ndarray]:
    begin = np.searchsorted(row, np.arange(samples))
    place = np.arange(len(row)) - begin[row]
    steps = np.full((samples, data.capacity), data.steps, np.uint16)
    units = np.zeros((samples, data.capacity), np.uint16)
    steps[row, place], units[row, place] = step, unit
    return {"step": steps, "unit": units}
