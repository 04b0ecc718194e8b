"""Recorded data sets on disk: read from their files once, checked, then read at random and fast.

    <data_dir>/<name>/default/<version>/       ArrayRecord files of TFDS, which needs no TensorFlow

One row of `RECORDED` is one data set: its parts, each opened by a reader from the folder of the raw
files. Events are stored as they are, compact: times and units; waveforms and images likewise.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from flax_snn import checks
from flax_snn.datasets.events.recording import Events, unit_dtype
from flax_snn.datasets.prepared_folder import check_cards, damage_explained, damaged
from flax_snn.datasets.recorded.dvs_gesture import DVSGesture
from flax_snn.datasets.recorded.heidelberg import shd, ssc
from flax_snn.datasets.recorded.images import fashion_mnist, mnist
from flax_snn.datasets.recorded.saccades import NMNIST
from flax_snn.datasets.recorded.sources import Sample, Source, row_of
from flax_snn.datasets.recorded.spoken_digits import SpokenDigits
from flax_snn.datasets.tfds_prepare import (
    UNLISTED,
    ArrayRecordBuilder,
    data_folder,
    tfds,
    write_once,
)
from flax_snn.json_form import parse_json
from flax_snn.typing import Int

Open = Callable[[str, str], Source]


@dataclasses.dataclass(frozen=True)
class Recorded:
    """What is to be known of a data set to prepare it.

    Args:
      name: of the data set, and of its folder; lower case, digits and underscores.
      parts: names of its parts, such as ``("train", "test")``.
      open: opens a part: takes the folder of the raw files and the name of the part.
      citation: of the publication.
      version: of what is stored; another one is another folder.

    Raises:
      ValueError: a name that TFDS does not take, or no part, or one that is called "all".
    """

    name: str
    parts: tuple[str, ...]
    open: Open
    citation: str = ""
    version: str = "1.0.0"

    def __post_init__(self) -> None:
        if not re.fullmatch("[a-z][a-z0-9_]*", self.name):
            raise ValueError(
                checks.error_text("name", "lower case, digits and underscores", repr(self.name))
            )
        if not self.parts or "all" in self.parts:
            raise ValueError(
                checks.error_text("parts", 'names of parts other than "all"', self.parts)
            )


def _digits(folder: str, part: str) -> Source:
    return SpokenDigits(folder, part)  # type: ignore[arg-type]  # the part is one of the row's


RECORDED: dict[str, Recorded] = {
    row.name: row
    for row in (
        Recorded("spoken_digits", ("train", "test"), _digits, "doi:10.5281/zenodo.1342401"),
        Recorded("shd", ("train", "test"), shd, "doi:10.1109/TNNLS.2020.3044364"),  # type: ignore[arg-type]
        Recorded("ssc", ("train", "validation", "test"), ssc, "doi:10.1109/TNNLS.2020.3044364"),  # type: ignore[arg-type]
        Recorded("nmnist", ("train", "test"), NMNIST, "doi:10.3389/fnins.2015.00437"),  # type: ignore[arg-type]
        Recorded("dvs_gesture", ("train", "test"), DVSGesture, "doi:10.1109/CVPR.2017.781"),  # type: ignore[arg-type]
        Recorded("fashion_mnist", ("train", "test"), fashion_mnist, "arXiv:1708.07747"),  # type: ignore[arg-type]
        Recorded("mnist", ("train", "test"), mnist, "doi:10.1109/5.726791"),  # type: ignore[arg-type]
    )
}
"""The data sets that `prepare` knows by name."""


def prepare(
    what: str | Recorded,
    folder: str | os.PathLike[str] | None = None,
    *,
    data_dir: str | os.PathLike[str] | None = None,
) -> dict[str, PreparedSource]:
    """Reads and checks a data set once, writes it to disk, and opens what was written.

    What is there already is opened only, and needs no raw files. The folder appears under its name
    when it is whole: of a preparation that was interrupted nothing counts, and the next one starts
    anew.

    Args:
      what: a name of `RECORDED`, or a row of your own.
      folder: of the raw files, as the reader takes it.
      data_dir: folder of all TFDS data sets; by default TFDS' own, $TFDS_DATA_DIR or
        ~/tensorflow_datasets.

    Returns:
      A source for each part; its samples equal those of the reader.

    Raises:
      FileNotFoundError: raw files that are not there.
      OSError: the disk is full.
      ValueError: a name that is not known, damaged raw files, or a damaged folder.

    Example: see docs/data.md.
    """
    row = what if isinstance(what, Recorded) else RECORDED[checks.choice("what", what, [*RECORDED])]
    builder = functools.partial(_builder, row, folder, data_dir)
    made = write_once(builder)
    return {part: PreparedSource(made, part) for part in row.parts}


class PreparedSource:
    """A part of a prepared data set, as a source. It may be pickled and shared by workers.

    Args:
      builder: of a data set that `prepare` wrote, also by `tfds.builder_from_directory`.
      part: name of the part.

    Attributes:
      labels: class of each sample, (S,) int32.
      classes: names of the classes.

    Raises:
      ValueError: a folder that is damaged or of another data set.
    """

    def __init__(self, builder: Any, part: str):
        self._folder, self._name = builder.data_dir, builder.info.name
        self._part = part
        if not os.path.exists(self._folder):
            raise damaged(self._folder, self._name, "no such folder")
        with damage_explained(self._folder, self._name):
            stored = builder.info.metadata
            self.labels: Int[np.ndarray, "S"] = np.array(stored["labels"][part], np.int32)
            self.classes = tuple(stored["classes"])
            self._events: Mapping[str, Any] | None = stored["events"]
            self._records = builder.as_data_source(part)
            count = len(self._records)
        if count != len(self.labels):
            found = f"{count} samples of {part}, not {len(self.labels)}"
            raise damaged(self._folder, self._name, found)

    def __len__(self) -> int:
        """Number of samples."""
        return len(self.labels)

    def __getitem__(self, row: int) -> Sample:
        row = row_of(row, len(self))
        with damage_explained(self._folder, self._name):
            record = self._records[row]
            info = parse_json(bytes(record["info"]).decode())
            label = int(self.labels[row])
            if self._events is None:
                return Sample(record["data"], label, info)
            shape, tick = tuple(self._events["shape"]), float(self._events["tick"])
            return Sample(Events(record["times"], record["units"], shape, tick), label, info)

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_records": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        with damage_explained(self._folder, self._name):
            check_cards(self._folder)
            self._records = tfds.builder_from_directory(self._folder).as_data_source(self._part)


class RecordedBuilder(ArrayRecordBuilder, **UNLISTED):
    """The TFDS builder of a row of `RECORDED`; `prepare` makes a subclass for each.

    A sample has `label`, `info` (JSON in bytes), and `times` and `units` for events, else `data`.
    """

    row: Recorded
    raw: str | None = None

    def _info(self) -> Any:
        return tfds.core.DatasetInfo(
            builder=self,
            description=f"{self.row.name}, read by flax_snn.",
            citation=self.row.citation,
            features=self._features(),
            metadata=tfds.core.MetadataDict(),
            disable_shuffling=True,  # The order of rows is part of the data set.
        )

    @functools.cached_property
    def _sources(self) -> dict[str, Source]:
        if self.raw is None:
            raise FileNotFoundError(
                checks.error_text(
                    self.row.name,
                    f"the prepared data in {self.data_dir}, or the folder of the raw files",
                    "neither",
                    "give folder",
                )
            )
        return {part: self.row.open(self.raw, part) for part in self.row.parts}

    def _features(self) -> Any:
        exact = {"encoding": tfds.features.Encoding.BYTES}

        def array(like: np.ndarray) -> Any:
            # Only the first axis may differ from sample to sample.
            shape = (None, *like.shape[1:])
            return tfds.features.Tensor(shape=shape, dtype=like.dtype.type, **exact)

        features: dict[str, Any] = {
            "label": tfds.features.Scalar(dtype=np.int32),
            "info": tfds.features.Tensor(shape=(None,), dtype=np.uint8, **exact),
        }
        data = self._sources[self.row.parts[0]][0].data
        if isinstance(data, Events):
            units = np.zeros(0, unit_dtype(data.shape))
            features |= {"times": array(data.times), "units": array(units)}
        else:
            features["data"] = array(data)
        return tfds.features.FeaturesDict(features)

    def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
        del dl_manager  # TFDS downloads nothing.
        first = self._sources[self.row.parts[0]]
        data = first[0].data
        stored = self.info.metadata
        stored["labels"] = {part: each.labels.tolist() for part, each in self._sources.items()}
        stored["classes"] = list(first.classes)
        stored["events"] = (
            {"shape": list(data.shape), "tick": data.tick} if isinstance(data, Events) else None
        )
        return {part: self._generate_examples(part) for part in self.row.parts}

    def _generate_examples(self, part: str) -> Iterator[tuple[int, dict[str, Any]]]:
        like = self._sources[self.row.parts[0]][0].data
        source = self._sources[part]
        for k in range(len(source)):
            sample = source[k]
            found: dict[str, Any] = {
                "label": np.int32(sample.label),
                "info": np.frombuffer(json.dumps(dict(sample.info)).encode(), np.uint8),
            }
            if isinstance(like, Events):
                _check_alike(f"{self.row.name}, {part}, sample {k}", sample.data, like)
                found |= {"times": sample.data.times, "units": sample.data.units}
            else:
                found["data"] = sample.data
            yield k, found


def _check_alike(where: str, events: Events, like: Events) -> None:
    kinds = [(each.shape, each.tick, each.times.dtype.name) for each in (events, like)]
    if kinds[0] != kinds[1]:
        raise ValueError(
            checks.error_text(
                where,
                "shape {}, tick {:g} and times of type {}, as the first sample".format(*kinds[1]),
                "{}, {:g} and {}".format(*kinds[0]),
                "read them alike",
            )
        )


def _builder(
    row: Recorded, raw: str | os.PathLike[str] | None, data_dir: str | os.PathLike[str] | None
) -> Any:
    """Returns the builder of a row, or the reader of what stands in its folder already."""
    folder = data_folder(data_dir, row.name, "", row.version)
    if os.path.exists(folder):
        with damage_explained(folder, row.name):
            check_cards(folder)
            return tfds.builder_from_directory(folder)
    namespace = {
        "name": row.name,
        "row": row,
        "raw": None if raw is None else os.path.expanduser(os.fspath(raw)),
        "VERSION": tfds.core.Version(row.version),
        "__module__": __name__,
    }
    # Names of TFDS are for builders that its own functions find; this one is found by its row.
    made = type("RecordedBuilder", (RecordedBuilder,), namespace, **UNLISTED)
    return made(data_dir=data_dir)
