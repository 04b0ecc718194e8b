"""Discretisation and kernel against differential equations and closed forms."""

from __future__ import annotations

import math
from decimal import Decimal, localcontext
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.integrate
import scipy.linalg

import flax_snn as snn
from flax_snn.dynamics import Discretization, membrane_kernel

TAU_MEM = 20e-3
TAUS_SYN = [2e-3, 5e-3, 10e-3, 20e-3, 20e-3 * (1 + 1e-12), 20e-3 * (1 - 1e-7), 20.02e-3, 40e-3, 0.5]
"""From a tenth to the 25-fold of TAU_MEM, equal and nearly equal ones among them."""


def run(cell: Any, x: Any, variables: Any = None) -> Any:
    """Run a cell step by step in float64; return the membranes ``(T, ...)`` and the outputs."""
    cell = cell.clone(param_dtype=jnp.float64)
    carry = cell.initialize_carry(None, x.shape[1:])

    def body(carry: Any, x_t: jax.Array) -> Any:
        carry, out = cell.apply(variables or {}, carry, x_t)
        return carry, (carry.v, out)

    return jax.jit(lambda x: jax.lax.scan(body, carry, x)[1])(jnp.asarray(x))


# Exact discretisation.


@pytest.mark.parametrize("tau_syn", TAUS_SYN)
@pytest.mark.parametrize("dt", [1e-5, 1e-3, 30e-3])
def test_exact_step_is_the_matrix_exponential(tau_syn: float, dt: float) -> None:
    resistance = 1.7
    c = snn.LIFDynamics(TAU_MEM, tau_syn, dt, resistance=resistance).coefficients()
    flow = scipy.linalg.expm(
        dt * np.array([[-1 / TAU_MEM, resistance / TAU_MEM], [0.0, -1 / tau_syn]])
    )
    np.testing.assert_allclose([[c.alpha, c.c_old], [0.0, c.beta]], flow, rtol=1e-12, atol=1e-14)
    assert (c.g, c.c_new, c.c_x) == (1.0, 0.0, 0.0)


@pytest.mark.parametrize("dt", [1e-5, 1e-3, 30e-3])
def test_exact_step_without_synapse_holds_its_input(dt: float) -> None:
    c = snn.LIFDynamics(TAU_MEM, dt=dt, resistance=1.7, v_rest=-0.4, bias=0.3).coefficients()
    # Constants ride along as a third state: x, and 1.
    rate = np.array([[-1.0, 1.7, 1.7 * 0.3 - 0.4], [0, 0, 0], [0, 0, 0]]) / TAU_MEM
    np.testing.assert_allclose(
        [c.alpha, c.c_x, c.bias], scipy.linalg.expm(dt * rate)[0], rtol=1e-12
    )


@pytest.mark.parametrize("taus", [(5e-3,), (20e-3,), (3e-3, 20e-3, 50e-3)])
def test_trace_follows_the_differential_equation(taus: tuple[float, ...], x64: None) -> None:
    """Weights arrive at the ends of their steps; bias, resistance and rest act all the time."""
    dt, steps, rng = 2e-3, 30, np.random.default_rng(0)
    bias, resistance, v_rest, v_init = 0.2, 1.3, -0.5, 0.4
    x = rng.normal(size=(steps, len(taus)))
    dynamics = snn.LIDynamics(
        TAU_MEM, taus, dt, v_rest, bias=bias, resistance=resistance, v_init=v_init
    )
    v, _ = run(snn.LeakyIntegratorReadout(dynamics=dynamics), x)

    def flow(_: float, y: np.ndarray) -> np.ndarray:
        dv = (-(y[0] - v_rest) + resistance * (y[1:].sum() + bias)) / TAU_MEM
        return np.concatenate([[dv], -y[1:] / np.array(taus)])

    y = np.array([v_init, *np.zeros(len(taus))])
    for t in range(steps):
        y = scipy.integrate.solve_ivp(flow, (0, dt), y, method="DOP853", rtol=1e-12, atol=1e-14).y[
            :, -1
        ]
        y[1:] += x[t]
        np.testing.assert_allclose(v[t, 0], y[0], rtol=1e-9, atol=1e-11)


