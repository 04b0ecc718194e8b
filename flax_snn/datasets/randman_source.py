"""Reads a prepared Randman data set at random: rasters for training, or what they were made from.

`flax_snn.datasets.tfds_randman` prepares one. Rasters are made while reading, from spike times.

Letters: T steps, M units, D dimensions of the manifold.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from flax_snn import checks
from flax_snn.datasets.generated.randman import Randman, RandmanSettings
from flax_snn.datasets.prepared_folder import damage_explained, damaged
from flax_snn.typing import Int

if TYPE_CHECKING:
    from tensorflow_datasets.core import DatasetBuilder
else:
    DatasetBuilder = Any

Part = Literal["train", "validation", "test"]


class RandmanSource:
    """Samples of one part, which are read from disk on request.

    `source[k]` is sample k of the part as a dict: `inputs` spike counts (T, M) uint8, `label` ()
    int32, `x` coordinates on the manifold (D,) float64. Threads may read at the same time.

    Args:
      builder: of a prepared data set, from `prepare_randman` or `tfds.builder_from_directory`.
      part: "train", "validation" or "test".

    Attributes:
      settings: what the data set was made with.

    Raises:
      ValueError: an unknown part, or a data set that is not prepared, damaged, or another one.

    Example: see `flax_snn.datasets.tfds_randman.prepare_randman`.
    """

    def __init__(self, builder: DatasetBuilder, part: Part):
        checks.choice("part", part, get_args(Part))
        self.settings = stored_settings(builder)
        self._folder = builder.data_dir
        with damage_explained(builder.data_dir, "Randman"):
            self._records = builder.as_data_source(part)
            self._manifold_seeds = np.array(builder.info.metadata["manifold_seeds"], np.int64)
        share = 8 if part == "train" else 1
        expected = self.settings.classes * self.settings.samples_per_class * share // 10
        if len(self._records) != expected:
            found = f"{len(self._records)} samples of {part}, not {expected}"
            raise damaged(self._folder, "Randman", found)

    def __len__(self) -> int:
        """Number of samples."""
        return len(self._records)

    def __getitem__(self, row: int) -> dict[str, np.ndarray]:
        return {name: stack[0] for name, stack in self.batch([row]).items()}

    @property
    def nbytes(self) -> int:
        """Size of the part in bytes once it is in memory: rasters and labels."""
        return len(self) * (self.settings.steps * self.settings.units + np.dtype(np.int32).itemsize)

    def batch(self, rows: Sequence[int] | Int[np.ndarray, "n"]) -> dict[str, np.ndarray]:
        """Reads several samples at once, stacked along a new first axis.

        Raises:
          ValueError: a row that the part does not have, or a damaged file.
        """
        samples = self.read(rows)
        return {"inputs": samples.raster(np.uint8), "label": samples.labels, "x": samples.x}

    def read(self, rows: Sequence[int] | Int[np.ndarray, "n"] | None = None) -> Randman:
        """Reads samples as they were before they became rasters, bit for bit.

        Args:
          rows: which samples of the part, in which order; all of them by default.

        Returns:
          The rows of the part of `Randman.split`, with everything but the other parts.

        Raises:
          ValueError: a row that the part does not have, or a damaged file.
        """
        rows = list(range(len(self))) if rows is None else [int(row) for row in rows]
        outside = [row for row in rows if not 0 <= row < len(self)]
        if outside or not rows:
            raise ValueError(
                f"expected rows in [0, {len(self)}), at least one, got {outside or rows}; ask for "
                "samples of this part"
            )
        with damage_explained(self._folder, "Randman"):
            items = self._records.__getitems__(rows)
        columns = {name: np.stack([item[name] for item in items]) for name in items[0]}
        return Randman(
            times=columns["times"],
            units=columns["units"],
            labels=columns["label"].astype(np.int32),
            x=columns["x"],
            order=columns["order"],
            manifold_seeds=self._manifold_seeds,
            settings=self.settings,
        )


def stored_settings(builder: DatasetBuilder) -> RandmanSettings:
    """Reads what a prepared data set was made with.

    Raises:
      ValueError: it is not prepared, damaged, or not a Randman data set of this package.
    """
    if not os.path.exists(builder.data_dir):
        raise ValueError(
            f"expected a Randman data set in {builder.data_dir}, got no such folder; prepare it "
            "with `prepare_randman`"
        )
    with damage_explained(builder.data_dir, "Randman"):
        return RandmanSettings(**builder.info.metadata["settings"])
