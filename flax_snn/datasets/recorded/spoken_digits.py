"""The Free Spoken Digit Dataset (FSDD): WAV files ``{digit}_{speaker}_{index}.wav`` at 8 kHz.

6 speakers say 10 digits 50 times each. The official test part is index 0 to 4 of each digit and
speaker, the rest is for training.

Source: Jackson et al., Free Spoken Digit Dataset, 2018, doi 10.5281/zenodo.1342401 (CC BY-SA 4.0).
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from typing import Literal

import numpy as np

from flax_snn import checks
from flax_snn.datasets.formats.wav import read_wav
from flax_snn.datasets.recorded.download import missing
from flax_snn.datasets.recorded.sources import Sample, row_of

RATE = 8000
TEST_INDICES = 5

_NAME = re.compile(r"(\d+)_([A-Za-z0-9-]+)_(\d+)\.wav")


class SpokenDigits:
    """Recordings of spoken digits, as a source of waveforms (samples,) int16 at 8 kHz.

    Files are in the order of digit, speaker and index, whatever the order on disk. Samples are read
    when they are asked for.

    Args:
      folder: where the files lie; of a clone of the data set, the folder ``recordings``.
      part: "train" or "test", the official split, or "all", the default.
      speakers: names of the speakers wanted, all by default.
      without: names of speakers left out, none by default: to leave one out of training.
      rate: sampling rate in Hz that all files must have, 8000 by default.

    Attributes:
      labels: digit of each recording, (S,) int32.
      classes: "0" to "9".
      speakers: speaker of each recording.
      indices: number of each recording among those of its digit and speaker, (S,) int32.
      files: path of each recording.

    Raises:
      FileNotFoundError: no such folder.
      ValueError: a WAV file of another name, a digit above 9, a speaker that is not there, or no
        recording at all.

    Example: see docs/data.md.
    """

    classes = tuple(map(str, range(10)))

    def __init__(
        self,
        folder: str | os.PathLike[str],
        part: Literal["train", "test", "all"] = "all",
        *,
        speakers: Sequence[str] | None = None,
        without: Sequence[str] = (),
        rate: int = RATE,
    ):
        checks.choice("part", part, ("train", "test", "all"))
        self.rate = checks.whole_number("rate", rate)
        folder = os.path.expanduser(os.fspath(folder))
        if not os.path.isdir(folder):
            raise FileNotFoundError(missing("recordings", folder))
        found = sorted(
            _parsed(folder, name) for name in os.listdir(folder) if name.lower().endswith(".wav")
        )
        if not found:
            raise ValueError(f"{missing('recordings', folder)}")
        known = sorted({speaker for _, speaker, _, _ in found})
        for speaker in (*(speakers or ()), *without):
            checks.choice("speakers", speaker, known)
        wanted = [
            (digit, speaker, index, name)
            for digit, speaker, index, name in found
            if part == "all" or (index < TEST_INDICES) == (part == "test")
            if (speakers is None or speaker in speakers) and speaker not in without
        ]
        if not wanted:
            raise ValueError(
                checks.error_text(
                    folder,
                    f"recordings of part {part!r}, speakers {speakers or 'all'} without {without}",
                    f"none among {len(found)} files",
                    "ask for speakers that are left",
                )
            )
        self.labels = np.array([digit for digit, _, _, _ in wanted], np.int32)
        self.speakers = tuple(speaker for _, speaker, _, _ in wanted)
        self.indices = np.array([index for _, _, index, _ in wanted], np.int32)
        self.files = tuple(os.path.join(folder, name) for _, _, _, name in wanted)

    def __len__(self) -> int:
        """Number of recordings."""
        return len(self.files)

    def __getitem__(self, row: int) -> Sample:
        row = row_of(row, len(self))
        sound = read_wav(self.files[row], rate=self.rate, channels=1)
        if sound.samples.dtype != np.int16:
            raise ValueError(
                checks.error_text(
                    self.files[row], "samples of 16 bits", sound.samples.dtype, "convert it"
                )
            )
        info = {"speaker": self.speakers[row], "index": int(self.indices[row])}
        return Sample(sound.samples, int(self.labels[row]), info)


def _parsed(folder: str, name: str) -> tuple[int, str, int, str]:
    """Returns digit, speaker and index of a file."""
    match = _NAME.fullmatch(name)
    if not match or int(match[1]) > 9:
        raise ValueError(
            checks.error_text(
                os.path.join(folder, name),
                "a name such as 7_jackson_32.wav: a digit, a speaker and an index",
                name,
                "rename it, or take it out of the folder",
            )
        )
    return int(match[1]), match[2], int(match[3]), name
