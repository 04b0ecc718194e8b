"""The cochlea against lauscher's output, NumPy in float64, quadrature and its own distribution."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate, special

import flax_snn as snn
from flax_snn.encode.cochlea_bushy_cell import binomial
from flax_snn.encode.cochlea_membrane import Blocks

GOLDEN = np.load(Path(__file__).parents[1] / "golden" / "cochlea" / "lauscher.npz")
FS = 48_000
SMALL = snn.encode.BasilarMembrane(channels=14)
KEY = jax.random.key(0)


def sound(name: str) -> np.ndarray:
    """The generated sounds of the golden README."""
    if name == "sine":
        return np.sin(2 * np.pi * 1000 * np.arange(4800) / FS)
    if name == "click":
        return (np.arange(2400) == 1200).astype(np.float64)
    t = np.arange(9600) / FS
    phase = 2 * np.pi * (120 * t + 100 * t**2)
    return sum(np.sin(h * phase) / h for h in range(1, 21))


def shaped(x: np.ndarray) -> np.ndarray:
    """A sound at a root mean square of 0.3 and faded over all of it."""
    half = len(x) // 2
    window = np.hanning(2 * half)
    return x * 0.3 / np.sqrt(np.mean(x**2)) * window


def golden_membrane() -> snn.encode.BasilarMembrane:
    """Every 50th place, 50 to 650 of the 700, of the membrane as it was run."""
    return snn.encode.BasilarMembrane()


@pytest.mark.parametrize("name", ["sine", "click", "glide"])
def test_the_response_gives_the_velocity_of_lauscher(name: str) -> None:
    x = shaped(sound(name))
    half = len(x) // 2 + 1
    places = golden_membrane().places()[GOLDEN["channels"]]
    rows = [_response_at(float(place), np.linspace(1, 24_000, half)) for place in places]
    velocity = np.real(np.fft.ifft(np.stack(rows) * np.fft.fft(x)[:half]))
    expected = GOLDEN[f"{name}_velocity"]
    # float32 in the file.
    np.testing.assert_allclose(
        velocity[:, GOLDEN[f"{name}_steps"]], expected, rtol=0, atol=2e-7 * np.abs(velocity).max()
    )


def _response_at(place: float, frequencies: np.ndarray) -> np.ndarray:
    """The response of one place: the last channel of a membrane of that length."""
    if place == 0:
        return snn.encode.BasilarMembrane(channels=1).response(frequencies)[0]
    membrane = snn.encode.BasilarMembrane(channels=2, length=place)
    return membrane.response(frequencies)[1]


def test_the_phase_is_the_integral_of_the_wave_number() -> None:
    membrane = snn.encode.BasilarMembrane(channels=3, length=2.0)
    w = np.array([2 * np.pi * 700.0])

    def wave_number(place: float) -> complex:
        return complex(membrane._wave(w, place).number[0])

    start, end = membrane._wave(w, 0.0).phase[0], membrane._wave(w, 1.4).phase[0]
    real = integrate.quad(lambda x: wave_number(x).real, 0, 1.4)[0]
    imag = integrate.quad(lambda x: wave_number(x).imag, 0, 1.4)[0]
    np.testing.assert_allclose(end - start, real + 1j * imag, rtol=1e-9)
    np.testing.assert_allclose(start, 2 * wave_number(0.0) / 3.0, rtol=1e-12)


def test_the_hankel_function_is_that_of_scipy_on_both_sides_of_its_series() -> None:
    from flax_snn.encode.cochlea_membrane import _scaled_hankel

    radius, angle = np.meshgrid(np.geomspace(1e-3, 80, 60), np.linspace(-0.3, 1.5, 9))
    z = (radius * np.exp(1j * angle)).ravel()
    np.testing.assert_allclose(_scaled_hankel(z), special.hankel1e(0, z), rtol=1e-9)


@pytest.mark.parametrize("rate", [8000, 16_000, 44_100, 48_000])
def test_blocks_are_the_filter_of_the_whole_sound(rate: int) -> None:
    """A sound of several blocks, at the right frequencies, in float64."""
    rng = np.random.default_rng(0)
    n = round(0.64 * rate)
    # Nothing at half the sampling rate, as behind the filter of a recorder: an edge of a spectrum
    # would ring without end.
    band = np.minimum(1, 5 * (1 - np.arange(n // 2 + 1) / (n / 2)))
    x = np.fft.irfft(np.fft.rfft(rng.normal(size=n)) * np.sin(np.pi / 2 * band) ** 2, n)
    x *= np.hanning(n)
    blocks = Blocks.at(rate, 24_000, causal=False)
    response = SMALL.response(blocks.frequencies()).astype(np.complex64)
    count = 2
    padded = np.pad(x, (blocks.before, (count - 1) * blocks.hop + blocks.window - n))
    parts = [
        jax.jit(blocks.velocity)(
            jnp.asarray(padded[k * blocks.hop : k * blocks.hop + blocks.window], jnp.float32),
            response,
        )
        for k in range(count)
    ]
    # Four times the sound, so that nothing comes round; sampled at 24 kHz at the exact times.
    long = np.pad(x, (n, 2 * n))
    spectrum = SMALL.response(np.fft.rfftfreq(4 * n, 1 / rate)) * np.fft.rfft(long)
    steps = round(4 * 0.64 * 24_000)
    full = np.zeros((14, steps), np.complex128)
    half = spectrum.shape[1]
    np.add.at(full, (slice(None), np.arange(half) % steps), spectrum)
    velocity = 2 * np.real(np.fft.ifft(full)) * steps / (4 * n)
    expected = velocity[:, steps // 4 :][:, : count * blocks.steps]
    found = np.concatenate(parts).T[:, : expected.shape[1]]
    scale = np.abs(expected).max(axis=1, keepdims=True)
    # What a block does not see of a place's ringing: 1e-8 of its energy, 1e-4 of its amplitude.
    assert np.max(np.abs(found - expected) / scale) < 5e-4


def test_causal_is_the_same_filter_in_the_other_direction_of_time() -> None:
    """The published filter rings before a click, the causal one after it, by the same amounts."""
    frequencies = np.arange(1024) * 12_000 / 1023
    membrane = snn.encode.BasilarMembrane(channels=8)
    causal = snn.encode.BasilarMembrane(channels=8, causal=True)
    early = np.fft.irfft(membrane.response(frequencies))
    late = np.fft.irfft(causal.response(frequencies))
    n = early.shape[1]
    np.testing.assert_allclose(late, early[:, -np.arange(n) % n], atol=1e-9 * np.abs(early).max())
    ahead = (early[4, n // 2 :] ** 2).sum() / (early[4] ** 2).sum()
    assert ahead > 0.9


@pytest.mark.parametrize("name", ["sine", "click", "glide"])
def test_hair_cells_release_what_those_of_lauscher_do(name: str) -> None:
    """Driven by the whole velocity as lauscher computes it, in float32 here."""
    x = shaped(sound(name))
    half = len(x) // 2 + 1
    frequencies = np.linspace(1, 24_000, half)
    places = golden_membrane().places()[GOLDEN["channels"]]
    rows = np.stack([_response_at(float(place), frequencies) for place in places])
    velocity = np.real(np.fft.ifft(rows * np.fft.fft(x)[:half])).T.astype(np.float32)
    cell = snn.encode.HairCell()
    step = lambda state, v: cell.step(state, v, 1 / 24_000)  # noqa: E731
    _, p = jax.lax.scan(step, cell.at_rest(len(places)), jnp.asarray(velocity))
    expected = GOLDEN[f"{name}_probability"].T
    # float32 over up to 4801 steps: 6e-8 a step, a part of which adds up.
    np.testing.assert_allclose(p[GOLDEN[f"{name}_steps"].astype(int)], expected, rtol=1e-4)


def _spikes(name: str, seeds: int) -> list[Any]:
    x = sound(name).astype(np.float32)
    return [snn.encode.cochlea_times(jax.random.key(s), x, rate=FS) for s in range(seeds)]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["sine", "click", "glide"])
def test_spikes_agree_with_those_of_lauscher(name: str) -> None:
    """Counts of channels and times, as far as chance lets two samples of one cochlea agree."""
    ours = _spikes(name, 6)
    counts = np.stack([np.bincount(spikes.units, minlength=700) for spikes in ours])
    theirs = GOLDEN[f"{name}_counts"].astype(np.float64)
    runs = len(theirs)
    # Groups of 20 channels: spikes of a group vary less than a Poisson process does.
    a, b = (c.reshape(len(c), 35, 20).sum(axis=2).mean(axis=0) for c in (counts, theirs))
    spread = np.sqrt(np.maximum(a, 1.0) * (1 / 6 + 1 / runs))
    assert np.max(np.abs(a - b) / spread) < 4.0
    total = theirs.sum(axis=1).mean()
    assert abs(counts.sum(axis=1).mean() - total) < 4 * np.sqrt(total * (1 / 6 + 1 / runs))
    times = np.concatenate([spikes.times for spikes in ours])
    error = times.std() * np.sqrt(1 / len(times) + 1 / theirs.sum())
    assert abs(times.mean() - GOLDEN[f"{name}_mean_time"].mean()) < 4 * error


def test_binomial_numbers_have_the_binomial_distribution() -> None:
    """Against SciPy: the inversion of a grid of draws is the quantile function."""
    cases = ((40, 0.003), (40, 0.1), (17, 0.4), (40, 0.7), (5, 1.0), (5, 1.3), (0, 0.2))
    draws = jnp.asarray((np.arange(1000) + 0.5) / 1000, jnp.float32)
    one = lambda n, p: binomial(draws, jnp.full((1000,), n), jnp.full((1000,), p), 40)  # noqa: E731
    trials, probabilities = (jnp.asarray(np.array(column)) for column in zip(*cases, strict=True))
    found = jax.jit(jax.vmap(one))(trials.astype(jnp.int32), probabilities.astype(jnp.float32))
    for (n, p), numbers in zip(cases, np.asarray(found), strict=True):
        counts = np.bincount(numbers, minlength=n + 1) / 1000
        q = min(p, 1.0)
        exact = special.comb(n, np.arange(n + 1)) * q ** np.arange(n + 1.0)
        exact *= (1 - q) ** (n - np.arange(n + 1.0))
        np.testing.assert_allclose(counts, exact, atol=2 / 1000)


def test_bushy_cells_follow_their_equations_and_their_fibres_rest() -> None:
    """Against single fibres' counts in NumPy: the same draws, a loop of its own."""
    cell, rng = snn.encode.BushyCell(), np.random.default_rng(0)
    probability = rng.uniform(0, 0.03, (400, 3)).astype(np.float32)
    draws = rng.uniform(size=(400, 3)).astype(np.float32)
    step = lambda s, x: cell.step(s, *x, 24_000)  # noqa: E731
    start = cell.at_rest(3, 24_000)
    _, spikes = jax.lax.scan(step, start, (jnp.arange(400), probability, draws))
    fired = np.zeros((400, 3), int)
    v, i, wait = np.zeros(3), np.zeros(3), np.zeros(3, int)
    expected = np.zeros((400, 3), bool)
    nearest = 1.0
    for t in range(400):
        free = 40 - fired[max(t - 23, 0) : t].sum(axis=0)
        for c in range(3):
            k = np.arange(free[c] + 1)
            p = float(probability[t, c])
            mass = special.comb(free[c], k) * p**k * (1 - p) ** (free[c] - k)
            fired[t, c] = np.searchsorted(np.cumsum(mass), draws[t, c], side="right")
        i = i * np.exp(-1 / 12) + fired[t]
        u = v * np.exp(-1 / 24) + 325 / 24_000 * i
        counts = wait == 0
        nearest = min(nearest, np.abs(u[counts] - 1).min(initial=1.0))
        expected[t] = counts & (u >= 1)
        v = np.where(counts & ~expected[t], u, 0.0)
        wait = np.where(expected[t], 24, np.maximum(wait - 1, 0))
    assert nearest > 1e-5 and expected.sum() > 10
    np.testing.assert_array_equal(spikes, expected)


