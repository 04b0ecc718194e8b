"""Reads HDF5 files of spikes in the layout of the Heidelberg data sets, SHD and SSC.

    spikes/times    for each sample its spike times in seconds, float16
    spikes/units    ... and their units, uint16
    labels          class of each sample
    extra/speaker   speaker of each sample;  extra/keys  names of the classes

Source: Cramer et al., The Heidelberg spiking data sets for the systematic evaluation of spiking
neural networks, IEEE Transactions on Neural Networks and Learning Systems 33(7), 2022.
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from flax_snn import checks
from flax_snn.datasets.events import Events
from flax_snn.datasets.sources import Sample, check_labels, existing, named, row_of


class SpikeFile:
    """A file of spikes, as a source.

    What is small, all but the spikes, is read and checked at once; the spikes of a sample are read
    when they are asked for, and checked then. Each process opens the file anew: the object may be
    pickled and shared by workers.

    Args:
      path: the file.
      units: number of units, 700 by default.
      classes: number of classes, or None, the default, for as many as the file names.

    Attributes:
      labels: class of each sample, (S,) int32.
      classes: names of the classes, as the file has them, or else their numbers.
      speakers: speaker of each sample, (S,) int32, or None if the file does not say.

    Raises:
      FileNotFoundError: no such file.
      ImportError: h5py is not installed.
      ValueError: no HDF5 file, a cut one, one without a part of the layout or without samples,
        arrays of different lengths, or labels out of range.

    Example: see `flax_snn.datasets.shd` and docs/data.md.
    """

    def __init__(
        self, path: str | os.PathLike[str], *, units: int = 700, classes: int | None = None
    ):
        self.path = existing(path, what="spikes in HDF5")
        self.shape = (checks.whole_number("units", units),)
        self._open: tuple[int, Any, Any] | None = None  # process, times, units
        h5py = _h5py()
        try:
            with h5py.File(self.path, "r") as file:
                columns, keys = _small(self.path, file, h5py)
        except (OSError, RuntimeError) as error:
            raise ValueError(
                checks.error_text(
                    self.path,
                    "an HDF5 file",
                    error,
                    "it is cut or of another kind: download it again",
                )
            ) from error
        self.labels = columns["labels"]
        self.speakers = columns["extra/speaker"]
        self.classes = _class_names(self.path, self.labels, keys, classes)
        with named(self.path):
            check_labels("labels", self.labels, len(self.classes))

    def __len__(self) -> int:
        """Number of samples."""
        return len(self.labels)

    def __getitem__(self, row: int) -> Sample:
        row = row_of(row, len(self))
        times, units = self._columns()
        info = {} if self.speakers is None else {"speaker": int(self.speakers[row])}
        try:
            found = times[row], units[row]
        except (OSError, RuntimeError) as error:
            raise ValueError(
                checks.error_text(
                    f"{self.path}, sample {row}", "spikes", error, "download the file again"
                )
            ) from error
        return Sample(self._events(row, *found), int(self.labels[row]), info)

    def _events(self, row: int, times: np.ndarray, units: np.ndarray) -> Events:
        if len(times) != len(units):
            raise ValueError(
                checks.error_text(
                    f"{self.path}, sample {row}",
                    f"as many units as times, {len(times)}",
                    len(units),
                    "download the file again",
                )
            )
        with named(self.path, f"sample {row}"):
            # float16 is too narrow to count in: a float32 holds each of its values.
            wide = times.astype(np.float32) if times.dtype == np.float16 else times
            events = Events(wide, units, self.shape)
            if len(events) and events.times[0] < 0:
                raise ValueError(checks.error_text("event 0", "a time >= 0", events.times[0]))
        return events

    def _columns(self) -> tuple[Any, Any]:
        """Returns times and units of the file as this process has opened it."""
        if self._open is None or self._open[0] != os.getpid():
            file = _h5py().File(self.path, "r")
            self._open = os.getpid(), file["spikes/times"], file["spikes/units"]
        return self._open[1:]

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_open": None}


def _h5py() -> Any:
    try:
        import h5py
    except ImportError as error:
        raise ImportError(
            f"expected h5py for files of spikes, got {error}; install it with pip install"
            " 'flax-snn[data]'"
        ) from error
    return h5py


def _small(path: str, file: Any, h5py: Any) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Reads all but the spikes, and checks that the layout is there and of one length."""
    counts = {}
    for name in ("spikes/times", "spikes/units", "labels"):
        if not isinstance(file.get(name), h5py.Dataset):
            raise ValueError(
                checks.error_text(
                    path,
                    f"{name} in the file",
                    f"only {_names(file)}",
                    "give a file of this layout",
                )
            )
        counts[name] = len(file[name])
    if "extra/speaker" in file:
        counts["extra/speaker"] = len(file["extra/speaker"])
    if len(set(counts.values())) > 1 or not counts["labels"]:
        raise ValueError(
            checks.error_text(
                path, "as many samples in each part, at least one", counts, "download it again"
            )
        )
    columns = {}
    for name in ("labels", "extra/speaker"):
        found = file[name][()] if name in counts else None
        if found is not None and found.dtype.kind not in "iu":
            raise ValueError(
                checks.error_text(f"{path}, {name}", "integers", found.dtype, "convert them")
            )
        columns[name] = None if found is None else found.astype(np.int32)
    keys = file["extra/keys"][()] if "extra/keys" in file else ()
    return columns, tuple(k.decode() if isinstance(k, bytes) else str(k) for k in keys)


def _class_names(
    path: str, labels: np.ndarray, keys: tuple[str, ...], classes: int | None
) -> tuple[str, ...]:
    if classes is None:
        return keys or tuple(map(str, range(int(labels.max()) + 1)))
    if keys and len(keys) != classes:
        raise ValueError(
            checks.error_text(
                path, f"names of {classes} classes", f"{len(keys)}", "is it another data set?"
            )
        )
    return keys or tuple(map(str, range(classes)))


def _names(file: Any) -> str:
    names: list[str] = []
    file.visit(names.append)
    return ", ".join(names) or "nothing"
