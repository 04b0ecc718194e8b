"""Samples as lists of spikes, against NumPy and against the same samples as rasters."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from train.model.encoders import Rasters, SpikeLists

STEPS, UNITS, CAPACITY, DT = 12, 5, 9, 2e-3
LISTS = SpikeLists(STEPS, UNITS, DT, CAPACITY)


def lists(samples: int, seed: int = 0) -> dict[str, np.ndarray]:
    """Lists of up to all entries; the first sample has no spike, the last one no padding."""
    rng = np.random.default_rng(seed)
    used = rng.integers(0, CAPACITY + 1, samples)
    used[0], used[-1] = 0, CAPACITY
    step = rng.integers(0, STEPS, (samples, CAPACITY))
    step[np.arange(CAPACITY) >= used[:, None]] = STEPS
    unit = rng.integers(0, UNITS, (samples, CAPACITY))
    return {"step": step.astype(np.uint16), "unit": unit.astype(np.uint16)}


def counted(inputs: dict[str, np.ndarray]) -> np.ndarray:
    """Spike counts (B, T, F), spike by spike; where the step is T there is none."""
    step, unit = (np.asarray(inputs[name], np.int64) for name in ("step", "unit"))
    raster = np.zeros((len(step), STEPS + 1, UNITS), np.int64)
    for sample in range(len(step)):
        for s, u in zip(step[sample], unit[sample], strict=True):
            raster[sample, s, u] += 1
    return raster[:, :STEPS]


@pytest.mark.parametrize("seed", range(3))
def test_the_raster_counts_every_spike(seed):
    inputs = lists(20, seed)
    expected = counted(inputs)
    assert expected.max() > 1 and expected[0].sum() == 0 and expected[-1].sum() == CAPACITY
    found = jax.jit(LISTS)(jax.tree.map(jnp.asarray, inputs))
    assert found.dtype == jnp.float32
    np.testing.assert_array_equal(found, expected)


def test_the_form_of_a_sample():
    inputs = lists(3)
    assert LISTS.features == UNITS
    found = jax.tree.map(lambda x: (x.shape[1:], x.dtype), inputs)
    assert found == jax.tree.map(lambda x: (x.shape, x.dtype), LISTS.sample)
    # A raster of these steps takes 60 bytes, a list 36.
    raster = Rasters(STEPS, UNITS, DT).sample
    assert (raster.shape, raster.dtype) == ((STEPS, UNITS), jnp.uint8)


def test_spikes_have_their_times_and_units():
    inputs = lists(6)
    found = LISTS.spikes(inputs)
    for sample, counts in enumerate(counted(inputs)):
        time = np.asarray(found.time[sample])
        used = np.isfinite(time)
        steps, units = np.nonzero(counts)
        order = np.repeat(np.arange(len(steps)), counts[steps, units])
        np.testing.assert_allclose(np.sort(time[used]), steps[order] * DT, atol=1e-9)
        pairs = zip(np.rint(time[used] / DT), np.asarray(found.index[sample])[used], strict=True)
        assert sorted(pairs) == sorted(zip(steps[order], units[order], strict=True))


def test_no_deviation_changes_nothing():
    inputs = lists(3)
    assert LISTS.augment(inputs, jax.random.key(0), 0.0) is inputs


@pytest.mark.parametrize("deviation", [1e-3, 6e-3, 40e-3])
def test_spikes_are_shifted_unit_by_unit_and_none_is_lost_but_those_that_leave(deviation):
    """The shift of each unit is told from its first spike; NumPy moves the others by it."""
    samples = 300
    inputs = lists(samples, 4)
    shifted = jax.jit(LISTS.augment, static_argnums=2)(inputs, jax.random.key(3), deviation)
    assert {k: (v.shape, v.dtype) for k, v in shifted.items()} == {
        k: (v.shape, v.dtype) for k, v in inputs.items()
    }
    before, after = (np.asarray(each["step"], np.int64) for each in (inputs, shifted))
    np.testing.assert_array_equal(shifted["unit"], inputs["unit"])
    padding, lost = before == STEPS, after == STEPS
    # Padding stays padding, and what stays in the sample is a step of it.
    assert lost[padding].all() and (after[~lost] < STEPS).all()
    moved = ~padding & ~lost
    seen = []
    for sample in range(samples):
        for unit in range(UNITS):
            mine = inputs["unit"][sample] == unit
            shifts = np.unique((after - before)[sample][mine & moved[sample]])
            assert len(shifts) <= 1
            if len(shifts):
                seen.append(shifts[0])
                # What left the sample had to: it would lie outside of it.
                gone = before[sample][mine & lost[sample] & ~padding[sample]] + shifts[0]
                assert ((gone < 0) | (gone >= STEPS)).all()
    # The same number of spikes, but for those that left.
    counts = counted(shifted).sum(axis=(1, 2))
    np.testing.assert_array_equal(counts, (~padding).sum(1) - (lost & ~padding).sum(1))
    if deviation == 1e-3:
        # Half a step: rounded normal numbers beyond one deviation move by a step, 32 %.
        assert np.mean(np.abs(seen) > 0) == pytest.approx(0.317, abs=0.05)
    if deviation == 40e-3:
        # 20 steps of 12: nearly all leave.
        assert (lost & ~padding).sum() > 0.6 * (~padding).sum()


def test_shifts_follow_from_the_key_and_are_not_those_of_another_sample():
    inputs = lists(200, 5)
    one, again, other = (
        np.asarray(LISTS.augment(inputs, jax.random.key(k), 4e-3)["step"]) for k in (0, 0, 1)
    )
    np.testing.assert_array_equal(one, again)
    assert (one != other).any()
    same = {name: np.repeat(each[-1:], 200, axis=0) for name, each in inputs.items()}
    found = np.asarray(LISTS.augment(same, jax.random.key(0), 4e-3)["step"])
    assert len(np.unique(found, axis=0)) > 50


def test_lists_and_rasters_are_jittered_alike():
    """The same key shifts the same samples by the same steps in both forms."""
    inputs = lists(40, 6)
    rasters = Rasters(STEPS, UNITS, DT)
    of_lists = LISTS(LISTS.augment(inputs, jax.random.key(7), 3e-3))
    raster = jnp.asarray(counted(inputs).astype(np.uint8))
    of_rasters = rasters(rasters.augment(raster, jax.random.key(7), 3e-3))
    np.testing.assert_array_equal(of_lists, np.asarray(of_rasters, np.float32))
