"""Level crossings of mel energies: a light encoder of sound, 40 channels in and 80 units out.

With the log energies z of `log_mel` and a reference, by default the loudest of the sound,

    x[t, c] = max(z[t, c] - reference, -floor) + floor       0 for silence, `floor` for the loudest
    n[t, c] = trunc(x[t, c] / level - at),   at <- at + n    levels crossed since the last spike

A rise of n levels is n spikes of the unit of channel c that hears rises, a fall of n levels n
spikes of the one that hears falls: unit c, and unit F + c of F channels. Since `at` changes by
whole levels only, an energy that trembles about a level stays silent, and the spikes tell the
energy to within one level.

Source: level-crossing sampling, Inose, Aoki and Watanabe, Asynchronous delta-modulation system,
Electronics Letters 2(3), 1966; units for rises and falls of the energies of spectral channels:
Gütig and Sompolinsky, Time-warp-invariant neuronal processing, PLoS Biology 7(7), 2009.
"""

from __future__ import annotations

import functools
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import DTypeLike

from flax_snn import checks
from flax_snn.encode.cochlea import SpikeTimes
from flax_snn.encode.intensities import nan_where_not
from flax_snn.encode.mel_energies import MelSettings, energies, mel_settings
from flax_snn.encode.sound import check_sound, padded_sound
from flax_snn.sequence_mask import SequenceLengths
from flax_snn.typing import Array, Float

__all__ = ["mel_crossing_times", "mel_crossings"]

Units = Literal["both", "rises"]
Reference = Literal["sound", "channel", "full_scale"]
Start = Literal["silence", "first"]


class _Crossings(NamedTuple):
    """Checked settings of the crossings; see `mel_crossings`."""

    level: float
    floor: float
    units: Units
    reference: Reference
    start: Start


def mel_crossings(
    sound: Float[Array | np.ndarray, "*B S"],
    *,
    rate: int,
    dt: float = 10e-3,
    frame: float = 25e-3,
    channels: int = 40,
    low: float = 60.0,
    high: float | None = None,
    level: float = 0.5,
    floor: float = 8.0,
    units: Units = "both",
    reference: Reference = "sound",
    start: Start = "silence",
    seq_lengths: SequenceLengths | None = None,
    dtype: DTypeLike = jnp.float32,
) -> Float[Array, "*B T F"]:
    """Encodes sounds as level crossings of their energies in mel channels.

    Equation and units are at the top of the file. May be jitted with static settings. A sound in a
    padded batch with its length has the spikes that it has alone.

    Args:
      sound: samples of the sounds, floating point, 1 for full scale: (*B, S).
      rate: sampling rate in Hz.
      dt: duration of a step in seconds, one frame each and a whole number of samples, 10e-3 by
        default.
      frame: seconds of a frame, 25e-3 by default; its middle is at the beginning of its step.
      channels: mel channels, 40 by default.
      low: lower edge of the lowest channel in Hz, 60 by default.
      high: upper edge of the highest in Hz; by default 0.975 of half the sampling rate.
      level: distance of the levels in units of the natural logarithm of the energy, 0.5 by default.
      floor: energies so far below the reference, and less, are silence: 8 by default, 35 dB.
      units: "both", the default, has units for rises and units for falls, F = 2 channels; "rises"
        has those for rises only, F = channels.
      reference: what an energy is compared with: the loudest of the "sound", the default, which
        takes its volume out; the loudest of its "channel", which takes the spectrum of speaker and
        microphone out as well; or "full_scale", an energy of 1.
      start: the level from which a sound begins: "silence", the default, so that its onset is a
        volley of spikes, or the "first" frame, which then has no spikes.
      seq_lengths: samples of each sound of a padded batch, (*B,); all by default.
      dtype: floating type of the raster, float32 by default.

    Returns:
      Number of spikes in each step, T = S // (rate dt) + 1; 0 after the end of a sound.

    Raises:
      TypeError: a sound or `dtype` that is not of a floating type, or a setting of another type.
      ValueError: a sound without samples or with one that is not finite, which is NaN in the raster
        where values cannot be known, inside ``jax.jit``; a setting outside its range.

    Example:
      >>> import jax.numpy as jnp
      >>> from flax_snn.encode import mel_crossings
      >>> tone = jnp.sin(2 * jnp.pi * 1000 * jnp.arange(800.0) / 8000)
      >>> spikes = mel_crossings(tone, rate=8000, channels=4, level=1.0)
      >>> spikes[:2].tolist()  # 4 units for rises, then 4 for falls; the onset, then its end
      [[3.0, 7.0, 5.0, 1.0, 0.0, 0.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0, 3.0, 0.0, 0.0, 1.0]]
    """
    mel = mel_settings(rate, dt, frame, channels, low, high)
    settings = _checked(level, floor, units, reference, start)
    checks.floating("dtype", dtype)
    sound, lengths = check_sound(sound, seq_lengths, silent=True)
    counts = _crossings(sound, lengths, mel=mel, settings=settings)
    finite = jnp.isfinite(sound).all(axis=-1)[..., None, None]
    return nan_where_not(finite, counts.astype(dtype))


