"""Learned parameters of the neuron against their unlearned start and finite differences."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from covering_rows import covered_by

import flax_snn as snn
from flax_snn.dynamics import Coefficients, Discretization, Rule

N, T = 3, 40


def no_gradient(v: jax.Array, theta: jax.Array) -> jax.Array:
    return 0.0 * (v - theta)


# With it the spikes are constants, as they are to finite differences that flip none.
SILENT = snn.surrogate.custom(no_gradient)

LIF = snn.LIFDynamics
CASES: dict[str, tuple[Any, tuple[str, ...]]] = {
    "exact": (
        LIF(tau_mem=8e-3, v_rest=0.2, v_reset=-0.3, bias=0.1, resistance=1.5, reset="hard"),
        ("tau_mem", "v_rest", "v_reset", "bias", "resistance"),
    ),
    "exact, synapse": (
        LIF(8e-3, 5e-3, v_rest=0.1, reset="soft", reset_gradient="flow"),
        ("tau_mem", "tau_syn", "threshold", "v_rest", "resistance", "bias"),
    ),
    "exact, equal constants": (LIF(8e-3, 8e-3, v_reset=-0.1), ("tau_mem", "tau_syn", "v_reset")),
    "exact, channels": (
        LIF(8e-3, (8e-3, 3e-3), tau_syn_rec=4e-3),
        ("tau_mem", "tau_syn", "tau_syn_rec"),
    ),
    "exponential": (LIF(8e-3, 3e-3, discretization="exponential"), ("tau_mem", "tau_syn", "bias")),
    "euler": (
        LIF(8e-3, 3e-3, discretization="euler", reset="soft", v_rest=-0.2),
        ("tau_mem", "tau_syn", "threshold", "resistance"),
    ),
    "refractory": (
        LIF(8e-3, refractory=2e-3, v_reset=-0.2, v_min=-1.0),
        ("tau_mem", "v_reset", "resistance"),
    ),
    "given as decays": (snn.conventions.snntorch_synaptic(0.7, 0.8), ("tau_mem", "tau_syn")),
    "rockpool": (
        snn.conventions.rockpool(8e-3, 3e-3, 0.05),
        ("tau_mem", "tau_syn", "threshold", "bias"),
    ),
    "brainpy": (
        snn.conventions.brainpy_lif(V_reset=-0.1, V_rest=0.1),
        ("tau_mem", "v_reset", "v_rest", "threshold"),
    ),
    "readout": (snn.LIDynamics(8e-3, 8e-3, v_rest=0.3), ("tau_mem", "tau_syn", "v_rest", "bias")),
}
every_case = pytest.mark.parametrize("name", CASES)


def cell_of(name: str, **arguments: Any) -> Any:
    dynamics, learn = CASES[name]
    arguments = {"dynamics": dynamics, "learn": learn} | arguments
    if isinstance(dynamics, snn.LIDynamics):
        return snn.LeakyIntegratorReadout(**arguments)
    if dynamics.rule.recurrent_channel:
        return snn.RecurrentLIFCell(surrogate=SILENT, **arguments)
    return snn.LIFCell(surrogate=SILENT, **arguments)


def width(name: str) -> int:
    return N * max(CASES[name][0].rule.channels, 1)


# The smaller the step, the more digits 1 - alpha may lose.
ROWS = [(dt, dtype) for dt in (None, 1e-5) for dtype in (jnp.float32, jnp.float64)]


@every_case
@pytest.mark.parametrize(
    ("dt", "dtype"), covered_by(ROWS, [(None, jnp.float64), (1e-5, jnp.float32)])
)
def test_learning_starts_from_the_unlearned_coefficients(
    name: str, dt: float | None, dtype: Any, request: pytest.FixtureRequest
) -> None:
    if dtype == jnp.float64:
        request.getfixturevalue("x64")
    dynamics, _ = CASES[name]
    if dt is not None:
        if dynamics.given is not None or name == "refractory":
            return  # decays, or a hold, of a certain step
        own = {"v_min": dynamics.v_min, "surrogate": dynamics.surrogate}
        dynamics = type(dynamics).from_parts(dynamics.parameters, dt, dynamics.rule, **own)
    cell = cell_of(name, dynamics=dynamics, param_dtype=dtype)
    current = jnp.zeros((2, width(name)), dtype)
    variables = cell.init(jax.random.key(0), current, method="coefficients")
    learned = cell.apply(variables, current, method="coefficients")
    # Differences such as 1 - alpha keep their digits also for a dt far below the time constants.
    rtol = 3e-6 if dtype == jnp.float32 else 1e-13
    leaves = zip(jax.tree.leaves(learned), jax.tree.leaves(dynamics.coefficients()), strict=True)
    for ours, expected in leaves:
        assert ours.dtype == dtype and ours.shape in ((), (1, N))
        np.testing.assert_allclose(ours, np.broadcast_to(expected, ours.shape), rtol, atol=1e-9)


@every_case
def test_names_shapes_and_start_of_the_parameters(name: str) -> None:
    dynamics, learn = CASES[name]
    cell = cell_of(name)
    current = jnp.zeros((width(name),))
    params = cell.init(jax.random.key(0), current, method="coefficients")["params"]
    expected: dict[str, float] = {}
    for field in learn:
        value = getattr(dynamics.parameters, field)
        if isinstance(value, tuple):
            expected |= {f"log_{field}_{k}": math.log(tau) for k, tau in enumerate(value)}
        elif field in ("v_rest", "v_reset", "bias"):
            expected[f"learned_{field}"] = value
        else:
            expected[f"log_{field}"] = math.log(value)
    assert params.keys() == expected.keys()
    for key, value in expected.items():
        assert params[key].shape == (N,)
        np.testing.assert_allclose(params[key], value, rtol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_gradients_are_finite_differences(name: str, x64: None) -> None:
    """Every learned parameter, each neuron with values of its own, while spikes come and go."""
    dynamics, learn = CASES[name]
    rng = np.random.default_rng(0)
    drive = 8.0 if dynamics.parameters.tau_syn is None else 3.0
    x = jnp.asarray(rng.normal(0.4 * drive, drive, (T, width(name))))
    cell = cell_of(name, param_dtype=jnp.float64)
    start = cell.initialize_carry(None, (width(name),))
    variables = cell.init(jax.random.key(0), start, x[0])
    params = {
        key: leaf if key == "recurrent_kernel" else leaf + 0.05 * rng.normal(size=leaf.shape)
        for key, leaf in variables["params"].items()
    }
    weights = jnp.asarray(rng.normal(size=(T, N)))

    def loss(params: Any) -> Any:
        def body(carry: Any, x_t: jax.Array) -> Any:
            carry, out = cell.apply({"params": params}, carry, x_t)
            return carry, (carry.v, out)

        _, (v, s) = jax.lax.scan(body, start, x)
        return jnp.sum(v * weights), s

    (_, spikes), gradient = jax.jit(jax.value_and_grad(loss, has_aux=True))(params)
    if name != "readout":
        assert 0.02 < float(jnp.mean(spikes > 0)) < 0.9
    loss = jax.jit(loss)
    for key in params:
        if key == "recurrent_kernel":
            continue
        for n in range(N):
            h = 1e-6
            values, trains = [], []
            for sign in (1, -1):
                moved = params | {key: params[key].at[n].add(sign * h)}
                value, train = loss(moved)
                values.append(float(value))
                trains.append(train)
            if name != "readout":  # no decision flips
                np.testing.assert_array_equal(trains, [spikes, spikes])
            slope = (values[0] - values[1]) / (2 * h)
            np.testing.assert_allclose(gradient[key][n], slope, rtol=1e-6, atol=1e-7)
    for key in gradient:
        assert float(jnp.abs(gradient[key]).max()) > 1e-3 or key == "recurrent_kernel"


def test_gradient_of_the_threshold_through_the_fire_test(x64: None) -> None:
    # One step from rest without reset: s = fire(v_int, theta), ds/dlog(theta) = -theta h(v_int).
    dynamics = snn.LIFDynamics(threshold=0.8, reset="none")
    cell = snn.LIFCell(dynamics=dynamics, learn=("threshold",), param_dtype=jnp.float64)
    x = jnp.array([1.0, 15.0, 18.0, 40.0])
    start = cell.initialize_carry(None, (4,))
    variables = cell.init(jax.random.key(0), start, x)
    jacobian = jax.jacrev(lambda v: cell.apply(v, start, x)[1])(variables)
    v = (1 - math.exp(-1 / 20)) * np.asarray(x)
    expected = np.diag(-0.8 / (1 + 10 * np.abs(v - 0.8)) ** 2)
    np.testing.assert_allclose(jacobian["params"]["log_threshold"], expected, rtol=1e-12)


def test_what_is_learned_takes_part(x64: None) -> None:
    """A layer with learned values steps as layers of single neurons that have these values."""
    taus, thresholds = [3e-3, 8e-3, 30e-3], [0.5, 1.0, 2.0]
    cell = snn.LIFCell(learn=("tau_mem", "threshold"), param_dtype=jnp.float64)
    x = jnp.asarray(np.random.default_rng(1).normal(6.0, 9.0, (2, 50, 3)))
    params = {
        "log_tau_mem": jnp.log(jnp.array(taus)),
        "log_threshold": jnp.log(jnp.array(thresholds)),
    }
    together = snn.RNN(cell).apply({"params": {"cell": params}}, x)
    for n in range(3):
        dynamics = snn.LIFDynamics(taus[n], threshold=thresholds[n])
        single = snn.LIFCell(dynamics=dynamics, param_dtype=jnp.float64)
        alone = snn.RNN(single).apply({}, x[..., n : n + 1])
        np.testing.assert_array_equal(together[..., n : n + 1], alone)
        assert float(alone.sum()) > 0


# At the door.


@pytest.mark.parametrize(
    ("dynamics", "learn", "message"),
    [
        (LIF(), ("tau",), "expected names among tau_mem, .*got 'tau'"),
        (LIF(), ("tau_mem", "tau_mem"), "distinct names"),
        (LIF(), "tau_mem", "expected learn to be a tuple"),
        (LIF(), ("refractory",), "expected names among"),
        (LIF(), ("tau_syn",), "have no tau_syn"),
        (LIF(tau_syn=5e-3), ("tau_syn_rec",), "have no tau_syn_rec"),
        (LIF(reset="soft"), ("v_reset",), "have no v_reset"),
        (LIF(threshold=-0.5, v_reset=-1.0), ("threshold",), "needs a threshold > 0, got -0.5"),
        (snn.conventions.tutorial(), ("tau_mem",), "no set of time constants reproduces"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_what_cannot_be_learned_is_refused(dynamics: Any, learn: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        snn.LIFCell(3, dynamics=dynamics, learn=learn)


def test_a_readout_has_no_threshold_to_learn() -> None:
    for name in ("threshold", "v_reset"):
        with pytest.raises(ValueError, match=f"have no {name}"):
            snn.LeakyIntegratorReadout(3, learn=(name,))


def test_given_coefficients_can_be_learned_where_time_constants_stand_behind() -> None:
    rule = Rule(Discretization("euler", "unit", "unit"), reset="soft", fire=">=")
    given = Coefficients(alpha=0.8, c_x=1.0, theta=0.7)
    dynamics = snn.LIFDynamics.from_coefficients(given, dt=2e-3, rule=rule)
    cell = snn.LIFCell(dynamics=dynamics, learn=("tau_mem",))
    params = cell.init(jax.random.key(0), jnp.zeros(2), method="coefficients")["params"]
    np.testing.assert_allclose(np.exp(params["log_tau_mem"]), 10e-3, rtol=1e-6)
