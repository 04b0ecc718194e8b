"""The next crossing of a threshold against dense scans, bisection and closed forms."""

from __future__ import annotations

import functools
import math
from typing import Any

import event_reference as reference
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from event_layer import QUICK
from scipy.special import lambertw

import flax_snn as snn
from flax_snn.dynamics import LIFParameters
from flax_snn.event.crossing import next_crossing, next_crossing_tonic
from flax_snn.event.physics import physics

RATIOS = [0.1, 0.5, 0.999, 1.0, 1.001, 2.0, 4.7, 20.0]
SIZE = 400


@functools.cache
def solver(tonic: bool) -> Any:
    def solve(v: Any, i: Any, horizon: Any, tau_mem: Any, threshold: Any) -> Any:
        parameters = LIFParameters(
            tau_mem=tau_mem, tau_syn=1.0, threshold=threshold, v_reset=threshold - 1.0
        )
        numbers = physics("test", parameters, v.shape[1], v.dtype).lanes()
        return (next_crossing_tonic if tonic else next_crossing)(v, i, horizon, numbers)

    return jax.jit(solve, compiler_options=QUICK)


def crossings(
    v: Any, i: Any, horizon: Any, ratio: float, threshold: Any = 1.0, *, tonic: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    rows = [jnp.asarray(np.broadcast_to(x, (1, len(v))), float) for x in (v, i, horizon)]
    theta = jnp.asarray(np.broadcast_to(threshold, (len(v),)), float)
    found = solver(tonic)(*rows, jnp.asarray(ratio, float), theta)
    return np.asarray(found.exists)[0], np.asarray(found.delay)[0]


def scan(
    v: Any, i: Any, horizon: Any, ratio: float, threshold: Any = 1.0
) -> tuple[np.ndarray, np.ndarray]:
    """First crossing on a dense grid, closed in by bisection; and the largest potential."""
    end = np.minimum(np.broadcast_to(horizon, v.shape), 60.0 * max(ratio, 1.0))
    share = np.concatenate([[0.0], np.geomspace(1e-8, 1e-2, 1500), np.linspace(0.01, 1, 3000)[1:]])
    grid = end * share[:, None]
    gap = reference.flow(v, i, grid, ratio, 1.0)[0] - threshold
    first = np.argmax(gap > 0, axis=0)
    column = np.arange(len(v))
    low, high = grid[np.maximum(first - 1, 0), column], grid[first, column]
    for _ in range(60):
        middle = 0.5 * (low + high)
        above = reference.flow(v, i, middle, ratio, 1.0)[0] > threshold
        low, high = np.where(above, low, middle), np.where(above, middle, high)
    return np.where(gap.max(axis=0) > 0, high, np.inf), gap.max(axis=0)


def states(ratio: float, size: int = SIZE) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Potentials below 1 down to -1000, currents of either sign up to 1000, horizons."""
    rng = np.random.default_rng(int(1000 * ratio))
    v = 1.0 - rng.exponential(1.0, size) * 10 ** rng.uniform(-2, 3, size)
    i = rng.choice([1, 1, 1, -1], size) * 10 ** rng.uniform(-1, 3, size)
    horizon = np.where(rng.random(size) < 0.5, np.inf, rng.exponential(1.0, size))
    return v, i, horizon


@pytest.mark.parametrize("ratio", RATIOS)
def test_existence_and_time(ratio: float, x64: None) -> None:
    v, i, horizon = states(ratio)
    exists, delay = crossings(v, i, horizon, ratio)
    expected, top = scan(v, i, horizon, ratio)
    clear = np.abs(top) > 1e-4 * np.maximum(1.0, np.abs(v))
    assert clear.mean() > 0.9
    found = np.isfinite(expected)
    np.testing.assert_array_equal(exists[clear], found[clear])
    assert 0.1 < exists.mean() < 0.9
    error = np.abs(delay - expected)[clear & found]
    # The scan itself rounds in potentials up to 1000, over slopes of 1 and more.
    assert error.max() < 1e-9 and np.median(error) < 1e-13
    assert (delay[~exists] == 0).all()


@pytest.mark.parametrize("ratio", RATIOS)
@pytest.mark.parametrize("bits", [64, 32])
def test_membranes_that_barely_reach_the_threshold(ratio: float, bits: int) -> None:
    """Scaled such that the maximum is a given margin above or below the threshold."""
    rng = np.random.default_rng(1)
    size = SIZE
    least = 1e-7 if bits == 64 else 1e-3
    i = rng.uniform(0.1, 2.0, size)
    v = i * rng.uniform(-1.0, 0.9, size)
    low, high = np.zeros(size), np.full(size, 60.0 * max(ratio, 1.0))
    for _ in range(100):  # v rises until it is i
        middle = 0.5 * (low + high)
        rises = np.less(*reference.flow(v, i, middle, ratio, 1.0))
        low, high = np.where(rises, middle, low), np.where(rises, high, middle)
    top = reference.flow(v, i, low, ratio, 1.0)[0]
    reaches = top > 1e-2
    sign = rng.choice([-1, 1], size)
    share = 1.0 + sign * 10 ** rng.uniform(math.log10(least), -1, size)
    scale = np.where(reaches, share / np.where(reaches, top, 1.0), 1.0)
    v, i = v * scale, i * scale
    usable = reaches & (v < 1)
    v = np.where(usable, v, 0.0)
    left, right = np.zeros(size), low
    for _ in range(100):
        middle = 0.5 * (left + right)
        above = reference.flow(v, i, middle, ratio, 1.0)[0] > 1.0
        left, right = np.where(above, left, middle), np.where(above, middle, right)
    with jax.enable_x64(bits == 64):
        exists, delay = crossings(v, i, np.inf, ratio)
    np.testing.assert_array_equal(exists[usable], (sign > 0)[usable])
    error = np.abs(delay - right)[usable & (sign > 0)]
    assert (usable & (sign > 0)).sum() > 50
    assert error.max() < (1e-10 if bits == 64 else 2e-4 * max(ratio, 1.0))


def test_closed_form_at_equal_time_constants(x64: None) -> None:
    v, i, _ = states(1.0)
    v, i = np.maximum(v, -3.0), np.abs(i)
    exists, delay = crossings(v, i, np.inf, 1.0)
    expected = -v / i - lambertw(-np.exp(-v / i) / i, 0)
    real = (np.abs(expected.imag) == 0) & (expected.real > 0)
    np.testing.assert_array_equal(exists, real)
    np.testing.assert_allclose(delay[real], expected.real[real], rtol=0, atol=1e-11)


def test_closed_form_at_twice_the_time_constant(x64: None) -> None:
    v, i, _ = states(2.0)
    i = np.abs(i)
    root = (v + i) ** 2 - 4.0 * i
    ratio = 2.0 * i / np.where(root > 0, v + i + np.sqrt(np.maximum(root, 0.0)), 1.0)
    real = (root > 0) & (v + i > 0) & (ratio > 1)
    exists, delay = crossings(v, i, np.inf, 2.0)
    np.testing.assert_array_equal(exists, real)
    np.testing.assert_allclose(delay[real], 2.0 * np.log(ratio[real]), rtol=0, atol=1e-11)


@pytest.mark.parametrize("ratio", [0.5, 1.0, 4.7])
def test_neurons_that_rest_above_their_threshold(ratio: float, x64: None) -> None:
    """Thresholds below, at and above rest, in one layer."""
    rng = np.random.default_rng(3)
    threshold = np.where(np.arange(SIZE) % 3 == 0, 0.0, rng.uniform(-2.0, 0.5, SIZE))
    v = threshold - rng.exponential(1.0, SIZE)
    i = rng.normal(0.0, 4.0, SIZE)
    horizon = rng.uniform(-0.5, 12.0, SIZE)
    exists, delay = crossings(v, i, horizon, ratio, threshold, tonic=True)
    expected, top = scan(v, i, np.maximum(horizon, 0.0), ratio, threshold)
    clear = np.abs(top) > 1e-4
    np.testing.assert_array_equal(exists[clear], np.isfinite(expected)[clear])
    found = clear & exists
    assert 0.3 < found.mean() < 1.0
    np.testing.assert_allclose(delay[found], expected[found], rtol=0, atol=1e-10)


@pytest.mark.slow
@pytest.mark.parametrize("refractory", [0.0, 0.4])
def test_tonic_spiking_has_its_interval(refractory: float, x64: None) -> None:
    """Period tau ln((rest - reset) / (rest - threshold)), and its gradients, also under jit."""
    inputs = snn.event.from_times(jnp.full((1, 1), jnp.inf))
    kernel = jnp.ones((1, 1))
    fixed = LIFParameters(tau_syn=1.0, v_rest=1.1, bias=0.2, resistance=2.0, refractory=refractory)

    def two_intervals(v_reset: Any, tau_mem: Any) -> Any:
        parameters = fixed.replace(v_reset=v_reset, tau_mem=tau_mem)
        spikes = snn.event.simulate(inputs, kernel, parameters, budget=10, duration=9.0)
        return spikes.time[0, 2] - spikes.time[0, 0], spikes

    run = jax.value_and_grad(two_intervals, argnums=(0, 1), has_aux=True)
    run = jax.jit(run, compiler_options=QUICK)
    (_, spikes), gradient = run(jnp.asarray(-0.4), jnp.asarray(2.0))
    interval = refractory + 2.0 * math.log(1.9 / 0.5)
    time = np.asarray(spikes.time[0])
    times = time[np.isfinite(time)]
    assert len(times) == 1 + int((9.0 - times[0]) // interval)
    np.testing.assert_allclose(np.diff(times), interval, rtol=1e-12)
    np.testing.assert_allclose(gradient, [-2 * 2.0 / 1.9, 2 * math.log(1.9 / 0.5)], rtol=1e-10)
