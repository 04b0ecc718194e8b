"""Potentials, their maximum and integral against an ODE solver and finite differences."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import event_layer as layers
import event_reference as reference
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from event_layer import DURATION, QUERIES, QUICK, B, Case, Loss, N
from scipy.integrate import solve_ivp

import flax_snn as snn
from flax_snn.dynamics import LIFParameters
from flax_snn.event.simulation import checked_layer

RNG = np.random.default_rng(4)
LOSSES = {
    "at": Loss(at=RNG.normal(size=(B, QUERIES, N))),
    "integral": Loss(integral=RNG.normal(size=(B, N))),
    "maximum": Loss(maximum=RNG.normal(size=(B, N))),
}


@functools.cache
def clear(ratio: float, refractory: float) -> tuple[Case, list[reference.Run]]:
    """A network of which some neurons spike and others do not."""
    return next(layers.clear_cases(range(80), ratio=ratio, refractory=refractory, strength=0.35))


ROWS = [(kind, *row) for kind in LOSSES for row in ((2.0, 0.3), (1.0, 0.0), (4.7, 0.3))]


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "ratio", "refractory"), ROWS)
def test_losses_on_the_voltage_of_spiking_layers(
    kind: str, ratio: float, refractory: float, x64: None
) -> None:
    """Their gradients pass through the spike times, recurrence and delays."""
    kinds = [("time", "kernel"), ("recurrent_kernel",), ("delay", "recurrent_delay")]
    kinds += [("tau_mem",), ("tau_syn",), ("threshold",), ("v_rest",), ("v_reset",)]
    if refractory:
        kinds.append(("refractory",))
    loss = LOSSES[kind]
    case, runs = clear(ratio, refractory)
    (value, (spikes, parts)), grads = layers.layer(case, loss, with_membrane=True)
    layers.assert_same_spikes(spikes, runs)
    assert 0 < len(runs[0].spikes)
    np.testing.assert_allclose(value, loss.of(case, runs), rtol=0, atol=1e-10)
    for names in kinds:
        layers.assert_gradient(case, loss, grads, names)
    for b, run in enumerate(runs):
        expected = np.stack([run.potential(n, loss.when) for n in range(N)], axis=1)
        np.testing.assert_allclose(parts["at"][b], expected, rtol=0, atol=1e-11)


NAMES = ("kernel", "time", "tau_mem", "tau_syn", "v_rest")


@functools.cache
def silent(duration: float) -> Any:
    """Maximum of membranes that never spike, and gradients."""

    def run(p: Any, source: Any, weights: Any) -> Any:
        inputs = snn.event.Spikes(p["time"], source, None, p["kernel"].shape[0])
        parameters = LIFParameters(**{name: p[name] for name in ("tau_mem", "tau_syn", "v_rest")})
        layer, _ = checked_layer("test", inputs, p["kernel"], parameters, None, duration)
        none = jnp.zeros((len(source), 0), jnp.int32)
        times = none.astype(p["time"].dtype)
        membrane = snn.event.Membrane(layer, source, times, none, duration)
        top = membrane.maximum()
        when = jnp.linspace(0.05, 3.95, 40)
        rest = membrane.at(when), membrane.current(when), membrane.integral()
        return jnp.sum(weights * top), (top, *rest)

    return jax.jit(jax.value_and_grad(run, has_aux=True), compiler_options=QUICK)


# Where the maximum lies: behind all arrivals, at an inhibitory one, at the end, between two.
INPUTS = {
    "peak behind all arrivals": ([0.2, 0.5, 0.9], [0, 0, 0]),
    "at an inhibitory arrival": ([0.2, 0.8, np.inf], [0, 1, -1]),
    "at the end": ([0.3, 3.7, 3.9], [1, 0, 0]),
    "between two arrivals": ([0.1, 3.0, 3.9], [0, 1, 1]),
    "at rest": ([0.5, np.inf, np.inf], [1, -1, -1]),
}


@pytest.mark.parametrize(
    "ratio", [0.5, *(pytest.param(r, marks=pytest.mark.slow) for r in (1.0, 3.0))]
)
def test_membranes_without_spikes(ratio: float, x64: None) -> None:
    """Values by quadrature and dense sampling, the gradient of the maximum by differences."""
    time = np.array([t for t, _ in INPUTS.values()])
    source = np.array([s for _, s in INPUTS.values()])
    p = {
        "kernel": np.array([[1.0, 0.7], [-3.0, -2.0]]),
        "time": time,
        "tau_mem": np.array([ratio, 1.1 * ratio]),
        "tau_syn": np.array([1.0, 0.9]),
        "v_rest": np.array([0.0, -0.3]),
    }

    def runs(p: Any) -> list[reference.Run]:
        same = np.ones(2)
        network = reference.Network(
            p["kernel"], p["tau_mem"], p["tau_syn"], 1e6 * same, p["v_rest"], 0 * same, 0 * same
        )
        return [
            reference.simulate(network, t, s, duration=4.0)
            for t, s in zip(p["time"], source, strict=True)
        ]

    def maxima(p: Any) -> np.ndarray:
        return np.array([[run.maximum(n) for n in range(2)] for run in runs(p)])

    weights = np.random.default_rng(0).normal(size=(len(time), 2))
    arrays = {name: jnp.asarray(value) for name, value in p.items()}
    (_, (top, at, current, integral)), grads = silent(4.0)(
        arrays, jnp.asarray(source, jnp.int32), jnp.asarray(weights)
    )
    np.testing.assert_allclose(top, maxima(p), rtol=0, atol=1e-12)
    when = np.linspace(0.05, 3.95, 40)
    for b, run in enumerate(runs(p)):
        for n in range(2):
            np.testing.assert_allclose(at[b, :, n], run.potential(n, when), rtol=0, atol=1e-12)
            np.testing.assert_allclose(current[b, :, n], run.current(n, when), rtol=0, atol=1e-12)
            np.testing.assert_allclose(integral[b, n], run.integral(n), rtol=0, atol=1e-11)
    for name in NAMES:
        for seed in range(3):
            shift = np.random.default_rng(seed).normal(size=p[name].shape)
            shift = np.where(np.isfinite(p[name]), shift, 0.0)
            ends = [maxima({**p, name: p[name] + h * shift}) for h in (1e-6, -1e-6)]
            expected = (weights * (ends[0] - ends[1])).sum() / 2e-6
            got = (np.asarray(grads[name]) * shift).sum()
            np.testing.assert_allclose(got, expected, rtol=1e-6, atol=1e-7, err_msg=name)


def test_potential_against_an_ode_solver() -> None:
    """Float32, in seconds: no closed form at all beside it."""
    lif = LIFParameters(tau_mem=20e-3, tau_syn=5e-3, v_rest=-0.1, bias=0.05, resistance=2.0)
    inputs = snn.event.from_times(jnp.array([[2e-3, 9e-3]]))
    kernel = jnp.array([[1.5], [-0.8]])
    layer, _ = checked_layer("test", inputs, kernel, lif, None, 0.05)
    none = jnp.zeros((1, 0), jnp.int32)
    membrane = snn.event.Membrane(layer, inputs.index, none.astype(jnp.float32), none, 0.05)
    when = np.linspace(0.5e-3, 49e-3, 30)
    state, now, expected = np.array([-0.1 + 2.0 * 0.05, 0.0]), 0.0, []
    jumps = [(2e-3, 1.5), (9e-3, -0.8), (0.05, 0.0)]
    for end, jump in jumps:
        inside = when[(when > now) & (when <= end)]
        solution = solve_ivp(
            lambda t, y: [(-(y[0] + 0.1) + 2.0 * (y[1] + 0.05)) / 20e-3, -y[1] / 5e-3],
            (now, end),
            state,
            t_eval=np.append(inside, end),
            rtol=1e-10,
            atol=1e-12,
            method="DOP853",
        )
        expected.extend(solution.y[0, :-1])
        state, now = solution.y[:, -1] + [0.0, jump], end
    got = membrane.at(jnp.asarray(when, jnp.float32))
    assert got.dtype == jnp.float32 and got.shape == (1, len(when), 1)
    np.testing.assert_allclose(got[0, :, 0], expected, rtol=0, atol=1e-6)


def readout(**changes: Any) -> snn.event.Membrane:
    inputs = snn.event.from_times(jnp.array([[1e-3], [jnp.inf]]))
    cell = snn.LeakyIntegratorReadout(2, dynamics=snn.LIDynamics(tau_mem=2e-3, tau_syn=2e-3))
    layer = snn.event.RNN(cell, **changes)
    kernel = jnp.ones((1, 2))
    return layer.apply({"params": {"cell": {"kernel": kernel}}}, inputs)


def test_questions_of_other_shapes() -> None:
    membrane = readout()
    times = jnp.array([[2e-3, 3e-3], [4e-3, 5e-3]])
    both = membrane.at(times)
    assert both.shape == (2, 2, 2)
    np.testing.assert_allclose(both[0], membrane.at(times[0])[0], rtol=1e-6)
    np.testing.assert_array_equal(both[1], 0.0)
    with pytest.raises(ValueError, match=r"times \(Q,\) or \(2, Q\), got shape \(3, 2\)"):
        membrane.at(jnp.ones((3, 2)))
    with pytest.raises(ValueError, match=r"finite end > 0 in seconds, got inf.*needs end="):
        membrane.integral()
    # All of the charge ends in the integral: weight times tau_syn, for a resistance of 1.
    whole = membrane.integral(0.1)
    np.testing.assert_allclose(whole, [[2e-3, 2e-3], [0.0, 0.0]], rtol=1e-5, atol=0)
    np.testing.assert_allclose(readout(duration=0.1).integral(), whole, rtol=1e-6)


@pytest.mark.slow
def test_a_spike_belongs_to_the_membrane_before_it(x64: None) -> None:
    case, runs = clear(2.0, 0.3)
    time, n = runs[0].spikes[0]
    hold = case.network.refractory[n]
    when = np.array([time, time + 0.5 * hold, time + 1.0001 * hold])
    loss = dataclasses.replace(LOSSES["at"], when=np.minimum(when, DURATION))
    (_, (spikes, _)), _ = layers.layer(case, loss, with_membrane=True)
    mine = np.asarray(spikes.time)[0][np.asarray(spikes.index)[0] == n][0]
    when[0] = mine
    loss = dataclasses.replace(loss, when=when)
    (_, (_, parts)), _ = layers.layer(case, loss, with_membrane=True)
    network = case.network
    np.testing.assert_allclose(parts["at"][0, 0, n], network.threshold[n], rtol=1e-10)
    np.testing.assert_allclose(parts["at"][0, 1, n], network.v_reset[n], rtol=1e-10)
    np.testing.assert_allclose(parts["at"][0, 2, n], network.v_reset[n], rtol=0, atol=1e-3)
