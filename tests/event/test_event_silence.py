"""No NaN in any gradient: silence, tangents, ties, zeros; and NaN times where input is wrong."""

from __future__ import annotations

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from event_layer import QUICK

import flax_snn as snn
from flax_snn.dynamics import LIFParameters

TAU_MEM, TAU_SYN = 2.0, 1.0
PHYSICS = {
    "tau_mem": TAU_MEM,
    "tau_syn": TAU_SYN,
    "threshold": 1.0,
    "v_rest": 0.0,
    "v_reset": 0.0,
    "refractory": 0.0,
}
PEAK = 0.25  # of the response to a unit of current, at this ratio
F, N = 2, 3


@functools.cache
def layer(method: str) -> Any:
    """A loss that weights silence with 0, its spikes, and gradients; shapes always the same."""

    def loss(p: Any, index: Any) -> Any:
        spikes = snn.event.Spikes(p["time"], index, None, F)
        parameters = LIFParameters(**{name: p[name] for name in PHYSICS})
        more = {"delay": p["delay"], "slope_floor": 1e-3}
        if method == "simulate":
            out = snn.event.simulate(spikes, p["kernel"], parameters, budget=12, **more)
            time = out.time
        else:
            time = snn.event.first_spikes(spikes, p["kernel"], parameters, **more)
        return jnp.sum(jnp.where(jnp.isfinite(time), time, 0.0)), time

    return jax.jit(jax.value_and_grad(loss, has_aux=True), compiler_options=QUICK)


def run(method: str, time: Any, kernel: Any, index: Any = None, **numbers: Any) -> Any:
    time = jnp.asarray(time, jnp.float32)
    if index is None:
        index = jnp.where(jnp.isfinite(time), jnp.arange(time.shape[1]) % F, -1)
    p = {"time": time, "kernel": jnp.broadcast_to(jnp.asarray(kernel, jnp.float32), (F, N))}
    p["delay"] = jnp.asarray(numbers.pop("delay", np.zeros((F, N))), jnp.float32)
    p |= {name: jnp.asarray(value, jnp.float32) for name, value in {**PHYSICS, **numbers}.items()}
    (_, times), grads = layer(method)(p, jnp.asarray(index, jnp.int32))
    return np.asarray(times), grads


def finite(grads: Any) -> bool:
    return all(bool(np.isfinite(g).all()) for g in jax.tree.leaves(grads))


METHODS = pytest.mark.parametrize("method", ["first_spikes", "simulate"])
TIME = [[0.1, 0.4], [0.2, 0.3]]


@METHODS
@pytest.mark.parametrize(
    ("time", "kernel"),
    [
        (TIME, 0.0),
        (TIME, -5.0),
        (TIME, 0.3),
        ([[math.inf] * 2] * 2, 5.0),
        ([[0.0, math.inf], [math.inf] * 2], 0.1),
    ],
)
def test_silence_has_no_gradient(method: str, time: Any, kernel: float) -> None:
    times, grads = run(method, time, kernel)
    assert np.isposinf(times).all()
    assert all((np.asarray(g) == 0).all() for g in jax.tree.leaves(grads))


@METHODS
def test_silent_neurons_beside_others(method: str) -> None:
    kernel = [[8.0, 0.0, -3.0], [8.0, 0.0, 0.1]]
    times, grads = run(method, [[0.1, 0.4], [math.inf] * 2], kernel)
    assert np.isfinite(times).any() and np.isposinf(times[1]).all()
    assert finite(grads)
    assert np.asarray(grads["kernel"])[0, 0] != 0
    assert (np.asarray(grads["kernel"])[:, 1:] == 0).all()
    assert np.asarray(grads["time"])[1].tolist() == [0.0, 0.0]


@METHODS
@pytest.mark.parametrize("margin", [0.0, 1e-7, 3e-7, 1e-6, 1e-4])
def test_membranes_that_touch_their_threshold(method: str, margin: float) -> None:
    """Whether it counts as a spike or not, the gradient is finite: slopes have a floor."""
    times, grads = run(method, [[0.0, math.inf]] * 2, (1.0 + margin) / PEAK)
    assert finite(grads)
    spiked = np.isfinite(times)
    peak = TAU_SYN * TAU_MEM / (TAU_MEM - TAU_SYN) * math.log(TAU_MEM / TAU_SYN)
    assert np.abs(times[spiked] - peak).max(initial=0.0) < 3 * math.sqrt(margin + 1e-6)
    if margin >= 1e-6:
        assert spiked.any()
    # A membrane that only touches has the slope of the floor: 1e-3 thresholds per tau_mem.
    bound = 2 * N * PEAK / (1e-3 / TAU_MEM)
    assert np.abs(np.asarray(grads["kernel"])).max() <= bound


