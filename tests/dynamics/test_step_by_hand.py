"""The step in numbers that one can follow with a pencil; hold, synaptic channels, lower bound."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import flax_snn as snn
from flax_snn.dynamics import Coefficients, Rule

N = 3


def trace(dynamics: snn.LIFDynamics, x: list[float], matrix: Any = None, **start: Any) -> Any:
    """Run one neuron; return its membranes and spikes as lists."""
    cell = snn.LIFCell(dynamics=dynamics)
    variables: Any = {}
    if matrix is not None:
        cell = snn.RecurrentLIFCell(dynamics=dynamics)
        variables = {"params": {"recurrent_kernel": jnp.asarray(matrix)}}
    carry = cell.initialize_carry(None, (1,)).replace(**start)
    membranes, spikes = [], []
    for value in x:
        carry, s = cell.apply(variables, carry, jnp.array([value]))
        membranes.append(float(carry.v[0]))
        spikes.append(float(s[0]))
    return membranes, spikes


def plain(rule: Rule, **changes: Any) -> snn.LIFDynamics:
    """Dynamics v <- v/2 + x with threshold 1."""
    c = Coefficients(**({"alpha": 0.5, "c_x": 1.0, "theta": 1.0} | changes))
    return snn.LIFDynamics.from_coefficients(c, dt=1e-3, rule=rule)


@pytest.mark.parametrize(
    ("switches", "membranes", "spikes"),
    [
        ({"reset": "hard"}, [0, 0, 0.5, 0.75], [1, 1, 0, 0]),
        ({"reset": "soft"}, [2, 1.5, 0.25, 0.625], [1, 1, 1, 0]),
        ({"reset": "none"}, [3, 3, 2, 1.5], [1, 1, 1, 1]),
        ({"reset": "soft", "fire": "floor"}, [0, 0.5, 0.75, 0.875], [3, 1, 0, 0]),
        ({"reset": "hard", "reset_time": "next"}, [3, 1.5, 0.5, 0.75], [1, 1, 0, 0]),
        (
            {"reset": "hard", "reset_time": "next", "reset_site": "sum"},
            [3, 0, 0.5, 0.75],
            [1, 0, 0, 0],
        ),
        ({"reset": "soft", "reset_time": "next"}, [3, 2.5, 1.25, 0.625], [1, 1, 1, 0]),
        (
            {"reset": "soft", "reset_time": "next", "reset_site": "sum"},
            [3, 2, 0.5, 0.75],
            [1, 1, 0, 0],
        ),
        (
            {"reset": "hard", "reset_time": "next", "reset_site": "sum", "emit": "old"},
            [3, 0, 0.5, 0.75],
            [0, 1, 0, 0],
        ),
        (
            {"reset": "hard", "reset_time": "give-back", "reset_site": "sum"},
            [0, 0, 0.5, 0.75],
            [1, 1, 0, 0],
        ),
        (
            {"reset": "soft", "reset_time": "give-back", "reset_site": "sum"},
            # 3 fires and loses 1; 2.5 - 1 fires; 1.25 - 1 does not, and the 1 is handed back.
            [2, 1.5, 1.25, 1.125],
            [1, 1, 0, 0],
        ),
    ],
)
def test_resets_by_hand(
    switches: dict[str, Any], membranes: list[float], spikes: list[float]
) -> None:
    assert trace(plain(Rule(**switches)), [3.0, 1.5, 0.5, 0.5]) == (membranes, spikes)


def test_fire_tests_at_equality_by_hand() -> None:
    for fire, reset, v, s in (
        (">", "hard", 1.0, 0.0),
        (">=", "hard", 0.0, 1.0),
        ("half", "hard", 0.5, 0.5),
        ("floor", "soft", 0.0, 1.0),
    ):
        assert trace(plain(Rule(fire=fire, reset=reset)), [1.0]) == ([v], [s])


@pytest.mark.parametrize(
    ("gradient", "expected"),
    # From v = 1: v_int = 1/2 + x = 1.25, s = 1, h = 1 / (1 + 10/4)^2, v_new = (1 - s) v_int.
    [("stop", 0.0), ("flow", -1.25 / 3.5**2), ("spike_only", 1.0 - 1.25 / 3.5**2)],
)
def test_gradient_through_a_hard_reset_by_hand(gradient: Any, expected: float) -> None:
    rule = Rule(reset_gradient=gradient)

    def after(x: jax.Array) -> jax.Array:
        cell = snn.LIFCell(dynamics=plain(rule))
        carry = cell.initialize_carry(None, (1,)).replace(v=jnp.ones(1))
        return cell.apply({}, carry, x)[0].v[0]

    np.testing.assert_allclose(jax.grad(after)(jnp.array([0.75])), [expected], rtol=1e-6)


def test_gradient_stops_in_recurrent_layers_only() -> None:
    rule = Rule(reset="soft", reset_gradient="stop_if_recurrent")

    def after(cell: Any, variables: Any, x: jax.Array) -> jax.Array:
        return cell.apply(variables, cell.initialize_carry(None, (1,)), x)[0].v[0]

    x = jnp.array([1.25])
    feed_forward = jax.grad(lambda x: after(snn.LIFCell(dynamics=plain(rule)), {}, x))(x)
    variables = {"params": {"recurrent_kernel": jnp.zeros((1, 1))}}
    cell = snn.RecurrentLIFCell(dynamics=plain(rule))
    recurrent = jax.grad(lambda x: after(cell, variables, x))(x)
    np.testing.assert_allclose(feed_forward, [1.0 - 1.0 / 3.5**2], rtol=1e-6)
    np.testing.assert_array_equal(recurrent, [1.0])


# Refractory period.


@pytest.mark.parametrize("steps", [1, 2, 5])
@pytest.mark.parametrize("tau_syn", [None, 4e-3])
def test_held_for_exactly_the_steps(steps: int, tau_syn: float | None) -> None:
    dynamics = snn.LIFDynamics(
        tau_mem=5e-3, tau_syn=tau_syn, refractory=steps * 1e-3, v_rest=0.1, v_reset=-0.3
    )
    cell = snn.LIFCell(dynamics=dynamics)
    carry = cell.initialize_carry(None, (1,))
    assert float(carry.v[0]) == np.float32(0.1)
    alpha, beta = np.exp(-1 / 5), np.exp(-1 / 4)
    kernel = (1 / 5) / (1 / 4 - 1 / 5) * (alpha - beta)
    v, i, n = 0.1, 0.0, 0
    previous = None
    intervals = []
    for t in range(60):
        carry, s = cell.apply({}, carry, jnp.array([9.0]))
        # NumPy float64, written from the rule in words.
        if tau_syn is None:
            free = alpha * v + (1 - alpha) * 9.1
        else:
            free = alpha * v + kernel * i + (1 - alpha) * 0.1
            i = beta * i + 9.0
            np.testing.assert_allclose(carry.i, [i], rtol=1e-5)  # input reaches the synapse
        fires = n == 0 and free > 1.0
        v = -0.3 if n > 0 or fires else free
        n = steps if fires else max(n - 1, 0)
        assert bool(s[0]) == fires
        assert int(carry.refractory[0]) == n
        np.testing.assert_allclose(carry.v, [v], rtol=1e-5, atol=1e-6)
        if fires:
            intervals += [] if previous is None else [t - previous]
            previous = t
    # Held for `steps` steps after that of the spike, then at least one free step.
    assert len(intervals) > 2 and min(intervals) >= steps + 1


def test_silent_while_held_whatever_comes() -> None:
    membranes, spikes = trace(snn.LIFDynamics(refractory=3e-3, v_reset=-0.5), [1e3] * 9)
    assert spikes == [1, 0, 0, 0, 1, 0, 0, 0, 1]
    assert membranes == [-0.5] * 9


def test_a_held_membrane_is_given_nothing_back() -> None:
    # 2.5 - 1 stays above threshold: the next step would hand back what the hold has overwritten.
    rule = Rule(reset="soft", reset_time="give-back", reset_site="sum", hold=2)
    membranes, spikes = trace(plain(rule, v_reset=-0.25), [2.5, 0.5, 0.5, 0.5])
    assert (membranes, spikes) == ([1.5, -0.25, -0.25, 0.375], [1, 0, 0, 0])


# Channels, lower bound.


def test_several_synapses_add_up(x64: None) -> None:
    taus, tau_mem, dt = (3e-3, 8e-3, 20e-3), 15e-3, 1e-3
    dynamics = snn.conventions.rockpool(tau_mem=tau_mem, tau_syn=taus, dt=dt, bias=0.01)
    rng = np.random.default_rng(1)
    x = rng.normal(0.2, 0.5, (40, 2, 3, N))  # (T, B, S, N)
    v = np.zeros((2, N))
    i = np.zeros((3, 2, N))
    beta = np.exp(-dt / np.array(taus))[:, None, None]
    cell = snn.LIFCell(dynamics=dynamics, param_dtype=jnp.float64)
    carry = cell.initialize_carry(None, (2, 3 * N))
    fired = 0.0
    for t in range(40):
        i = beta * (i + x[t].transpose(1, 0, 2))
        v = np.exp(-dt / tau_mem) * v + i.sum(axis=0) + 0.01
        s = np.where(v >= 1.0, np.floor(v), 0.0)
        v = v - s
        carry, out = cell.apply({}, carry, jnp.asarray(x[t].reshape(2, 3 * N)))
        np.testing.assert_array_equal(out, s)
        np.testing.assert_allclose(carry.v, v, rtol=0, atol=1e-12)
        np.testing.assert_allclose(jnp.stack(carry.i), i, rtol=0, atol=1e-12)
        fired += s.sum()
    assert fired > 20


@pytest.mark.parametrize("own", [False, True])
def test_recurrent_input_by_channel(own: bool, x64: None) -> None:
    """Into all channels, each by its own block of the kernel; or into a channel of its own."""
    taus, tau_rec, tau_mem, dt = (3e-3, 8e-3), 5e-3, 10e-3, 1e-3
    dynamics = snn.LIFDynamics(
        tau_mem, taus, dt, discretization="exponential", tau_syn_rec=tau_rec if own else None
    )
    rng = np.random.default_rng(2)
    x = rng.normal(1.0, 2.0, (50, 2, 2, N))
    matrix = rng.normal(0.0, 3.0, (N, N if own else 2 * N))
    cell = snn.RecurrentLIFCell(dynamics=dynamics, param_dtype=jnp.float64)
    variables = {"params": {"recurrent_kernel": jnp.asarray(matrix)}}
    carry = cell.initialize_carry(None, (2, 2 * N))
    decay = np.exp(-dt / np.array((*taus, tau_rec) if own else taus))[:, None, None]
    v, s, i = np.zeros((2, N)), np.zeros((2, N)), np.zeros((len(decay), 2, N))
    fired = 0.0
    for t in range(50):
        fed = (s @ matrix).reshape(2, -1, N).transpose(1, 0, 2)
        driven = x[t].transpose(1, 0, 2)
        into = np.concatenate([driven, fed]) if own else driven + fed
        v = np.exp(-dt / tau_mem) * v + (1 - np.exp(-dt / tau_mem)) * i.sum(axis=0)
        i = decay * i + into
        s = (v > 1.0) * 1.0
        v = np.where(s > 0, 0.0, v)
        carry, out = cell.apply(variables, carry, jnp.asarray(x[t].reshape(2, 2 * N)))
        np.testing.assert_array_equal(out, s)
        np.testing.assert_allclose(carry.v, v, rtol=0, atol=1e-12)
        fired += s.sum()
    assert 20 < fired < 250


def test_a_separate_recurrent_current_decays_also_without_recurrence() -> None:
    dynamics = snn.LIFDynamics(tau_syn=5e-3, tau_syn_rec=2e-3)
    cell = snn.LIFCell(dynamics=dynamics)
    carry = cell.initialize_carry(None, (1,))
    carry = carry.replace(i=(carry.i[0], jnp.ones(1)))
    carry, _ = cell.apply({}, carry, jnp.zeros(1))
    np.testing.assert_allclose(carry.i[1], [np.exp(-0.5)], rtol=1e-6)


def test_lower_bound() -> None:
    dynamics = snn.LIFDynamics(tau_mem=1e-3, v_min=-0.5)
    membranes, _ = trace(dynamics, [-9.0, -9.0, 0.0, 0.5])
    e = np.exp(-1.0)
    third = -0.5 * e
    np.testing.assert_allclose(membranes, [-0.5, -0.5, third, third * e + (1 - e) * 0.5], rtol=1e-5)
