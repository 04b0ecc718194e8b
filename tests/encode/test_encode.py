"""Encoders against golden arrays, closed forms and loops."""

import math
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from flax_snn import encode

GOLDEN = Path(__file__).parents[1] / "golden" / "datasets"


@pytest.fixture(scope="module")
def golden() -> dict[str, np.ndarray]:
    with np.load(GOLDEN / "fashion_latency_expected.npz") as arrays:
        return dict(arrays)


def first_steps(raster: np.ndarray) -> np.ndarray:
    """Step of the spike of each feature, or the number of steps where there is none."""
    return np.where(raster.any(-2), raster.argmax(-2), raster.shape[-2])


def test_raster_counts_each_event():
    rng = np.random.default_rng(0)
    sample, unit = rng.integers(0, 5, 400), rng.integers(0, 3, 400)
    time = rng.random(400) * 7
    expected = np.zeros((5, 7, 3), int)
    for k in range(400):
        expected[sample[k], int(time[k]), unit[k]] += 1
    assert expected.max() > 1
    raster = encode.times_to_raster(sample, time, unit, shape=(5, 7, 3))
    assert raster.dtype == np.uint8
    np.testing.assert_array_equal(raster, expected)


def test_raster_at_the_edges_of_a_step():
    """A time that is a grid point but for its last bit lies on it; 1e-12 before it does not."""
    time = np.array([0.0, np.nextafter(1.0, 0.0), 1.0, 1.0 - 1e-12, 3.0 - 1e-12])
    raster = encode.times_to_raster([0], time, [0], shape=(1, 3, 1))
    np.testing.assert_array_equal(raster[0, :, 0], [2, 2, 1])
    with pytest.raises(ValueError, match="got 1 outside"):
        encode.times_to_raster([0], np.nextafter([3.0], 0.0), [0], shape=(1, 3, 1))


def test_raster_of_no_events_is_silent():
    raster = encode.times_to_raster([], [], [], shape=(2, 3, 4), dtype=np.float32)
    np.testing.assert_array_equal(raster, np.zeros((2, 3, 4)))


@pytest.mark.parametrize("bad", [3.0, -1e-9, math.nan, math.inf, -math.inf, 1e300])
def test_raster_refuses_times_outside(bad: float):
    with pytest.raises(
        ValueError, match=r"time: expected every one in \[0, 3\), got 1 outside.*out"
    ):
        encode.times_to_raster([0, 0], [0.0, bad], [0, 0], shape=(1, 3, 1))


@pytest.mark.parametrize("bad", [-1, 2])
def test_raster_refuses_units_and_samples_outside(bad: int):
    with pytest.raises(ValueError, match="unit: expected every one"):
        encode.times_to_raster([0], [0], [bad], shape=(2, 3, 2))
    with pytest.raises(ValueError, match="sample: expected every one"):
        encode.times_to_raster([bad], [0], [0], shape=(2, 3, 2))


def test_raster_refuses_types_that_need_rounding():
    with pytest.raises(TypeError, match="unit: expected integers, got float64"):
        encode.times_to_raster([0], [0.5], [1.0], shape=(1, 3, 2))
    with pytest.raises(TypeError, match="time: expected integers or floating numbers, got complex"):
        encode.times_to_raster([0], [0.5j], [1], shape=(1, 3, 2))


@pytest.mark.parametrize(("dtype", "most"), [(np.uint8, 255), (np.int8, 127), (bool, 1)])
def test_raster_refuses_counts_that_do_not_fit(dtype: Any, most: int):
    raster = encode.times_to_raster([0], np.zeros(most), [0], shape=(1, 1, 1), dtype=dtype)
    assert raster == most
    with pytest.raises(
        ValueError, match=f"for {most + 1} events of one unit in one step; choose a wider"
    ):
        encode.times_to_raster([0], np.zeros(most + 1), [0], shape=(1, 1, 1), dtype=dtype)


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.float32])
def test_events_of_a_binary_raster(dtype: Any):
    raster = (np.random.default_rng(0).random((4, 9, 5)) < 0.3).astype(dtype)
    events = encode.raster_to_times(raster)
    expected = [index for index in np.ndindex(*raster.shape) if raster[index]]
    np.testing.assert_array_equal(np.stack(events, axis=1), expected)
    back = encode.times_to_raster(*events, shape=raster.shape, dtype=dtype)
    np.testing.assert_array_equal(back, raster)


def test_events_of_counts_repeat():
    raster = np.array([[[0, 3], [1, 0]]])
    sample, time, unit = encode.raster_to_times(raster)
    np.testing.assert_array_equal(time, [0, 0, 0, 1])
    np.testing.assert_array_equal(unit, [1, 1, 1, 0])
    np.testing.assert_array_equal(sample, 0)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("bad", [0.5, -1.0, math.nan, math.inf])
