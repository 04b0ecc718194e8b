"""The task of spoken digits: the Free Spoken Digit Dataset as level crossings of mel channels."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from flax_snn.datasets.recorded.spoken_digits import TEST_INDICES, SpokenDigits
from flax_snn.encode.mel_crossings import mel_crossings
from train.data.parts import Dataset, Part
from train.errors import ConfigError
from train.settings.checks import number, whole
from train.tasks.raster import Shape
from train.tasks.recorded.prepared import Arrays
from train.tasks.recorded.task import SequenceTask
from train.tasks.spoken_digits.settings import DigitsData, DigitsEncoding, SpokenDigitsConfig


class SpokenDigitsTask(SequenceTask):
    """Train a spiking network on spoken digits: ten classes, 3000 recordings of 6 speakers.

        python -m train.spoken_digits --data-dir recordings

    The folder is `recordings` of the Free Spoken Digit Dataset. Index 0 to 4 of each digit and
    speaker are the test part; index 5 to 9 of the training part are for validation. A speaker who
    was never heard in training is the test part of

        python -m train.spoken_digits --data-dir recordings --leave-out george

    Recordings, recipes and results: docs/real_data.md.
    """

    settings: ClassVar[type[Any]] = SpokenDigitsConfig
    groups = 2
    source = (
        "Clone https://github.com/Jakobovski/free-spoken-digit-dataset, or download it from"
        " https://doi.org/10.5281/zenodo.1342401, and give its folder recordings"
    )

    def check(self, settings: Any) -> None:
        """Refuses settings that cannot work."""
        data: DigitsData = settings.data
        for name in ("channels", "steps"):
            whole(f"--{name}", getattr(data, name), 1)
        for name in ("dt", "frame"):
            number(f"--{name}", getattr(data, name), "> 0", "seconds")
        for name in ("level", "floor"):
            number(f"--{name}", getattr(data, name), "> 0")
        if not 1 <= data.floor / data.level <= 255:
            raise ConfigError(
                "--floor, --level: expected from 1 to 255 levels from silence to the loudest, got"
                f" {data.floor / data.level:g}; change one of them"
            )
        whole("--validation", data.validation, 1)
        super().check(settings)

    def shape(self, settings: Any) -> Shape:
        """Returns the sizes; an input has about 20 crossings a second."""
        data: DigitsData = settings.data
        return Shape(data.steps, 2 * data.channels, 10, data.dt, input_rate=20.0)

    def files(self, folder: Path) -> Sequence[Path]:
        """Returns the recordings."""
        return [Path(name) for name in _digits(folder).files]

    def encoding(self, settings: Any) -> Any:
        """Returns what decides the spikes of a recording."""
        data = settings.data
        fields = dataclasses.fields(DigitsEncoding)
        return DigitsEncoding(**{field.name: getattr(data, field.name) for field in fields})

    def prepare(self, folder: Path, settings: Any) -> Arrays:
        """Encodes all recordings."""
        digits, data = _digits(folder), settings.data
        sounds = []
        for row in range(len(digits)):
            try:
                sounds.append(digits[row].data)
            except (ValueError, OSError) as error:
                raise ConfigError(f"--data-dir: {error}") from error
        samples = np.array([len(sound) for sound in sounds], np.int32)
        inputs = np.zeros((len(digits), data.steps, 2 * data.channels), np.uint8)
        for first in range(0, len(sounds), _TOGETHER):
            rows = slice(first, first + _TOGETHER)
            spikes = _crossings(sounds[rows], int(samples.max()), digits.rate, data)[
                :, : data.steps
            ]
            inputs[rows, : spikes.shape[1]] = spikes
        lengths = samples // round(data.dt * digits.rate) + 1
        speakers, index = np.array(digits.speakers), digits.indices
        return {
            "inputs": inputs,
            "lengths": lengths,
            "labels": digits.labels,
            "speakers": speakers,
            "index": index,
        }

    def parts(self, arrays: Arrays, settings: Any) -> Dataset:
        """Splits the recordings, officially or by speaker."""
        data: DigitsData = settings.data
        index, speakers = arrays["index"], arrays["speakers"]
        test, validation = index < TEST_INDICES, index < TEST_INDICES + data.validation
        if data.leave_out:
            known = sorted(set(speakers.tolist()))
            if data.leave_out not in known:
                raise ConfigError(
                    f"--leave-out: expected one of the speakers {', '.join(known)}, got"
                    f" {data.leave_out!r}"
                )
            # The official test part of the others is not used: recipes are compared on it.
            other = speakers == data.leave_out
            chosen = [~validation & ~other, validation & ~test & ~other, other]
        else:
            chosen = [~validation, validation & ~test, test]
        for name, rows in zip(("training", "validation", "test"), chosen, strict=True):
            if not rows.any():
                raise ConfigError(
                    f"--data-dir: no recordings are left for {name}; the folder has the index"
                    f" {index.min()} to {index.max()}, --validation is {data.validation}"
                )
        return Dataset(*(_part(arrays, rows, data.steps) for rows in chosen))

    def remarks(self, settings: Any) -> Iterator[str]:
        """Yields how the data are split, and what is unusual."""
        data: DigitsData = settings.data
        test = f"all recordings of {data.leave_out}" if data.leave_out else "index 0 to 4"
        last = TEST_INDICES + data.validation - 1
        yield f"test: {test}; validation: index {TEST_INDICES} to {last}"
        yield f"recordings are cut behind {data.steps * data.dt:g} s (--steps)"
        yield from super().remarks(settings)


_TOGETHER = 100
"""Recordings that are encoded at once."""


def _crossings(
    sounds: Sequence[np.ndarray], longest: int, rate: int, data: DigitsData
) -> np.ndarray:
    """Returns the spikes of some recordings, (S, T, 2 channels), all padded to the same length."""
    padded = np.zeros((_TOGETHER, longest), np.float32)
    lengths = np.ones(_TOGETHER, np.int32)
    for row, sound in enumerate(sounds):
        padded[row, : len(sound)] = sound / 2**15
        lengths[row] = len(sound)
    try:
        spikes = mel_crossings(
            padded,
            rate=rate,
            dt=data.dt,
            frame=data.frame,
            channels=data.channels,
            level=data.level,
            floor=data.floor,
            reference=data.reference,
            seq_lengths=lengths,
        )
    except (TypeError, ValueError) as error:
        raise ConfigError(f"encoding: {error}") from error
    return np.asarray(spikes)[: len(sounds)].astype(np.uint8)


def _digits(folder: Path) -> SpokenDigits:
    try:
        return SpokenDigits(folder)
    except (ValueError, OSError) as error:
        raise ConfigError(f"--data-dir: {error}. {SpokenDigitsTask.source}") from error


def _part(arrays: Arrays, rows: np.ndarray, steps: int) -> Part:
    lengths = np.minimum(arrays["lengths"][rows], steps).astype(np.int32)
    return Part(arrays["inputs"][rows], arrays["labels"][rows].astype(np.int32), lengths)
