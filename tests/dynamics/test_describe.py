"""Dynamics as values: given coefficients, what `describe` says, the response below threshold."""

from __future__ import annotations

import dataclasses
import math
import re
from typing import Any

import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import flax_snn as snn
from flax_snn.dynamics import Coefficients, Discretization, Rule


def run(cell: Any, x: Any, variables: Any = None) -> Any:
    """Run a cell step by step in float64; return the membranes ``(T, ...)`` and the outputs."""
    cell = cell.clone(param_dtype=jnp.float64)
    carry = cell.initialize_carry(None, x.shape[1:])

    def body(carry: Any, x_t: jax.Array) -> Any:
        carry, out = cell.apply(variables or {}, carry, x_t)
        return carry, (carry.v, out)

    return jax.jit(lambda x: jax.lax.scan(body, carry, x)[1])(jnp.asarray(x))


# Coefficients given as they are, and described.


@hypothesis.given(
    st.floats(0.001, 0.999),
    st.floats(0.001, 0.999),
    st.sampled_from(["exponential", "euler"]),
)
@hypothesis.settings(max_examples=50)
def test_given_coefficients_are_stored_bit_for_bit(a: float, b: float, decay: Any) -> None:
    given = Coefficients(alpha=a, theta=0.7, beta=b, g=1.0, c_new=1.0)
    rule = Rule(Discretization(decay, "unit", "unit"), entry="new", channels=1, reset="soft")
    dynamics = snn.LIFDynamics.from_coefficients(given, dt=2e-3, rule=rule)
    assert dynamics.coefficients() == given
    cell = snn.LIFCell(dynamics=dynamics)
    c = cell.apply({}, jnp.zeros((2, 3)), method="coefficients")
    assert c.alpha == np.float32(a) and c.beta == np.float32(b) and c.alpha.dtype == jnp.float32
    # Time constants behind them, for what is learned.
    parameters = dynamics.parameters
    keeps = (lambda tau: 1 - 2e-3 / tau) if decay == "euler" else (lambda tau: np.exp(-2e-3 / tau))
    np.testing.assert_allclose(keeps(parameters.tau_mem), a, rtol=1e-12)
    np.testing.assert_allclose(keeps(parameters.tau_syn), b, rtol=1e-12)


def test_no_time_constants_behind_coefficients_that_none_reproduce() -> None:
    rule = Rule(Discretization("exponential", "unit", "unit"), reset="soft")
    for changes in ({"alpha": 1.0}, {"alpha": 0.0}, {"c_x": 0.5}):
        given = Coefficients(**({"alpha": 0.9, "c_x": 1.0, "theta": 1.0} | changes))
        assert snn.LIFDynamics.from_coefficients(given, dt=1e-3, rule=rule).parameters is None
    assert snn.conventions.tutorial().parameters is None


def test_given_bound_and_noise_stay_when_something_is_learned() -> None:
    rule = Rule(Discretization())
    given = snn.LIFDynamics(v_min=-0.5, noise_std=0.2).coefficients()
    dynamics = snn.LIFDynamics.from_coefficients(given, dt=1e-3, rule=rule)
    again = dynamics.coefficients(dynamics.parameters)
    assert (again.v_min, again.noise_std) == (-0.5, 0.2)


CONVENTIONS = {
    "tutorial": {},
    "zenke": {},
    "rockpool": {"bias": -0.01},
    "snntorch_leaky": {"beta": 0.9},
    "snntorch_synaptic": {"alpha": 0.7, "beta": 0.9, "reset_mechanism": "zero"},
    "norse_lif": {"v_reset": -0.1, "v_leak": 0.2},
    "spikingjelly_lif": {"v_reset": -0.3},
    "sinabs_lif": {"tau_mem": 10.0, "min_v_mem": -0.2},
    "spyx_cubalif": {"alpha": 0.6, "beta": 0.9},
    "jaxsnn_lif": {},
    "brainpy_lif": {"V_rest": 0.1, "V_reset": -0.2},
    "norse_li": {"v_leak": 0.3},
}


