"""Recordings of spikes, as files have them: rasters, or flat lists of events."""

from __future__ import annotations

import dataclasses
import hashlib
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from flax_snn.datasets.event_raster import steps_of_events
from flax_snn.time_grid import steps_of_times
from train.errors import ConfigError

LAYOUT = (
    "expected an .npz with `raster` (samples, steps, units), or `events` (spikes, 3) of whole"
    " numbers sample, step, unit, or three arrays `sample`, `step` (whole numbers) or `time`"
    " (seconds), `unit`; and `labels` (samples,)"
)

PARTS = ("train", "validation", "test")


@dataclasses.dataclass(frozen=True)
class Recordings:
    """Samples of one file.

    Attributes:
      name: the file, for errors.
      labels: class or value of each sample, ``(N, ...)``.
      raster: ``(N, T, F)``, or ``None`` where there are events.
      sample: sample of each event, ``(E,)``, rising.
      step: its time step.
      unit: its unit.
      lengths: steps of each sample, ``(N,)``, where the file has them.
      part: ``train``, ``validation`` or ``test`` of each sample, where the file has them.
    """

    name: str
    labels: np.ndarray
    raster: np.ndarray | None = None
    sample: np.ndarray | None = None
    step: np.ndarray | None = None
    unit: np.ndarray | None = None
    lengths: np.ndarray | None = None
    part: np.ndarray | None = None

    @property
    def units(self) -> int:
        """Number of units that occur."""
        if self.raster is not None:
            return int(self.raster.shape[2])
        return int(self.unit.max(initial=-1)) + 1  # type: ignore[union-attr]

    @property
    def steps(self) -> int:
        """Number of steps that occur."""
        if self.raster is not None:
            return int(self.raster.shape[1])
        return int(self.step.max(initial=-1)) + 1  # type: ignore[union-attr]

    def last_steps(self) -> np.ndarray:
        """Returns the steps of each sample up to and with its last spike."""
        if self.raster is not None:
            active = np.asarray(self.raster.any(axis=2))
            last = self.raster.shape[1] - active[:, ::-1].argmax(axis=1)
            return np.where(active.any(axis=1), last, 0).astype(np.int32)
        found = np.zeros(len(self.labels), np.int32)
        np.maximum.at(found, self.sample, self.step + 1)  # type: ignore[arg-type, operator]
        return found


def read_file(path: Path, dt: float, units: int) -> Recordings:
    """Reads one file.

    Args:
      path: an .npz file, or HDF5 of the layout of the Heidelberg data sets.
      dt: length of a step in seconds, for times in seconds.
      units: input units of an HDF5 file; 0: 700.

    Raises:
      ConfigError: a file that is missing, damaged or of another layout; the message says what was
        found and what to do.
    """
    if not path.is_file():
        raise ConfigError(f"--file: {path} is not there; give a file of spikes. {LAYOUT}")
    if path.suffix in (".h5", ".hdf5", ".hdf"):
        return _hdf5(path, dt, units)
    if path.suffix != ".npz":
        raise ConfigError(
            f"--file {path}: expected a name that ends in .npz, .h5 or .hdf5. {LAYOUT}"
        )
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except (ValueError, OSError, EOFError, KeyError, zipfile.BadZipFile) as error:
        if "allow_pickle" in str(error):
            raise ConfigError(
                f"--file {path}: it holds Python objects, which could run any code and are never"
                " read; save plain arrays, np.savez(file, raster=..., labels=...)"
            ) from error
        raise ConfigError(f"--file {path}: it cannot be read as .npz ({error})") from error
    return _npz(str(path), arrays, dt)


def digest(paths: list[Path]) -> str:
    """Returns the SHA-256 of the contents of files."""
    found = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                found.update(block)
    return found.hexdigest()


def _npz(name: str, arrays: Mapping[str, np.ndarray], dt: float) -> Recordings:
    def refuse(what: str) -> ConfigError:
        return ConfigError(f"--file {name}: {what}")

    known = {"raster", "events", "sample", "step", "time", "unit", "labels", "lengths", "part"}
    if unknown := sorted(set(arrays) - known):
        raise refuse(f"it has arrays of unknown names, {', '.join(unknown)}; {LAYOUT}")
    if "labels" not in arrays:
        raise refuse(f"it has no labels. {LAYOUT}")
    labels = arrays["labels"]
    if labels.ndim not in (1, 2) or labels.dtype.kind not in "iuf" or not len(labels):
        raise refuse(f"labels: expected numbers (samples,), got {labels.dtype} {labels.shape}")
    forms = [form for form in ("raster", "events", "sample") if form in arrays]
    if len(forms) != 1:
        raise refuse(f"it has {' and '.join(forms) or 'no spikes'}. {LAYOUT}")
    extras = {n: arrays.get(n) for n in ("lengths", "part")}
    for key, array in extras.items():
        if array is not None and array.shape != (len(labels),):
            raise refuse(f"{key}: expected one entry for each of {len(labels)} samples")
    lengths, part = extras["lengths"], extras["part"]
    if lengths is not None and (lengths.dtype.kind not in "iu" or lengths.min() < 0):
        raise refuse("lengths: expected whole numbers of steps from 0 on")
    if part is not None and not set(np.unique(part).tolist()) <= set(PARTS):
        raise refuse(f"part: expected {', '.join(PARTS)}, got {np.unique(part).tolist()}")
    found = Recordings(name, labels, lengths=lengths, part=part)
    if "raster" in arrays:
        return dataclasses.replace(found, raster=_raster(arrays["raster"], len(labels), refuse))
    return _with_events(found, arrays, dt, refuse)


