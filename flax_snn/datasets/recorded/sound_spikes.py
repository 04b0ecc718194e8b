"""Turns a source of sounds into a file of spikes of the SHD layout, through an encoder.

What is done is kept beside the file, in `<file>.parts`, every 50 sounds: after a kill, the same
call goes on where it was, checks that settings and sounds are still the same, and gives the file
that an undisturbed call gives.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import inspect
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal

import jax
import numpy as np
import numpy.typing as npt

from flax_snn import checks, encode
from flax_snn.datasets.events.recording import Events
from flax_snn.datasets.formats.spike_hdf5 import SpikeFile
from flax_snn.datasets.formats.spike_hdf5_writing import (
    made_with,
    room_for,
    write_spike_file,
)
from flax_snn.datasets.recorded.sources import Source, named
from flax_snn.datasets.unreadable_npz import UNREADABLE_NPZ
from flax_snn.json_form import read_json

SoundEncoder = Callable[[np.ndarray, int], encode.SpikeTimes]
"""Encodes a sound (S,) float32 in [-1, 1], the sample of a number, as times and units."""

_TOGETHER = 50
"""Sounds of one part that is kept."""


def encode_sounds(
    path: str | os.PathLike[str],
    source: Source,
    encoder: Literal["cochlea", "mel"] | SoundEncoder = "cochlea",
    *,
    seed: int = 0,
    rate: int | None = None,
    units: int | None = None,
    settings: Mapping[str, Any] | None = None,
    time_dtype: npt.DTypeLike = np.float32,
) -> SpikeFile:
    """Encodes all sounds of a source into a file that `SpikeFile` and `train.spikes` read.

    Shows its progress on a terminal. A call that was stopped is taken up where it was; a file that
    this call has made before is opened.

    Args:
      path: the file, such as ``digits.h5``.
      source: sounds (samples,), integers as in WAV files, or floating in [-1, 1]. A source with
        `speakers`, such as `SpokenDigits`, has its speakers in the file.
      encoder: "cochlea" for `snn.encode.cochlea_times`, "mel" for `snn.encode.mel_crossing_times`,
        or a function of a sound (S,) float32 and the number of its sample that returns
        `snn.encode.SpikeTimes`.
      seed: seed of what is random in the cochlea, 0 by default.
      rate: sampling rate in Hz; by default that of the source.
      units: number of units of an encoder of your own; the others know theirs.
      settings: further arguments of the encoder by name; those of your own are stored in the file
        only, so that a change of them is noticed.
      time_dtype: floating type of the times in the file, float32 by default; SHD has float16.

    Returns:
      The file, opened.

    Raises:
      FileExistsError: there is such a file, made in another way.
      ImportError: h5py is not installed.
      OSError: the disk is full; what is done is kept.
      TypeError: a setting of another type, or a sound that is none.
      ValueError: a sound or setting that the encoder refuses, named by its sample; parts that were
        made with other settings or sounds.
    """
    path = os.path.expanduser(os.fspath(path))
    seed = checks.whole_number("seed", seed, 0)
    settings = dict(settings or {})
    function, count = _function_of(encoder, seed, rate, source, units, settings)
    labels = np.asarray(source.labels)
    form = {
        "encoder": encoder if isinstance(encoder, str) else _name(encoder),
        "rate": rate or getattr(source, "rate", None),
        "seed": seed,
        "settings": {name: repr(value) for name, value in sorted(settings.items())},
        "samples": len(source),
        "labels": hashlib.sha256(labels.astype("<i4").tobytes()).hexdigest(),
        "classes": list(source.classes),
        "time_dtype": np.dtype(time_dtype).name,
    }
    if os.path.exists(path):
        return _opened(path, form, count)
    folder = f"{path}.parts"
    _claim(folder, form)
    with room_for(path):
        _encode_parts(folder, source, function, count)
    names: list[str] = list(getattr(source, "speakers", ()))
    known = sorted(set(names))
    write_spike_file(
        path,
        _events_of(folder, len(source), count),
        labels,
        classes=source.classes,
        speakers=np.array([known.index(name) for name in names]) if names else None,
        speaker_names=known or None,
        time_dtype=time_dtype,
        made_with=form,
    )
    shutil.rmtree(folder)
    return SpikeFile(path, units=count)


def _function_of(
    encoder: Any,
    seed: int,
    rate: int | None,
    source: Source,
    units: int | None,
    settings: Mapping[str, Any],
) -> tuple[SoundEncoder, int]:
    """Returns the encoder as a function of sound and number, and its number of units."""
    if callable(encoder):
        if units is None:
            raise ValueError(
                checks.error_text("units", "the number of units of your encoder", units)
            )
        return encoder, checks.whole_number("units", units)
    checks.choice("encoder", encoder, ("cochlea", "mel"), remedy="or give a function")
    if units is not None:
        raise ValueError(
            checks.error_text(
                "units", f"None for the encoder {encoder!r}", units, "set its channels in settings"
            )
        )
    rate = getattr(source, "rate", None) if rate is None else rate
    rate = checks.whole_number("rate", rate, remedy="the source does not say it")
    if encoder == "mel":
        known = _keywords(encode.mel_crossing_times)
        checks.argument_names("settings", settings, known)
        count = settings.get("channels", 40) * (2 if settings.get("units") != "rises" else 1)
        return (
            lambda sound, number: encode.mel_crossing_times(sound, rate=rate, **settings)
        ), count
    known = _keywords(encode.cochlea_times)
    checks.argument_names("settings", settings, known)
    key = jax.random.key(seed)
    membrane = settings.get("membrane", encode.BasilarMembrane())
    return (
        lambda sound, number: encode.cochlea_times(key, sound, rate=rate, sample=number, **settings)
    ), membrane.channels


def _keywords(function: Callable[..., Any]) -> list[str]:
    """Returns the arguments of an encoder that may be settings."""
    named_ones = inspect.signature(function).parameters.values()
    only = [p.name for p in named_ones if p.kind is inspect.Parameter.KEYWORD_ONLY]
    return [name for name in only if name not in ("rate", "sample")]


def _name(function: Any) -> str:
    return f"{function.__module__}.{getattr(function, '__qualname__', type(function).__name__)}"


def _opened(path: str, form: Mapping[str, Any], units: int) -> SpikeFile:
    """Opens a file that is there.

    Raises:
      FileExistsError: it was made in another way.
    """
    source = SpikeFile(path, units=units)
    found = made_with(path)
    if found != form:
        raise FileExistsError(
            checks.error_text(
                path,
                "no file, or one made with the same settings",
                _difference(found, form),
                "give another name, or delete it",
            )
        )
    return source


def _claim(folder: str, form: Mapping[str, Any]) -> None:
    """Makes the folder of parts, or checks that it is that of the same call.

    Raises:
      ValueError: its parts were made with other settings.
    """
    os.makedirs(folder, exist_ok=True)
    manifest = os.path.join(folder, "settings.json")
    if not os.path.exists(manifest):
        _write(manifest, lambda file: file.write(json.dumps(form, sort_keys=True).encode()))
        return
    try:
        found = read_json(manifest)
    except ValueError:
        found = None
    if found != form:
        raise ValueError(
            checks.error_text(
                folder,
                "parts made with the same settings",
                _difference(found, form),
                "delete that folder to begin anew, or give the same settings to go on",
            )
        )


def _difference(found: Any, form: Mapping[str, Any]) -> str:
    if not isinstance(found, Mapping):
        return "one that does not say how it was made"
    other = [f"{k} = {found.get(k)!r}, not {form[k]!r}" for k in form if found.get(k) != form[k]]
    return checks.shown("; ".join(other))


def _encode_parts(folder: str, source: Source, function: SoundEncoder, units: int) -> None:
    """Encodes what the folder does not have yet."""
    with _progress(len(source)) as advance:
        for first in range(0, len(source), _TOGETHER):
            rows = range(first, min(first + _TOGETHER, len(source)))
            sounds = [np.asarray(source[row].data) for row in rows]
            digest = hashlib.sha256(b"".join(s.tobytes() for s in sounds)).hexdigest()
            place = os.path.join(folder, f"{first:06}.npz")
            if _done(place, digest):
                advance(len(rows))
                continue
            found = []
            for row, sound in zip(rows, sounds, strict=True):
                with named(f"sample {row}"):
                    times, numbers = function(_scaled(sound), row)
                    found.append(Events(times, numbers, (units,)))
                advance(1)
            arrays: dict[str, Any] = {
                "digest": np.array(digest),
                "counts": np.array([len(events) for events in found], np.int64),
                "times": np.concatenate([events.times for events in found]),
                "units": np.concatenate([events.units for events in found]),
            }
            _write(place, functools.partial(np.savez, **arrays))


def _done(place: str, digest: str) -> bool:
    """Returns whether a part is there, whole, and of these sounds."""
    if not os.path.exists(place):
        return False
    try:
        with open(place, "rb") as file, np.load(file, allow_pickle=False) as arrays:
            whole = arrays["counts"].sum() == len(arrays["units"]) == len(arrays["times"])
            return bool(whole and arrays["digest"] == digest)
    except UNREADABLE_NPZ:
        return False  # it is made again


def _events_of(folder: str, samples: int, units: int) -> Iterator[Events]:
    for first in range(0, samples, _TOGETHER):
        with np.load(os.path.join(folder, f"{first:06}.npz"), allow_pickle=False) as arrays:
            ends = np.cumsum(arrays["counts"])
            times, numbers = arrays["times"], arrays["units"]
        for begin, end in zip([0, *ends[:-1]], ends, strict=True):
            yield Events(times[begin:end], numbers[begin:end], (units,))


def _scaled(sound: np.ndarray) -> np.ndarray:
    """Returns a sound in float32, 1 for full scale.

    Raises:
      TypeError: no samples as WAV files or encoders have them.
    """
    checks.rank("sound", sound, "(S,)")
    if sound.dtype.kind == "f":
        return sound.astype(np.float32)
    if sound.dtype == np.uint8:
        return (sound.astype(np.float32) - 128) / 128
    if sound.dtype in (np.int16, np.int32):
        return (sound / -float(np.iinfo(sound.dtype).min)).astype(np.float32)
    raise TypeError(
        checks.error_text("sound", "samples of uint8, int16, int32 or floating", sound.dtype)
    )


def _write(place: str, fill: Callable[[Any], Any]) -> None:
    """Writes a file beside its place, and moves it there when it is whole."""
    partial = f"{place}.{os.getpid()}.part"
    try:
        with open(partial, "wb") as file:
            fill(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, place)
    finally:
        if os.path.exists(partial):
            os.remove(partial)


@contextlib.contextmanager
def _progress(total: int) -> Iterator[Callable[[int], Any]]:
    """Yields what is to be called with the number of sounds done; shown on terminals only."""
    try:
        from tqdm import tqdm
    except ImportError:
        yield lambda count: None
        return
    with tqdm(total=total, desc="sounds", disable=not sys.stderr.isatty()) as bar:
        yield bar.update
