"""N-MNIST: digits seen by an event camera that moves in three saccades, 60000 and 10000 recordings.

    <folder>/Train/<digit>/<index>.bin, <folder>/Test/<digit>/<index>.bin

Source: Orchard et al., Converting static image datasets to spiking neuromorphic datasets using
saccades, Frontiers in Neuroscience 9, 2015 (CC BY-SA 4.0).
"""

from __future__ import annotations

import os
from typing import Literal

import numpy as np

from flax_snn import checks
from flax_snn.datasets.formats.nmnist import read_nmnist
from flax_snn.datasets.recorded.download import present
from flax_snn.datasets.recorded.sources import Sample, row_of

COUNTS = {"train": 60000, "test": 10000}


class NMNIST:
    """Recordings of N-MNIST, as a source of `Events` of shape (34, 34, 2) in microseconds.

    Recordings are in the order of digit and index, whatever the order on disk.

    Args:
      folder: where ``Train`` and ``Test`` lie.
      part: "train", the default, or "test".
      complete: refuse a part that does not have its 60000 or 10000 recordings; True by default.
      download: fetch and unpack the part if it is not there; False, the default, says where it
        can be had.

    Attributes:
      labels: digit of each recording, (S,) int32.
      classes: "0" to "9".
      files: path of each recording.

    Raises:
      FileNotFoundError: the part is not there.
      ValueError: a folder that is no digit, or not all recordings.

    Example: see docs/data.md.
    """

    classes = tuple(map(str, range(10)))

    def __init__(
        self,
        folder: str | os.PathLike[str],
        part: Literal["train", "test"] = "train",
        *,
        complete: bool = True,
        download: bool = False,
    ):
        checks.choice("part", part, ("train", "test"))
        root = present(folder, part.capitalize(), download=download)
        files, labels = [], []
        for digit in sorted(os.listdir(root)):
            inside = os.path.join(root, digit)
            if not os.path.isdir(inside):
                continue
            if digit not in self.classes:
                raise ValueError(
                    checks.error_text(
                        inside, "folders named by their digit, 0 to 9", digit, "move it elsewhere"
                    )
                )
            names = sorted(name for name in os.listdir(inside) if name.endswith(".bin"))
            files += [os.path.join(inside, name) for name in names]
            labels += [int(digit)] * len(names)
        if not files or (complete and len(files) != COUNTS[part]):
            raise ValueError(
                checks.error_text(
                    root,
                    f"{COUNTS[part]} recordings <digit>/<index>.bin",
                    len(files),
                    "unpack the archive again, or pass complete=False" if files else "unpack it",
                )
            )
        self.files = tuple(files)
        self.labels = np.array(labels, np.int32)

    def __len__(self) -> int:
        """Number of recordings."""
        return len(self.files)

    def __getitem__(self, row: int) -> Sample:
        row = row_of(row, len(self))
        name = os.path.splitext(os.path.basename(self.files[row]))[0]
        return Sample(read_nmnist(self.files[row]), int(self.labels[row]), {"index": name})
