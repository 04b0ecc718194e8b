"""What dynamics, rules and given coefficients refuse, and what their errors say."""

from __future__ import annotations

import math
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

import flax_snn as snn
from flax_snn.dynamics import Coefficients, Discretization, Dynamics, LIFParameters, Rule

pytestmark = pytest.mark.usefixtures("unchecked")

LIF, LI, c = snn.LIFDynamics, snn.LIDynamics, snn.conventions
NOT_FINITE = [math.nan, math.inf, -math.inf]
NOT_NUMBERS = ["1", b"1", True, 1j, object(), [1.0], np.ones(2), jnp.ones(2)]
POSITIVE = ["tau_mem", "tau_syn", "dt", "resistance"]
FINITE = ["threshold", "v_rest", "v_reset", "refractory", "bias", "v_min", "noise_std", "v_init"]
READOUT = {"tau_mem", "tau_syn", "dt", "resistance", "v_rest", "bias", "v_min", "noise_std"}


def kinds(name: str) -> list[Any]:
    return [LIF, LI] if name in READOUT else [LIF]


@pytest.mark.parametrize("name", POSITIVE)
@pytest.mark.parametrize("value", [0.0, -1e-3, *NOT_FINITE])
def test_times_and_resistance_are_above_zero(name: str, value: float) -> None:
    for kind in kinds(name):
        with pytest.raises(ValueError, match=f"{name}: expected a finite number.* > 0, got"):
            kind(**{name: value})


@pytest.mark.parametrize("name", FINITE)
@pytest.mark.parametrize("value", NOT_FINITE)
def test_potentials_are_finite(name: str, value: float) -> None:
    for kind in kinds(name):
        with pytest.raises(ValueError, match=f"{name}: expected a finite number.* got"):
            kind(**{name: value})


@pytest.mark.parametrize("name", POSITIVE + FINITE)
@pytest.mark.parametrize("value", NOT_NUMBERS, ids=lambda value: type(value).__name__)
def test_numbers_are_numbers(name: str, value: Any) -> None:
    if (name, type(value)) in (("tau_syn", list), ("v_init", list), ("v_init", np.ndarray)):
        return  # a list of time constants makes channels, one of potentials starts each neuron
    for kind in kinds(name):
        with pytest.raises(TypeError, match=f"{name}: expected a finite number"):
            kind(**{name: value})


def test_numbers_of_numpy_and_jax_are_numbers_too() -> None:
    ours = LIF(np.float64(0.02), np.float64(0.005), jnp.asarray(1e-3), threshold=np.int32(1))
    assert ours.parameters == LIF(0.02, 0.005).parameters
    assert ours.dt == float(np.float32(1e-3))


def test_per_neuron_values_are_pointed_to_learn() -> None:
    with pytest.raises(TypeError, match="name the field in `learn`"):
        LIF(tau_mem=np.array([1e-3, 2e-3]))


