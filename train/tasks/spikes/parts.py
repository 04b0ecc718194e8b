"""Which samples are for training, validation and test: as files say, or by shares."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import NamedTuple

import numpy as np

from train.errors import ConfigError
from train.tasks.spikes.recordings import PARTS, Recordings, read_file
from train.tasks.spikes.settings import SpikesData

_WORDS = {"train": "train", "validation": "valid", "test": "test"}


class Rows(NamedTuple):
    """Some samples of a file.

    Attributes:
      source: the file.
      rows: their numbers, rising.
    """

    source: Recordings
    rows: np.ndarray

    @property
    def labels(self) -> np.ndarray:
        """Their labels."""
        return np.asarray(self.source.labels[self.rows])


def read_parts(data: SpikesData) -> tuple[list[Path], dict[str, Rows]]:
    """Returns the files, and the samples of each part.

    Args:
      data: settings of the data.

    Raises:
      ConfigError: files that cannot be read, that do not fit each other, or a part without samples.
    """
    path = Path(data.file)
    if not path.is_dir():
        found = read_file(path, data.dt, data.units)
        return [path], _split(found, data, data.test)
    files = _files_of(path)
    read = {part: read_file(file, data.dt, data.units) for part, file in files.items()}
    _check_alike(read)
    for each in read.values():
        if each.part is not None:
            raise ConfigError(
                f"--file {each.name}: in a folder the names of the files say what each is for, this"
                " one has `part` too; leave `part` out, or give one file"
            )
    rows = {part: Rows(each, np.arange(len(each.labels))) for part, each in read.items()}
    if "validation" not in rows:
        rows |= _split(read["train"], data, 0.0, ("train", "validation"))
    return list(files.values()), rows


def _files_of(folder: Path) -> dict[str, Path]:
    """Returns the file of each part, by its name."""
    files: dict[str, Path] = {}
    inside = [p for p in sorted(folder.iterdir()) if p.suffix in (".npz", ".h5", ".hdf5", ".hdf")]
    for part, word in _WORDS.items():
        named = [p for p in inside if word in p.name]
        if len(named) > 1:
            raise ConfigError(
                f"--file {folder}: expected one file with {word!r} in its name, got"
                f" {', '.join(p.name for p in named)}"
            )
        if named and named[0] in files.values():
            raise ConfigError(
                f"--file {folder}: expected a name with one of train, valid and test in it, got"
                f" {named[0].name}; rename it"
            )
        if named:
            files[part] = named[0]
    missing = [part for part in ("train", "test") if part not in files]
    if missing:
        names = ", ".join(p.name for p in inside[:5]) or "no .npz or HDF5 file"
        raise ConfigError(
            f"--file {folder}: expected files such as train.npz and test.npz, found none for"
            f" {' and '.join(missing)}, but {names}"
        )
    return files


def _check_alike(read: dict[str, Recordings]) -> None:
    each = read.values()
    facts = {
        "form": {e.name: "events" if e.raster is None else "raster" for e in each},
        "kind": {e.name: "values" if e.labels.dtype.kind == "f" else "classes" for e in each},
        "shape of labels": {e.name: str(("samples", *e.labels.shape[1:])) for e in each},
        "number of units": {e.name: str(e.units) for e in each if e.raster is not None},
        "number of steps": {e.name: str(e.steps) for e in each if e.raster is not None},
    }
    for name, values in facts.items():
        if len(set(values.values())) > 1:
            found = ", ".join(f"{file}: {value}" for file, value in values.items())
            raise ConfigError(f"--file: expected files of one {name}, got {found}")


def _split(
    found: Recordings, data: SpikesData, test: float, names: tuple[str, ...] = PARTS
) -> dict[str, Rows]:
    """Returns the parts of a file: as it says, or by shares, class by class."""
    if found.part is not None:
        parts = {name: np.flatnonzero(found.part == name) for name in names}
    else:
        parts = _by_shares(found, dataclasses.replace(data, test=test))
    empty = [name for name in names if not len(parts[name])]
    if empty:
        remedy = (
            "give each word of `part` to some sample, or leave `part` out"
            if found.part is not None
            else "raise --validation and --test, or give more samples"
        )
        raise ConfigError(
            f"--file {found.name}: no sample is left for {' and '.join(empty)} of"
            f" {len(found.labels)} samples; {remedy}"
        )
    return {name: Rows(found, parts[name]) for name in names}


def _by_shares(found: Recordings, data: SpikesData) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(data.data_seed)
    samples = len(found.labels)
    shuffled = rng.permutation(samples)
    if found.labels.ndim == 1 and found.labels.dtype.kind != "f":
        # The samples of a class spread evenly over the order, so that each part has its share.
        labels = np.unique(found.labels[shuffled], return_inverse=True)[1]
        order = np.argsort(labels, kind="stable")
        count = np.bincount(labels)[labels[order]]
        begin = np.searchsorted(labels[order], labels[order], side="left")
        place = (np.arange(len(order)) - begin + 0.5) / count
        shuffled = shuffled[order][np.argsort(place, kind="stable")]
    first = round(data.test * samples)
    second = first + round(data.validation * samples)
    cut = np.split(shuffled, [first, second])
    return {"train": np.sort(cut[2]), "validation": np.sort(cut[1]), "test": np.sort(cut[0])}