@METHODS
def test_arrivals_at_one_time(method: str) -> None:
    """They commute; all at time 0 too."""
    for at in (0.0, 0.3):
        times, grads = run(method, [[at, at]] * 2, [[5.0, 1.0, 2.0], [3.0, 7.0, 6.0]])
        index = [[1, 0], [0, 1]]
        other, swapped = run(method, [[at, at]] * 2, [[5.0, 1.0, 2.0], [3.0, 7.0, 6.0]], index)
        np.testing.assert_allclose(times[1], other[0], rtol=1e-6)
        assert np.isfinite(times).any()
        assert finite(grads)
        np.testing.assert_allclose(grads["kernel"], swapped["kernel"], rtol=1e-5, atol=1e-6)


@METHODS
@pytest.mark.parametrize("tau_mem", [TAU_SYN, TAU_SYN * (1 + 1e-7), 1e-3, 1e3])
def test_ratios_of_time_constants(method: str, tau_mem: float) -> None:
    kernel = 40.0 * max(tau_mem, 1.0)
    times, grads = run(method, TIME, kernel, tau_mem=tau_mem, v_reset=-30.0, refractory=9.0)
    assert np.isfinite(times).any()
    assert finite(grads)


@METHODS
def test_extreme_inputs(method: str) -> None:
    for time, kernel in (
        ([[0.0, 1e4], [5e3, 5e3 + 1]], 8.0),
        ([[0.1, 0.4]] * 2, [[-1e4] * N, [1e4] * N]),
    ):
        _, grads = run(method, time, kernel, refractory=500.0)
        assert finite(grads)


@METHODS
@pytest.mark.parametrize(
    ("time", "index"),
    [
        ([[0.4, 0.1], TIME[1]], None),
        ([[math.nan, 0.1], TIME[1]], [[0, 1], [0, 1]]),
        ([[0.1, math.nan], TIME[1]], [[0, 1], [0, 1]]),
        ([[-0.1, 0.1], TIME[1]], None),
        ([[math.inf, 0.1], TIME[1]], None),
        (TIME, [[0, -1], [0, 1]]),
    ],
)
def test_wrong_input_under_jit_is_nan(method: str, time: Any, index: Any) -> None:
    """Only in its own sample; the others are as ever."""
    times, _ = run(method, time, 8.0, index)
    expected, _ = run(method, TIME, 8.0)
    assert np.isnan(times[0]).all()
    np.testing.assert_array_equal(times[1], expected[1])


@METHODS
@pytest.mark.parametrize("numbers", [{"v_reset": 1.0}, {"v_rest": 1.0}, {"threshold": -0.1}])
def test_wrong_neurons_under_jit_are_nan(method: str, numbers: Any) -> None:
    times, _ = run(method, TIME, 8.0, **numbers)
    assert np.isnan(times).all()


@pytest.mark.slow
def test_membranes_of_silent_layers() -> None:
    cell = snn.LeakyIntegratorReadout(2, dynamics=snn.LIDynamics(tau_mem=2e-3, tau_syn=1e-3))
    readout = snn.event.RNN(cell, duration=10e-3)

    def loss(kernel: Any, time: Any, index: Any) -> Any:
        inputs = snn.event.Spikes(time, index, None, 2)
        membrane = readout.apply({"params": {"cell": {"kernel": kernel}}}, inputs)
        at = membrane.at(jnp.array([0.0, 1e-3, 10e-3]))
        return membrane.maximum().sum() + membrane.integral().sum() + at.sum()

    gradient = jax.jit(jax.grad(loss, argnums=(0, 1)), compiler_options=QUICK)
    for kernel in (0.0, 1.0, -1.0):
        for times in ([[math.inf] * 2], [[1e-3, 1e-3]], [[0.0, math.inf]]):
            inputs = snn.event.from_times(jnp.array(times))
            assert finite(gradient(jnp.full((2, 2), kernel), inputs.time, inputs.index))
