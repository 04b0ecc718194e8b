"""A cochlea: sound becomes the spikes of 700 cells, as in the Heidelberg spiking data sets.

    sound -> basilar membrane -> inner hair cell -> 40 nerve fibres -> bushy cell -> spikes

A sound is brought to a root mean square of 0.3 and faded in and out. The basilar membrane
(`cochlea_membrane`) is a linear filter, applied block by block through the Fourier transform; hair
cells (`cochlea_hair_cell`) and bushy cells (`cochlea_bushy_cell`) are stepped at 24 kHz, all
channels at once. Nerve fibres fire at random: the spikes of a sample depend on the key and on the
number of the sample alone.

Source: Cramer, Stradmann, Schemmel and Zenke, The Heidelberg spiking data sets for the systematic
evaluation of spiking neural networks, IEEE Transactions on Neural Networks and Learning Systems
33(7), 2022; the stages name theirs.
"""

from __future__ import annotations

import functools
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import ArrayLike, DTypeLike

from flax_snn import checks
from flax_snn.encode.cochlea_bushy_cell import BushyCell, uniform_draws
from flax_snn.encode.cochlea_hair_cell import HairCell
from flax_snn.encode.cochlea_membrane import BasilarMembrane, Blocks, block_response
from flax_snn.encode.intensities import nan_where_not
from flax_snn.encode.sample_numbers import sample_numbers
from flax_snn.encode.sound import check_sound, padded_sound
from flax_snn.sequence_mask import SequenceLengths
from flax_snn.typing import Array, Float, Num

__all__ = ["SpikeTimes", "cochlea", "cochlea_times"]

STEP_RATE = 24_000
"""Steps of hair cells and bushy cells a second: half of the 48 kHz of the Heidelberg recordings."""


_KEY = "a random key, such as jax.random.key(0)"

_MEMBRANE, _HAIR_CELL, _BUSHY_CELL = BasilarMembrane(), HairCell(), BushyCell()


class SpikeTimes(NamedTuple):
    """The spikes of one sound, ordered by time, then unit.

    Attributes:
      times: time of each spike in seconds from the beginning of the sound, (K,) float64.
      units: unit of each spike, (K,) int64.
    """

    times: Float[np.ndarray, "K"]
    units: Num[np.ndarray, "K"]


class _Stages(NamedTuple):
    """What is fixed when the encoder is compiled."""

    membrane: BasilarMembrane
    hair_cell: HairCell
    bushy_cell: BushyCell
    blocks: Blocks
    level: float | None
    ramp: float | None
    steps_per_bin: int


def cochlea(
    key: Array | np.ndarray,
    sound: Float[Array | np.ndarray, "*B S"],
    *,
    rate: int,
    dt: float = 1e-3,
    seq_lengths: SequenceLengths | None = None,
    sample: ArrayLike | None = None,
    level: float | None = 0.3,
    ramp: float | None = None,
    membrane: BasilarMembrane = _MEMBRANE,
    hair_cell: HairCell = _HAIR_CELL,
    bushy_cell: BushyCell = _BUSHY_CELL,
    step_rate: int = STEP_RATE,
    dtype: DTypeLike = jnp.float32,
) -> Float[Array, "*B T F"]:
    """Encodes sounds as the spikes of a cochlea, counted in steps of dt.

    May be jitted, with all arguments but `key`, `sound`, `seq_lengths` and `sample` static. The
    first call for a sampling rate computes the response of the membrane and takes seconds. The
    samples of a batch run one after the other, with all their channels at once.

    Args:
      key: JAX random key.
      sound: samples of the sounds, floating point, (*B, S).
      rate: sampling rate in Hz, a multiple of 25 and at most twice `step_rate`. What the sound
        does not have, above half the sampling rate, the cochlea does not hear: channels below
        about 120 are almost silent at 16 kHz.
      dt: duration of a step of the raster in seconds, 1e-3 by default: one of those of which
        0.32 s, a block of the computation, holds a whole number.
      seq_lengths: number of samples of each sound of a padded batch, (*B,); all by default.
      sample: number of each sample in the data set, integers >= 0: (*B,). By default its position
        in the batch.
      level: root mean square to which each sound is brought, 0.3 by default; None to leave it.
      ramp: seconds over which a sound is faded in and out, with half a Hann window each; None, the
        default, for half of the sound each, as the Heidelberg data sets' converter does.
      membrane: the basilar membrane, of 700 channels by default.
      hair_cell: the inner hair cells.
      bushy_cell: the bushy cells and their nerve fibres.
      step_rate: steps of hair cells and bushy cells a second, 24000 by default.
      dtype: floating type of the raster, float32 by default.

    Returns:
      Number of spikes in each step, T = S / (rate dt), rounded up. Channel 0 hears the highest
      frequencies. There is no spike after the end of a sound.

    Raises:
      TypeError: a sound or `dtype` that is not of a floating type, or another setting of another
        type.
      ValueError: a sound without samples, with one that is not finite, or silent where `level` is
        given; where values cannot be known, inside ``jax.jit``, the spikes of such a sound are
        NaN. A rate, step or ramp that does not fit, as said above.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from flax_snn.encode import BasilarMembrane, cochlea
      >>> tone = jnp.sin(2 * jnp.pi * 1000 * jnp.arange(800.0) / 8000)
      >>> spikes = cochlea(jax.random.key(0), tone, rate=8000, membrane=BasilarMembrane(channels=8))
      >>> spikes.shape, spikes.sum(axis=0).tolist()  # 2 cm of 3.5
      ((100, 8), [0.0, 0.0, 0.0, 1.0, 5.0, 0.0, 0.0, 0.0])
    """
    stages = _stages(rate, dt, level, ramp, membrane, hair_cell, bushy_cell, step_rate)
    sound, lengths = check_sound(sound, seq_lengths, silent=level is None)
    checks.floating("dtype", dtype)
    checks.instance("key", key, (jax.Array, np.ndarray), what=_KEY)
    batch = sound.shape[:-1]
    numbers = sample_numbers(sample, batch)
    response = block_response(membrane, stages.blocks)
    flat = sound.reshape(-1, sound.shape[-1])
    counts, heard = _encode(
        key, flat, lengths.reshape(-1), numbers.reshape(-1), response, stages=stages
    )
    counts = counts.reshape(*batch, *counts.shape[1:]).astype(dtype)
    return nan_where_not(heard.reshape(*batch, 1, 1), counts)