def as_python(line: str) -> str:
    """Turn a line of `describe` into Python: the gradient note out, the products spelled."""
    line = re.sub(r"\(gradient .*|, one half at equality", "", line)
    line = re.sub(r"floor\((.*)\) where (.*), else 0", r"floor(\1) if \2 else 0", line)
    line = line.replace("s_prev W", "s_prev")
    return re.sub(r"([0-9)]) (?=[(a-z])(?!if|else)", r"\1 * ", line).strip()


@pytest.mark.parametrize("name", [*CONVENTIONS, "give-back", "two channels"])
def test_describe_says_what_the_step_does(name: str, x64: None) -> None:
    if name == "give-back":
        dynamics = snn.conventions.snntorch_leaky(0.9, reset_delay=False)
    elif name == "two channels":
        dynamics = snn.LIFDynamics(tau_syn=(4e-3, 20e-3), v_min=-0.3, v_rest=-0.1, reset="soft")
    else:
        dynamics = getattr(snn.conventions, name)(**CONVENTIONS[name])
    channels = max(dynamics.rule.channels, 1)
    strong = name in ("sinabs_lif", "brainpy_lif")  # the input enters with a gain below 0.2
    x = np.random.default_rng(4).normal(0.4, 1.5, (80, channels)) * (4.0 if strong else 1.0)
    spiking = dynamics.rule.fire != "none"
    v, s = run((snn.LIFCell if spiking else snn.LeakyIntegratorReadout)(dynamics=dynamics), x)

    heading, *lines = dynamics.describe().split("\n")
    assert heading == f"{type(dynamics).__name__}, step of {dynamics.dt:g} s"
    state = dict.fromkeys(("v", "i", "i_r", "i_0", "i_1"), 0.0) | {"v": dynamics.v_init}
    fired = 0
    for t in range(80):
        names = {**state, "floor": math.floor, "max": max, "s_prev": 0.0, "x": float(x[t, 0])}
        names |= {f"x_{k}": float(x[t, k]) for k in range(channels)}
        for line in lines:
            exec(as_python(line), names)
        state = {key: names.get(f"{key}_new", value) for key, value in state.items()}
        np.testing.assert_allclose(v[t, 0], state["v"], rtol=0, atol=2e-3)  # six digits
        if spiking:
            assert float(s[t, 0]) == names["s"]
            fired += names["s"]
    assert not spiking or fired > 3


def test_describe_shows_hold_noise_and_gradient() -> None:
    text = snn.LIFDynamics(
        refractory=3e-3, v_reset=-0.25, noise_std=0.125, reset_gradient="flow", v_min=-2.0
    ).describe()
    assert "+ 0.125 noise" in text
    assert "v_int = -0.25 for 3 step(s)" in text
    assert "v_new = max(v_new, -2)" in text
    assert "stopped" not in text and "stopped" in snn.LIFDynamics().describe()


# Response below threshold, which scales default weights.


@pytest.mark.parametrize("name", [*CONVENTIONS, "two channels"])
def test_membrane_power_is_the_sum_of_the_squared_response(name: str) -> None:
    if name == "two channels":
        dynamics = snn.LIFDynamics(tau_syn=(4e-3, 20e-3), discretization="euler")
    else:
        dynamics = getattr(snn.conventions, name)(**CONVENTIONS[name])
    rule, c = dynamics.rule, dynamics.coefficients()
    for channel in range(max(rule.all_channels, 1)):
        v, i, power = 0.0, np.zeros(rule.all_channels), 0.0
        take = lambda values: np.broadcast_to(values, (rule.all_channels,))  # noqa: E731
        beta, g, c_old, c_new = take(c.beta), take(c.g), take(c.c_old), take(c.c_new)
        for t in range(4000):
            x = np.zeros(max(rule.all_channels, 1))
            x[channel] = float(t == 0)
            new = beta * i + g * x[: len(i)]
            v = c.alpha * v + c_old @ i + c_new @ new + c.c_x * x[0]
            i = new
            power += v * v
        expected = snn.dynamics.membrane_power(rule, c, channel)
        np.testing.assert_allclose(expected, power, rtol=1e-6)