def test_spikes_and_resets_follow_the_differential_equation(x64: None) -> None:
    """Threshold and reset act at the ends of steps; between them the flow is that of the ODE."""
    dt, steps, tau_syn, tau_rec = 1e-3, 60, 20e-3, 8e-3
    dynamics = snn.LIFDynamics(
        TAU_MEM, tau_syn, dt, tau_syn_rec=tau_rec, v_rest=0.2, v_reset=-0.3, threshold=0.9
    )
    x = np.random.default_rng(3).normal(0.5, 1.0, (steps, 1))
    cell = snn.RecurrentLIFCell(dynamics=dynamics)
    weight = -1.5
    variables = {"params": {"recurrent_kernel": jnp.full((1, 1), weight)}}
    v, s = run(cell, x, variables)

    rate = np.array([[-1.0, 1.0, 1.0], [0, -TAU_MEM / tau_syn, 0], [0, 0, -TAU_MEM / tau_rec]])
    flow = scipy.linalg.expm(dt * rate / TAU_MEM)
    y, before, margin = np.array([0.0, 0.0, 0.0]), 0.0, np.inf  # potential above rest
    for t in range(steps):
        y = flow @ y + np.array([0.0, x[t, 0], weight * before])
        margin = min(margin, abs(y[0] + 0.2 - 0.9))
        before = float(y[0] + 0.2 > 0.9)
        y[0] = -0.5 if before else y[0]
        assert float(s[t, 0]) == before
        np.testing.assert_allclose(v[t, 0], y[0] + 0.2, rtol=0, atol=1e-12)
    assert margin > 1e-6 and 5 < float(s.sum()) < 40


# Order of convergence.


def error_at(discretization: str, tau_syn: float | None, dt: float) -> float:
    """Error of the membrane after 16 ms: of a jump of the synapse, or of a constant input."""
    steps = round(16e-3 / dt)
    dynamics = snn.LIDynamics(TAU_MEM, tau_syn, dt, discretization=discretization)
    x = np.zeros((steps + 1, 1))
    if tau_syn is None:
        x = np.ones((steps, 1))
        expected = 1 - math.exp(-16e-3 / TAU_MEM)
    else:
        x[0] = 1.0
        a, b = 1 / TAU_MEM, 1 / tau_syn
        expected = a / (b - a) * (math.exp(-16e-3 * a) - math.exp(-16e-3 * b))
    v, _ = run(snn.LeakyIntegratorReadout(dynamics=dynamics), x)
    return abs(float(v[-1, 0]) - expected)


@pytest.mark.parametrize(
    ("discretization", "tau_syn", "order"),
    [
        ("exact", None, None),
        ("exact", 5e-3, None),
        ("exponential", None, None),
        ("exponential", 5e-3, 1),
        ("euler", None, 1),
        ("euler", 5e-3, 1),
    ],
)
def test_order_of_convergence(
    discretization: str, tau_syn: float | None, order: int | None, x64: None
) -> None:
    errors = [error_at(discretization, tau_syn, dt) for dt in (1e-3, 0.5e-3, 0.25e-3, 0.125e-3)]
    if order is None:
        assert max(errors) < 1e-13
    else:
        assert errors[-1] > 1e-5  # not the exact one by another name
        rates = [math.log2(a / b) for a, b in zip(errors, errors[1:], strict=False)]
        np.testing.assert_allclose(rates[-1], order, atol=0.05)


def test_euler_coefficients() -> None:
    c = snn.LIFDynamics(20e-3, (5e-3, 4e-3), 1e-3, v_rest=-0.5, discretization="euler")
    c = c.coefficients()
    np.testing.assert_allclose(c.alpha, 0.95, rtol=1e-15)
    np.testing.assert_allclose(c.beta, (0.8, 0.75), rtol=1e-15)
    np.testing.assert_allclose(c.c_old, (0.05, 0.05), rtol=1e-15)
    np.testing.assert_allclose(c.bias, -0.025, rtol=1e-15)


