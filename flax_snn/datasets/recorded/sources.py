"""What all readers of recorded data give: numbered samples, each of them data and a class.

A source is a random-access list. `grain`, `event_loader` and `prepare` read any of them, so a new
data set is one class with `__len__`, `__getitem__`, `labels` and `classes`.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np

from flax_snn import checks
from flax_snn.regular_file import read_regular
from flax_snn.typing import Int


class Sample(NamedTuple):
    """One sample of a source.

    Attributes:
      data: `Events`, a waveform (samples,) or an image (height, width).
      label: class, from 0.
      info: what else the data set says of it, such as speaker or file.
    """

    data: Any
    label: int
    info: Mapping[str, Any] = {}


@runtime_checkable
class Source(Protocol):
    """Numbered samples that are read on request.

    Attributes:
      labels: class of each sample, (S,) int32; known without reading the data.
      classes: names of the classes.
    """

    labels: Int[np.ndarray, "S"]
    classes: tuple[str, ...]

    def __len__(self) -> int:
        """Number of samples S."""
        ...

    def __getitem__(self, row: int) -> Sample:
        """Reads one sample.

        Raises:
          IndexError: no such sample.
          ValueError: what stands in the file is damaged; the text names file and position.
        """
        ...


class Subset:
    """Some samples of a source, such as those of one speaker or a part for validation.

    Args:
      source: the samples.
      rows: which of them, in which order.

    Raises:
      IndexError: a row that the source does not have.

    Example:
      >>> import numpy as np
      >>> from flax_snn.datasets import InMemory, Subset
      >>> sounds = InMemory([np.zeros(4, np.int16)] * 3, labels=[0, 1, 0])
      >>> Subset(sounds, np.flatnonzero(sounds.labels == 0))[1].label
      0
    """

    def __init__(self, source: Source, rows: Sequence[int] | Int[np.ndarray, "n"]):
        self.source = source
        self.rows = np.asarray(rows, np.int64)
        for row in self.rows:
            row_of(int(row), len(source))
        self.labels = source.labels[self.rows]
        self.classes = source.classes

    def __len__(self) -> int:
        """Number of samples."""
        return len(self.rows)

    def __getitem__(self, row: int) -> Sample:
        return self.source[int(self.rows[row_of(row, len(self))])]


class InMemory:
    """Samples that lie in memory, as a source.

    Args:
      data: `Events`, waveforms or images, one for each sample.
      labels: class of each.
      classes: names of the classes, by default their numbers.
      info: what else is known of each sample.

    Raises:
      ValueError: another number of labels than of samples, or a label that is no class.

    Example: see `event_loader`.
    """

    def __init__(
        self,
        data: Sequence[Any],
        labels: Sequence[int] | Int[np.ndarray, "S"],
        classes: Sequence[str] | None = None,
        info: Sequence[Mapping[str, Any]] | None = None,
    ):
        self.data = list(data)
        self.labels = np.asarray(labels, np.int32)
        checks.shape("labels", self.labels, (len(self.data),), remedy="give one for each sample")
        names = range(int(self.labels.max(initial=-1)) + 1) if classes is None else classes
        self.classes = tuple(str(name) for name in names)
        check_labels("labels", self.labels, len(self.classes))
        self._info = info

    def __len__(self) -> int:
        """Number of samples."""
        return len(self.data)

    def __getitem__(self, row: int) -> Sample:
        row = row_of(row, len(self))
        return Sample(self.data[row], int(self.labels[row]), self._info[row] if self._info else {})


class Mapped:
    """A source whose data have gone through a function, such as an encoder from sound to spikes.

    Args:
      source: the samples.
      function: what is made of the data of one sample.

    Example:
      >>> import numpy as np
      >>> from flax_snn.datasets import InMemory, Mapped
      >>> sounds = InMemory([np.arange(4, dtype=np.int16)], labels=[0])
      >>> Mapped(sounds, np.sum)[0].data.item()
      6
    """

    def __init__(self, source: Source, function: Callable[[Any], Any]):
        self.source = source
        self.function = function
        self.labels = source.labels
        self.classes = source.classes

    def __len__(self) -> int:
        """Number of samples."""
        return len(self.source)

    def __getitem__(self, row: int) -> Sample:
        sample = self.source[row]
        return sample._replace(data=self.function(sample.data))


def row_of(row: int, size: int) -> int:
    """Returns a row as a number from 0; negative ones count from the end, as in a list.

    Raises:
      IndexError: no such row; iteration over a source ends there.
      TypeError: no integer.
    """
    if not checks.is_whole_number(row):
        raise TypeError(checks.error_text("row", "an integer", checks.shown(row), "read one"))
    if not -size <= row < size:
        raise IndexError(checks.error_text("row", f"one in [{-size}, {size})", row))
    return int(row) % size


def check_labels(name: str, labels: Int[np.ndarray, "S"], classes: int) -> None:
    """Raises ValueError if a label is not one of so many classes; the text says which sample."""
    outside = np.flatnonzero((labels < 0) | (labels >= classes))
    if outside.size:
        k = int(outside[0])
        raise ValueError(
            checks.error_text(
                f"{name}, sample {k}", f"a label in [0, {classes})", labels[k], "correct the file"
            )
        )


@contextlib.contextmanager
def named(*where: str | os.PathLike[str]) -> Iterator[None]:
    """Puts a file, and perhaps a position, in front of the text of a ValueError or TypeError."""
    try:
        yield
    except (ValueError, TypeError) as error:
        place = ", ".join(os.fspath(part) for part in where)
        raise ValueError(f"{place}, {error}") from error


def content_of(path: str | os.PathLike[str], *, what: str) -> tuple[str, bytes]:
    """Returns the path of a file as text, and its bytes.

    Raises:
      FileNotFoundError: no such file; the text says what was looked for.
      ValueError: a folder, a pipe or a device.
    """
    text = os.path.expanduser(os.fspath(path))
    try:
        return text, read_regular(text)
    except FileNotFoundError:
        existing(text, what=what)
        raise
    except ValueError as error:  # a folder, or a pipe without an end
        raise ValueError(f"{text}: {error}") from None


def existing(path: str | os.PathLike[str], *, what: str, folder: bool = False) -> str:
    """Returns the path of a file or folder that is there.

    Raises:
      FileNotFoundError: it is not; the text says what was looked for.
    """
    text = os.path.expanduser(os.fspath(path))
    if not (os.path.isdir if folder else os.path.isfile)(text):
        kind = "folder" if folder else "file"
        raise FileNotFoundError(
            checks.error_text(text, f"a {kind} of {what}", f"no such {kind}", "check the path")
        )
    return text


__all__ = [
    "InMemory",
    "Mapped",
    "Sample",
    "Source",
    "Subset",
    "check_labels",
    "content_of",
    "existing",
    "named",
    "row_of",
]
