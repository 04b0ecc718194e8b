"""Settings of spoken digits."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Literal

import tyro

from train.settings import CrossbarConfig, TrainingConfig
from train.tasks.recorded.augmentation import AugmentationConfig
from train.tasks.recorded.network import RecordedNetwork


@dataclasses.dataclass(frozen=True)
class DigitsEncoding:
    """How a sound becomes spikes; see ``flax_snn.encode.mel_crossings``."""

    channels: int = 40
    """Mel channels; each has an input for rising and one for falling crossings."""
    dt: float = 10e-3
    """Length of a time step in seconds, which is also the distance of the frames of the sound."""
    steps: int = 80
    """Time steps of a sample; what comes later is cut, which `note` tells at the start."""
    frame: float = 25e-3
    """Length of the frames in seconds whose spectra are taken."""
    level: float = 0.5
    """Distance of the levels, in units of the natural logarithm of the energy."""
    floor: float = 8.0
    """Energies so many units below the loudest, and less, are silence."""
    reference: Literal["sound", "channel"] = "sound"
    """The loudest of the whole `sound`, or of each `channel`, which takes out the spectrum of the
    speaker and of the microphone."""


@dataclasses.dataclass(frozen=True)
class DigitsData(DigitsEncoding):
    """The Free Spoken Digit Dataset: official test part, validation from the training part."""

    validation: int = 5
    """Recordings of each digit and speaker that are taken from the training part for validation:
    the first ones behind those of the test part, index 5 to 9 by default."""
    leave_out: str = ""
    """Leave this speaker out of training and validation, and test on all recordings of it."""
    digest: Annotated[str, tyro.conf.Fixed, tyro.conf.Suppress] = ""
    """SHA-256 of the recordings; another data set is noticed."""


@dataclasses.dataclass(frozen=True)
class SpokenDigitsConfig:
    """Everything that decides the result of ``python -m train.spoken_digits``."""

    data: DigitsData = DigitsData()
    network: RecordedNetwork = RecordedNetwork(
        hidden=(192, 192),
        neuron="adlif",
        tau_mem=30e-3,
        tau_adapt=200e-3,
        init="gains",
        input_gain=4.0,
        layer_gain=8.0,
        recurrent_gain=0.5,
        dropout=0.1,
    )
    augmentation: AugmentationConfig = AugmentationConfig(
        time_shift=50e-3, stretch=0.1, channel_shift=1.0, band_drop=4, slot_drop=0.05
    )
    training: TrainingConfig = TrainingConfig(
        epochs=30, batch_size=64, learning_rate=1.4e-2, weight_decay=1e-2, jitter=5e-3
    )
    crossbar: CrossbarConfig = CrossbarConfig()
