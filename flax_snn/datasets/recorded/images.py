"""MNIST and Fashion-MNIST: images of 28 x 28 pixels in 10 classes, 60000 to train, 10000 to test.

Sources: LeCun et al., Gradient-based learning applied to document recognition, Proceedings of the
IEEE 86(11), 1998; Xiao et al., Fashion-MNIST, arXiv 1708.07747, 2017.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Literal

import numpy as np

from flax_snn import checks
from flax_snn.datasets.formats.idx import read_idx
from flax_snn.datasets.recorded.download import missing, present
from flax_snn.datasets.recorded.sources import Sample, check_labels, row_of
from flax_snn.typing import Num

FASHION = (
    *("t-shirt", "trouser", "pullover", "dress", "coat"),
    *("sandal", "shirt", "sneaker", "bag", "ankle boot"),
)


class Images:
    """Images and their classes from a pair of IDX files, as a source; all of it lies in memory.

    Args:
      images: IDX file of the images, (S, height, width) uint8.
      labels: IDX file of the labels, (S,) uint8.
      classes: names of the classes, the ten digits by default.

    Attributes:
      images: (S, height, width) uint8, 0 to 255.
      labels: (S,) int32.
      classes: names of the classes.

    Raises:
      FileNotFoundError: no such file.
      ValueError: a damaged file, arrays of other axes or types, another number of labels than of
        images, or a label that is no class.
    """

    images: Num[np.ndarray, "S H W"]

    def __init__(
        self,
        images: str | os.PathLike[str],
        labels: str | os.PathLike[str],
        classes: Sequence[str] = tuple(map(str, range(10))),
    ):
        self.images = _bytes(images, axes=3, what="images (S, height, width)")
        found = _bytes(labels, axes=1, what="labels (S,)")
        if len(found) != len(self.images) or not len(found):
            raise ValueError(
                checks.error_text(
                    os.fspath(labels),
                    f"{len(self.images)} labels, one for each image of {os.fspath(images)}",
                    len(found),
                    "give the two files of one part",
                )
            )
        self.labels = found.astype(np.int32)
        self.classes = tuple(classes)
        check_labels(os.fspath(labels), self.labels, len(self.classes))

    def __len__(self) -> int:
        """Number of images."""
        return len(self.labels)

    def __getitem__(self, row: int) -> Sample:
        row = row_of(row, len(self))
        return Sample(self.images[row], int(self.labels[row]))


def fashion_mnist(
    folder: str | os.PathLike[str],
    part: Literal["train", "test"] = "train",
    *,
    download: bool = False,
) -> Images:
    """Reads Fashion-MNIST: pictures of clothes.

    Args:
      folder: where the four files lie, ``train-images-idx3-ubyte`` and so on, with ``.gz`` or not.
      part: "train" or "test".
      download: fetch the files if they are not there; False, the default, says where to have them.

    Raises:
      FileNotFoundError: a file is not there.
      ValueError: a damaged file; see `Images`.
    """
    return Images(*_pair(folder, part, download), classes=FASHION)


def mnist(folder: str | os.PathLike[str], part: Literal["train", "test"] = "train") -> Images:
    """Reads MNIST: handwritten digits, in files of the same names as Fashion-MNIST's.

    Args:
      folder: where the four files lie.
      part: "train" or "test".

    Raises:
      FileNotFoundError: a file is not there.
      ValueError: a damaged file; see `Images`.
    """
    paths = _pair(folder, part, download=None)
    return Images(*paths)


def _pair(folder: str | os.PathLike[str], part: str, download: bool | None) -> tuple[str, str]:
    """Returns the files of images and of labels."""
    checks.choice("part", part, ("train", "test"))
    stem = {"train": "train", "test": "t10k"}[part]
    found = []
    for name in (f"{stem}-images-idx3-ubyte", f"{stem}-labels-idx1-ubyte"):
        plain = os.path.join(os.path.expanduser(os.fspath(folder)), name)
        packed = f"{plain}.gz"
        here = next((path for path in (plain, packed) if os.path.isfile(path)), None)
        if here is None and download is None:
            raise FileNotFoundError(
                checks.error_text(
                    plain,
                    "the IDX file, with .gz or without",
                    "no such file",
                    "get the four files of MNIST and put them there",
                )
            )
        found.append(here or present(folder, f"{name}.gz", download=bool(download)))
    return found[0], found[1]


def _bytes(path: str | os.PathLike[str], *, axes: int, what: str) -> Num[np.ndarray, "..."]:
    array = read_idx(path)
    if array.ndim != axes or array.dtype != np.uint8:
        raise ValueError(
            checks.error_text(
                os.fspath(path),
                f"{what} of type uint8 (magic 0x{0x800 + axes:08X})",
                f"shape {array.shape} of type {array.dtype}",
                "give the right file",
            )
        )
    return array


__all__ = ["FASHION", "Images", "fashion_mnist", "missing", "mnist"]
