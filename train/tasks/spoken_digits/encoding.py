"""From a sound to spikes: crossings of levels by the log energies of mel channels.

A frame of the sound every step, weighted with a Hann window, has the power spectrum P(f), and

    z[t, c] = log(sum_f mel[c, f] P(f) + tiny),     x = max(z - max(z), -floor) + floor

is its energy in channel c, from 0 for silence to ``floor`` for the loudest. A channel emits a spike
for each level, a multiple of ``level``, that its energy has crossed since its last spike: rising
crossings on one input, falling ones on another. Counts are kept if there are several in a step, so
that the energy can be told from the spikes within one level.
"""

from __future__ import annotations

import numpy as np

from train.tasks.spoken_digits.settings import DigitsEncoding

_TINY = 1e-10
_LOWEST, _HIGHEST = 60.0, 0.975  # in Hz; of half of the sampling rate


def encode(sound: np.ndarray, rate: int, encoding: DigitsEncoding) -> np.ndarray:
    """Returns the crossings of a sound in each of its steps.

    Args:
      sound: samples (S,), int16.
      rate: sampling rate in Hz.
      encoding: the settings; ``steps`` is not looked at.

    Returns:
      uint8 (T, 2 channels): rising crossings of all channels, then falling ones.
    """
    energy = log_energies(sound.astype(np.float64) / 32768.0, rate, encoding)
    energy = np.maximum(energy - energy.max(), -encoding.floor) + encoding.floor
    return crossings(energy, encoding.level)


def log_energies(sound: np.ndarray, rate: int, encoding: DigitsEncoding) -> np.ndarray:
    """Returns the log energy of each frame in each mel channel, (T, channels)."""
    size, hop = round(encoding.frame * rate), round(encoding.dt * rate)
    padded = np.pad(sound, (size // 2, size - size // 2))
    starts = np.arange(0, len(padded) - size + 1, hop)
    frames = padded[starts[:, None] + np.arange(size)] * np.hanning(size)
    bins = 2 ** int(np.ceil(np.log2(2 * size)))
    power = np.abs(np.fft.rfft(frames, bins)) ** 2
    result: np.ndarray = np.log(power @ mel_filters(encoding.channels, bins, rate) + _TINY)
    return result


def mel_filters(channels: int, bins: int, rate: int) -> np.ndarray:
    """Returns triangles of equal width on the mel scale, (bins / 2 + 1, channels)."""
    low, high = _mel(_LOWEST), _mel(_HIGHEST * rate / 2)
    edges = _hertz(np.linspace(low, high, channels + 2))
    frequency = np.arange(bins // 2 + 1)[:, None] * rate / bins
    rising = (frequency - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - frequency) / (edges[2:] - edges[1:-1])
    result: np.ndarray = np.maximum(0.0, np.minimum(rising, falling))
    return result


def crossings(energy: np.ndarray, level: float) -> np.ndarray:
    """Returns how many levels each channel has crossed in each step since its last spike.

    Args:
      energy: (T, channels), at least 0; each channel begins at the level 0.
      level: distance of the levels.

    Returns:
      uint8 (T, 2 channels): upwards, then downwards.
    """
    found = np.zeros((len(energy), 2, energy.shape[1]), np.uint8)
    at = np.zeros(energy.shape[1])
    for step, value in enumerate(energy):
        crossed = np.trunc(value / level - at)
        at += crossed
        found[step] = np.maximum(crossed, 0), np.maximum(-crossed, 0)
    return found.reshape(len(energy), -1)


def _mel(hertz: float) -> float:
    return float(2595.0 * np.log10(1.0 + hertz / 700.0))


def _hertz(mel: np.ndarray) -> np.ndarray:
    result: np.ndarray = 700.0 * (10.0 ** (mel / 2595.0) - 1.0)
    return result