# Dynamics are values.


def test_equal_dynamics_are_equal_hash_alike_and_cannot_be_changed() -> None:
    make = lambda: snn.LIFDynamics(20e-3, (5e-3, 4e-3), refractory=2e-3)  # noqa: E731
    assert make() == make() and hash(make()) == hash(make())
    assert make() != snn.LIFDynamics(20e-3, (5e-3, 4.1e-3), refractory=2e-3)
    assert snn.conventions.snntorch_leaky(0.9) == snn.conventions.snntorch_leaky(0.9)
    assert hash(snn.conventions.tutorial()) == hash(snn.conventions.tutorial())
    with pytest.raises(dataclasses.FrozenInstanceError):
        make().dt = 1.0  # type: ignore[misc]


# What `repr` shows.


@hypothesis.given(
    tau_mem=st.floats(2e-3, 1.0),
    tau_syn=st.none() | st.floats(2e-3, 1.0) | st.tuples(*[st.floats(2e-3, 1.0)] * 2),
    reset=st.sampled_from(["hard", "soft", "none"]),
    refractory=st.sampled_from([0.0, 3e-3]),
    discretization=st.sampled_from(["exact", "exponential", "euler"]),
    noise_std=st.sampled_from([0.0, 0.1]),
    v_rest=st.floats(-0.5, 0.5),
    v_init=st.none() | st.floats(-0.5, 0.5) | st.tuples(st.floats(0, 0.5), st.floats(0, 0.5)),
    surrogate=st.sampled_from([None, snn.surrogate.sigmoid(3.0)]),
)
@hypothesis.settings(max_examples=60)
def test_dynamics_show_the_call_that_makes_them(**arguments: Any) -> None:
    dynamics = snn.LIFDynamics(**arguments)
    assert eval(repr(dynamics), vars(snn) | vars(snn.surrogate)) == dynamics


def test_what_is_at_its_default_is_not_shown() -> None:
    assert repr(snn.LIFDynamics()) == "LIFDynamics()"
    assert repr(snn.LIDynamics(v_rest=0.1)) == "LIDynamics(v_rest=0.1)"
    shown = repr(snn.LIFDynamics(20e-3, 5e-3, discretization="euler"))
    assert shown == "LIFDynamics(tau_syn=0.005, discretization='euler')"


def test_dynamics_that_no_constructor_makes_show_their_fields() -> None:
    norse, leaky = snn.conventions.norse_lif(), snn.conventions.snntorch_leaky(0.9)
    assert "entry='jump'" in repr(norse) and "tau_syn=0.005" in repr(norse)
    assert "given=Coefficients(alpha=0.9, theta=1.0, c_x=1.0)" in repr(leaky)


def test_a_neuron_of_a_user_shows_its_fields_and_knows_its_names() -> None:
    @dataclasses.dataclass(frozen=True)
    class Neuron(snn.Neuron):
        gain: float = 2.0
        delay: int = 0

    assert repr(Neuron(gain=3.0)) == "Neuron(gain=3.0)"
    with pytest.raises(TypeError, match="Neuron: expected names among gain, delay, got 'gian'"):
        Neuron(gian=3.0)  # type: ignore[call-arg]

    class Bare(snn.Neuron):
        pass

    with pytest.raises(TypeError):
        Bare(gain=3.0)
    assert "Bare object" in repr(Bare())

    class Open(snn.Neuron):
        def __init__(self, **anything: float) -> None:
            self.anything = anything

    assert Open(gain=3.0).anything == {"gain": 3.0}


def test_numbers_of_numpy_are_stored_as_those_of_python(unchecked: None) -> None:
    made = snn.LIFDynamics(v_min=np.float32(-0.5), noise_std=np.float64(0.25), v_init=np.int32(0))
    assert made == snn.LIFDynamics(v_min=-0.5, noise_std=0.25, v_init=0.0)
    assert {type(made.v_min), type(made.noise_std), type(made.v_init)} == {float}
