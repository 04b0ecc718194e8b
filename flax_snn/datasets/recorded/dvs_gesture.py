"""DVS128 Gesture: 11 gestures of 29 people before an event camera of 128 x 128 pixels.

    <folder>/trials_to_train.txt, trials_to_test.txt       names of the recordings of each part
    <folder>/user01_led.aedat, user01_led_labels.csv, ...  a recording, and class, begin and end of
                                                           each gesture in it, in microseconds

Source: Amir et al., A low power, fully event-based gesture recognition system, CVPR 2017 (CC BY
4.0; to be downloaded by hand).
"""

from __future__ import annotations

import csv
import os
from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np

from flax_snn import checks
from flax_snn.datasets.events.recording import Events
from flax_snn.datasets.formats.aedat3 import read_aedat3
from flax_snn.datasets.recorded.download import missing
from flax_snn.datasets.recorded.sources import Sample, existing, row_of

CLASSES = (
    *("hand clapping", "right hand wave", "left hand wave", "right arm clockwise"),
    *("right arm counter clockwise", "left arm clockwise", "left arm counter clockwise"),
    *("arm roll", "air drums", "air guitar", "other gestures"),
)

_HEADER = ["class", "startTime_usec", "endTime_usec"]


class Segment(NamedTuple):
    """A gesture of a recording.

    Attributes:
      label: class, from 0.
      start: first microsecond of it.
      stop: first microsecond that no longer belongs to it.
    """

    label: int
    start: int
    stop: int


class DVSGesture:
    """Gestures cut out of the recordings, as a source of `Events` of shape (128, 128, 2).

    Times are in microseconds from the start of the gesture. The labels' files are read and checked
    at once, a recording when a gesture of it is asked for; the latest one stays in memory, so that
    reading in order reads each once.

    Args:
      folder: where recordings, labels and lists of trials lie.
      part: "train", the default, or "test".
      recordings: names of the recordings instead of a part, such as ``["user01_led.aedat"]``.

    Attributes:
      labels: class of each gesture, (S,) int32.
      classes: names of the gestures.
      files: path of the recording of each gesture.
      segments: label, start and stop of each gesture.

    Raises:
      FileNotFoundError: a file is not there.
      ValueError: a list or labels that are not of this layout.

    Example: see docs/data.md.
    """

    classes = CLASSES

    def __init__(
        self,
        folder: str | os.PathLike[str],
        part: Literal["train", "test"] = "train",
        *,
        recordings: Sequence[str] | None = None,
    ):
        checks.choice("part", part, ("train", "test"))
        folder = os.path.expanduser(os.fspath(folder))
        names = _trials(folder, f"trials_to_{part}.txt") if recordings is None else recordings
        files, segments = [], []
        for name in names:
            stem = name.removesuffix(".aedat")
            path = existing(os.path.join(folder, f"{stem}.aedat"), what="a recording")
            found = read_gesture_labels(os.path.join(folder, f"{stem}_labels.csv"))
            files += [path] * len(found)
            segments += found
        self.files, self.segments = tuple(files), tuple(segments)
        self.labels = np.array([segment.label for segment in segments], np.int32)
        self._latest: tuple[str, Events] | None = None

    def __len__(self) -> int:
        """Number of gestures."""
        return len(self.files)

    def __getitem__(self, row: int) -> Sample:
        row = row_of(row, len(self))
        path, segment = self.files[row], self.segments[row]
        latest = self._latest  # Another thread may put another one there.
        if latest is None or latest[0] != path:
            self._latest = latest = path, read_aedat3(path)
        whole = latest[1]
        first, last = np.searchsorted(whole.times, (segment.start, segment.stop))
        if first == last:
            raise ValueError(
                checks.error_text(
                    f"{path}, gesture {segment}", "events", "none", "correct the labels"
                )
            )
        cut = whole.take(slice(first, last))
        events = Events(
            (cut.times - segment.start).astype(np.int32), cut.units, cut.shape, cut.tick
        )
        return Sample(events, segment.label, {"recording": os.path.basename(path)})

    def __getstate__(self) -> dict[str, object]:
        return self.__dict__ | {"_latest": None}


def read_gesture_labels(path: str | os.PathLike[str]) -> list[Segment]:
    """Reads the labels of a recording.

    Args:
      path: CSV file with the columns class (1 to 11), startTime_usec, endTime_usec.

    Returns:
      The gestures in the order of the file, with classes from 0.

    Raises:
      FileNotFoundError: no such file.
      ValueError: another header, a class that is none, an end that is not after its start, or no
        gesture; the text names the line.
    """
    path = existing(path, what="labels of a recording")
    with open(path, newline="", encoding="utf-8", errors="replace") as file:
        rows = list(csv.reader(file))
    if not rows or [name.strip() for name in rows[0]] != _HEADER or len(rows) < 2:
        raise ValueError(
            checks.error_text(
                f"{path}, line 1",
                f"{','.join(_HEADER)} and lines of gestures below",
                repr(",".join(rows[0])) if rows else "an empty file",
                "download it again",
            )
        )
    return [_segment(f"{path}, line {k}", row) for k, row in enumerate(rows[1:], 2) if row]


def _segment(where: str, row: list[str]) -> Segment:
    try:
        label, start, stop = map(int, row)
    except ValueError:
        raise ValueError(
            checks.error_text(where, "three whole numbers", repr(",".join(row)), "correct it")
        ) from None
    if not 1 <= label <= len(CLASSES):
        raise ValueError(
            checks.error_text(where, f"a class from 1 to {len(CLASSES)}", label, "correct it")
        )
    if not 0 <= start < stop:
        raise ValueError(
            checks.error_text(where, "0 <= start < end", f"{start} and {stop}", "correct it")
        )
    return Segment(label - 1, start, stop)


def _trials(folder: str, name: str) -> list[str]:
    path = os.path.join(folder, name)
    if not os.path.isfile(path):
        raise FileNotFoundError(missing(name, folder))
    with open(path, encoding="utf-8", errors="replace") as file:
        found = [line.strip() for line in file if line.strip()]
    wrong = [line for line in found if not line.endswith(".aedat")]
    if wrong or not found:
        raise ValueError(
            checks.error_text(
                path,
                "one recording a line, such as user01_led.aedat",
                repr(wrong[0]) if wrong else "no line",
                "download it again",
            )
        )
    return found
