"""The Heidelberg data sets: spoken digits (SHD) and commands (SSC) as spikes of a cochlea.

shd_train.h5 8156, shd_test.h5 2264 samples          20 classes, digits in English and German
ssc_train.h5 75466, ssc_valid.h5 9981, ssc_test.h5 20382        35 classes
"""

from __future__ import annotations

import os
from typing import Literal

import numpy as np

from flax_snn import checks
from flax_snn.datasets.formats.spike_hdf5 import SpikeFile
from flax_snn.datasets.recorded.download import present


def shd(
    folder: str | os.PathLike[str],
    part: Literal["train", "test"] = "train",
    *,
    download: bool = False,
) -> SpikeFile:
    """Opens the Spiking Heidelberg Digits.

    There is no validation part: cut one from the training part, by speaker or by `Subset`.

    Args:
      folder: where shd_train.h5 and shd_test.h5 lie.
      part: "train" or "test".
      download: fetch the file if it is not there; False, the default, says where it can be had.

    Returns:
      A source of `Events` of shape (700,) with times in seconds.

    Raises:
      FileNotFoundError: the file is not there.
      ValueError: a damaged file; see `SpikeFile`.
    """
    checks.choice("part", part, ("train", "test"))
    return SpikeFile(present(folder, f"shd_{part}.h5", download=download), classes=20)


def ssc(
    folder: str | os.PathLike[str],
    part: Literal["train", "validation", "test"] = "train",
    *,
    download: bool = False,
) -> SpikeFile:
    """Opens the Spiking Speech Commands.

    Args:
      folder: where ssc_train.h5, ssc_valid.h5 and ssc_test.h5 lie.
      part: "train", "validation" or "test".
      download: fetch the file if it is not there; False, the default, says where it can be had.

    Returns:
      A source of `Events` of shape (700,) with times in seconds.

    Raises:
      FileNotFoundError: the file is not there.
      ValueError: a damaged file; see `SpikeFile`.
    """
    checks.choice("part", part, ("train", "validation", "test"))
    short = {"validation": "valid"}.get(part, part)
    return SpikeFile(present(folder, f"ssc_{short}.h5", download=download), classes=35)


def speakers_apart(source: SpikeFile, speakers: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Returns the rows of all other speakers and those of the given ones, for two `Subset`.

    Raises:
      ValueError: the file does not name its speakers, or not one of these.
    """
    if source.speakers is None:
        raise ValueError(
            checks.error_text(source.path, "extra/speaker", "none", "split it in another way")
        )
    known = np.unique(source.speakers)
    for speaker in speakers:
        checks.choice("speakers", speaker, known.tolist())
    here = np.isin(source.speakers, speakers)
    return np.flatnonzero(~here), np.flatnonzero(here)
