"""Reads HDF5 files of spikes in the layout of the Heidelberg data sets, SHD and SSC.

    spikes/times    for each sample its spike times in seconds, float16
    spikes/units    ... and their units, uint16
    labels          class of each sample
    extra/speaker   speaker of each sample;  extra/keys  names of the classes

Source: Cramer et al., The Heidelberg spiking data sets for the systematic evaluation of spiking
neural networks, IEEE Transactions on Neural Networks and Learning Systems 33(7), 2022.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import Any

import numpy as np

from flax_snn import checks
from flax_snn.datasets.events.recording import Events
from flax_snn.datasets.recorded.sources import Sample, check_labels, existing, named, row_of
from flax_snn.untrusted_hdf5 import check_stored, endless_heap, foreign_link, stored_elsewhere


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
        with _damage_explained(self.path), h5py.File(self.path, "r") as file:
            check_heaps(self.path, file)
            columns, keys = _small(self.path, file, h5py)
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
        info = {} if self.speakers is None else {"speaker": int(self.speakers[row])}
        with _damage_explained(f"{self.path}, sample {row}"):
            times, units = self._columns()
            found = times[row], units[row]
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


class _Damaged(ValueError):
    """A text that names the file already."""


@contextlib.contextmanager
def _damage_explained(where: str) -> Iterator[None]:
    """Turns what h5py raises at a damaged file into a sentence."""
    try:
        yield
    except _Damaged:
        raise
    except (OSError, RuntimeError, KeyError, TypeError, ValueError, OverflowError) as error:
        raise ValueError(
            checks.error_text(
                where,
                "an HDF5 file",
                error,
                "it is cut or of another kind: download it again",
            )
        ) from error


def _data(path: str, file: Any, name: str, h5py: Any) -> Any:
    """Returns a data set of the file itself, or None if there is none of this name.

    Raises:
      ValueError: a link or data that lead to another file.
    """
    group, parts = file, name.split("/")
    for part in parts:
        kind = foreign_link(group, part) if isinstance(group, h5py.Group) else None
        if kind:
            raise _Damaged(
                checks.error_text(
                    f"{path}, {name}", "data", f"a {kind}", "links are not followed: copy the data"
                )
            )
        group = group.get(part) if isinstance(group, h5py.Group) else None
    if not isinstance(group, h5py.Dataset):
        return None
    if stored_elsewhere(group):
        raise _Damaged(
            checks.error_text(
                f"{path}, {name}", "data in this file", "data in others", "write them into this one"
            )
        )
    return group


def _spikes(path: str, file: Any, name: str, kinds: str, h5py: Any) -> Any:
    """Returns the data set with the times or units of all samples, not read."""
    data = _data(path, file, name, h5py)
    if data is None:
        raise _Damaged(
            checks.error_text(
                path,
                f"{name} in the file",
                f"only {_names(file)}",
                "give a file of this layout",
            )
        )
    row = h5py.check_vlen_dtype(data.dtype)
    axes = 1 if row is not None else 2
    dtype = data.dtype if row is None else row
    if data.ndim != axes or not isinstance(dtype, np.dtype) or dtype.kind not in kinds:
        what = f"a list of {'numbers' if 'f' in kinds else 'integers'} for each sample"
        found = f"{data.dtype} of shape {data.shape}"
        raise _Damaged(checks.error_text(f"{path}, {name}", what, found, "convert it"))
    _check_size(path, name, data)
    return data


def check_heaps(path: str, file: Any) -> None:
    """Refuses a file that the library HDF5 would read for ever.

    Args:
      path: its name.
      file: the file, of h5py, as it was just opened.

    Raises:
      ValueError: the message says where.
    """
    if wrong := endless_heap(file):
        raise _Damaged(checks.error_text(path, "heaps that end", wrong, "download the file again"))


def _check_size(path: str, name: str, data: Any) -> None:
    if wrong := check_stored(data, data.size * data.dtype.itemsize):
        remedy = "the file is damaged, or was made to exhaust the memory"
        raise _Damaged(checks.error_text(f"{path}, {name}", "stored values", wrong, remedy))


def _numbers(path: str, file: Any, name: str, h5py: Any) -> np.ndarray | None:
    """Returns an integer for each sample, or None if the file has none of this name."""
    data = _data(path, file, name, h5py)
    if data is None:
        return None
    if data.ndim != 1 or data.dtype.kind not in "iu":
        found = f"{data.dtype} of shape {data.shape}"
        raise _Damaged(
            checks.error_text(f"{path}, {name}", "integers", found, "give one for each sample")
        )
    _check_size(path, name, data)
    found = data[()]
    about = np.iinfo(np.int32)
    wrong = (found < about.min) | (found > about.max)
    if wrong.any():
        k = int(np.flatnonzero(wrong)[0])
        raise _Damaged(
            checks.error_text(f"{path}, {name}, sample {k}", "an integer of 32 bits", found[k])
        )
    return np.asarray(found.astype(np.int32))


def _small(path: str, file: Any, h5py: Any) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Reads all but the spikes, and checks that the layout is there and of one length."""
    counts = {}
    for name, kinds in (("spikes/times", "iuf"), ("spikes/units", "iu")):
        counts[name] = len(_spikes(path, file, name, kinds, h5py))
    columns = {name: _numbers(path, file, name, h5py) for name in ("labels", "extra/speaker")}
    if columns["labels"] is None:
        raise _Damaged(
            checks.error_text(
                path, "labels in the file", f"only {_names(file)}", "give a file of this layout"
            )
        )
    counts |= {name: len(found) for name, found in columns.items() if found is not None}
    if len(set(counts.values())) > 1 or not counts["labels"]:
        raise _Damaged(
            checks.error_text(
                path, "as many samples in each part, at least one", counts, "download it again"
            )
        )
    return columns, _keys(path, file, h5py)


def _keys(path: str, file: Any, h5py: Any) -> tuple[str, ...]:
    """Returns the names of the classes, none if the file does not name them."""
    data = _data(path, file, "extra/keys", h5py)
    if data is None:
        return ()
    if data.ndim != 1 or not len(data) <= 65536 or h5py.check_string_dtype(data.dtype) is None:
        found = f"{data.dtype} of shape {data.shape}"
        raise _Damaged(checks.error_text(f"{path}, extra/keys", "names of at most 65536", found))
    _check_size(path, "extra/keys", data)
    return tuple(k.decode() if isinstance(k, bytes) else str(k) for k in data[()])


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

    def note(name: str) -> bool | None:
        names.append(name)
        return True if len(names) == 20 else None  # ends the visit

    file.visit(note)
    return ", ".join(names) or "nothing"
