"""Settings of the Spiking Heidelberg Digits, and published recipes in the terms of these."""

from __future__ import annotations

import dataclasses
from typing import Annotated

import tyro

from train.settings import CrossbarConfig, TrainingConfig
from train.tasks.recorded.augmentation import AugmentationConfig
from train.tasks.recorded.network import RecordedNetwork


@dataclasses.dataclass(frozen=True)
class SHDRaster:
    """How spikes become rasters."""

    dt: float = 10e-3
    """Length of a time step in seconds."""
    steps: int = 100
    """Time steps of a sample; later spikes are left out, and counted at the start."""
    pool: int = 5
    """Neighbouring channels of the cochlea, of 700, that become one input."""


@dataclasses.dataclass(frozen=True)
class SHDData(SHDRaster):
    """The Spiking Heidelberg Digits; validation is cut from the training part."""

    validation: float = 0.1
    """Share of the samples of the training part that is for validation, chosen at random."""
    data_seed: int = 0
    """Seed of that choice."""
    digest: Annotated[str, tyro.conf.Fixed, tyro.conf.Suppress] = ""
    """SHA-256 of the files; others are noticed."""


@dataclasses.dataclass(frozen=True)
class SHDConfig:
    """Everything that decides the result of ``python -m train.shd``.

    By default the recurrent LIF network of Cramer et al., The Heidelberg spiking data sets for the
    systematic evaluation of spiking neural networks, 2020: 128 neurons, read at the maximum of the
    membranes.
    """

    data: SHDData = SHDData()
    network: RecordedNetwork = RecordedNetwork(
        hidden=(128,), readout="max", init="gains", input_gain=2.0, recurrent_gain=0.5
    )
    augmentation: AugmentationConfig = AugmentationConfig(channel_shift=4.0)
    training: TrainingConfig = TrainingConfig(
        epochs=100, batch_size=256, learning_rate=1e-2, jitter=0.0
    )
    crossbar: CrossbarConfig = CrossbarConfig()


@dataclasses.dataclass(frozen=True)
class AdLIFConfig(SHDConfig):
    """Two recurrent layers of 360 adLIF neurons, steps of 4 ms.

    Baronig et al., Advancing spatio-temporal processing through adaptation in spiking neural
    networks, 2025. Time constants are the middle of those published, 15 and 180 steps.
    """

    data: SHDData = SHDData(dt=4e-3, steps=250)
    network: RecordedNetwork = RecordedNetwork(
        hidden=(360, 360),
        neuron="adlif",
        tau_mem=60e-3,
        tau_adapt=720e-3,
        tau_readout=60e-3,
        init="gains",
        input_gain=4.0,
        layer_gain=8.0,
        recurrent_gain=0.5,
        dropout=0.15,
    )
    augmentation: AugmentationConfig = AugmentationConfig(channel_shift=4.0)
    training: TrainingConfig = TrainingConfig(
        epochs=300, batch_size=256, learning_rate=1.4e-2, clip_norm=1.5, jitter=0.0
    )


@dataclasses.dataclass(frozen=True)
class DelaysConfig(SHDConfig):
    """Two feed-forward layers of 256 LIF neurons whose weights have learned delays of up to 250 ms.

    Hammouamri et al., Learning delays in spiking neural networks using dilated convolutions with
    learnable spacings, 2024. There delays have a learning rate of their own, widths that shrink,
    and batch normalisation; here the optimiser is that of the weights, and the width one step.
    """

    network: RecordedNetwork = RecordedNetwork(
        hidden=(256, 256),
        recurrent=False,
        max_delay=0.25,
        tau_mem=20e-3,
        tau_syn=10e-3,
        init="gains",
        input_gain=2.0,
        layer_gain=4.0,
        dropout=0.4,
    )
    augmentation: AugmentationConfig = AugmentationConfig()
    training: TrainingConfig = TrainingConfig(
        epochs=150, batch_size=256, learning_rate=1.4e-2, weight_decay=1e-5, jitter=0.0
    )


RECIPES: dict[str, type[SHDConfig]] = {
    "lif": SHDConfig,
    "adlif": AdLIFConfig,
    "delays": DelaysConfig,
}
"""Published recipes by name; a flag that is given changes one setting of it."""
