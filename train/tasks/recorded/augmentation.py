"""Training samples made anew in each epoch, on the device: shifted, stretched, moved and masked.

A raster ``(T, F)`` has F = groups x channels inputs, such as rising and falling crossings of the
same channels; channels next to each other are alike. With random numbers for each sample,

    step t    goes to  floor(factor (t + 1/2) + shift),   counts that meet are added
    channel c goes to  c + move

and a band of neighbouring channels, and single slots, are silenced. What leaves the raster is lost.
"""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp

from flax_snn.typing import Array, Float, Num, PRNGKey
from train.errors import ConfigError
from train.model.encoders import Rasters
from train.settings.checks import number, share, whole


@dataclasses.dataclass(frozen=True)
class AugmentationConfig:
    """How training samples are changed; nothing is changed in validation and test."""

    time_shift: float = 0.0
    """Samples are moved by up to so many seconds later, or a third of it earlier."""
    stretch: float = 0.0
    """Time is stretched by a factor between 1 - stretch and 1 + stretch, the same for a sample."""
    channel_shift: float = 0.0
    """Standard deviation, in channels, by which a sample is moved to higher or lower ones."""
    band_drop: int = 0
    """Up to so many neighbouring channels are silenced in a sample."""
    slot_drop: float = 0.0
    """Share of the slots, a step of an input, whose spikes are lost."""


def check_augmentation(config: AugmentationConfig, channels: int) -> None:
    """Refuses settings that cannot work.

    Args:
      config: the settings.
      channels: channels of a sample.

    Raises:
      ConfigError: the message names the flag and the remedy.
    """
    number("--time-shift", config.time_shift, ">= 0", "seconds")
    number("--channel-shift", config.channel_shift, ">= 0")
    whole("--band-drop", config.band_drop, 0)
    for name in ("stretch", "slot_drop"):
        share(f"--{name.replace('_', '-')}", getattr(config, name))
    if config.band_drop >= channels:
        raise ConfigError(
            f"--band-drop: expected fewer than the {channels} channels of a sample, got"
            f" {config.band_drop}; nothing would be left"
        )


@dataclasses.dataclass(frozen=True)
class AugmentedRasters(Rasters):
    """Rasters that are changed at random in training.

    Attributes:
      groups: groups of inputs with the same channels.
      config: how samples are changed.
    """

    groups: int = 1
    config: AugmentationConfig = AugmentationConfig()

    def augment(
        self, inputs: Num[Array, "B T F"], key: PRNGKey, deviation: float
    ) -> Num[Array, "B T F"]:
        """Changes samples; `--jitter` moves the spikes of each input by some steps more."""
        first, *keys = jax.random.split(key, 5)
        spikes = super().augment(inputs, first, deviation)
        config = self.config
        if config.time_shift or config.stretch:
            spikes = warp(spikes, keys[0], config.time_shift / self.dt, config.stretch)
        batch, steps, features = spikes.shape
        channels = features // self.groups
        grouped = spikes.reshape(batch, steps, self.groups, channels)
        if config.channel_shift:
            grouped = move_channels(grouped, keys[1], config.channel_shift)
        if config.band_drop:
            grouped = drop_band(grouped, keys[2], config.band_drop)
        spikes = grouped.reshape(batch, steps, features)
        if config.slot_drop:
            stays = jax.random.bernoulli(keys[3], 1.0 - config.slot_drop, spikes.shape)
            spikes = jnp.where(stays, spikes, jnp.zeros((), spikes.dtype))
        return spikes


def warp(
    spikes: Num[Array, "B T F"], key: PRNGKey, shift: float, stretch: float
) -> Float[Array, "B T F"]:
    """Moves and stretches samples in time; counts that meet in a step are added.

    Args:
      spikes: counts.
      key: random key.
      shift: steps by which a sample comes later at most; earlier a third of it.
      stretch: largest relative change of time.
    """
    batch, steps, _ = spikes.shape
    first, second = jax.random.split(key)
    factor = jax.random.uniform(first, (batch, 1), minval=1.0 - stretch, maxval=1.0 + stretch)
    later = jax.random.uniform(second, (batch, 1), minval=-shift / 3.0, maxval=shift)
    step = jnp.arange(steps, dtype=jnp.float32)[None]
    target = jnp.floor(factor * (step + 0.5) + later)
    goes = (target[:, :, None] == step[:, None]).astype(jnp.float32)
    return jnp.einsum("bts,btf->bsf", goes, spikes.astype(jnp.float32))


def move_channels(
    spikes: Num[Array, "B T G C"], key: PRNGKey, deviation: float
) -> Num[Array, "B T G C"]:
    """Moves each sample by a random whole number of channels, with silence at the ends."""
    batch, *_, channels = spikes.shape
    by = jnp.round(deviation * jax.random.normal(key, (batch, 1))).astype(jnp.int32)
    source = jnp.arange(channels, dtype=jnp.int32)[None] - by
    inside = (source >= 0) & (source < channels)
    index = jnp.clip(source, 0, channels - 1)[:, None, None]
    moved = jnp.take_along_axis(spikes, index, axis=3)
    return jnp.where(inside[:, None, None], moved, jnp.zeros((), spikes.dtype))


def drop_band(spikes: Num[Array, "B T G C"], key: PRNGKey, widest: int) -> Num[Array, "B T G C"]:
    """Silences from none to ``widest`` neighbouring channels of each sample, in all groups."""
    batch, *_, channels = spikes.shape
    first, second = jax.random.split(key)
    begin = jax.random.randint(first, (batch, 1), 0, channels)
    width = jax.random.randint(second, (batch, 1), 0, widest + 1)
    channel = jnp.arange(channels)[None]
    silent = (channel >= begin) & (channel < begin + width)
    return jnp.where(silent[:, None, None], jnp.zeros((), spikes.dtype), spikes)
