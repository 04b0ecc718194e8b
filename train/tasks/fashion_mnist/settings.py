"""Settings of Fashion-MNIST."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Literal

import tyro

from train.settings import CrossbarConfig, NetworkConfig, TrainingConfig, added


@dataclasses.dataclass(frozen=True)
class FashionData:
    """Fashion-MNIST: 55000 images to train, the last 5000 of the training part for validation."""

    encoding: Literal["direct", "latency"] = "direct"
    """`direct`: a pixel is a constant current into the first weights; `latency`: it is one spike,
    the earlier the brighter, or none."""
    steps: int = 8
    """Time steps of a sample."""
    dt: float = 1e-3
    """Length of a time step in seconds."""
    latency_tau: float = 2e-3
    """Time constant in seconds of the latency code: a pixel x spikes at
    tau log(x / (x - threshold))."""
    latency_threshold: float = 0.2
    """Brightness that just fails to spike, from 0 to 1."""
    pixel_shift: int = 0
    """Training images are moved by up to so many pixels in each direction."""
    flip: bool = False
    """Half of the training images are mirrored, left to right."""
    digest: Annotated[str, tyro.conf.Fixed, tyro.conf.Suppress] = ""
    """SHA-256 of the files; others are noticed."""


@dataclasses.dataclass(frozen=True)
class FashionNetwork(NetworkConfig):
    """A spiking multilayer perceptron, or a convolutional network; leaky integrators read it."""

    architecture: Literal["mlp", "conv"] = "mlp"
    """`mlp`: 784 - hidden - 10; `conv`: convolutions of 3 x 3, each with spiking neurons and a
    maximum over 2 x 2, then the hidden layers."""
    pooled: Literal["currents", "spikes"] = added(5, "currents", before="spikes")
    """What `conv` takes the maximum of: `currents`, so that neurons get the largest of a window, or
    `spikes` of four times as many neurons."""
    channels: tuple[int, ...] = (32, 64)
    """Channels of each convolution of `conv`."""
    norm_groups: int = added(5, 8, before=0)
    """Groups of channels into which the currents of each convolution of `conv` are divided, each
    normalised in an image and step (group normalisation); 0: not normalised."""
    hidden: tuple[int, ...] = (512,)
    """Neurons of each fully connected hidden layer."""
    recurrent: Annotated[bool, tyro.conf.Fixed, tyro.conf.Suppress] = False
    """Not used: neurons of a layer do not feed each other."""
    readout: Literal["max", "mean", "last"] = "mean"
    """Membranes of the leaky integrators are read at their maximum over time, mean or last step."""
    neuron: Literal["lif"] = "lif"
    """Leaky integrate-and-fire neurons."""
    tau_mem: float = 2e-3
    """Membrane time constant of the hidden neurons in seconds."""
    tau_syn: Annotated[float, tyro.conf.Fixed, tyro.conf.Suppress] = 10e-3
    """Not used: input currents do not last."""
    tau_readout: float = 10e-3
    """Time constant of the leaky integrators of the readout in seconds."""
    dropout: float = 0.0
    """Share of the features before fully connected layers that are silenced in a training sample,
    all its steps."""


@dataclasses.dataclass(frozen=True)
class FashionConfig:
    """Everything that decides the result of ``python -m train.fashion_mnist``."""

    data: FashionData = FashionData(steps=6, flip=True)
    network: FashionNetwork = FashionNetwork(hidden=(1024,), dropout=0.3, surrogate_slope=5.0)
    training: TrainingConfig = TrainingConfig(
        epochs=80, batch_size=250, learning_rate=4e-3, weight_decay=1e-2, jitter=0.0
    )
    crossbar: CrossbarConfig = CrossbarConfig()