@pytest.mark.parametrize("synapse", ["unit", "decay", "normalized"])
@pytest.mark.parametrize("membrane", ["exact", "leak", "unit", "decay"])
@pytest.mark.parametrize("decay", ["exponential", "euler"])
def test_gains_by_name(decay: Any, synapse: Any, membrane: Any) -> None:
    a, b = (0.95, 0.8) if decay == "euler" else (math.exp(-1 / 20), math.exp(-1 / 5))
    how = Discretization(decay, synapse, membrane)
    kernel = (1 / 20) / (1 / 5 - 1 / 20) * (math.exp(-1 / 20) - math.exp(-1 / 5))
    gain = {"exact": kernel, "leak": 1 - a, "unit": 1.0, "decay": a}[membrane]
    c = snn.LIFDynamics(20e-3, 5e-3, 1e-3, resistance=2.0, discretization=how).coefficients()
    np.testing.assert_allclose((c.alpha, c.beta, c.c_old), (a, b, 2 * gain), rtol=1e-13)
    np.testing.assert_allclose(c.g, {"unit": 1, "decay": b, "normalized": 1 - b}[synapse], 1e-13)
    direct = snn.LIFDynamics(20e-3, None, 1e-3, resistance=2.0, discretization=how).coefficients()
    expected = 2 * (1 - a if membrane == "exact" else gain)
    np.testing.assert_allclose(direct.c_x, expected, rtol=1e-13)


# Kernel.


def kernel_in_50_digits(t: float, tau_mem: float, tau_syn: float) -> tuple[float, ...]:
    """K and its derivatives by t, tau_mem, tau_syn: differences of exponentials, 50 digits."""
    with localcontext() as context:
        context.prec = 50
        t, m, s = Decimal(t), Decimal(tau_mem), Decimal(tau_syn)
        a, b = 1 / m, 1 / s
        e, f, d = (-a * t).exp(), (-b * t).exp(), b - a
        if d == 0:
            k, by_a, by_b = a * t * e, t * e * (1 - a * t / 2), -a * t * t * e / 2
            by_t = a * e * (1 - a * t)
        else:
            k, by_t = a / d * (e - f), a / d * (b * f - a * e)
            by_a = b * (e - f) / d**2 - a * t * e / d
            by_b = -a * (e - f) / d**2 + a * t * f / d
        return tuple(map(float, (k, by_t, -a * a * by_a, -b * b * by_b)))


RATIOS = [0.01, 0.3, 0.9, 0.97, 1 - 1e-3, 1 - 1e-6, 1.0, 1 + 1e-10, 1 + 1e-5, 1.02, 1.1, 3.0, 100.0]


@pytest.mark.parametrize("ratio", RATIOS)
@pytest.mark.parametrize("t", [1e-6, 1e-3, 10e-3, 200e-3])
def test_kernel_and_gradient_in_float64(ratio: float, t: float, x64: None) -> None:
    tau_mem, tau_syn = 20e-3, 20e-3 * ratio
    expected = kernel_in_50_digits(t, tau_mem, tau_syn)
    assert membrane_kernel(t, tau_mem, tau_syn) == pytest.approx(expected[0], rel=1e-13, abs=1e-40)
    arguments = [jnp.asarray(x) for x in (t, tau_mem, tau_syn)]
    value, gradient = jax.value_and_grad(membrane_kernel, argnums=(0, 1, 2))(*arguments)
    # Entries of the gradient vanish somewhere: compare with their scales K/t, K/tau.
    scales = expected[0] / np.array([t, tau_mem, tau_syn]) * (1 + t / min(tau_mem, tau_syn))
    np.testing.assert_allclose(value, expected[0], rtol=1e-13, atol=1e-40)
    error = np.abs(np.array(gradient) - expected[1:])
    assert (error <= 1e-12 * scales + 1e-40).all(), (gradient, expected)
    forward = jax.jacfwd(membrane_kernel, argnums=(0, 1, 2))(*arguments)
    np.testing.assert_allclose(forward, gradient, rtol=1e-10, atol=float(1e-12 * scales.min()))


