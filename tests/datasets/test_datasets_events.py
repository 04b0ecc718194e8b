"""Events, their rasters on host and device, and what augmentation does to them."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from flax_snn import datasets
from flax_snn.datasets import Augment, Events, sample_generator
from flax_snn.datasets.events.raster import steps_of_events

GOLDEN = Path(__file__).parents[1] / "golden" / "datasets"


SEEDS = st.integers(0, 10**6)


def some_events(seed: int, axes: int | None = None, shape: tuple[int, ...] = ()) -> Events:
    """Events of one to three axes, in seconds or in microseconds."""
    generator = np.random.default_rng(seed)
    shape = shape or tuple(generator.integers(1, 7, axes or generator.integers(1, 4)).tolist())
    count = int(generator.choice([0, 1, 2, 30]))
    units = generator.integers(0, math.prod(shape), count)
    if generator.random() < 0.5:
        kind = generator.choice([np.int32, np.uint32, np.int64])
        return Events(np.sort(generator.integers(0, 10000, count)).astype(kind), units, shape, 1e-6)
    return Events(np.sort(generator.random(count) * 1e-2).astype(np.float32), units, shape)


def seconds(events: Events) -> np.ndarray:
    return events.times.astype(np.float64) * events.tick


@hypothesis.given(which=SEEDS)
def test_a_raster_counts_the_events_of_each_step_and_unit(which: int) -> None:
    events = some_events(which)
    counts = np.zeros((10, *events.shape), int)
    for time, *place in zip(events.times.tolist(), *events.coordinates(), strict=True):
        step = time // 1000 if events.tick < 1 else math.floor(time / 1e-3)
        counts[(step, *place)] += 1
    found = datasets.raster(events, dt=1e-3, steps=10)
    np.testing.assert_array_equal(found, counts)
    assert found.dtype == np.uint8 and found.sum() == len(events)
    ones = datasets.raster(events, dt=1e-3, steps=10, binary=True)
    np.testing.assert_array_equal(ones, counts > 0)
    filled = np.flatnonzero(counts.reshape(10, -1).any(axis=1))
    assert datasets.length_of_events(events, 1e-3) == (filled[-1] + 1 if filled.size else 0)


@hypothesis.given(which=SEEDS)
@hypothesis.settings(max_examples=10)
def test_the_device_makes_the_raster_of_the_host(which: int) -> None:
    events = some_events(which, shape=(3, 2))
    others = [Events(events.times[:k], events.units[:k], events.shape, events.tick) for k in (0, 3)]
    samples = [events, *others]
    batch = datasets.event_batch(samples, dt=1e-3, steps=6, outside="drop", size=32)
    host = [datasets.raster(each, dt=1e-3, steps=6, outside="drop") for each in samples]
    found = jax.jit(datasets.EventBatch.raster)(batch)
    assert found.dtype == jnp.float32
    np.testing.assert_array_equal(found, host)
    ones = jax.jit(lambda batch: batch.raster(jnp.uint8, binary=True))(batch)
    assert ones.dtype == jnp.uint8
    np.testing.assert_array_equal(ones, np.minimum(host, 1))
    dropped = [len(each) - int(raster.sum()) for each, raster in zip(samples, host, strict=True)]
    np.testing.assert_array_equal(batch.dropped, dropped)
    lengths = [np.flatnonzero(r.reshape(6, -1).any(1)).max(initial=-1) + 1 for r in host]
    np.testing.assert_array_equal(batch.lengths, lengths)


def test_a_batch_of_events_goes_through_jit_and_gives_one_program() -> None:
    generator = np.random.default_rng(0)
    traced = []

    @jax.jit
    def rates(batch: Any) -> Any:
        traced.append(batch.step.shape)
        return batch.raster().sum(axis=(1, 2))

    for count in (65, 70, 90, 96):  # All of them are padded to 96.
        samples = [
            Events(np.sort(generator.random(k)), generator.integers(0, 5, k), (5,))
            for k in (count, count // 2)
        ]
        batch = datasets.event_batch(samples, dt=0.1, steps=10)
        assert batch.step.dtype == np.uint16 and batch.unit.dtype == np.uint8
        np.testing.assert_array_equal(rates(batch), [count, count // 2])
    assert traced == [(2, 96)]


def test_binning_is_that_of_the_published_tutorials() -> None:
    expected = np.load(GOLDEN / "shd_tiny_expected.npz")
    source = datasets.SpikeFile(GOLDEN / "shd_tiny.h5")
    dropped = 0
    for k, (events, *_) in enumerate(source):
        # stork multiplies in float16, binary, and joins channels 5 by 5.
        steps = events.times.astype(np.float16) * np.float16(100 / 1.4)
        rounded = Events(steps.astype(np.float32), events.units, events.shape)
        options = {"dt": 1.0, "steps": 100, "outside": "drop", "binary": True}
        found = datasets.raster(rounded, **options)
        np.testing.assert_array_equal(found, expected["binary_floor_700"][k])
        found = datasets.raster(datasets.pool(rounded, (5,)), **options)
        np.testing.assert_array_equal(found, expected["binary_floor_140"][k])
        # SpyTorch: the number of 100 edges from 0 to 1.4 s that are not later; step 0 is empty.
        counts = datasets.raster(events, dt=1.4 / 99, steps=99, outside="drop")
        digitized = expected["counts_digitize"][k]
        assert not digitized[0].any()
        np.testing.assert_array_equal(counts, digitized[1:])
        dropped += len(events) - int(counts.sum())
        exact = np.floor(events.times.astype(np.float64) / 0.014)
        np.testing.assert_array_equal(steps_of_events(events, 0.014), exact)
    assert dropped == expected["dropped_digitize"].sum() > 0


def test_whole_ticks_are_binned_exactly_however_late() -> None:
    start = 1_600_000_000_000_000  # microseconds since 1970
    events = Events(
        np.array([start + 999, start + 1000, start + 1999]), np.zeros(3, int), (1,), 1e-6
    )
    late = Events(events.times - start, events.units, events.shape, events.tick)
    # float64 cannot tell 999 us from 1 ms there, within the roundings that a grid point is given.
    step = steps_of_events(events, 1e-3)
    np.testing.assert_array_equal(step - start // 1000, [0, 1, 1])
    np.testing.assert_array_equal(steps_of_events(late, 1e-3), [0, 1, 1])


def test_events_outside_are_refused_or_dropped_as_asked() -> None:
    events = Events(np.array([-1, 0, 5, 9]), np.array([0, 1, 0, 1]), (2,), 1e-3)
    with pytest.raises(ValueError, match=r"event 0: .*\[0, 0.01\) s.*got -0.001 s \(1 of 4"):
        datasets.raster(events, dt=1e-3, steps=10)
    late = Events(np.array([0, 1, 2, 9]), np.zeros(4, int), (2,), 1e-3)
    with pytest.raises(ValueError, match=r"sample 1, event 3: .*got 0.009 s.*outside=\"drop\""):
        datasets.event_batch([events.take(slice(1, 2)), late], dt=1e-3, steps=9)
    assert datasets.raster(events, dt=1e-3, steps=9, outside="drop").sum() == 2


def test_counts_that_a_type_cannot_hold_are_refused() -> None:
    events = Events(np.zeros(300), np.zeros(300, int), (1,))
    with pytest.raises(
        ValueError, match="dtype: expected one that holds every count, got uint8 for 300"
    ):
        datasets.raster(events, dt=1.0, steps=1)
    assert datasets.raster(events, dt=1.0, steps=1, dtype=np.uint16).item() == 300


REFUSED: dict[str, tuple[Callable[[], Any], type[Exception], str]] = {
    "falling": (
        lambda: Events(np.array([0.0, 2.0, 1.0]), np.zeros(3, int), (1,)),
        ValueError,
        "event 2: expected a time >= 2.0, that of the event before, got 1.0; sort times and units",
    ),
    "nan": (lambda: Events(np.array([0.0, np.nan]), np.zeros(2, int), (1,)), ValueError, "event 1"),
    "inf": (lambda: Events(np.array([0.0, np.inf]), np.zeros(2, int), (1,)), ValueError, "event 1"),
    "unit": (
        lambda: Events(np.zeros(2), np.array([0, 3]), (3,)),
        ValueError,
        r"event 1: expected unit in \[0, 3\), got 3",
    ),
    "below": (lambda: Events(np.zeros(1), np.array([-1]), (3,)), ValueError, "event 0"),
    "float units": (lambda: Events(np.zeros(1), np.zeros(1), (3,)), TypeError, "units"),
    "lengths": (lambda: Events(np.zeros(2), np.zeros(1, int), (3,)), ValueError, "units"),
    "no axis": (lambda: Events(np.zeros(1), np.zeros(1, int), ()), ValueError, "shape"),
    "tick": (lambda: Events(np.zeros(1), np.zeros(1, int), (3,), 0.0), ValueError, "tick"),
    "pixel": (
        lambda: Events.from_pixels([0], x=[4], y=[0], polarity=[1], height=3, width=4),
        ValueError,
        r"event 0: expected x in \[0, 4\), got 4",
    ),
    "polarity": (
        lambda: Events.from_pixels([0], x=[3], y=[0], polarity=[2], height=3, width=4),
        ValueError,
        r"polarity in \[0, 2\), got 2",
    ),
    "no camera": (lambda: CHANNELS.pixels(), ValueError, r"shape \(height, width, 2\)"),
    "shapes": (
        lambda: datasets.event_batch([CHANNELS, CAMERA], dt=1.0, steps=1),
        ValueError,
        "samples: expected one or more of one shape",
    ),
    "no samples": (lambda: datasets.event_batch([], dt=1.0, steps=1), ValueError, "got none"),
    "size": (
        lambda: datasets.event_batch([CHANNELS], dt=1.0, steps=1, size=1),
        ValueError,
        "size: expected at least 2 events, got 1",
    ),
    "pool": (lambda: datasets.pool(CHANNELS, (4,)), ValueError, "factors of the shape"),
    "factors": (lambda: datasets.pool(CHANNELS, (5, 1)), ValueError, "one for each axis"),
    "crop": (lambda: datasets.crop(CHANNELS, 1.0, 1.0), ValueError, "after start=1.0"),
    "ticks": (lambda: datasets.crop(CAMERA, 0.0, 1.5e-6), ValueError, "a whole number of ticks"),
    "blend": (
        lambda: datasets.blend(CHANNELS, CAMERA, np.random.default_rng(0)),
        ValueError,
        "events of one axis, of one shape and tick",
    ),
    "drop": (lambda: Augment(drop=1.5), ValueError, r"Augment: drop: .*\[0, 1\], got 1.5"),
    "dilate": (lambda: Augment(dilate=0.5), ValueError, "Augment: dilate"),
    "axis": (
        lambda: datasets.shift(CHANNELS, 2, np.random.default_rng(0), axis=1),
        ValueError,
        "axis",
    ),
}
CHANNELS = Events(np.zeros(2), np.array([0, 9]), (10,))
CAMERA = Events.from_pixels([0, 5], x=[0, 3], y=[2, 0], polarity=[1, 0], height=3, width=4)


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.usefixtures("unchecked")
def test_bad_input_is_refused(name: str) -> None:
    call, kind, reason = REFUSED[name]
    with pytest.raises(kind, match=reason):
        call()


def test_pixels_are_numbered_row_by_row_with_polarity_last() -> None:
    height, width = 3, 5
    y, x, polarity = (axis.ravel() for axis in np.indices((height, width, 2)))
    events = Events.from_pixels(
        np.arange(30), x=x, y=y, polarity=polarity.astype(bool), height=height, width=width
    )
    np.testing.assert_array_equal(events.units, np.arange(30))
    found = events.pixels()
    for name, value in (("x", x), ("y", y), ("polarity", polarity)):
        np.testing.assert_array_equal(getattr(found, name), value)


# Random changes: properties that hold whatever is drawn.


@hypothesis.given(which=SEEDS, seed=st.integers(0, 99))
def test_a_change_follows_from_seed_epoch_and_sample_alone(which: int, seed: int) -> None:
    events = some_events(which, axes=1)
    augment = Augment(shift=2, unit_jitter=0.7, dilate=1.2, time_jitter=5e-4, drop=0.3)
    once, again = (augment(events, sample_generator(seed, 3, 7)) for _ in range(2))
    assert once == again
    assert augment(events, sample_generator(seed, 3, 7)).shape == events.shape
    assert len(once) <= len(events) and (np.diff(seconds(once)) >= 0).all()
    assert once.times.dtype.kind == events.times.dtype.kind


def test_seed_epoch_and_sample_each_matter() -> None:
    places = [(0, 1, 2), (1, 1, 2), (0, 2, 2), (0, 1, 3)]
    assert len({sample_generator(*place).random() for place in places}) == len(places)


@hypothesis.given(which=SEEDS, start=st.integers(0, 4), length=st.integers(1, 5))
def test_crop_keeps_what_lies_inside_and_counts_from_the_start(
    which: int, start: int, length: int
) -> None:
    events = some_events(which)
    first, last = start * 1e-3, (start + length) * 1e-3
    found = datasets.crop(events, first, last)
    times = events.times if events.tick < 1 else seconds(events)
    low, high = (1000 * start, 1000 * (start + length)) if events.tick < 1 else (first, last)
    inside = (times >= low) & (times < high)
    np.testing.assert_array_equal(found.units, events.units[inside])
    np.testing.assert_allclose(seconds(found), seconds(events)[inside] - first, atol=1e-9)


@hypothesis.given(which=SEEDS, seed=st.integers(0, 99), axis=st.integers(0, 1))
def test_a_shift_moves_all_events_alike(which: int, seed: int, axis: int) -> None:
    events = some_events(which, axes=2)
    most = 2
    move = int(np.random.default_rng(seed).integers(-most, most + 1))
    found = datasets.shift(events, most, np.random.default_rng(seed), axis)
    places = np.stack(events.coordinates())
    places[axis] += move
    inside = (places[axis] >= 0) & (places[axis] < events.shape[axis])
    np.testing.assert_array_equal(np.stack(found.coordinates()), places[:, inside])
    np.testing.assert_array_equal(found.times, events.times[inside])


@hypothesis.given(which=SEEDS, seed=st.integers(0, 99))
def test_drop_keeps_a_part_in_its_order(which: int, seed: int) -> None:
    events = some_events(which, axes=1)
    kept = datasets.drop(events, 0.4, np.random.default_rng(seed))
    chosen = np.random.default_rng(seed).random(len(events)) >= 0.4
    np.testing.assert_array_equal(kept.times, events.times[chosen])
    np.testing.assert_array_equal(kept.units, events.units[chosen])
    assert datasets.drop(events, 0.0, np.random.default_rng(seed)) == events
    assert len(datasets.drop(events, 1.0, np.random.default_rng(seed))) == 0


def test_jitter_and_drop_have_the_moments_that_they_name() -> None:
    count = 20000
    many = Events(np.full(count, 0.5), np.full(count, 350), (700,))
    times = datasets.jitter_times(many, 0.01, np.random.default_rng(0)).times
    units = datasets.jitter_units(many, 4.0, np.random.default_rng(1)).units.astype(float)
    kept = len(datasets.drop(many, 0.3, np.random.default_rng(2)))
    # Five standard errors each; rounding to whole units adds a variance of 1/12.
    assert abs(times.mean() - 0.5) < 5 * 0.01 / count**0.5
    assert abs(times.std() / 0.01 - 1) < 5 / (2 * count) ** 0.5
    assert abs(units.mean() - 350) < 5 * 4.0 / count**0.5
    assert abs(units.std() / (16 + 1 / 12) ** 0.5 - 1) < 5 / (2 * count) ** 0.5
    assert abs(kept / count - 0.7) < 5 * (0.21 / count) ** 0.5
    factors = [
        datasets.dilate(many.take(slice(1)), 1.5, np.random.default_rng(k)).times[0] / 0.5
        for k in range(400)
    ]
    assert 1 / 1.5 <= min(factors) < 0.7 and 1.4 < max(factors) <= 1.5
    assert abs(np.mean(np.log(factors))) < 5 * np.log(1.5) / (3 * 400) ** 0.5


@hypothesis.given(which=SEEDS, seed=st.integers(0, 99))
def test_blend_mixes_two_samples_about_their_common_centre(which: int, seed: int) -> None:
    first = some_events(which, axes=1)
    later = Events(
        first.times[::2], (first.units[::2] + 1) % first.shape[0], first.shape, first.tick
    )
    assert datasets.blend(first, first, np.random.default_rng(seed), share=1.0) == first
    whole = datasets.blend(first, later, np.random.default_rng(seed), share=1.0)
    if len(later):
        move = seconds(later).mean() - seconds(first).mean()
        step = round(float(later.units.mean() - first.units.mean()) / 2)
        units = first.units.astype(int) + step
        times = seconds(first) + move / 2
        kept = (units >= 0) & (units < first.shape[0])
        # A time within a rounding of 0 may be on either side of it.
        clear = kept & (np.abs(times) > 2e-6)
        expected = int((clear & (times > 0)).sum())
        assert expected <= len(whole) <= expected + int((kept & ~clear).sum())
    half = datasets.blend(first, later, np.random.default_rng(seed))
    assert len(half) <= len(first) + len(later)
    assert half == datasets.blend(first, later, np.random.default_rng(seed))


def test_blend_takes_half_of_each_sample() -> None:
    count = 10000
    low = Events(np.linspace(0.2, 0.4, count), np.full(count, 100), (700,))
    high = Events(np.linspace(0.4, 0.6, count), np.full(count, 200), (700,))
    mixed = datasets.blend(low, high, np.random.default_rng(0))
    np.testing.assert_array_equal(np.unique(mixed.units), [150])
    # Both lie about 0.4 s now, half of each is there.
    assert abs(mixed.times.mean() - 0.4) < 5 * (0.2 / 12**0.5) / count**0.5
    assert abs(len(mixed) - count) < 5 * (count / 2) ** 0.5
    assert mixed.times.min() >= 0.3 - 1e-9 and mixed.times.max() <= 0.5 + 1e-9


@hypothesis.given(which=SEEDS)
def test_what_is_not_asked_for_does_not_happen(which: int) -> None:
    events = some_events(which, axes=1)
    assert Augment()(events, np.random.default_rng(0)) is events
