"""Networks without spikes on the spikes of spoken digits: a GRU and a temporal convolution.

    python -m train.run benchmarks.accuracy.conventional:GRU --data-dir FOLDER/spoken_digits
    python -m train.run benchmarks.accuracy.conventional:TCN --data-dir FOLDER/spoken_digits

They take the place of the spiking layers of ``train.spoken_digits`` and nothing else: the same
spikes, changed at random in the same way, the same dropout whose mask stays through time, readout
(mean over the steps of a sample), loss, optimiser and schedule. Their sizes give them as many
parameters as the default network there, 129 408, to within one percent.

- `GRU`: two layers of gated recurrent units (Cho et al., Learning phrase representations using RNN
  encoder-decoder for statistical machine translation, 2014), as `flax.linen.GRUCell` has them.
- `TCN`: four residual blocks of two causal convolutions of three taps each, with dilations 1, 2, 4
  and 8 and weight normalisation (Bai et al., An empirical evaluation of generic convolutional and
  recurrent networks for sequence modeling, 2018); an output sees 61 steps.
"""

from __future__ import annotations

import abc
import dataclasses
from typing import Any, ClassVar

import flax.linen as nn
import jax.numpy as jnp
from jax.nn import relu

import flax_snn as snn
from flax_snn.typing import Array
from train.model import Model
from train.settings import TrainingConfig
from train.tasks.raster import RasterTask
from train.tasks.recorded.model import two_models
from train.tasks.recorded.network import RecordedNetwork
from train.tasks.spoken_digits.settings import SpokenDigitsConfig
from train.tasks.spoken_digits.task import SpokenDigitsTask

_TRAINING = dataclasses.replace(SpokenDigitsConfig().training, learning_rate=5e-3)


@dataclasses.dataclass(frozen=True)
class GRUConfig(SpokenDigitsConfig):
    """Settings of spoken digits; of the network `hidden`, `dropout` and `readout` count."""

    network: RecordedNetwork = RecordedNetwork(
        hidden=(106, 106), init="gains", dropout=0.1, membrane_scale=1.0
    )
    training: TrainingConfig = _TRAINING


@dataclasses.dataclass(frozen=True)
class TCNConfig(SpokenDigitsConfig):
    """Settings of spoken digits; of the network `hidden`, `dropout` and `readout` count."""

    network: RecordedNetwork = RecordedNetwork(
        hidden=(71, 71, 71, 71), init="gains", dropout=0.1, membrane_scale=1.0
    )
    training: TrainingConfig = _TRAINING


class Recurrent(nn.Module):
    """Layers of gated recurrent units, and a logit for each step and class.

    Attributes:
      config: the settings.
      outputs: classes C.
      training: with dropout.
    """

    config: RecordedNetwork
    outputs: int
    training: bool

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Returns the logits (B, T, C) of spike counts (B, T, F)."""
        for size in self.config.hidden:
            hidden: Any = nn.RNN(nn.GRUCell(size))(x)
            x = _dropout(self.config, self.training)(hidden)
        return nn.Dense(self.outputs, name="readout")(x)


class Convolutional(nn.Module):
    """Residual blocks of causal convolutions over time, and a logit for each step and class.

    Attributes:
      config: the settings.
      outputs: classes C.
      training: with dropout.
    """

    config: RecordedNetwork
    outputs: int
    training: bool

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Returns the logits (B, T, C) of spike counts (B, T, F)."""
        for block, size in enumerate(self.config.hidden):
            z = x
            for _ in range(2):
                layer = nn.WeightNorm(nn.Dense(size))
                z = _dropout(self.config, self.training)(relu(layer(_taps(z, 2**block))))
            x = relu(z + (x if x.shape[-1] == size else nn.Dense(size)(x)))
        return nn.Dense(self.outputs, name="readout")(x)


class _Conventional(SpokenDigitsTask, abc.ABC):
    """Spoken digits with a network without spikes; a subclass says which."""

    layers: ClassVar[type[Recurrent | Convolutional]]

    def build(self, settings: Any) -> Model:
        """Builds the network."""
        network = settings.network
        return two_models(
            RasterTask.build(self, settings),
            lambda training: self.layers(network, 10, training),
            readout_layer="readout",
            rescaled=None,
        )


class GRU(_Conventional):
    """Train gated recurrent units on the spikes of spoken digits, to compare with."""

    settings = GRUConfig
    layers = Recurrent


class TCN(_Conventional):
    """Train convolutions over time on the spikes of spoken digits, to compare with."""

    settings = TCNConfig
    layers = Convolutional


def _dropout(config: RecordedNetwork, training: bool) -> snn.layers.SequenceDropout:
    return snn.layers.SequenceDropout(config.dropout, deterministic=not training)


def _taps(x: Array, dilation: int) -> Array:
    """Returns a step and those one and two dilations before it, side by side, (B, T, 3 F).

    Weights on these are a causal convolution of three taps. XLA runs one product of matrices many
    times as fast on a CPU as a dilated convolution and its derivative.
    """
    before = [jnp.pad(x, ((0, 0), (k * dilation, 0), (0, 0)))[:, : x.shape[1]] for k in range(3)]
    return jnp.concatenate(before, axis=-1)
