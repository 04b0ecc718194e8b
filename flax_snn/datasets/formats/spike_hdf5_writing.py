"""Writes HDF5 files of spikes in the layout of the Heidelberg data sets, which `SpikeFile` reads.

The file is written beside its place and moved there when it is whole, so that a file of that name
is never a half of one.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from flax_snn import checks
from flax_snn.datasets.disk import disk_explained
from flax_snn.datasets.events.recording import Events
from flax_snn.datasets.formats.spike_hdf5 import _damage_explained, _h5py, check_heaps
from flax_snn.datasets.recorded.sources import check_labels, named
from flax_snn.json_form import parse_json

MADE_WITH = "made_with"
"""Attribute of a file that says with which settings it was made, in JSON."""


def write_spike_file(
    path: str | os.PathLike[str],
    events: Iterable[Events],
    labels: npt.ArrayLike,
    *,
    classes: Sequence[str] | None = None,
    speakers: npt.ArrayLike | None = None,
    speaker_names: Sequence[str] | None = None,
    time_dtype: npt.DTypeLike = np.float32,
    made_with: Mapping[str, Any] | None = None,
) -> None:
    """Writes recordings of spikes into one file, in the layout of SHD and SSC.

    Args:
      path: the file; one that is there is replaced when the new one is whole.
      events: the spikes of each sample, all of one shape (units,), at most 65536 units. They may
        come from a generator: one sample is in memory at a time.
      labels: class of each sample, integers, (S,).
      classes: names of the classes; by default their numbers.
      speakers: number of the speaker of each sample, (S,), or None if it is not known.
      speaker_names: names of the speakers by number, stored as ``extra/speaker_names``.
      time_dtype: floating type to which times in seconds are rounded: float32 by default; float16,
        as in SHD, is 0.5 ms wide from half a second on.
      made_with: what the file was made with, stored as JSON in the attribute ``made_with``.

    Raises:
      ImportError: h5py is not installed.
      OSError: the disk is full, or the folder cannot be written.
      TypeError: something that is no `Events`, labels or speakers that are no integers, or a
        `time_dtype` that is not of a floating type.
      ValueError: no samples, another number of events than of labels, a label that is no class,
        events of more than one axis or of several shapes, a time below 0 or beyond `time_dtype`.

    Example:
      >>> import os, tempfile
      >>> import numpy as np
      >>> from flax_snn.datasets import Events, SpikeFile, write_spike_file
      >>> spikes = [Events(np.array([0.0, 2.5e-3], np.float32), np.array([1, 0]), shape=(2,))]
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     write_spike_file(os.path.join(folder, "my.h5"), spikes, labels=[0])
      ...     SpikeFile(os.path.join(folder, "my.h5"), units=2)[0].data == spikes[0]
      True
    """
    path = os.path.expanduser(os.fspath(path))
    labels = _integers("labels", labels)
    if not len(labels):
        raise ValueError(checks.error_text("labels", "at least one sample", "none"))
    names = [str(k) for k in range(int(labels.max()) + 1)] if classes is None else list(classes)
    check_labels("labels", labels, len(names))
    if speakers is not None:
        speakers = _integers("speakers", speakers)
        checks.shape("speakers", speakers, labels.shape, remedy="give one for each sample")
    dtype = np.dtype(time_dtype)
    checks.floating("time_dtype", dtype)
    h5py = _h5py()
    partial = f"{path}.{os.getpid()}.part"
    try:
        with room_for(path), h5py.File(partial, "w") as file:
            times = file.create_dataset("spikes/times", (len(labels),), h5py.vlen_dtype(dtype))
            units = file.create_dataset("spikes/units", (len(labels),), h5py.vlen_dtype(np.uint16))
            _write_events(times, units, events, len(labels), dtype)
            file["labels"] = labels.astype(np.uint16)
            text = h5py.string_dtype()
            file.create_dataset("extra/keys", data=names, dtype=text)
            if speakers is not None:
                file["extra/speaker"] = speakers.astype(np.uint16)
            if speaker_names is not None:
                file.create_dataset("extra/speaker_names", data=list(speaker_names), dtype=text)
            if made_with is not None:
                file.attrs[MADE_WITH] = json.dumps(made_with, sort_keys=True)
        os.replace(partial, path)
    finally:
        if os.path.exists(partial):
            os.remove(partial)


def made_with(path: str | os.PathLike[str]) -> Any:
    """Returns what a file says that it was made with, or None if it does not say.

    Raises:
      FileNotFoundError: no such file.
      ValueError: a damaged file, or words that are no JSON.
    """
    h5py, name = _h5py(), os.fspath(path)
    if not os.path.exists(name):
        raise FileNotFoundError(f"{name}: no such file; expected spikes in HDF5")
    with _damage_explained(name), h5py.File(name, "r") as file:
        check_heaps(name, file)
        text = file.attrs.get(MADE_WITH)
    if text is None:
        return None
    with named(path):
        return parse_json(checks.instance(MADE_WITH, text, str))


def room_for(path: str) -> contextlib.AbstractContextManager[None]:
    """Says what to do where the disk is full while a file is written.

    Args:
      path: the file.
    """
    folder = os.path.dirname(path) or "."
    return disk_explained(folder, os.path.basename(path), "free some of it and run it again")


def _write_events(
    times: Any, units: Any, events: Iterable[Events], samples: int, dtype: np.dtype
) -> None:
    shape, row = None, -1
    for row, found in enumerate(events):
        with named(f"sample {row}"):
            checks.instance("events", found, Events)
            if row >= samples:
                raise ValueError(
                    checks.error_text("events", f"{samples} of them, as many as labels", "more")
                )
            shape = shape or found.shape
            if len(found.shape) != 1 or found.shape[0] > 65536 or found.shape != shape:
                raise ValueError(
                    checks.error_text(
                        "events",
                        "units on one axis, at most 65536, the same in all samples",
                        f"shape {found.shape}, and {shape} in the first sample",
                        "make Events(times, units, shape=(number of units,), tick=tick) of them",
                    )
                )
            seconds = found.times.astype(np.float64) * found.tick
            if len(seconds) and (seconds[0] < 0 or seconds[-1] > np.finfo(dtype).max):
                raise ValueError(
                    checks.error_text(
                        "times",
                        f"0 to {np.finfo(dtype).max} seconds",
                        f"{seconds[0]} to {seconds[-1]}",
                        "shift them",
                    )
                )
            times[row] = seconds.astype(dtype)
            units[row] = found.units.astype(np.uint16)
    if row + 1 != samples:
        raise ValueError(
            checks.error_text("events", f"{samples} of them, as many as labels", row + 1)
        )


def _integers(name: str, values: npt.ArrayLike) -> np.ndarray:
    array = np.asarray(values)
    checks.integers(name, array)
    checks.rank(name, array, "(S,)")
    if array.size and not (0 <= array.min() and array.max() <= 65535):
        raise ValueError(
            checks.error_text(name, "integers in [0, 65535]", f"{array.min()} to {array.max()}")
        )
    return array
