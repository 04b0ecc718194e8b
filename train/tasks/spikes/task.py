"""The task of spikes from a file."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import jax.numpy as jnp

from train.data.digest import digest_of
from train.data.parts import Dataset
from train.errors import ConfigError
from train.model.encoders import Encoder, Rasters, SpikeLists
from train.model.objectives import squared_error
from train.settings import RunOptions
from train.settings.checks import check_batch_size, number, whole
from train.tasks.raster import RasterTask, Shape
from train.tasks.spikes.complete import check_sizes, complete, describe
from train.tasks.spikes.parts import Rows, read_parts
from train.tasks.spikes.recordings import PARTS
from train.tasks.spikes.samples import inputs_of, part_of
from train.tasks.spikes.settings import SpikesConfig, SpikesData


class Spikes(RasterTask):
    """Train a spiking network on spikes of your own, without a line of code.

        python -m train.spikes --file my.npz

    The file has raster (samples, steps, units) of spike counts, or events (spikes, 3) of whole
    numbers sample, step, unit, or three arrays sample, time in seconds, unit; labels (samples,),
    whole numbers for classes, floating-point numbers for values to predict; perhaps lengths
    (samples,) in steps and part (samples,) of the words train, validation, test. An HDF5 file of
    the layout of the Heidelberg data sets works too, and so does a folder with files for training
    and test:

        python -m train.spikes --file shd_train.h5 --dt 10e-3 --pool 5
        python -m train.spikes --file folder --readout mean --predict values

    All forms, and what they are checked for: docs/app.md.
    """

    settings = SpikesConfig

    def __init__(self) -> None:
        # What `complete` has read waits here for `load`, which needs it next.
        self._read: tuple[SpikesData, dict[str, Rows]] | None = None

    def complete(self, settings: Any) -> Any:
        """Returns settings with sizes, rates and the digest of the file."""
        data: SpikesData = settings.data
        _check_flags(data)
        batch_size = settings.training.batch_size
        whole("--batch-size", batch_size, 1)
        files, parts = read_parts(data)
        found = digest_of(files, "--file", names=False)
        _check_digest(data, found)
        data = complete(data, parts, found)
        check_batch_size(batch_size, len(parts["train"].rows))
        self._read = data, parts
        return dataclasses.replace(settings, data=data)

    def check(self, settings: Any) -> None:
        """Refuses settings that cannot work."""
        data: SpikesData = settings.data
        _check_flags(data)
        for name in ("steps", "units", "outputs"):
            whole(f"--{name}", getattr(data, name), 1)
        if data.predict == "values" and settings.network.readout in ("spikes", "first"):
            raise ConfigError(
                f"--file {data.file}: its labels are values to predict, which are read from"
                " membranes: add --readout mean, max or last. Labels that are classes are whole"
                " numbers; if these are, add --predict classes"
            )
        super().check(settings)

    def samples(self, settings: Any) -> int:
        """Returns the number of samples of the file, once it was read."""
        if self._read is None or self._read[0] != settings.data:
            return 0
        return sum(len(part.rows) for part in self._read[1].values())

    def remarks(self, settings: Any) -> Iterator[str]:
        """Yields what was read, and what is unusual about it and the settings."""
        if self._read is not None and self._read[0] == settings.data:
            yield from describe(*self._read)
        yield from super().remarks(settings)

    def shape(self, settings: Any) -> Shape:
        """Returns the sizes."""
        data: SpikesData = settings.data
        values = None
        if data.predict == "values":
            values = squared_error.make(data.outputs, data.variance)
        return Shape(data.steps, inputs_of(data), data.outputs, data.dt, data.input_rate, values)

    def encoder(self, settings: Any) -> Encoder:
        """Returns rasters, or lists of spikes where these take less memory."""
        data: SpikesData = settings.data
        steps, inputs, _, dt, *_ = self.shape(settings)
        if data.capacity:
            return SpikeLists(steps, inputs, dt, data.capacity)
        return Rasters(steps, inputs, dt, jnp.float32 if data.analog else jnp.uint8)

    def load(self, settings: Any, options: RunOptions) -> Dataset:
        """Reads the file.

        Raises:
          ConfigError: it cannot be read, or is not the one that the run was trained on.
        """
        del options
        data: SpikesData = settings.data
        read, self._read = self._read, None
        if read is None or read[0] != data:
            files, parts = read_parts(data)
            _check_digest(data, digest_of(files, "--file", names=False))
        else:
            parts = read[1]
        return Dataset(*(part_of(parts[name], data) for name in PARTS))


def _check_digest(data: SpikesData, found: str) -> None:
    if data.digest and data.digest != found:
        raise ConfigError(
            f"--file {data.file}: it has other contents than when the run began (SHA-256"
            f" {found[:12]}..., was {data.digest[:12]}...); restore the file, or train anew in"
            " another --workdir"
        )


def _check_flags(data: SpikesData) -> None:
    if not data.file:
        raise ConfigError("--file: expected a file of spikes, got none; try --file my.npz")
    number("--dt", data.dt, "> 0", "seconds")
    whole("--pool", data.pool, 1)
    whole("--data-seed", data.data_seed, 0)
    for name in ("steps", "units", "outputs"):
        whole(f"--{name}", getattr(data, name), 0)
    for name in ("validation", "test"):
        number(f"--{name}", getattr(data, name), ">= 0")
    if data.validation + data.test >= 1.0:
        raise ConfigError(
            "--validation, --test: expected shares that leave something to train on, got"
            f" {data.validation!r} and {data.test!r}"
        )
    check_sizes(data)
