"""Jitter of input spikes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from train.data.augment import jitter

B, T, F = 400, 60, 5


def one_spike_each(step):
    spikes = np.zeros((B, T, F), np.uint8)
    spikes[:, step] = 1
    return jnp.asarray(spikes)


def test_no_deviation_changes_nothing():
    spikes = one_spike_each(30)
    assert jitter(spikes, jax.random.key(0), 0.0) is spikes


@pytest.mark.parametrize("deviation", [0.5, 1.0, 3.0])
def test_shifts_are_rounded_normal_numbers(deviation):
    moved = np.asarray(jitter(one_spike_each(30), jax.random.key(1), deviation))
    assert moved.dtype == np.uint8
    np.testing.assert_array_equal(moved.sum(axis=1), 1)
    shifts = moved.argmax(axis=1) - 30
    # Rounding adds the variance of a uniform number on one step, 1/12, roughly.
    expected = np.sqrt(deviation**2 + 1 / 12)
    samples = shifts.size
    assert abs(shifts.mean()) < 5 * expected / np.sqrt(samples)
    assert shifts.std() == pytest.approx(expected, rel=0.1)
    # Each unit of each sample has a shift of its own.
    assert abs(np.corrcoef(shifts[:, 0], shifts[:, 1])[0, 1]) < 0.2


def test_spikes_of_a_unit_move_together():
    spikes = np.zeros((B, T, 1), np.float32)
    spikes[:, 20], spikes[:, 26] = 1.0, 2.0
    moved = np.asarray(jitter(jnp.asarray(spikes), jax.random.key(2), 2.0))
    second = moved[..., 0].argmax(axis=1)
    np.testing.assert_array_equal(moved[np.arange(B), second - 6, 0], 1.0)


@pytest.mark.parametrize("step", [0, T - 1])
def test_what_leaves_the_sample_is_lost_and_does_not_wrap(step):
    moved = np.asarray(jitter(one_spike_each(step), jax.random.key(3), 2.0))
    counts = moved.sum(axis=1)
    assert set(np.unique(counts)) == {0, 1}
    far = moved[:, 20:40]
    assert not far.any()
    # Half of the normal numbers beyond 0.5 lie on the side that leaves.
    assert (counts == 0).mean() == pytest.approx(0.4, abs=0.05)
