"""Time steps and continuous time: convergence as dt goes to 0, its order, rasters."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import event_reference as reference
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from covering_rows import covered_by
from event_layer import QUICK

import flax_snn as snn

TAU_MEM, TAU_SYN, END, N = 10e-3, 5e-3, 30e-3, 200
STEPS = (2.5e-4, 1.25e-4, 6.25e-5)

DYNAMICS: dict[str, Callable[[float], snn.LIFDynamics]] = {
    "exact": lambda dt: snn.LIFDynamics(TAU_MEM, TAU_SYN, dt),
    "exponential": lambda dt: snn.LIFDynamics(TAU_MEM, TAU_SYN, dt, discretization="exponential"),
    "euler": lambda dt: snn.LIFDynamics(TAU_MEM, TAU_SYN, dt, discretization="euler"),
    "zenke": lambda dt: snn.conventions.zenke(TAU_MEM, TAU_SYN, dt),
    "norse": lambda dt: snn.conventions.norse_lif(1 / TAU_MEM, 1 / TAU_SYN, dt=dt),
    "jaxsnn": lambda dt: snn.conventions.jaxsnn_lif(TAU_SYN, TAU_MEM, v_th=1.0, dt=dt),
}


KERNEL = np.random.default_rng(2).uniform(1.0, 4.0, (4, N)).astype(np.float32)

# On the coarsest grid, so that all grids see the same input.
TIMES = np.array([[1e-3, 3.5e-3, 8e-3, 20e-3]], np.float32)


@functools.cache
def network(name: str, dt: float) -> Any:
    cell = snn.LIFCell(N, dynamics=DYNAMICS[name](dt))
    return jax.jit(snn.event.RNN(cell, duration=END).apply, compiler_options=QUICK)


def layer(name: str, dt: float, kernel: np.ndarray = KERNEL) -> snn.event.Spikes:
    params = {"params": {"cell": {"kernel": jnp.asarray(kernel)}}}
    return network(name, dt)(params, snn.event.from_times(TIMES))


@functools.cache
def clear() -> tuple[snn.event.Spikes, np.ndarray, np.ndarray]:
    """Spikes, and neurons that are far from a decision: up to their first spike, and to the end."""
    spikes, less, more = (layer("exact", STEPS[0], KERNEL * np.float32(f)) for f in (1, 0.96, 1.04))
    late, early = np.asarray(less.first_times())[0], np.asarray(more.first_times())[0]
    steep = np.isfinite(late) & (late < early + 1e-3)
    same = steep & (np.asarray(less.counts())[0] == np.asarray(more.counts())[0])
    return spikes, np.flatnonzero(steep), np.flatnonzero(same)


@functools.cache
def plain(n: int) -> reference.Run:
    """One neuron in the plain simulator."""
    one = np.ones(1)
    kernel = KERNEL[:, [n]].astype(float)
    network = reference.Network(
        kernel, TAU_MEM * one, TAU_SYN * one, one, 0 * one, 0 * one, 0 * one
    )
    return reference.simulate(network, TIMES[0], range(4), duration=END)


@functools.cache
def on_a_grid(name: str, dt: float) -> tuple[np.ndarray, np.ndarray]:
    """Spikes (T, N) and membranes (T, N) of the time loop."""
    cell = snn.LIFCell(N, dynamics=DYNAMICS[name](dt))
    raster = snn.event.to_raster(snn.event.from_times(TIMES), dt=dt, steps=round(END / dt))
    params = {"params": {"cell": {"kernel": jnp.asarray(KERNEL)}}}
    run = functools.partial(snn.RNN(cell, implementation="scan").apply, mutable="intermediates")
    spikes, sown = jax.jit(run, compiler_options=QUICK)(params, raster)
    v = jax.tree.leaves(sown["intermediates"]["cell"]["v"])[0]
    return np.asarray(spikes)[0], np.asarray(v)[0]


def times_of(spikes: Any, n: int, dt: float | None = None) -> np.ndarray:
    if dt is not None:
        return np.flatnonzero(spikes[:, n]) * dt
    return np.asarray(spikes.time)[0][np.asarray(spikes.index)[0] == n]


@pytest.mark.slow
def test_spikes_are_those_of_the_plain_simulator() -> None:
    exact, _, far = clear()
    for n in far[:10]:
        own = [t for t, _ in plain(n).spikes]
        np.testing.assert_allclose(times_of(exact, n), own, rtol=0, atol=1e-6)


def order(errors: list[float]) -> float:
    """The order of convergence between the coarsest and the finest grid."""
    return float(np.log(errors[0] / errors[-1]) / np.log(STEPS[0] / STEPS[-1]))


@pytest.mark.parametrize("name", covered_by(DYNAMICS, ["exact", "euler"]))
def test_first_spikes_converge_with_order_1(name: str) -> None:
    """Spikes land on the grid: halving dt halves the mean error."""
    exact, steep, _ = clear()
    assert len(steep) > 100
    errors = []
    for dt in STEPS:
        grid, _ = on_a_grid(name, dt)
        late = (
            np.argmax(grid[:, steep] > 0, axis=0) * dt - np.asarray(exact.first_times())[0, steep]
        )
        errors.append(float(np.abs(late).mean()))
    assert 0.85 < order(errors) < 1.15, errors
    assert errors[-1] < 2 * STEPS[-1]


def test_all_spikes_converge() -> None:
    exact, _, far = clear()
    assert len(far) > 40
    errors = []
    for dt in STEPS:
        grid, _ = on_a_grid("exact", dt)
        late = [np.abs(times_of(exact, n) - times_of(grid, n, dt)) for n in far]
        errors.append(np.mean(np.concatenate(late)))
    assert 0.8 < order(errors) < 1.2, errors


def test_exact_steps_spike_at_the_first_grid_point_above_the_threshold() -> None:
    """Until its first spike a membrane is exact at the grid points, so nothing else is lost."""
    exact, far, _ = clear()
    for dt in STEPS[::2]:
        grid, v = on_a_grid("exact", dt)
        for n in far:
            late = times_of(grid, n, dt)[0] - times_of(exact, n)[0]
            assert -1e-7 < late < dt + 1e-7
        for n in far[:5]:
            stop = int(np.flatnonzero(grid[:, n])[0])
            at = plain(n).potential(0, np.arange(stop) * dt)
            np.testing.assert_allclose(v[:stop, n], at, rtol=0, atol=2e-6)


def test_membranes_behind_spikes_converge() -> None:
    """The reset comes up to dt late: an error of order 1 in the membrane."""
    _, _, far = clear()
    errors = []
    for dt in STEPS:
        _, v = on_a_grid("exact", dt)
        when = np.arange(22e-3, 29e-3, 5e-4)
        steps = np.rint(when / dt).astype(int)
        expected = np.stack([plain(n).potential(0, when) for n in far[:30]], axis=1)
        errors.append(np.abs(v[steps][:, far[:30]] - expected).mean())
    assert 0.7 < order(errors) < 1.3, errors


@pytest.mark.parametrize("name", covered_by(["zenke", "norse", "jaxsnn", "euler"], ["norse"]))
def test_conventions_have_one_twin(name: str) -> None:
    exact, _, _ = clear()
    for dt in (1e-3, 1e-4):
        spikes = layer(name, dt)
        np.testing.assert_array_equal(spikes.index, exact.index)
        np.testing.assert_allclose(spikes.time, exact.time, rtol=1e-5)


@pytest.mark.parametrize("dt", [1e-3, 5e-4, 1.0])
def test_a_raster_is_its_spikes(dt: float) -> None:
    raster = np.random.default_rng(0).choice([0, 0, 0, 1, 2], (2, 30, 3)).astype(np.int8)
    spikes = snn.event.from_raster(raster, dt=dt)
    back = snn.event.to_raster(spikes, dt=dt, steps=30)
    np.testing.assert_array_equal(back, raster)
    np.testing.assert_array_equal(spikes.counts(), raster.sum(axis=1))
    for b in range(2):
        for n in range(3):
            step = np.flatnonzero(raster[b, :, n])
            own = np.asarray(spikes.time)[b][np.asarray(spikes.index)[b] == n]
            np.testing.assert_allclose(own, np.repeat(step * dt, raster[b, step, n]), rtol=1e-6)


ROUNDED = [(dt, dtype) for dt in (1e-3, 2.5e-4, 1 / 3000) for dtype in (np.float32, np.float64)]


@pytest.mark.slow
@pytest.mark.parametrize(("dt", "dtype"), ROUNDED)
def test_rounding_moves_no_spike_to_another_step(dtype: Any, dt: float) -> None:
    """5e-3 / 1e-3 in float32 is less than 5."""
    raster = np.ones((1, 2000, 1), dtype)
    with jax.enable_x64(dtype == np.float64):
        spikes = snn.event.from_raster(raster, dt=dt)
        assert spikes.time.dtype == dtype
        np.testing.assert_array_equal(snn.event.to_raster(spikes, dt=dt, steps=2000), raster)


def test_times_between_grid_points_fall_into_the_step_that_has_begun() -> None:
    spikes = snn.event.from_times(jnp.array([[0.0, 0.99e-3, 1.5e-3, jnp.inf]]))
    raster = snn.event.to_raster(spikes, dt=1e-3, steps=2)
    np.testing.assert_array_equal(raster[0], [[1, 1, 0, 0], [0, 0, 1, 0]])


def test_rasters_refuse() -> None:
    spikes = snn.event.from_times(jnp.array([[1e-3, 7.5e-3]]))
    to, back = snn.event.to_raster, snn.event.from_raster
    with pytest.raises(ValueError, match=r"before 0.005 s.*got one at 0.00.* raise steps to 8"):
        to(spikes, dt=1e-3, steps=5)
    late = jax.jit(functools.partial(to, dt=1e-3, steps=5))(spikes)
    assert np.isnan(late).all()
    for dt in (0.0, -1.0, np.inf, np.nan):
        with pytest.raises(ValueError, match="dt: expected a finite number of seconds > 0"):
            to(spikes, dt=dt, steps=5)
    with pytest.raises(ValueError, match="steps: expected a whole number >= 1, got 0"):
        to(spikes, dt=1e-3, steps=0)
    with pytest.raises(ValueError, match="to_raster: expected the number of sources"):
        to(spikes.replace(size=None), dt=1e-3, steps=8)
    assert to(spikes.replace(size=None), dt=1e-3, steps=8, size=3).shape == (1, 8, 3)
    for bad in (-1.0, 0.5, np.nan, np.inf):
        with pytest.raises(ValueError, match="expected numbers of spikes, 0, 1, 2, ..., got"):
            back(np.full((1, 1, 1), bad), dt=1e-3)
    with pytest.raises(TypeError, match="call it outside jit"):
        jax.jit(functools.partial(back, dt=1e-3))(jnp.ones((1, 1, 1)))


def test_a_raster_of_another_rank(unchecked: None) -> None:
    with pytest.raises(ValueError, match=r"raster: expected shape \(B, T, N\), got shape \(2, 3\)"):
        snn.event.from_raster(np.ones((2, 3)), dt=1e-3)
