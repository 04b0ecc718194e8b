"""Prefix sums over arrivals against the loop that they stand for."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import flax_snn as snn
from flax_snn.event.arrivals import arrivals
from flax_snn.event.physics import physics
from flax_snn.event.prefix import (
    MANY_ARRIVALS,
    MANY_LANES,
    _first_at_once,
    _first_in_turn,
    first_row,
    summed_in_parallel,
    summed_in_turn,
)


@pytest.mark.parametrize("sums", [summed_in_turn, summed_in_parallel])
@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("count", [1, 2, 13])
def test_sums_are_those_of_a_loop(sums: Any, shared: bool, count: int, x64: None) -> None:
    rng = np.random.default_rng(count)
    shape = (2, count, 4)
    wait = rng.exponential(size=(2, count, 1) if shared else shape)
    wait[:, 1:3] *= [0.0] if count > 2 else 1.0
    ratio = 3.0
    e, f = np.exp(-wait / ratio), np.exp(-wait)
    k = (e - f) / (ratio - 1.0)
    jumps = rng.normal(size=shape)
    v, i = jax.jit(sums)(tuple(map(jnp.asarray, (e, k, f))), jnp.asarray(jumps))
    true_v, true_i = np.zeros((2, 4)), np.zeros((2, 4))
    for m in range(count):
        true_v = e[:, m] * true_v + k[:, m] * true_i
        true_i = f[:, m] * true_i + jumps[:, m]
        np.testing.assert_allclose(v[:, m], true_v, rtol=1e-13, atol=1e-13)
        np.testing.assert_allclose(i[:, m], true_i, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("together", [False, True])
@pytest.mark.parametrize("delayed", [False, True])
def test_both_ways_to_first_crossings_agree(together: bool, delayed: bool, x64: None) -> None:
    """One arrival after the other as many neurons have it on a CPU, and all at once."""
    rng = np.random.default_rng(3)
    time = np.sort(rng.uniform(0, 0.03, (6, 20)), axis=1)
    if together:
        time = np.repeat(time[:, ::5], 5, axis=1)
        time[1] = np.sort(rng.uniform(0, 0.03, 20))  # another sample's arrivals lie apart
    time[2, 13:] = np.inf
    source = jnp.asarray(rng.integers(0, 7, (6, 20)), jnp.int32)
    kernel = jnp.asarray(rng.normal(0.6, 1.0, (7, 9)))
    delay = jnp.asarray(rng.uniform(0, 5e-3, (7, 9))) if delayed else None
    lif = snn.LIFDynamics(tau_mem=20e-3, tau_syn=5e-3).parameters
    numbers = physics("test", lif, 9, jnp.float64)
    given = arrivals(jnp.asarray(time), source, kernel, delay)
    one, other = (way(numbers, given, duration=0.05) for way in (_first_in_turn, _first_at_once))
    exists = np.asarray(other.exists)
    assert 10 < exists.sum() < exists.size - 5
    np.testing.assert_array_equal(one.exists, exists)
    for mine, expected in zip(one[1:], other[1:], strict=True):
        mine, expected = (np.broadcast_to(x, exists.shape)[exists] for x in (mine, expected))
        np.testing.assert_allclose(mine, expected, rtol=1e-12, atol=1e-15)


def test_a_large_batch_spikes_as_its_parts_do(x64: None) -> None:
    """Large batches go from arrival to arrival on a CPU, small ones have all sums at once."""
    rng = np.random.default_rng(4)
    batch, neurons = 128, 2 * MANY_LANES // 128
    times = jnp.asarray(np.repeat(rng.uniform(0, 0.03, (batch, MANY_ARRIVALS // 2)), 2, axis=1))
    kernel = jnp.asarray(rng.normal(0.8, 1.0, (times.shape[1], neurons)))
    lif = snn.LIFDynamics(tau_mem=20e-3, tau_syn=5e-3).parameters

    def first(times: Any) -> Any:
        return snn.event.first_spikes(snn.event.from_times(times), kernel, lif, duration=0.05)

    parts = np.concatenate([first(part) for part in jnp.split(times, 16)])
    assert 0.2 < np.isfinite(parts).mean() < 0.95
    np.testing.assert_allclose(first(times), parts, rtol=1e-12)


def test_first_row() -> None:
    found = np.random.default_rng(0).random((3, 6, 5)) < 0.2
    expected = np.where(found.any(axis=1), found.argmax(axis=1), 6)
    np.testing.assert_array_equal(first_row(jnp.asarray(found)), expected)
    np.testing.assert_array_equal(first_row(jnp.zeros((2, 0, 3), bool)), 0)


def test_layers_without_any_slot_of_input_are_silent() -> None:
    spikes = snn.event.Spikes(jnp.zeros((2, 0)), jnp.zeros((2, 0), jnp.int32), size=3)
    lif = snn.LIFDynamics(tau_mem=20e-3, tau_syn=5e-3).parameters

    def late(kernel: Any) -> tuple[Any, Any]:
        times = snn.event.first_spikes(spikes, kernel, lif)
        return jnp.sum(jnp.where(jnp.isfinite(times), times, 0.0)), times

    grad, times = jax.grad(late, has_aux=True)(jnp.ones((3, 4)))
    np.testing.assert_array_equal(times, np.full((2, 4), np.inf))
    np.testing.assert_array_equal(grad, 0.0)