def _tone(samples: int = 1600) -> np.ndarray:
    return np.sin(2 * np.pi * 500 * np.arange(samples) / 8000).astype(np.float32)


def test_rasters_are_the_binned_times_and_padding_changes_nothing() -> None:
    options = dict(rate=8000, membrane=SMALL)
    sounds = np.stack([_tone(), _tone()[::-1]])
    sounds[1, 900:] = np.nan
    raster = snn.encode.cochlea(
        KEY, sounds, dt=2e-3, seq_lengths=np.array([1600, 900]), sample=np.array([7, 3]), **options
    )
    assert raster.shape == (2, 100, 14)
    for row, (number, length) in enumerate(((7, 1600), (3, 900))):
        alone = snn.encode.cochlea_times(KEY, sounds[row, :length], sample=number, **options)
        steps = snn.time_grid.steps_of_times(alone.times, 2e-3)
        binned = np.zeros((100, 14))
        np.add.at(binned, (steps, alone.units), 1)
        np.testing.assert_array_equal(raster[row], binned)
        assert len(alone.times) > 10 and alone.times.max() < length / 8000


def test_jit_changes_nothing_and_bad_sounds_are_nan_there() -> None:
    options = dict(rate=8000, membrane=SMALL)
    encode = jax.jit(lambda x: snn.encode.cochlea(KEY, x, **options))
    sounds = jnp.asarray(np.stack([_tone(), np.zeros(1600, np.float32)]))
    raster = encode(sounds)
    np.testing.assert_array_equal(raster[0], snn.encode.cochlea(KEY, sounds[:1], **options)[0])
    assert bool(jnp.isnan(raster[1]).all())


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"sound": np.zeros(8, np.int16)}, TypeError, "1/32768"),
        ({"sound": np.zeros(0, np.float32)}, ValueError, "at least one sample"),
        ({"sound": np.zeros(8, np.float32)}, ValueError, "zeros alone"),
        ({"sound": np.array([1.0, np.nan], np.float32)}, ValueError, "finite samples"),
        ({"rate": 8001}, ValueError, "multiple of 25"),
        ({"rate": 96_000}, ValueError, "raise step_rate"),
        ({"dt": 1.3e-4}, ValueError, "0.5, 1, 2"),
        ({"dt": 0.0}, ValueError, "dt"),
        ({"step_rate": 8000}, ValueError, "9080"),
        ({"step_rate": 24_100}, ValueError, "refractory"),
        ({"level": -1.0}, ValueError, "level"),
        ({"ramp": -1.0}, ValueError, "ramp"),
        ({"membrane": 700}, TypeError, "BasilarMembrane"),
        ({"key": 0}, TypeError, "random key"),
        ({"seq_lengths": np.array(2000)}, ValueError, "seq_lengths"),
    ],
)
def test_what_does_not_fit_is_refused(
    change: dict[str, Any], error: type, words: str, unchecked: None
) -> None:
    arguments: dict[str, Any] = {"key": KEY, "sound": _tone(), "rate": 8000, "membrane": SMALL}
    arguments |= change
    with pytest.raises(error, match=words):
        snn.encode.cochlea(arguments.pop("key"), arguments.pop("sound"), **arguments)


def test_a_membrane_that_is_soft_before_its_end_is_refused() -> None:
    with pytest.raises(ValueError, match="shorten the membrane"):
        snn.encode.BasilarMembrane(length=5.0)
