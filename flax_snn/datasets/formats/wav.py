"""Reads sound from WAV files of linear PCM."""

from __future__ import annotations

import io
import os
import struct
import wave
from typing import NamedTuple

import numpy as np

from flax_snn import checks
from flax_snn.datasets.recorded.sources import content_of
from flax_snn.typing import Num


class Sound(NamedTuple):
    """A sound as it was recorded.

    Attributes:
      samples: (samples,) for one channel, else (samples, channels), as they are stored: int16, or
        uint8 about 128 for 8-bit files, or int32 for 24 and 32 bits.
      rate: sampling rate in Hz.
    """

    samples: Num[np.ndarray, "..."]
    rate: int


def read_wav(
    path: str | os.PathLike[str], *, rate: int | None = None, channels: int | None = None
) -> Sound:
    """Reads a WAV file.

    Args:
      path: the file.
      rate: sampling rate in Hz that the file must have; None, the default, takes any.
      channels: number of channels that it must have; None, the default, takes any.

    Raises:
      FileNotFoundError: no such file.
      ValueError: no WAV file of linear PCM, a cut one, one without samples, or one of another
        sampling rate or number of channels.
    """
    path, whole = content_of(path, what="sound")
    try:
        # From memory: a header that announces more than the file has costs nothing.
        with wave.open(io.BytesIO(whole), "rb") as file:
            form = file.getparams()
            content = file.readframes(form.nframes)
    except (wave.Error, EOFError, struct.error, RuntimeError, ValueError, KeyError) as error:
        reason = str(error) or "the end of the file"
        raise ValueError(
            checks.error_text(path, "a WAV file of linear PCM", reason, "copy or convert it")
        ) from error
    for name, wanted, found in (
        ("sampling rate in Hz", rate, form.framerate),
        ("number of channels", channels, form.nchannels),
    ):
        if wanted is not None and wanted != found:
            raise ValueError(
                checks.error_text(path, f"a {name} of {wanted}", found, "convert it, say with sox")
            )
    if form.sampwidth not in _TYPES:
        raise ValueError(
            checks.error_text(
                path, "samples of 1 to 4 bytes", f"{form.sampwidth} bytes", "convert it"
            )
        )
    if form.framerate < 1:
        raise ValueError(
            checks.error_text(path, "a sampling rate > 0 Hz", form.framerate, "convert it")
        )
    size = form.nframes * form.nchannels * form.sampwidth
    if not size or len(content) != size:
        raise ValueError(
            checks.error_text(
                path,
                f"{size} bytes of sound, as its header says" if size else "some sound",
                f"{len(content)} bytes",
                "the file is cut or empty: copy it again",
            )
        )
    samples = _decode(content, form.sampwidth)
    return Sound(
        samples.reshape(-1, form.nchannels) if form.nchannels > 1 else samples, form.framerate
    )


_TYPES = {1: "u1", 2: "<i2", 3: "u1", 4: "<i4"}


def _decode(content: bytes, width: int) -> np.ndarray:
    if width == 3:
        wide = np.zeros((len(content) // 3, 4), np.uint8)
        wide[:, 1:] = np.frombuffer(content, np.uint8).reshape(-1, 3)
        return wide.view("<i4")[:, 0] >> 8  # the sign comes along
    return np.frombuffer(content, _TYPES[width])
