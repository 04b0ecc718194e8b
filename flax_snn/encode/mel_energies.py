"""Log energies of a sound in mel channels: the short-time spectrum as the ear spaces it.

A frame every dt, weighted with a Hann window w, has the power spectrum P(f); channel c weighs it
with a triangle of the mel scale, from the centre of the channel below to that of the one above:

    P(f) = |FFT(w frame)|^2 / sum w^2         mel(f) = 2595 log10(1 + f / 700)
    z[t, c] = log(sum_f triangle[c, f] P(f) + 1e-10)

Sources: Davis and Mermelstein, Comparison of parametric representations for monosyllabic word
recognition in continuously spoken sentences, IEEE Transactions on Acoustics, Speech, and Signal
Processing 28(4), 1980 (triangles); O'Shaughnessy, Speech communication, 1987 (the mel scale).
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from flax_snn import checks
from flax_snn.encode.sound import check_sound
from flax_snn.sequence_mask import SequenceLengths
from flax_snn.typing import Array, Float

__all__ = ["log_mel", "mel_filters"]

_TINY = 1e-10


class MelSettings(NamedTuple):
    """Checked settings of the spectrum.

    Attributes:
      rate: sampling rate in Hz.
      hop: samples from one frame to the next.
      frame: samples of a frame.
      channels: mel channels.
      low: lower edge of the lowest channel in Hz.
      high: upper edge of the highest channel in Hz.
    """

    rate: int
    hop: int
    frame: int
    channels: int
    low: float
    high: float

    @property
    def bins(self) -> int:
        """Points of the Fourier transform: a power of two, at least twice the frame."""
        return 1 << (2 * self.frame - 1).bit_length()

    def frames(self, samples: Any) -> Any:
        """Returns how many frames have their middle within a sound: at 0, dt, ... to its end."""
        return samples // self.hop + 1


def mel_filters(
    channels: int, *, bins: int, rate: int, low: float = 60.0, high: float | None = None
) -> Float[np.ndarray, "K F"]:
    """Returns the triangles of mel channels, of height 1 and of equal width on the mel scale.

    Args:
      channels: F.
      bins: points of the Fourier transform; K = bins / 2 + 1.
      rate: sampling rate in Hz.
      low: lower edge of the lowest channel in Hz, 60 by default.
      high: upper edge of the highest channel in Hz; by default 0.975 of half the sampling rate.

    Raises:
      TypeError: a setting of another type.
      ValueError: edges in the wrong order or above half the sampling rate, or channels so narrow
        that one of them has no frequency of the transform.

    Example:
      >>> from flax_snn.encode import mel_filters
      >>> mel_filters(2, bins=8, rate=8000, low=0.0, high=4000.0).round(2).tolist()
      [[0.0, 0.0], [0.68, 0.32], [0.0, 0.91], [0.0, 0.45], [0.0, 0.0]]
    """
    channels = checks.whole_number("channels", channels)
    bins, rate = checks.whole_number("bins", bins), checks.whole_number("rate", rate)
    half = rate / 2
    high = 0.975 * half if high is None else high
    high = checks.in_range("high", high, 0.0, half, low_allowed=False, unit="Hz")
    low = checks.in_range("low", low, 0.0, high, high_allowed=False, unit="Hz")
    edges = _hertz(np.linspace(_mel(low), _mel(high), channels + 2))
    frequencies = np.arange(bins // 2 + 1)[:, None] * rate / bins
    rising = (frequencies - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - frequencies) / (edges[2:] - edges[1:-1])
    filters = np.maximum(0.0, np.minimum(rising, falling))
    empty = np.flatnonzero(~filters.any(axis=0))
    if empty.size:
        raise ValueError(
            checks.error_text(
                "channels",
                f"channels as wide as the {rate / bins:g} Hz between two frequencies",
                f"{channels}, of which {empty.size} have none, the first number {empty[0]}",
                "take fewer channels, a longer frame or a higher low",
            )
        )
    return filters


def log_mel(
    sound: Float[Array | np.ndarray, "*B S"],
    *,
    rate: int,
    dt: float = 10e-3,
    frame: float = 25e-3,
    channels: int = 40,
    low: float = 60.0,
    high: float | None = None,
    seq_lengths: SequenceLengths | None = None,
) -> Float[Array, "*B T F"]:
    """Returns the log energies of sounds in mel channels; the equation is at the top of the file.

    The middle of frame t is at the time t dt; outside the sound there is silence. May be jitted
    with static settings.

    Args:
      sound: samples of the sounds, floating point, 1 for full scale: (*B, S).
      rate: sampling rate in Hz.
      dt: seconds from one frame to the next, a whole number of samples, 10e-3 by default.
      frame: seconds of a frame, rounded to samples, 25e-3 by default.
      channels: F, 40 by default.
      low: lower edge of the lowest channel in Hz, 60 by default.
      high: upper edge of the highest in Hz; by default 0.975 of half the sampling rate.
      seq_lengths: samples of each sound of a padded batch, (*B,); all by default.

    Returns:
      Natural logarithms of energies, T = S // (rate dt) + 1. Frames after the end of a padded sound
      hold the energy of silence, log 1e-10, or what they catch of its end.

    Raises:
      TypeError: a sound that is not of a floating type, or a setting of another type.
      ValueError: a sound without samples or with one that is not finite, a dt that is no whole
        number of samples, or what `mel_filters` refuses.
    """
    settings = mel_settings(rate, dt, frame, channels, low, high)
    sound, _ = check_sound(sound, seq_lengths, silent=True)
    return energies(sound, settings=settings)


def mel_settings(
    rate: int, dt: float, frame: float, channels: int, low: float, high: float | None
) -> MelSettings:
    """Returns the settings of the spectrum, checked.

    Raises:
      TypeError: see `log_mel`.
      ValueError: see `log_mel`.
    """
    rate = checks.whole_number("rate", rate)
    hop = checks.positive("dt", dt, unit="seconds") * rate
    if abs(hop - round(hop)) > 1e-6 or round(hop) < 1:
        raise ValueError(
            checks.error_text(
                "dt", f"a whole number of samples of 1/{rate} s", f"{dt} s, {hop:g} samples"
            )
        )
    size = round(checks.positive("frame", frame, unit="seconds") * rate)
    if size < 4:
        raise ValueError(
            checks.error_text("frame", f"at least 4 samples of 1/{rate} s", f"{frame} s")
        )
    low = checks.number("low", low, unit="Hz")
    high = 0.975 * rate / 2 if high is None else checks.number("high", high, unit="Hz")
    settings = MelSettings(rate, round(hop), size, channels, low, high)
    _filters_of(settings)
    return settings


@functools.partial(jax.jit, static_argnames="settings")
def energies(sound: Float[Array, "*B S"], *, settings: MelSettings) -> Float[Array, "*B T F"]:
    """Returns the log energies of checked sounds, (*B, S) to (*B, T, F)."""
    size, samples = settings.frame, sound.shape[-1]
    before = size // 2
    padding = [(0, 0)] * (sound.ndim - 1) + [(before, size - before)]
    window = np.hanning(size)
    window = (window / np.sqrt(np.sum(window**2))).astype(np.float32)
    starts = np.arange(settings.frames(samples))[:, None] * settings.hop
    frames = jnp.pad(sound, padding)[..., starts + np.arange(size)]
    window = window.reshape((1,) * sound.ndim + (size,))
    spectrum = jnp.fft.rfft(frames * window, settings.bins)
    power = spectrum.real**2 + spectrum.imag**2
    filters = _filters_of(settings).astype(np.float32)
    return jnp.log(jnp.dot(power, filters, precision=lax.Precision.HIGHEST) + _TINY)


@functools.lru_cache(maxsize=8)
def _filters_of(settings: MelSettings) -> np.ndarray:
    return mel_filters(
        settings.channels,
        bins=settings.bins,
        rate=settings.rate,
        low=settings.low,
        high=settings.high,
    )


def _mel(hertz: float) -> float:
    return float(2595.0 * np.log10(1.0 + hertz / 700.0))


def _hertz(mel: np.ndarray) -> np.ndarray:
    return 700.0 * (10.0 ** (mel / 2595.0) - 1.0)