def _raster(raster: np.ndarray, samples: int, refuse: Any) -> np.ndarray:
    if raster.ndim != 3 or raster.dtype.kind not in "biuf" or not raster.size:
        raise refuse(
            f"raster: expected numbers (samples, steps, units), got {raster.dtype} {raster.shape}"
        )
    if len(raster) != samples:
        raise refuse(f"it has {len(raster)} samples and {samples} labels; give one for each")
    if raster.dtype.kind == "f" and not np.isfinite(raster).all():
        where = np.argwhere(~np.isfinite(raster))[0].tolist()
        raise refuse(f"raster: expected finite numbers, got {raster[tuple(where)]} at {where}")
    if raster.dtype.kind in "iu" and (raster.min() < 0 or raster.max() > 255):
        raise refuse(
            f"raster: expected spike counts from 0 to 255, got {raster.min()} to {raster.max()};"
            " values that are no counts are given as floating-point numbers"
        )
    return raster


def _with_events(
    found: Recordings, arrays: Mapping[str, np.ndarray], dt: float, refuse: Any
) -> Recordings:
    if "events" in arrays:
        events = arrays["events"]
        if events.ndim != 2 or events.shape[1] != 3:
            raise refuse(f"events: expected (spikes, 3), got {events.shape}")
        columns = dict(zip(("sample", "step", "unit"), events.T, strict=True))
    else:
        times = [name for name in ("step", "time") if name in arrays]
        if len(times) != 1 or "unit" not in arrays:
            raise refuse(f"it has sample, but not unit and one of step and time. {LAYOUT}")
        columns = {name: arrays[name] for name in ("sample", *times, "unit")}
        shapes = {name: array.shape for name, array in columns.items()}
        if len(set(shapes.values())) > 1 or columns["sample"].ndim != 1:
            raise refuse(f"expected arrays (spikes,) of one length, got {shapes}")
    if "time" in columns:
        columns["step"] = _steps(columns.pop("time"), dt, refuse)
    for name, array in columns.items():
        columns[name] = _whole(name, array, refuse)
    if columns["sample"].max(initial=-1) >= len(found.labels):
        raise refuse(
            f"sample: expected numbers below {len(found.labels)}, the number of labels, got"
            f" {columns['sample'].max()}"
        )
    order = np.argsort(columns["sample"], kind="stable")
    return dataclasses.replace(found, **{name: array[order] for name, array in columns.items()})


def _steps(time: np.ndarray, dt: float, refuse: Any) -> np.ndarray:
    if time.dtype.kind != "f":
        raise refuse(
            f"time: expected seconds as floating-point numbers, got {time.dtype}; whole numbers of"
            " steps are named step"
        )
    if not np.isfinite(time).all() or time.min(initial=0.0) < 0.0:
        k = int(np.flatnonzero(~(np.isfinite(time) & (time >= 0.0)))[0])
        raise refuse(f"time: expected seconds from 0 on, got {time[k]} in spike {k}")
    steps: np.ndarray = steps_of_times(time, dt)
    return steps


def _whole(name: str, array: np.ndarray, refuse: Any) -> np.ndarray:
    if array.dtype.kind not in "iuf":
        raise refuse(f"{name}: expected whole numbers, got {array.dtype}")
    wrong = np.flatnonzero((array < 0) | ~(np.isfinite(array) & (array == np.floor(array))))
    if wrong.size:
        raise refuse(
            f"{name}: expected whole numbers from 0 on, got {array[wrong[0]]} in spike {wrong[0]}"
            + ("; times in seconds are named time" if name == "step" else "")
        )
    return array.astype(np.int64)


def _hdf5(path: Path, dt: float, units: int) -> Recordings:
    try:
        from flax_snn.datasets.formats.spike_hdf5 import SpikeFile

        source = SpikeFile(path, units=units or 700)
        samples = [source[row].data for row in range(len(source))]
    except (ImportError, ValueError, OSError) as error:
        raise ConfigError(f"--file: {error}") from error
    return Recordings(
        str(path),
        source.labels,
        sample=np.repeat(np.arange(len(samples)), [len(s) for s in samples]),
        step=np.concatenate([steps_of_events(s, dt).astype(np.int64) for s in samples]),
        unit=np.concatenate([s.units.astype(np.int64) for s in samples]),
    )