def test_events_refuse_what_is_no_count(bad: float):
    with pytest.raises(ValueError, match="whole numbers >= 0"):
        encode.raster_to_times(np.full((1, 2, 3), bad))
    with pytest.raises(ValueError, match="raster: expected shape"):
        encode.raster_to_times(np.ones((2, 3)))


def test_latency_of_images(golden: dict[str, np.ndarray]):
    x = jnp.asarray(golden["pixels"] / np.float32(255))
    times = np.asarray(encode.latency_times(x))
    # The tutorial's epsilon gives pixel 51, which is at the threshold, step 290: silent as well.
    spikes = golden["latency"] < 100
    np.testing.assert_array_equal(np.isfinite(times), spikes)
    # float32 near the threshold: 20 * 0.2 * 6e-8 / (52 / 255 - 0.2) = 6e-5 steps.
    np.testing.assert_allclose(times[spikes], golden["latency"][spikes], rtol=0, atol=1e-4)
    raster = np.asarray(encode.latency(x))
    assert raster.shape == (8, 100, 784)
    np.testing.assert_array_equal(first_steps(raster), np.minimum(golden["latency_steps"], 100))
    np.testing.assert_array_equal(raster.sum(-2), spikes)


def test_latency_with_other_settings(golden: dict[str, np.ndarray]):
    x = jnp.asarray(golden["pixels"] / np.float32(255))
    raster = np.asarray(encode.latency(x, tau=50e-3, threshold=0.1, steps=100))
    np.testing.assert_array_equal(first_steps(raster), np.minimum(golden["latency50_steps"], 100))


@pytest.mark.usefixtures("x64")
def test_latency_is_the_closed_form():
    pixels = np.arange(256) / 255
    times = np.asarray(encode.latency_times(jnp.asarray(pixels), tau=10e-3, dt=2e-3))
    for x, time in zip(pixels, times, strict=True):
        expected = 5 * math.log(x / (x - 0.2)) if x > 0.2 else math.inf
        assert time == pytest.approx(expected, rel=1e-11)
    steps = np.floor(encode.latency_times(jnp.asarray(pixels)))
    assert (steps[51], steps[52], steps[255]) == (np.inf, 79, 4)


def test_latency_drops_what_comes_after_the_last_step():
    x = jnp.array([52 / 255, 1.0])
    np.testing.assert_array_equal(encode.latency(x, steps=79).sum(0), [0, 1])
    np.testing.assert_array_equal(encode.latency(x, steps=80).sum(0), [1, 1])


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_latency_fires_once_in_low_precision(dtype: Any):
    x = jnp.linspace(0.21, 1.0, 50, dtype=dtype)
    raster = encode.latency(x, tau=0.4, steps=3000, dtype=dtype)  # steps that bfloat16 cannot count
    assert raster.dtype == dtype
    np.testing.assert_array_equal(raster.sum(0), 1)


@pytest.mark.parametrize("shape", [(3,), pytest.param((2, 3), marks=pytest.mark.slow), (2, 4, 3)])
def test_latency_of_a_batch_is_that_of_its_samples(shape: tuple[int, ...]):
    x = jax.random.uniform(jax.random.key(0), shape)
    raster = encode.latency(x)
    assert raster.shape == (*shape[:-1], 100, 3)
    for index in np.ndindex(*shape[:-1]):
        np.testing.assert_array_equal(raster[index], encode.latency(x[index]))
    np.testing.assert_array_equal(jax.jit(encode.latency)(x), raster)


def encode_rate(x: Any, **settings: Any) -> jax.Array:
    settings = {"max_rate": 100.0, "dt": 1e-3, "steps": 50} | settings
    return encode.rate(settings.pop("key", jax.random.key(0)), x, **settings)


def test_rate_fires_as_often_as_asked():
    x = jnp.tile(jnp.array([0.0, 0.2, 0.7, 1.0]), (50, 1))
    raster = np.asarray(encode_rate(x, max_rate=500.0, steps=400), np.float64)
    assert set(np.unique(raster)) == {0.0, 1.0}
    p = np.array([0.0, 0.1, 0.35, 0.5])
    # 20000 draws: 5 standard errors.
    np.testing.assert_array_less(
        np.abs(raster.mean((0, 1)) - p), 5 * np.sqrt(p * (1 - p) / 20000) + 1e-12
    )
    # Independent over steps, samples and features: no correlation beyond 5 / sqrt(20000).
    centred = (raster - raster.mean((0, 1)))[..., 1:] / raster.std((0, 1))[1:]
    assert np.abs((centred[:, 1:] * centred[:, :-1]).mean((0, 1))).max() < 0.036
    assert np.abs((centred[1:] * centred[:-1]).mean((0, 1))).max() < 0.036
    assert abs((centred[..., 0] * centred[..., 1]).mean()) < 0.036


