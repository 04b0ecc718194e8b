"""Settings of spikes from a file."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Literal, TypeVar

import tyro

from train.settings import CrossbarConfig, NetworkConfig, TrainingConfig

T = TypeVar("T")

Filled = Annotated[T, tyro.conf.Fixed, tyro.conf.Suppress]
"""A setting that follows from the file, and is no flag."""


@dataclasses.dataclass(frozen=True)
class SpikesData:
    """Spikes from a file; what is 0 or empty is filled in from the file and stored with the run."""

    file: str = ""
    """An .npz file of rasters or of events, an HDF5 file of the layout of the Heidelberg data sets,
    or a folder with such files whose names contain train, test and, perhaps, valid."""
    dt: float = 1e-3
    """Length of a time step in seconds. Times in seconds are binned to it; `step` counts in it."""
    steps: int = 0
    """Time steps of a sample; 0: up to the last spike of the file."""
    units: int = 0
    """Input units of the file; 0: up to the largest of the file, 700 for HDF5."""
    pool: int = 1
    """Neighbouring units that become one input of the network: unit u becomes input u // pool."""
    late: Literal["error", "drop"] = "error"
    """What happens to spikes at or after the last of --steps."""
    lengths: Literal["file", "last_spike", "none"] = "file"
    """Steps of a sample that count: as the `file` says where it does; up to its `last_spike`, and
    at least one; `none`: all."""
    outputs: int = 0
    """Classes, or values to predict; 0: as the labels of the file have them."""
    predict: Literal["auto", "classes", "values"] = "auto"
    """Whether labels are classes or values; `auto`: whole numbers are classes."""
    validation: float = 0.1
    """Share of the samples that are for validation, where the file has no such part."""
    test: float = 0.2
    """Share of the samples that are for the test, where the file has no such part."""
    data_seed: int = 0
    """Seed of the split."""
    capacity: Filled[int] = 0
    """Spikes of the sample that has most, where samples are lists of spikes on the device; 0: they
    are rasters. Whichever takes less memory."""
    analog: Filled[bool] = False
    """Whether rasters have values between spike counts."""
    variance: Filled[float] = 0.0
    """Variance of the values to predict over the training samples."""
    input_rate: Filled[float] = 0.0
    """Mean firing rate of an input in Hz."""
    digest: Filled[str] = ""
    """SHA-256 of the file; another file of the same name is noticed."""


@dataclasses.dataclass(frozen=True)
class SpikesConfig:
    """Everything that decides the result of ``python -m train.spikes``."""

    data: SpikesData = SpikesData()
    network: NetworkConfig = NetworkConfig()
    training: TrainingConfig = TrainingConfig(batch_size=64)
    crossbar: CrossbarConfig = CrossbarConfig()
