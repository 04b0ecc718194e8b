"""The task of the Spiking Heidelberg Digits (SHD)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from flax_snn.datasets.events.raster import raster
from flax_snn.datasets.events.transforms import pool
from flax_snn.datasets.recorded.heidelberg import shd
from train.data.parts import Dataset, Part
from train.errors import ConfigError
from train.settings.checks import number, share, whole
from train.tasks.raster import Shape
from train.tasks.recorded.prepared import Arrays
from train.tasks.recorded.task import SequenceTask
from train.tasks.shd.settings import RECIPES, SHDConfig, SHDData, SHDRaster

CHANNELS, CLASSES = 700, 20


class SHD(SequenceTask):
    """Train a spiking network on the Spiking Heidelberg Digits: 20 classes, spikes of a cochlea.

        python -m train.shd --data-dir folder
        python -m train.shd --data-dir folder --recipe adlif
        python -m train.shd --data-dir folder --recipe delays

    The folder has shd_train.h5 and shd_test.h5. A recipe is a network with its training as it was
    published, in the terms of the settings below: `lif`, the default, `adlif` or `delays`. The
    values of all flags below are those of the recipe. Validation is cut from the training part.
    """

    settings = SHDConfig
    source = (
        "Download shd_train.h5.zip and shd_test.h5.zip from https://zenkelab.org/datasets, and"
        " unpack them into one folder"
    )

    def __init__(self, recipe: str = "lif") -> None:
        if recipe not in RECIPES:
            raise ConfigError(f"--recipe: expected {', '.join(RECIPES)}, got {recipe!r}")
        # An instance has a recipe; a stored run is read by the class, whose fields are the same.
        self.settings = RECIPES[recipe]  # type: ignore[misc]

    def check(self, settings: Any) -> None:
        """Refuses settings that cannot work."""
        data: SHDData = settings.data
        whole("--steps", data.steps, 1)
        whole("--pool", data.pool, 1)
        whole("--data-seed", data.data_seed, 0)
        number("--dt", data.dt, "> 0", "seconds")
        if CHANNELS % data.pool:
            raise ConfigError(
                f"--pool: expected a divisor of the {CHANNELS} channels, such as 5 or 10, got"
                f" {data.pool}"
            )
        share("--validation", data.validation)
        if not data.validation:
            raise ConfigError("--validation: expected a share above 0, such as 0.1, got 0")
        super().check(settings)

    def shape(self, settings: Any) -> Shape:
        """Returns the sizes; 700 channels have about 8000 spikes in a sample of a second."""
        data: SHDData = settings.data
        rate = 12.0 * data.pool
        return Shape(data.steps, CHANNELS // data.pool, CLASSES, data.dt, input_rate=rate)

    def files(self, folder: Path) -> Sequence[Path]:
        """Returns the two files."""
        found = [folder / f"shd_{part}.h5" for part in ("train", "test")]
        for path in found:
            if not path.is_file():
                raise ConfigError(f"--data-dir {folder}: there is no {path.name}. {self.source}")
        return found

    def encoding(self, settings: Any) -> Any:
        """Returns what decides the raster of a sample."""
        data = settings.data
        return SHDRaster(dt=data.dt, steps=data.steps, pool=data.pool)

    def prepare(self, folder: Path, settings: Any) -> Arrays:
        """Bins and pools the spikes of both files."""
        found: dict[str, np.ndarray] = {}
        for part in ("train", "test"):
            try:
                rows = _rasters(folder, part, settings.data)
            except (ValueError, OSError, ImportError) as error:
                raise ConfigError(f"--data-dir: {error}") from error
            found |= {f"{part}_{name}": array for name, array in rows.items()}
        return found

    def parts(self, arrays: Arrays, settings: Any) -> Dataset:
        """Cuts the validation part from the training part, at random."""
        data: SHDData = settings.data
        labels = arrays["train_labels"]
        held_out = np.zeros(len(labels), bool)
        order = np.random.default_rng(data.data_seed).permutation(len(labels))
        held_out[order[: round(data.validation * len(labels))]] = True
        if not held_out.any() or held_out.all():
            raise ConfigError(
                f"--validation {data.validation:g}: of {len(labels)} training samples"
                f" {held_out.sum()} would be for validation; change the share"
            )
        train, test = (
            Part(*(arrays[f"{part}_{name}"] for name in ("inputs", "labels", "lengths")))
            for part in ("train", "test")
        )
        return Dataset(train.take(~held_out), train.take(held_out), test)

    def remarks(self, settings: Any) -> Iterator[str]:
        """Yields what is left out, and what is unusual."""
        data: SHDData = settings.data
        yield f"spikes at and behind {data.steps * data.dt:g} s are left out (--steps)"
        yield from super().remarks(settings)


def _rasters(folder: Path, part: Any, data: SHDData) -> Arrays:
    """Returns rasters (S, T, F) of a file, their labels, and the steps up to the last spike."""
    source = shd(folder, part)
    inputs = np.zeros((len(source), data.steps, CHANNELS // data.pool), np.uint8)
    lengths = np.zeros(len(source), np.int32)
    for row in range(len(source)):
        events = pool(source[row].data, (data.pool,))
        counts = raster(events, dt=data.dt, steps=data.steps, outside="drop")
        inputs[row] = counts
        active = np.flatnonzero(counts.any(axis=1))
        lengths[row] = active[-1] + 1 if len(active) else 1  # the readout needs a step
    return {"inputs": inputs, "labels": source.labels.astype(np.int32), "lengths": lengths}
