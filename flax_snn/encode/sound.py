"""Sounds that encoders take: floating samples, with padding at the end of shorter ones.

What cannot be checked inside ``jax.jit``, where values are not known, is NaN in what comes out.
"""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np

from flax_snn import checks
from flax_snn.sequence_mask import SequenceLengths, step_mask
from flax_snn.typing import Array, Float, Int

SCALE = "convert it with .astype(numpy.float32), and scale 16-bit samples by 1/32768"


def check_sound(
    sound: Float[Array | np.ndarray, "*B S"],
    seq_lengths: SequenceLengths | None,
    *,
    silent: bool,
) -> tuple[Float[Array, "*B S"], Int[Array, "*B"]]:
    """Returns sounds in float32 with 0 in place of their padding, and their lengths, int32.

    Args:
      sound: samples, (*B, S).
      seq_lengths: number of samples of each sound, or None if none is padded.
      silent: whether a sound of zeros alone is allowed.

    Raises:
      TypeError: samples that are not of a floating type, or lengths that are no integers.
      ValueError: no samples; where values are known, a sample that is not finite, a length of 0,
        below it or above S, or a silent sound that is not allowed.
    """
    checks.floating("sound", sound, remedy=SCALE)
    checks.rank("sound", sound, "(*B, S)", remedy="give it an axis of samples")
    batch, samples = tuple(sound.shape[:-1]), sound.shape[-1]
    if not samples:
        raise ValueError(checks.error_text("sound", "at least one sample", "none"))
    mask = step_mask(batch, samples, seq_lengths=seq_lengths)
    lengths = jnp.asarray(np.full(batch, samples, np.int32))
    if seq_lengths is not None:
        lengths = jnp.asarray(seq_lengths).astype(jnp.int32)
        known = checks.known_values(seq_lengths)
        if known is not None and known.size and known.min() < 1:
            raise ValueError(
                checks.error_text("seq_lengths", "sounds of at least one sample", known.min())
            )
    # On the host where it comes from there: sounds of many lengths are then no programs to compile.
    sound = sound.astype(np.float32)
    if mask is not None:
        sound = jnp.where(mask, sound, jnp.float32(0))
    values = checks.known_values(sound)
    if values is not None:
        finite = np.isfinite(values).all()
        if not finite:
            raise ValueError(
                checks.error_text("sound", "finite samples", "NaN or inf", "look for their origin")
            )
        if not silent and not values.any(axis=-1).all():
            raise ValueError(
                checks.error_text(
                    "sound",
                    "a sound that is to be brought to a level",
                    "one of zeros alone",
                    "leave it out, or do not normalise it",
                )
            )
    return jnp.asarray(sound), lengths


def padded_sound(
    sound: Float[Array | np.ndarray, "S"], multiple: int, *, silent: bool
) -> tuple[Float[Array, "P"], Int[Array, ""]]:
    """Returns one checked sound with silence up to a multiple of samples, and its length.

    It is padded on the host, so that sounds of many lengths share a few compiled programs.

    Raises:
      TypeError: see `check_sound`.
      ValueError: see `check_sound`; also a sound of more than one axis.
    """
    checks.floating("sound", sound, remedy=SCALE)
    checks.rank("sound", sound, "(S,)", remedy="give one sound; batches have another function")
    values = np.asarray(sound)
    check_sound(values, None, silent=silent)
    padded = np.zeros(-(-values.size // multiple) * multiple, np.float32)
    padded[: values.size] = values
    return jnp.asarray(padded), jnp.asarray(np.int32(values.size))