@pytest.mark.parametrize("ratio", RATIOS)
@pytest.mark.parametrize("t", [1e-4, 1e-3, 10e-3])
def test_kernel_and_gradient_in_float32(ratio: float, t: float) -> None:
    arguments = [jnp.float32(x) for x in (t, 20e-3, 20e-3 * ratio)]
    expected = kernel_in_50_digits(*map(float, arguments))
    value, gradient = jax.value_and_grad(membrane_kernel, argnums=(0, 1, 2))(*arguments)
    t, tau_mem, tau_syn = map(float, arguments)
    scales = expected[0] / np.array([t, tau_mem, tau_syn]) * (1 + t / min(tau_mem, tau_syn))
    np.testing.assert_allclose(value, expected[0], rtol=1e-6)
    error = np.abs(np.array(gradient) - expected[1:])
    assert (error <= 5e-6 * scales).all(), (gradient, expected)


def test_second_derivatives_of_the_kernel_are_continuous_at_equal_constants(x64: None) -> None:
    hessian = jax.jit(jax.hessian(membrane_kernel, argnums=(0, 1, 2)))
    h = 1e-6
    for tau_syn in (20e-3, 20e-3 * (1 + 1e-7), 21e-3):
        point = np.array([5e-3, 20e-3, tau_syn])
        rows = []
        for k in range(3):
            step = np.eye(3)[k] * h
            ahead = kernel_in_50_digits(*(point + step))[1:]
            behind = kernel_in_50_digits(*(point - step))[1:]
            rows.append((np.array(ahead) - behind) / (2 * h))
        np.testing.assert_allclose(np.array(hessian(*point)), rows, rtol=1e-5)


def test_kernel_at_time_zero_and_far_away() -> None:
    assert membrane_kernel(0.0, 20e-3, 5e-3) == 0.0
    for tau_syn in (1e-4, 20e-3, 10.0):
        value, slope = jax.value_and_grad(membrane_kernel, argnums=2)(
            jnp.float32(5.0), jnp.float32(1e-3), jnp.float32(tau_syn)
        )
        assert np.isfinite(value) and np.isfinite(slope)


@pytest.mark.parametrize(
    "changes",
    [
        {"tau_mem": 7e-3, "threshold": 0.8},
        {"tau_syn": 4e-3},
        {"tau_syn": (4e-3, 9e-3)},
        {"tau_syn": 4e-3, "tau_syn_rec": 6e-3},
        {"reset": "soft"},
        {"refractory": 3e-3, "v_reset": -0.4},
        {"discretization": "euler", "dt": 2e-3},
        {"v_rest": 0.2},
        {"fire": "floor", "reset": "soft", "max_spikes": 2, "v_min": -1.0, "noise_std": 0.1},
    ],
)
def test_replace_is_the_constructor_with_other_arguments(changes: dict[str, Any]) -> None:
    assert snn.LIFDynamics().replace(**changes) == snn.LIFDynamics(**changes)
    other = snn.LIFDynamics(tau_syn=8e-3, resistance=2.0)
    assert other.replace(**changes) == snn.LIFDynamics(
        **{"tau_syn": 8e-3, "resistance": 2.0} | changes
    )


def test_replace_refuses_what_it_cannot_change() -> None:
    with pytest.raises(TypeError, match="expected names among"):
        snn.LIFDynamics().replace(channels=2)
    with pytest.raises(ValueError, match="threshold"):
        snn.LIFDynamics(v_reset=0.5).replace(threshold=0.4)
    with pytest.raises(ValueError, match="does not fire"):
        snn.LIFDynamics(fire=">=").replace(v_reset=1.0)
    with pytest.raises(TypeError, match="given as coefficients"):
        snn.conventions.tutorial().replace(tau_mem=1e-2)
    assert snn.LIDynamics(tau_mem=5e-3).replace(tau_mem=9e-3) == snn.LIDynamics(tau_mem=9e-3)