@pytest.mark.parametrize(
    ("taus", "error", "message"),
    [
        ((), ValueError, "tau_syn: expected at least one"),
        ((5e-3, 0.0), ValueError, r"tau_syn\[1\]: expected a finite number of seconds > 0"),
        ((math.nan, 5e-3), ValueError, r"tau_syn\[0\]"),
        ((5e-3, None), TypeError, r"tau_syn\[1\]"),
    ],
)
def test_each_synaptic_time_constant(taus: Any, error: Any, message: str) -> None:
    for kind in (LIF, LI):
        with pytest.raises(error, match=message):
            kind(tau_syn=taus)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"tau_syn_rec": 5e-3}, "tau_syn_rec: expected a neuron with a synapse"),
        (
            {"tau_syn": 5e-3, "tau_syn_rec": 0.0},
            "tau_syn_rec: expected a finite number of seconds > 0",
        ),
        ({"refractory": -1e-3}, "refractory: expected a finite number of seconds >= 0"),
        ({"refractory": 1.5e-3}, "whole number of steps of dt=0.001 s, got 0.0015 s = 1.5 steps"),
        ({"refractory": 2.00001e-3}, "refractory: expected a whole number of steps"),
        ({"noise_std": -0.1}, "noise_std: expected a finite number >= 0"),
        ({"dt": 20e-3, "discretization": "euler"}, "dt: Euler .* dt=0.02 s .* 0.02 s.*'exact'"),
        ({"tau_syn": 1e-3, "discretization": "euler"}, "a time constant of 0.001 s"),
        ({"tau_syn": (5e-3, 1e-4), "discretization": "euler"}, "a time constant of 0.0001 s"),
        ({"v_reset": 1.5}, "v_reset: expected a potential that does not fire"),
        ({"v_reset": 1.0, "fire": ">="}, "v_reset: expected a potential that does not fire"),
        ({"v_reset": 2.0, "reset": "soft", "refractory": 1e-3}, "does not fire"),
        ({"v_reset": 0.1, "reset": "soft"}, "reset='soft' has no reset potential"),
        ({"v_reset": 0.1, "reset": "none"}, "reset='none' has no reset potential"),
        ({"fire": "none", "reset": "none"}, "use LIDynamics"),
        ({"fire": "floor"}, "needs reset='soft'"),
        ({"fire": "floor", "reset": "soft", "threshold": 0.0}, "needs a threshold > 0"),
        ({"fire": "floor", "reset": "soft", "threshold": -1.0}, "needs a threshold > 0"),
        (
            {"fire": "floor", "reset": "soft", "max_spikes": 0},
            "max_spikes: expected a whole number >= 1",
        ),
        ({"max_spikes": 2}, "with fire='floor' only"),
        ({"emit": "old"}, "expected reset_time='next'"),
        ({"recurrent_lag": True}, "recurrent_lag: .* expected emit='old'"),
        ({"reset_time": "give-back", "v_reset": -0.1}, "resets to 0 only, got -0.1"),
    ],
)
def test_values_and_switches_that_contradict_each_other(arguments: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        LIF(**arguments)


@pytest.mark.parametrize(
    ("name", "listed"),
    [
        ("reset", "'hard', 'soft', 'none'"),
        ("reset_time", "'same', 'next', 'give-back'"),
        ("reset_site", "'state', 'sum'"),
        ("reset_gradient", "'flow', 'stop', 'stop_if_recurrent', 'spike_only'"),
        ("fire", "'>', '>=', 'half', 'floor'"),
        ("emit", "'new', 'old'"),
        ("discretization", "'exact', 'exponential', 'euler'"),
    ],
)
def test_unknown_choices_list_the_known(name: str, listed: str) -> None:
    with pytest.raises(ValueError, match=f"{name}: expected one of {listed}.* got 'magic'"):
        LIF(**{name: "magic"})


def test_a_refractory_period_that_is_whole_up_to_rounding_is_taken() -> None:
    assert LIF(refractory=0.3e-3, dt=0.1e-3).rule.hold == 3
    assert LIF(refractory=2e-3 * (1 + 1e-8)).rule.hold == 2
    assert c.refractory(t_ref=0.0003, dt=0.0001).rule.hold == 2  # truncates, as its source


@pytest.mark.parametrize("name", ["tau", "threshhold", "features", "leak"])
def test_unknown_names_are_refused(name: str) -> None:
    for kind in (LIF, LI):
        with pytest.raises(TypeError, match=name):
            kind(**{name: 1.0})


def test_a_leaky_integrator_takes_nothing_of_spikes() -> None:
    for name in ("threshold", "v_reset", "reset", "refractory", "surrogate", "fire"):
        with pytest.raises(TypeError, match=name):
            LI(**{name: 1.0})


def test_surrogates_are_surrogates() -> None:
    for surrogate in (snn.surrogate.superspike, 10.0, "superspike"):
        with pytest.raises(TypeError, match="surrogate: expected a Surrogate"):
            LIF(surrogate=surrogate)


# Rules, parts, coefficients.


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"entry": "direct", "channels": 1}, "expected channels=0 with entry='direct'"),
        ({"entry": "old"}, "channels > 0 otherwise"),
        ({"entry": "jump", "channels": 2}, "one synaptic channel only"),
        ({"entry": "jump", "channels": 1, "recurrent_channel": True}, "one synaptic channel"),
        ({"fire": "none"}, "has no reset"),
        ({"fire": "none", "reset": "none", "hold": 1}, "no refractory period"),
        ({"entry": "sideways"}, "entry: expected one of 'direct', 'old', 'new', 'jump'"),
    ],
)
def test_rules_refuse(arguments: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Rule(**arguments)


@pytest.mark.parametrize("name", ["decay", "synapse_gain", "membrane_gain"])
def test_discretizations_refuse(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name}: expected one of"):
        Discretization(**{name: "magic"})


RULE = Rule(Discretization(), reset="soft")
GIVEN = Coefficients(alpha=0.9, c_x=1.0, theta=1.0)


def test_dynamics_have_no_constructor_of_their_own() -> None:
    with pytest.raises(TypeError, match=r"use LIFDynamics\(...\), LIDynamics\(...\)"):
        Dynamics()


def test_parts_are_checked_as_the_constructor_checks() -> None:
    make = LIF.from_parts
    with pytest.raises(ValueError, match="tau_mem: expected"):
        make(LIFParameters(tau_mem=-1.0), 1e-3, RULE)
    with pytest.raises(ValueError, match="dt: expected"):
        make(LIFParameters(), 0.0, RULE)
    with pytest.raises(TypeError, match="got 'surogate'; did you mean 'surrogate'"):
        make(LIFParameters(), 1e-3, RULE, surogate=snn.surrogate.superspike())
    with pytest.raises(ValueError, match="discretize: expected a rule with a discretization"):
        make(LIFParameters(), 1e-3, Rule())
    with pytest.raises(ValueError, match=r"tau_syn: expected 2 .* got 3"):
        rule = Rule(Discretization(), entry="new", channels=2)
        make(LIFParameters(tau_syn=(1e-3, 2e-3, 3e-3)), 1e-3, rule)


@pytest.mark.parametrize("dt", [0.0, -1e-3, math.nan, math.inf])
def test_given_coefficients_need_a_time_step(dt: float) -> None:
    for make in (
        lambda: LIF.from_coefficients(GIVEN, dt=dt, rule=RULE),
        lambda: c.snntorch_leaky(0.9, dt=dt),
        lambda: c.spyx_li(dt=dt),
    ):
        with pytest.raises(ValueError, match="dt: expected a finite number of seconds > 0"):
            make()
    for wrong in (None, "1e-3"):
        with pytest.raises(TypeError, match="dt: expected a finite number of seconds > 0"):
            LIF.from_coefficients(GIVEN, dt=wrong, rule=RULE)


@pytest.mark.parametrize("name", ["alpha", "c_x", "theta", "bias"])
def test_given_coefficients_are_finite_numbers(name: str) -> None:
    for value in NOT_FINITE:
        with pytest.raises(ValueError, match=f"coefficient {name}: expected a finite number"):
            LIF.from_coefficients(GIVEN.replace(**{name: value}), dt=1e-3, rule=RULE)
    for value in ("1", np.ones(2)):
        with pytest.raises(TypeError, match=f"coefficient {name}: expected a finite number"):
            LIF.from_coefficients(GIVEN.replace(**{name: value}), dt=1e-3, rule=RULE)


# Cells.


def test_cells_refuse_dynamics_of_the_other_kind() -> None:
    with pytest.raises(TypeError, match="expected an LIFDynamics"):
        snn.LIFCell(3, dynamics=LI())
    with pytest.raises(TypeError, match="expected an LIDynamics"):
        snn.LeakyIntegratorReadout(3, dynamics=LIF())


def test_one_start_value_per_neuron_or_one_for_all() -> None:
    cell = snn.LIFCell(dynamics=LIF(v_init=(0.1, 0.2, 0.3)))
    assert cell.dynamics == LIF(v_init=[0.1, 0.2, 0.3]) == LIF(v_init=np.array([0.1, 0.2, 0.3]))
    np.testing.assert_allclose(cell.initialize_carry(None, (2, 3)).v, [[0.1, 0.2, 0.3]] * 2)
    with pytest.raises(ValueError, match="v_init: expected one value per neuron, 4, got 3"):
        cell.initialize_carry(None, (2, 4))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: Rule(hold=-1), ValueError, "hold: expected a whole number >= 0"),
        (
            lambda: Rule(channels=-1, entry="old"),
            ValueError,
            "channels: expected a whole number >= 0",
        ),
        (lambda: LIF(v_min=3.0), ValueError, "v_min: expected a lower bound at or below"),
        (lambda: snn.conventions.norse_lif(v_reset=2.0), ValueError, "fire in every step"),
        (lambda: LI.from_parts(LIFParameters(), 1e-3, RULE), ValueError, "belongs to LIFDynamics"),
        (lambda: LIF(discretization=["exact"]), ValueError, "discretization: expected one of"),
        (lambda: snn.conventions.rockpool(tau_syn=None), ValueError, "tau_syn: expected 1"),
        (lambda: snn.LIFCell(2, surrogate=snn.surrogate.superspike), TypeError, "got .*; call it"),
        (lambda: snn.LIFCell(2, learn="bias"), ValueError, "tuple of distinct names, got 'bias'"),
    ],
)
def test_contradictions_are_refused(
    call: Any, error: type[Exception], message: str, unchecked: None
) -> None:
    with pytest.raises(error, match=message):
        call()


def test_given_coefficients_are_complete() -> None:
    given = LIF.from_coefficients
    with pytest.raises(ValueError, match="theta: expected a threshold"):
        given(snn.dynamics.Coefficients(alpha=0.9, c_x=1.0), dt=1e-3, rule=Rule())
    with pytest.raises(ValueError, match="c_x: expected the gain of the input"):
        given(snn.dynamics.Coefficients(alpha=0.9, theta=1.0), dt=1e-3, rule=Rule())


def test_noise_and_bounds_of_parts_are_not_lost() -> None:
    dynamics = LIF.from_parts(LIFParameters(), 1e-3, RULE, noise_std=0.3, v_min=-1.0)
    assert dynamics.rule.noisy
    assert dynamics.coefficients().noise_std == 0.3 and dynamics.coefficients().v_min == -1.0