def test_rate_at_its_limits():
    x = jnp.array([[0.0, 1.0]])
    raster = encode_rate(x, max_rate=1000.0)
    np.testing.assert_array_equal(raster[..., 0], 0)
    np.testing.assert_array_equal(raster[..., 1], 1)


@pytest.mark.slow
def test_rate_of_a_sample_does_not_depend_on_its_batch():
    x = jnp.full((6, 5), 0.8)
    numbers = np.array([40, 7, 3, 12, 99, 0])
    whole = encode_rate(x, max_rate=600.0, sample=numbers)
    for rows in ([0], [5, 3, 4]):
        np.testing.assert_array_equal(
            encode_rate(x[: len(rows)], max_rate=600.0, sample=numbers[rows]), whole[np.array(rows)]
        )
    assert len({row.tobytes() for row in np.asarray(whole)}) == 6
    single = encode_rate(x[0], max_rate=600.0, sample=40)
    np.testing.assert_array_equal(single, whole[0])


def test_rate_numbers_samples_by_position():
    x = jnp.full((2, 3, 5), 0.8)
    numbers = np.arange(6).reshape(2, 3)
    np.testing.assert_array_equal(encode_rate(x), encode_rate(x, sample=numbers))
    assert encode_rate(x).shape == (2, 3, 50, 5)
    assert encode_rate(x[:0]).shape == (0, 3, 50, 5)


def test_rate_follows_its_key_and_jit():
    x = jnp.full((2, 5), 0.8)
    first = encode_rate(x, max_rate=600.0)
    np.testing.assert_array_equal(encode_rate(x, max_rate=600.0), first)
    assert not np.array_equal(encode_rate(x, max_rate=600.0, key=jax.random.key(1)), first)
    jitted = jax.jit(lambda x, key, sample: encode_rate(x, max_rate=600.0, key=key, sample=sample))
    np.testing.assert_array_equal(jitted(x, jax.random.key(0), jnp.arange(2)), first)


@pytest.mark.parametrize("bad", [1.01, math.nan, math.inf])
def test_rate_refuses_probabilities_above_one(bad: float):
    x = jnp.array([[0.5, bad]])
    with pytest.raises(ValueError, match="expected"):
        encode_rate(x, max_rate=1000.0)
    # Inside jit the value is not known: NaN there, not a clipped probability.
    raster = jax.jit(lambda x: encode_rate(x, max_rate=1000.0))(x)
    np.testing.assert_array_equal(np.isnan(raster), [[[False, True]] * 50])


@pytest.mark.parametrize("call", [encode.latency, encode.latency_times, encode_rate])
@pytest.mark.parametrize("bad", [-0.1, math.nan])
def test_bad_intensities_are_refused(call: Any, bad: float):
    x = jnp.array([[0.5, bad]])
    with pytest.raises(ValueError, match="x: expected intensities >= 0"):
        call(x)
    marked = np.isnan(jax.jit(call)(x))
    assert marked[..., 1].all()
    assert not marked[..., 0].any()


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("call", [encode.latency, encode.latency_times, encode_rate])
def test_bad_types_are_refused(call: Any):
    with pytest.raises(TypeError, match="x: expected a floating dtype, got uint8.*1/255"):
        call(jnp.ones((2, 3), jnp.uint8))
    with pytest.raises(ValueError, match="feature axis"):
        call(jnp.asarray(0.5))


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("call", "settings", "error"),
    [
        (encode.latency, {"tau": 0.0}, ValueError),
        (encode.latency, {"threshold": -0.1}, ValueError),
        (encode.latency, {"dt": math.nan}, ValueError),
        (encode.latency, {"steps": 0}, ValueError),
        (encode.latency, {"steps": 10.0}, ValueError),
        (encode_rate, {"max_rate": math.inf}, ValueError),
        (encode_rate, {"dt": -1e-3}, ValueError),
        (encode_rate, {"steps": True}, TypeError),
    ],
)
def test_bad_settings_are_refused(call: Any, settings: dict[str, Any], error: type[Exception]):
    (name,) = settings
    with pytest.raises(error, match=f"{name}: expected a"):
        call(jnp.full((2, 3), 0.5), **settings)


@pytest.mark.parametrize("call", [encode.latency, encode_rate])
def test_rasters_that_cannot_hold_nan_are_refused(call: Any):
    with pytest.raises(TypeError, match="dtype: expected a floating dtype, got uint8"):
        call(jnp.full((2, 3), 0.5), dtype=jnp.uint8)


@pytest.mark.parametrize(
    ("sample", "error"),
    [
        (np.arange(3), ValueError),
        (np.array([0, -1]), ValueError),
        (np.array([0, 2**31]), ValueError),
        (np.array([0.0, 1.0]), TypeError),
    ],
)
def test_bad_sample_numbers_are_refused(sample: np.ndarray, error: type[Exception]):
    with pytest.raises(error, match="sample: expected .*number"):
        encode_rate(jnp.full((2, 3), 0.5), sample=sample)
