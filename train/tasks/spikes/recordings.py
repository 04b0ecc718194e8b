"""Recordings of spikes, as files have them: rasters, or flat lists of events."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from flax_snn.datasets.events.raster import steps_of_events
from flax_snn.time_grid import steps_of_times
from train.errors import ConfigError
from train.tasks.spikes.archive import read_arrays

LAYOUT = (
    "A file of spikes is an .npz with `raster` (samples, steps, units), or with `events`"
    " (spikes, 3) of whole numbers sample, step, unit, or with three arrays `sample`, `step` (whole"
    " numbers) or `time` (seconds), `unit`; and with `labels` (samples,). It may have `lengths` and"
    " `part`, one entry for each sample"
)

KNOWN = ("raster", "events", "sample", "step", "time", "unit", "labels", "lengths", "part")

PARTS = ("train", "validation", "test")

_MOST = 2**31 - 1

Refuse = Callable[[str], ConfigError]


@dataclasses.dataclass(frozen=True)
class Recordings:
    """Samples of one file.

    Attributes:
      name: the file, for errors.
      labels: class or value of each sample, ``(N, ...)``.
      raster: ``(N, T, F)``, or ``None`` where there are events.
      sample: sample of each event, ``(E,)``.
      step: its time step.
      unit: its unit.
      lengths: steps of each sample, ``(N,)``, where the file has them.
      part: ``train``, ``validation`` or ``test`` of each sample, where the file has them.
      width: units that the layout of the file has, whether they spike or not; 0: it does not say.
      remarks: what is unusual about it, in words.
    """

    name: str
    labels: np.ndarray
    raster: np.ndarray | None = None
    sample: Any = None
    step: Any = None
    unit: Any = None
    lengths: np.ndarray | None = None
    part: np.ndarray | None = None
    width: int = 0
    remarks: tuple[str, ...] = ()

    @property
    def units(self) -> int:
        """Number of units: of a raster, of the layout, or up to the largest that spikes."""
        if self.raster is not None:
            return int(self.raster.shape[2])
        return max(self.width, int(self.unit.max(initial=-1)) + 1)

    @property
    def steps(self) -> int:
        """Number of steps: of a raster, or up to the last spike."""
        if self.raster is not None:
            return int(self.raster.shape[1])
        return int(self.step.max(initial=-1)) + 1

    @property
    def analog(self) -> bool:
        """Whether it has values between spike counts."""
        return self.raster is not None and self.raster.dtype.kind == "f"

    def counts(self, steps: int) -> np.ndarray:
        """Returns the spikes of each sample before a step, ``(N,)``; of analog rasters their sum.

        Args:
          steps: steps of a sample.
        """
        if self.raster is not None:
            return np.asarray(np.abs(self.raster).sum(axis=(1, 2), dtype=np.float64))
        inside = self.sample[self.step < steps]
        return np.bincount(inside, minlength=len(self.labels)).astype(np.float64)

    def last_steps(self) -> np.ndarray:
        """Returns the steps of each sample up to and with its last spike; 0 without one."""
        if self.raster is not None:
            active = np.asarray(self.raster.any(axis=2))
            last = self.raster.shape[1] - active[:, ::-1].argmax(axis=1)
            return np.where(active.any(axis=1), last, 0).astype(np.int32)
        found = np.zeros(len(self.labels), np.int32)
        np.maximum.at(found, self.sample, self.step.astype(np.int32) + 1)
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
    if not path.exists():
        raise ConfigError(
            f"--file {path}: there is no such file"
            + ("" if path.is_absolute() else f" in {Path.cwd()}, where the name is looked for")
        )
    if path.suffix in (".h5", ".hdf5", ".hdf"):
        return _hdf5(path, dt, units)
    if path.suffix != ".npz":
        raise ConfigError(
            f"--file {path}: expected a name that ends in .npz, .h5 or .hdf5. {LAYOUT}"
        )
    return _npz(str(path), read_arrays(path), dt)


def _npz(name: str, arrays: Mapping[str, np.ndarray], dt: float) -> Recordings:
    def refuse(what: str) -> ConfigError:
        return ConfigError(f"--file {name}: {what}")

    if unknown := sorted(set(arrays) - set(KNOWN)):
        raise refuse(f"it has arrays of unknown names, {', '.join(unknown)}. {LAYOUT}")
    labels = _labels(arrays, refuse)
    forms = [form for form in ("raster", "events", "sample") if form in arrays]
    if len(forms) != 1:
        raise refuse(f"it has {' and '.join(forms) or 'no spikes'}. {LAYOUT}")
    extras = {n: arrays.get(n) for n in ("lengths", "part")}
    for key, array in extras.items():
        if array is not None and array.shape != (len(labels),):
            raise refuse(
                f"{key}: expected one entry for each of {len(labels)} samples, got {array.shape}"
            )
    lengths, part = extras["lengths"], extras["part"]
    if lengths is not None and (lengths.dtype.kind not in "iu" or lengths.min() < 1):
        what = f"{lengths.dtype}" if lengths.dtype.kind not in "iu" else f"{lengths.min()}"
        raise refuse(f"lengths: expected whole numbers of steps from 1 on, got {what}")
    if part is not None and not set(np.unique(part).tolist()) <= set(PARTS):
        raise refuse(
            f"part: expected the words {', '.join(PARTS)}, got {np.unique(part).tolist()[:5]}"
        )
    found = Recordings(name, labels, lengths=lengths, part=part)
    if "raster" in arrays:
        return dataclasses.replace(found, raster=_raster(arrays["raster"], len(labels), refuse))
    return _with_events(found, arrays, dt, refuse)


def _labels(arrays: Mapping[str, np.ndarray], refuse: Refuse) -> np.ndarray:
    if "labels" not in arrays:
        raise refuse(f"it has no labels. {LAYOUT}")
    labels = arrays["labels"]
    if labels.dtype.kind in "USb":
        raise refuse(
            f"labels: expected whole numbers for classes, got {labels.dtype}; save"
            " np.unique(labels, return_inverse=True)[1]"
        )
    if labels.ndim not in (1, 2) or labels.dtype.kind not in "iuf" or not labels.size:
        raise refuse(f"labels: expected numbers (samples,), got {labels.dtype} {labels.shape}")
    return labels


def _raster(raster: np.ndarray, samples: int, refuse: Refuse) -> np.ndarray:
    if raster.ndim != 3 or raster.dtype.kind not in "biuf" or not raster.size:
        raise refuse(
            "raster: expected numbers (samples, steps, units), none of the three 0, got"
            f" {raster.dtype} {raster.shape}"
        )
    if len(raster) != samples:
        raise refuse(f"it has {len(raster)} samples and {samples} labels; give one for each")
    if raster.dtype.kind == "f" and not np.isfinite(raster).all():
        where = np.argwhere(~np.isfinite(raster))[0].tolist()
        raise refuse(f"raster: expected finite numbers, got {raster[tuple(where)]} at {where}")
    if raster.dtype.kind == "f" and np.abs(raster).max() > np.finfo(np.float32).max:
        raise refuse("raster: expected numbers that float32 can hold")
    if raster.dtype.kind in "iu" and (raster.min() < 0 or raster.max() > 255):
        raise refuse(
            f"raster: expected spike counts from 0 to 255, got {raster.min()} to {raster.max()};"
            " values that are no counts are given as floating-point numbers"
        )
    return raster


def _with_events(
    found: Recordings, arrays: Mapping[str, np.ndarray], dt: float, refuse: Refuse
) -> Recordings:
    columns = _columns(arrays, refuse)
    remarks: tuple[str, ...] = ()
    if "time" in columns:
        remarks = tuple(_about_times(found.name, columns["time"], dt))
        columns["step"] = _steps(columns.pop("time"), dt, refuse)
    for name, array in columns.items():
        columns[name] = _whole(name, array, refuse)
    last = columns["sample"].max(initial=-1)
    if last >= len(found.labels):
        raise refuse(
            f"it has a spike of sample {last} and {len(found.labels)} labels; give a label for each"
            " sample, which are counted from 0"
        )
    return dataclasses.replace(
        found,
        remarks=remarks,
        sample=columns["sample"],
        step=columns["step"],
        unit=columns["unit"],
    )


def _columns(arrays: Mapping[str, np.ndarray], refuse: Refuse) -> dict[str, np.ndarray]:
    if "events" in arrays:
        events = arrays["events"]
        if events.ndim != 2 or events.shape[1] != 3:
            raise refuse(f"events: expected (spikes, 3), got {events.shape}")
        return dict(zip(("sample", "step", "unit"), events.T, strict=True))
    times = [name for name in ("step", "time") if name in arrays]
    if len(times) != 1 or "unit" not in arrays:
        given = [name for name in ("sample", "step", "time", "unit") if name in arrays]
        raise refuse(
            f"expected `sample`, one of `step` and `time`, and `unit`, got {', '.join(given)}"
        )
    columns = {name: arrays[name] for name in ("sample", *times, "unit")}
    shapes = {name: array.shape for name, array in columns.items()}
    if len(set(shapes.values())) > 1 or columns["sample"].ndim != 1:
        raise refuse(f"expected arrays (spikes,) of one length, got {shapes}")
    return columns


def _about_times(name: str, time: np.ndarray, dt: float) -> Iterator[str]:
    """Yields words for times that are whole numbers, which seconds hardly are."""
    if time.dtype.kind != "f" or not time.size or not np.isfinite(time).all():
        return
    last = float(time.max())
    if last >= 1.0 and (time == np.floor(time)).all():
        yield (
            f"note: {name}: `time` has whole numbers only, up to {last:g}; read as seconds, a"
            f" sample has {last / dt + 1:.0f} steps. Divide them by 1000 if they are milliseconds;"
            " name the array `step` if they are steps"
        )


def _steps(time: np.ndarray, dt: float, refuse: Refuse) -> np.ndarray:
    if time.dtype.kind != "f":
        raise refuse(
            f"time: expected seconds as floating-point numbers, got {time.dtype}; whole numbers of"
            " steps are named step"
        )
    good = np.isfinite(time) & (time >= 0.0)
    if not good.all():
        k = int(np.flatnonzero(~good)[0])
        raise refuse(f"time: expected seconds from 0 on, got {time[k]} in spike {k}")
    last = float(time.max(initial=0.0))
    if last / dt > _MOST:
        raise refuse(f"time: expected seconds, got {last:g}, which are {last / dt:.3g} steps of dt")
    # float16 is too narrow to count in: a float32 holds each of its values.
    wide = time.astype(np.float32) if time.dtype == np.float16 else time
    steps: np.ndarray = steps_of_times(wide, dt)
    return steps


def _whole(name: str, array: np.ndarray, refuse: Refuse) -> np.ndarray:
    if array.dtype.kind not in "iuf":
        raise refuse(f"{name}: expected whole numbers, got {array.dtype}")
    good = np.isfinite(array) & (array >= 0) & (array == np.floor(array)) & (array <= _MOST)
    if not good.all():
        k = int(np.flatnonzero(~good)[0])
        raise refuse(
            f"{name}: expected whole numbers from 0 to {_MOST}, got {array[k]} in spike {k}"
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
        width=source.shape[0],
    )
