"""The one rule for the time step of a time, beside integers and exact fractions."""

from fractions import Fraction
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import flax_snn as snn
from flax_snn.time_grid import steps_of_times

DTS = [1.0, 0.1, 1e-2, 1e-3, 2e-3, 2.5e-3, 3e-4, 1e-4, 7e-5, 1.1e-6, 1 / 3, 1 / 7, 0.3, 17.3]
K = np.unique(np.r_[np.arange(3000), np.random.default_rng(0).integers(0, 10**6, 3000)])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("dt", DTS)
def test_times_on_the_grid_land_in_their_own_step(dt: float, dtype: Any):
    exact = K.astype(dtype) * dtype(dt)  # rounded twice: dt, and the product
    accurate = (K * np.longdouble(dt)).astype(dtype)
    for times in (exact, accurate):
        np.testing.assert_array_equal(steps_of_times(times, dt), K)
        np.testing.assert_array_equal(steps_of_times(times / dtype(dt)), K)
    if dtype == np.float32:
        np.testing.assert_array_equal(steps_of_times(jnp.asarray(exact), dt), K)
        np.testing.assert_array_equal(jax.jit(lambda t: steps_of_times(t, dt))(exact), K)


def test_times_on_the_grid_in_float64_under_jax(x64: None):
    for dt in DTS:
        np.testing.assert_array_equal(steps_of_times(jnp.asarray(K * dt), dt), K)


def test_floor_alone_is_not_enough():
    """What the rule is for: with floor alone, a good part of the times lands a step early."""
    early = [np.mean(np.floor((K * dt) / dt) != K) for dt in (1e-4, 1e-3, 1 / 7)]
    early += [
        np.mean(np.floor((K.astype(np.float32) * np.float32(dt)) / np.float32(dt)) != K)
        for dt in (1e-4, 3e-4)
    ]
    assert max(early) > 0.02


@pytest.mark.parametrize("dt", DTS)
def test_times_between_grid_points_lie_in_the_step_that_has_begun(dt: float):
    """Beside exact fractions: the floor of t / dt, for times clear of the grid."""
    rng = np.random.default_rng(1)
    k = rng.integers(0, 10**6, 400)
    times = (k + rng.uniform(1e-6, 1 - 1e-6, 400)) * dt
    exact = [Fraction(t) / Fraction(dt) for t in times.tolist()]
    np.testing.assert_array_equal(steps_of_times(times, dt), [q.__floor__() for q in exact])


def test_what_surrounds_a_grid_point():
    eps = np.finfo(np.float64).eps
    near = 1000.0 * (1.0 + eps * np.array([-40, -5, -3, -1, 0, 1, 5]))
    np.testing.assert_array_equal(steps_of_times(near), [999, 999, 1000, 1000, 1000, 1000, 1000])
    # Differences near 0 are rounded in units of the first step.
    times = np.array([0.3 - (0.1 + 0.2), -1e-3, -1.0])
    np.testing.assert_array_equal(steps_of_times(times, 1.0), [0, -1, -1])
    np.testing.assert_array_equal(steps_of_times(np.array([3, 0, -2]), 1.0), [3, 0, -2])
    np.testing.assert_array_equal(steps_of_times(np.array([5, 6, 7]), 2.0), [2, 3, 3])


@pytest.mark.parametrize("dt", [1e-4, 1e-3, 3e-4, 1 / 7])
def test_everything_that_makes_rasters_uses_the_rule(dt: float):
    k = np.arange(500)
    rows = np.zeros(500, int)
    raster = snn.encode.times_to_raster(rows, k * dt / dt, k % 7, shape=(1, 500, 7))
    events = snn.event.Spikes(
        jnp.asarray(k * np.float32(dt))[None], jnp.asarray(k % 7, jnp.int32)[None], None, 7
    )
    counted = snn.event.to_raster(events, dt=dt, steps=500)
    expected = np.zeros((1, 500, 7))
    expected[0, k, k % 7] = 1.0
    np.testing.assert_array_equal(raster, expected)
    np.testing.assert_array_equal(counted, expected)
