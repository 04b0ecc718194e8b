"""Mel energies and their level crossings: each stage against NumPy in float64."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import flax_snn as snn

RATE = 8000


def noise(samples: int = 2000, seed: int = 0) -> np.ndarray:
    """Noise that swells and fades, so that energies cross levels in both directions."""
    rng = np.random.default_rng(seed)
    swell = np.exp(-6 * np.cos(2 * np.pi * np.arange(samples) / 900) ** 2)
    return (0.3 * rng.normal(size=samples) * swell).astype(np.float32)


def energies(x: np.ndarray, channels: int, low: float = 60.0, high: float = 3900.0) -> np.ndarray:
    """log(triangles |FFT|^2 + 1e-10), a frame and a channel at a time."""
    window = np.hanning(200)
    mel = lambda f: 2595 * np.log10(1 + f / 700)  # noqa: E731
    corners = 700 * (10 ** (np.linspace(mel(low), mel(high), channels + 2) / 2595) - 1)
    frequencies = np.arange(257) * RATE / 512
    rows = []
    for start in range(0, len(x) + 1, 80):
        frame = np.pad(x.astype(np.float64), 100)[start : start + 200]
        power = np.abs(np.fft.fft(frame * window, 512)[:257]) ** 2 / (window**2).sum()
        rows.append(
            [
                np.log(np.interp(frequencies, corners[c : c + 3], [0, 1, 0]) @ power + 1e-10)
                for c in range(channels)
            ]
        )
    return np.array(rows)


def crossings(z: np.ndarray, level: float, top: Any, first: bool = False) -> np.ndarray:
    """Spikes of rises, then of falls, counted one level at a time."""
    x = (np.maximum(z - top, -8.0) + 8.0) / level
    found = np.zeros((len(x), 2, x.shape[1]))
    for c in range(x.shape[1]):
        at = int(x[0, c]) if first else 0
        for t in range(len(x)):
            while x[t, c] >= at + 1:
                at += 1
                found[t, 0, c] += 1
            while x[t, c] <= at - 1:
                at -= 1
                found[t, 1, c] += 1
    return found.reshape(len(x), -1)


def test_filters_are_triangles_of_equal_width_in_mel() -> None:
    filters = snn.encode.mel_filters(6, bins=4096, rate=RATE, low=100.0, high=3500.0)
    mel = 2595 * np.log10(1 + np.arange(2049) * RATE / 4096 / 700)
    width = (2595 * np.log10(1 + 3500 / 700) - 2595 * np.log10(1 + 100 / 700)) / 7
    for c in range(6):
        inside = mel[filters[:, c] > 0]
        lower = 2595 * np.log10(1 + 100 / 700) + c * width
        # To one frequency of the transform, at most 3.2 mel.
        assert abs(inside[0] - lower) < 3.2 and abs(inside[-1] - lower - 2 * width) < 3.2
        assert abs(mel[filters[:, c].argmax()] - lower - width) < 3.2
    # Between the first and the last centre, neighbours add up to 1.
    between = (mel > mel[filters[:, 0].argmax()]) & (mel < mel[filters[:, 5].argmax()])
    np.testing.assert_allclose(filters[between].sum(axis=1), 1, atol=1e-12)


def test_energies_are_those_of_numpy() -> None:
    found = snn.encode.log_mel(noise(), rate=RATE, channels=12)
    # float32 in sums of 257 products, relative to the loudest frequency of a frame.
    np.testing.assert_allclose(found, energies(noise(), 12), atol=2e-4)


@pytest.mark.parametrize("reference", ["sound", "channel", "full_scale"])
@pytest.mark.parametrize("start", ["silence", "first"])
def test_crossings_are_counted_as_level_by_level(reference: Any, start: Any) -> None:
    z = energies(noise(), 12)
    top = {"sound": z.max(), "channel": z.max(axis=0), "full_scale": 0.0}[reference]
    x = (np.maximum(z - top, -8.0) + 8.0) / 0.7
    inner = x[(x > 0) & (x < 8 / 0.7 - 1e-9)]
    # Far enough from the levels for float32, as measured above.
    assert np.abs(inner - np.round(inner)).min() > 3e-4
    expected = crossings(z, 0.7, top, start == "first")
    assert expected[:, :12].sum() > 50 and expected[:, 12:].sum() > 50
    options: dict[str, Any] = dict(rate=RATE, channels=12, level=0.7, reference=reference)
    found = snn.encode.mel_crossings(noise(), start=start, **options)
    np.testing.assert_array_equal(found, expected)
    rises = snn.encode.mel_crossings(noise(), start=start, units="rises", **options)
    np.testing.assert_array_equal(rises, expected[:, :12])


def test_spikes_tell_the_energy_to_within_a_level() -> None:
    z = np.asarray(snn.encode.log_mel(noise(), rate=RATE))
    spikes = np.asarray(snn.encode.mel_crossings(noise(), rate=RATE))
    told = 0.5 * np.cumsum(spikes[:, :40] - spikes[:, 40:], axis=0)
    assert np.abs(told - (np.maximum(z - z.max(), -8) + 8)).max() < 0.5 + 1e-5


def test_volume_changes_nothing_relative_to_the_sound() -> None:
    loud, quiet = (
        np.asarray(snn.encode.mel_crossings(gain * noise(), rate=RATE))
        for gain in (np.float32(1), np.float32(0.25))
    )
    np.testing.assert_array_equal(loud, quiet)


@pytest.mark.slow
def test_batches_padding_jit_and_times_agree() -> None:
    sounds = np.stack([noise(), noise(seed=1)])
    sounds[1, 1230:] = np.nan
    lengths = np.array([2000, 1230])
    together = snn.encode.mel_crossings(sounds, rate=RATE, seq_lengths=lengths)
    encode = jax.jit(lambda x, n: snn.encode.mel_crossings(x, rate=RATE, seq_lengths=n))
    np.testing.assert_array_equal(encode(sounds, lengths), together)
    for row, length in enumerate(lengths):
        alone = np.asarray(snn.encode.mel_crossings(sounds[row, :length], rate=RATE))
        np.testing.assert_array_equal(together[row, : len(alone)], alone)
        assert not np.asarray(together[row, len(alone) :]).any()
        times, units = snn.encode.mel_crossing_times(sounds[row, :length], rate=RATE)
        steps = snn.time_grid.steps_of_times(times.astype(np.float32), 10e-3)
        binned = np.zeros_like(alone)
        np.add.at(binned, (steps, units), 1)
        np.testing.assert_array_equal(binned, alone)
        assert (np.diff(times) >= 0).all()
    bad = encode(jnp.full((1, 400), jnp.nan), np.array([400]))
    assert bool(jnp.isnan(bad).all())


def test_silence_is_silent() -> None:
    silent = np.zeros(800, np.float32)
    assert not np.asarray(snn.encode.mel_crossings(silent, rate=RATE, reference="full_scale")).any()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"dt": 1.03e-4}, "whole number of samples"),
        ({"frame": 1e-4}, "at least 4 samples"),
        ({"channels": 200}, "fewer channels"),
        ({"high": 4001.0}, "high"),
        ({"low": 3950.0}, "low"),
        ({"level": 0.0}, "level"),
        ({"floor": -1.0}, "floor"),
        ({"units": "falls"}, "units"),
        ({"reference": "peak"}, "reference"),
        ({"start": "zero"}, "start"),
        ({"seq_lengths": np.array(0)}, "at least one sample"),
    ],
)
def test_what_does_not_fit_is_refused(change: Any, words: str, unchecked: None) -> None:
    with pytest.raises(ValueError, match=words):
        snn.encode.mel_crossings(noise(400), **({"rate": RATE} | change))
