"""A task on recorded data: files of a folder, prepared once, and rasters of them."""

from __future__ import annotations

import abc
import dataclasses
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

from train.data.digest import digest_of
from train.data.parts import Dataset
from train.errors import ConfigError
from train.model import Model
from train.model.encoders import Encoder
from train.settings import RunOptions
from train.tasks.raster import RasterTask
from train.tasks.recorded.augmentation import AugmentedRasters, check_augmentation
from train.tasks.recorded.model import two_models
from train.tasks.recorded.network import (
    DELAY_WIDTH,
    check_recorded_network,
    delay_steps,
    network_of,
    readout_name,
)
from train.tasks.recorded.prepared import Arrays, prepared, prepared_path

FOLDER = "FLAX_SNN_DATA_DIR"
"""Environment variable with the folder that holds a folder of data for each task."""


class FileTask(RasterTask):
    """A task whose samples are read from the files of ``--data-dir``.

    Its settings have a field ``data`` with the field ``digest``, which is filled in. What is made
    of the files is kept in the user's cache, so that a run can be evaluated without the folder.
    """

    reads_files = True
    source: ClassVar[str]
    """What to download, and from where, in words."""

    @abc.abstractmethod
    def files(self, folder: Path) -> Sequence[Path]:
        """Returns the files that the samples are made of.

        Raises:
          ConfigError: they are not there.
        """

    @abc.abstractmethod
    def prepare(self, folder: Path, settings: Any) -> Arrays:
        """Returns what is kept of the files, all parts together, as arrays by name.

        Raises:
          ConfigError: a damaged file; the text names it.
        """

    @abc.abstractmethod
    def encoding(self, settings: Any) -> Any:
        """Returns the settings that decide what `prepare` returns; their ``repr`` says them."""

    @abc.abstractmethod
    def parts(self, arrays: Arrays, settings: Any) -> Dataset:
        """Returns the data of what `prepare` returned."""

    def with_data(self, settings: Any, options: RunOptions) -> Any:
        """Returns settings with the digest of the files; the folder itself is not stored."""
        folder = self._folder(options)
        known = settings.data.digest
        if folder is None:
            if known and self._path(settings).exists():
                return settings
            raise self._no_folder()
        found = digest_of(self._files(folder), "--data-dir", names=True)
        if known and known != found:
            raise ConfigError(
                f"--data-dir {folder}: it has other files than when the run began (SHA-256"
                f" {found[:12]}..., was {known[:12]}...); give the folder of then, or train anew in"
                " another --workdir"
            )
        return dataclasses.replace(settings, data=dataclasses.replace(settings.data, digest=found))

    def load(self, settings: Any, options: RunOptions) -> Dataset:
        """Reads the samples, prepared or from the files.

        Raises:
          ConfigError: there are none, or the files are damaged or not those of the run.
        """

        def make() -> Arrays:
            folder = self._folder(options)
            if folder is None:
                raise self._no_folder()
            self.with_data(settings, options)  # other files are refused
            return self.prepare(folder, settings)

        return self.parts(prepared(self._path(settings), make), settings)

    def _path(self, settings: Any) -> Path:
        return prepared_path(self.name, settings.data.digest, self.encoding(settings))

    def _folder(self, options: RunOptions) -> Path | None:
        if options.data_dir is not None:
            return options.data_dir.expanduser()
        root = os.environ.get(FOLDER)
        return Path(root, self.name) if root else None

    def _files(self, folder: Path) -> Sequence[Path]:
        if not folder.is_dir():
            raise ConfigError(f"--data-dir {folder}: no such folder. {self.source}")
        files = self.files(folder)
        if not files:
            raise ConfigError(f"--data-dir {folder}: it has none of the files. {self.source}")
        return files

    def _no_folder(self) -> ConfigError:
        return ConfigError(
            f"--data-dir: expected the folder of the data, got none, and ${FOLDER} does not name"
            f" one. {self.source}"
        )


class SequenceTask(FileTask):
    """Recorded rasters, and a chain of neurons of a kind with dropout, delays and augmentation.

    Its settings have the fields ``network``, a `RecordedNetwork`, and ``augmentation``.
    """

    groups: ClassVar[int] = 1
    """Groups of inputs with the same channels."""

    def check(self, settings: Any) -> None:
        """Refuses settings that cannot work."""
        super().check(settings)
        shape = self.shape(settings)
        check_recorded_network(settings.network, shape)
        check_augmentation(settings.augmentation, shape.units // self.groups)

    def encoder(self, settings: Any) -> Encoder:
        """Returns rasters that are changed at random in training."""
        shape = self.shape(settings)
        return AugmentedRasters(
            shape.steps, shape.units, shape.dt, groups=self.groups, config=settings.augmentation
        )

    def build(self, settings: Any) -> Model:
        """Builds the network."""
        network, shape = settings.network, self.shape(settings)
        return two_models(
            super().build(settings),
            lambda training: network_of(network, shape, training),
            readout_layer=readout_name(network),
            rescaled=network.init_spread if network.init == "lsuv" else None,
            delay_width=DELAY_WIDTH,
        )

    def remarks(self, settings: Any) -> Iterator[str]:
        """Yields the longest delay, and what is unusual about the settings."""
        yield from super().remarks(settings)
        network, dt = settings.network, self.shape(settings).dt
        if network.max_delay:
            yield f"delays: up to {delay_steps(network, dt)} steps of {dt:g} s"