def cochlea_times(
    key: Array | np.ndarray,
    sound: Float[Array | np.ndarray, "S"],
    *,
    rate: int,
    sample: int = 0,
    level: float | None = 0.3,
    ramp: float | None = None,
    membrane: BasilarMembrane = _MEMBRANE,
    hair_cell: HairCell = _HAIR_CELL,
    bushy_cell: BushyCell = _BUSHY_CELL,
    step_rate: int = STEP_RATE,
) -> SpikeTimes:
    """Encodes one sound as the spike times of a cochlea, on the host; arguments as in `cochlea`.

    Times are exact to the step of the cells, 1/24000 s. Sounds of all lengths share one compiled
    program: they are padded to whole blocks of 0.32 s.

    Args:
      key: JAX random key.
      sound: samples of the sound, floating point, (S,).
      rate: sampling rate in Hz.
      sample: number of the sample in the data set, 0 by default.
      level: root mean square to which the sound is brought, 0.3 by default; None to leave it.
      ramp: seconds over which it is faded in and out; None for half of the sound each.
      membrane: the basilar membrane.
      hair_cell: the inner hair cells.
      bushy_cell: the bushy cells and their nerve fibres.
      step_rate: steps of hair cells and bushy cells a second.

    Raises:
      TypeError: see `cochlea`.
      ValueError: see `cochlea`; also a sound of more than one axis.
    """
    checks.instance("key", key, (jax.Array, np.ndarray), what=_KEY)
    stages = _stages(rate, None, level, ramp, membrane, hair_cell, bushy_cell, step_rate)
    padded, length = padded_sound(sound, stages.blocks.hop, silent=level is None)
    end = -(-int(length) * stages.blocks.step_rate // stages.blocks.rate)
    numbers = sample_numbers(np.array([sample]), (1,))
    response = block_response(membrane, stages.blocks)
    counts, _ = _encode(key, padded[None], length[None], numbers, response, stages=stages)
    steps, units = np.nonzero(np.asarray(counts[0])[:end])
    return SpikeTimes(steps / step_rate, units)


def _stages(
    rate: int,
    dt: float | None,
    level: float | None,
    ramp: float | None,
    membrane: BasilarMembrane,
    hair_cell: HairCell,
    bushy_cell: BushyCell,
    step_rate: int,
) -> _Stages:
    """Returns the settings, checked; without a dt, one step of the cells is one of the raster."""
    rate = checks.whole_number("rate", rate)
    step_rate = checks.whole_number("step_rate", step_rate)
    level = None if level is None else checks.positive("level", level)
    ramp = None if ramp is None else checks.non_negative("ramp", ramp, unit="seconds")
    checks.instance("membrane", membrane, BasilarMembrane)
    checks.instance("hair_cell", hair_cell, HairCell)
    checks.instance("bushy_cell", bushy_cell, BushyCell)
    blocks = Blocks.at(rate, step_rate, membrane.causal)
    hair_cell.check_step(step_rate)
    bushy_cell.refractory_steps(step_rate)
    per_bin = 1 if dt is None else _steps_per_bin(dt, blocks)
    return _Stages(membrane, hair_cell, bushy_cell, blocks, level, ramp, per_bin)


def _steps_per_bin(dt: float, blocks: Blocks) -> int:
    """Returns how many steps of the cells one step of the raster has.

    Raises:
      ValueError: not a whole number, or one of which a block has no whole number.
    """
    dt = checks.positive("dt", dt, unit="seconds")
    steps = dt * blocks.step_rate
    whole = round(steps)
    if abs(steps - whole) > 1e-6 or whole < 1 or blocks.steps % whole:
        raise ValueError(
            checks.error_text(
                "dt",
                f"a whole number of steps of 1/{blocks.step_rate} s of which 0.32 s is a multiple",
                f"{dt} s, {steps:g} steps",
                "take 0.5, 1, 2, 4, 5 or 10 ms",
            )
        )
    return whole


@functools.partial(jax.jit, static_argnames="stages")
def _encode(
    key: Array, sounds: Array, lengths: Array, numbers: Array, response: Array, *, stages: _Stages
) -> tuple[Array, Array]:
    """Returns counts (B, T, F) uint8 of sounds (B, S), and whether each could be heard, (B,)."""
    cut = stages.blocks
    samples = sounds.shape[-1]
    blocks = -(-samples // cut.hop)
    bins = -(-samples * cut.step_rate // (cut.rate * stages.steps_per_bin))
    padding = (cut.before, (blocks - 1) * cut.hop + cut.window - cut.before - samples)

    def encode_one(one: tuple[Array, Array, Array]) -> tuple[Array, Array]:
        sound, length, number = one
        shaped = _shaped(sound, length, stages)
        heard = jnp.isfinite(shaped).all()
        padded = jnp.pad(jnp.where(heard, shaped, 0.0), padding)
        own_key = jax.random.fold_in(key, number)

        def block(states: tuple[Any, ...], index: Array) -> tuple[tuple[Any, ...], Array]:
            window = lax.dynamic_slice_in_dim(padded, index * cut.hop, cut.window)
            velocity = cut.velocity(window, response)
            draws = uniform_draws(jax.random.fold_in(own_key, index), cut.steps, channels)
            states, spikes = lax.scan(step, states, (jnp.arange(cut.steps), velocity, draws))
            binned = spikes.reshape(-1, stages.steps_per_bin, channels)
            return states, binned.sum(axis=1, dtype=jnp.uint8)

        def step(
            states: tuple[Any, ...], x: tuple[Array, Array, Array]
        ) -> tuple[tuple[Any, ...], Array]:
            hair, bushy = states
            number, velocity, draw = x
            hair, p = stages.hair_cell.step(hair, velocity, 1 / cut.step_rate)
            bushy, spikes = stages.bushy_cell.step(bushy, number, p, draw, cut.step_rate)
            return (hair, bushy), spikes

        channels = stages.membrane.channels
        start = (
            stages.hair_cell.at_rest(channels),
            stages.bushy_cell.at_rest(channels, cut.step_rate),
        )
        counts = lax.scan(block, start, jnp.arange(blocks))[1].reshape(-1, channels)[:bins]
        end = -(-length * cut.step_rate // (cut.rate * stages.steps_per_bin))
        inside = jnp.arange(bins)[:, None] < end
        return jnp.where(inside, counts, jnp.zeros_like(counts)), heard

    return lax.map(encode_one, (sounds, lengths, numbers))


def _shaped(sound: Array, length: Array, stages: _Stages) -> Array:
    """Returns a sound at its level and faded in and out; NaN if it is silent and has a level."""
    if stages.level is not None:
        power = jnp.sum(sound**2) / length.astype(sound.dtype)
        sound = sound * (stages.level / jnp.sqrt(power))
    ramp = length // 2
    if stages.ramp is not None:
        ramp = jnp.minimum(ramp, round(stages.ramp * stages.blocks.rate))
    position = jnp.arange(sound.shape[-1])
    nearest = jnp.minimum(position, length - 1 - position)
    angle = 2 * math.pi / jnp.maximum(2 * ramp - 1, 1).astype(sound.dtype)
    fade = 0.5 - 0.5 * jnp.cos(angle * nearest.astype(sound.dtype))
    sound = jnp.where(nearest < ramp, sound * fade, sound)
    return sound