def mel_crossing_times(
    sound: Float[Array | np.ndarray, "S"],
    *,
    rate: int,
    dt: float = 10e-3,
    frame: float = 25e-3,
    channels: int = 40,
    low: float = 60.0,
    high: float | None = None,
    level: float = 0.5,
    floor: float = 8.0,
    units: Units = "both",
    reference: Reference = "sound",
    start: Start = "silence",
) -> SpikeTimes:
    """Encodes one sound as the times of the crossings of `mel_crossings`, on the host.

    A spike is at the beginning of its step, t dt; several of one unit in a step have one time.

    Args:
      sound: samples of the sound, floating point, 1 for full scale: (S,).
      rate: sampling rate in Hz.
      dt: seconds from one frame to the next.
      frame: seconds of a frame.
      channels: mel channels.
      low: lower edge of the lowest channel in Hz.
      high: upper edge of the highest in Hz.
      level: distance of the levels.
      floor: how far below the reference silence is.
      units: "both" or "rises".
      reference: "sound", "channel" or "full_scale".
      start: "silence" or "first".

    Raises:
      TypeError: see `mel_crossings`.
      ValueError: see `mel_crossings`; also a sound of more than one axis.
    """
    mel = mel_settings(rate, dt, frame, channels, low, high)
    settings = _checked(level, floor, units, reference, start)
    padded, lengths = padded_sound(sound, _SHARED * mel.hop, silent=True)
    counts = np.asarray(_crossings(padded, lengths, mel=mel, settings=settings)).astype(np.int64)
    steps, numbers = np.nonzero(counts)
    repeats = counts[steps, numbers]
    return SpikeTimes(np.repeat(steps, repeats) * float(dt), np.repeat(numbers, repeats))


_SHARED = 32
"""Steps to a multiple of which `mel_crossing_times` pads sounds."""


def _checked(level: float, floor: float, units: str, reference: str, start: str) -> _Crossings:
    """Returns the settings of the crossings, checked."""
    level, floor = checks.positive("level", level), checks.positive("floor", floor)
    checks.choice("units", units, ("both", "rises"))
    checks.choice("reference", reference, ("sound", "channel", "full_scale"))
    checks.choice("start", start, ("silence", "first"))
    return _Crossings(level, floor, units, reference, start)  # type: ignore[arg-type]


@functools.partial(jax.jit, static_argnames=("mel", "settings"))
def _crossings(sound: Array, lengths: Array, *, mel: MelSettings, settings: _Crossings) -> Array:
    """Returns the number of spikes, (*B, T, F) int32."""
    z = energies(sound, settings=mel)
    steps = jnp.arange(z.shape[-2]).reshape((1,) * lengths.ndim + (-1, 1))
    inside = steps < mel.frames(lengths)[..., None, None]
    top = jnp.zeros((), z.dtype)
    if settings.reference != "full_scale":
        axes = (-2, -1) if settings.reference == "sound" else (-2,)
        top = jnp.max(jnp.where(inside, z, -jnp.inf), axis=axes, keepdims=True)
    levels = (jnp.maximum(z - top, -settings.floor) + settings.floor) / settings.level
    levels = jnp.moveaxis(levels, -2, 0)
    at = jnp.zeros_like(levels[0]) if settings.start == "silence" else jnp.trunc(levels[0])

    def step(at: Array, x: Array) -> tuple[Array, Array]:
        crossed = jnp.trunc(x - at)
        return at + crossed, crossed

    crossed = jnp.where(inside, jnp.moveaxis(lax.scan(step, at, levels)[1], 0, -2), 0.0)
    crossed = crossed.astype(jnp.int32)
    rises = jnp.maximum(crossed, 0)
    if settings.units == "rises":
        return rises
    return jnp.concatenate([rises, jnp.maximum(-crossed, 0)], axis=-1)
