"""The tables of what has a meaning in continuous time: what they do not know is refused."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, get_args, get_type_hints

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from covering_rows import covered_by
from flax import struct

import flax_snn as snn
from flax_snn.cells import NeuronCell, RecurrentNeuronCell
from flax_snn.dynamics import Coefficients, Discretization, LIFParameters, Rule
from flax_snn.dynamics.base import Dynamics
from flax_snn.event import RNN, twin

LIF = snn.LIFDynamics(tau_syn=5e-3)
INPUTS = snn.event.from_times(jnp.array([[1e-3, 4e-3]]))
TABLES = {Rule: twin.RULE, Discretization: twin.DISCRETIZATION, Dynamics: twin.DYNAMICS}


def names(kind: Any) -> set[str]:
    return {field.name for field in dataclasses.fields(kind)}


def with_rule(rule: Any) -> snn.LIFDynamics:
    assert LIF.parameters is not None
    return snn.LIFDynamics.from_parts(LIF.parameters, LIF.dt, rule)


def forced(instance: Any, **values: Any) -> Any:
    """A copy with values that its constructor might refuse."""
    copy = object.__new__(type(instance))
    for field in dataclasses.fields(instance):
        object.__setattr__(copy, field.name, getattr(instance, field.name))
    for name, value in values.items():
        object.__setattr__(copy, name, value)
    return copy


@pytest.mark.parametrize("kind", TABLES, ids=lambda kind: kind.__name__)
def test_every_field_is_in_a_table(kind: Any) -> None:
    assert TABLES[kind].keys() == names(kind)


def test_every_field_of_a_cell_is_in_a_table() -> None:
    assert twin.CELL.keys() == names(RecurrentNeuronCell)
    assert names(NeuronCell) < names(RecurrentNeuronCell)


@pytest.mark.parametrize("kind", [Rule, Discretization])
def test_every_choice_is_kept_or_refused_with_a_reason(kind: Any) -> None:
    for name, hint in get_type_hints(kind).items():
        choices = [c for c in get_args(hint) if isinstance(c, str)]
        known: twin.Meaning = TABLES[kind][name]
        assert not choices or known.values is not None
        assert known.why or set(choices) <= set(known.values or ()), name


@dataclasses.dataclass(frozen=True)
class NewRule(Rule):
    """A rule with a switch that came later."""

    bursts: bool = False


@dataclasses.dataclass(frozen=True)
class NewDiscretization(Discretization):
    """A discretisation with a switch that came later."""

    order: int = 1


@dataclasses.dataclass(frozen=True, init=False)
class NewDynamics(snn.LIFDynamics):
    """A neuron with a field that came later."""

    adapts: float = 0.0


class NewCell(snn.LIFCell):
    """A cell with a field that came later, and no method of its own."""

    drop: float = 0.0


@struct.dataclass
class NewParameters(LIFParameters):
    """Physics with a number that came later."""

    leak: Any = 0.0


def new_cell(name: str, value: Any) -> snn.LIFCell:
    if name == "drop":
        return NewCell(3, dynamics=LIF, drop=value)
    if name == "adapts":
        dynamics = forced(NewDynamics(tau_syn=5e-3), adapts=value)
    elif name == "bursts":
        dynamics = with_rule(NewRule(**vars(LIF.rule), bursts=value))
    elif name == "order":
        how = NewDiscretization(order=value)
        dynamics = with_rule(dataclasses.replace(LIF.rule, discretization=how))
    else:
        assert LIF.parameters is not None
        physics = NewParameters(**vars(LIF.parameters), **{name: value})
        dynamics = forced(LIF, parameters=physics)
    return snn.LIFCell(3, dynamics=dynamics)


@pytest.mark.parametrize(
    ("name", "default", "value", "kind"),
    [
        ("bursts", False, True, "of Rule"),
        ("order", 1, 2, "of Discretization"),
        ("adapts", 0.0, 0.5, "of dynamics"),
        ("drop", 0.0, 0.1, "of the cell"),
    ],
)
def test_a_new_field_has_to_be_at_its_default(
    name: str, default: Any, value: Any, kind: str
) -> None:
    RNN(new_cell(name, default))
    with pytest.raises(ValueError, match=f"do not know {name}={value} {kind}.*leave it at"):
        RNN(new_cell(name, value))


@pytest.mark.slow
def test_a_new_parameter_has_to_be_at_its_default() -> None:
    for leak in (0.0, 0.1):
        layer = RNN(new_cell("leak", leak))
        if leak:
            with pytest.raises(ValueError, match="do not know the parameter leak=0.1"):
                layer.init(jax.random.key(0), INPUTS)
        else:
            layer.init(jax.random.key(0), INPUTS)


@pytest.mark.parametrize(
    ("table", "field", "value"),
    [
        ("rule", "reset", "bounce"),
        ("rule", "reset_time", "later"),
        ("rule", "fire", "maybe"),
        ("rule", "emit", "twice"),
        ("rule", "reset_gradient", "random"),
        ("discretization", "decay", "midpoint"),
    ],
)
def test_a_new_value_of_a_switch_is_refused(table: str, field: str, value: str) -> None:
    """As somebody who adds one will have it: the constructor accepts it, the table does not."""
    rule = LIF.rule
    if table == "rule":
        rule = forced(rule, **{field: value})
    else:
        rule = forced(rule, discretization=forced(rule.discretization, **{field: value}))
    layer = RNN(snn.LIFCell(3, dynamics=LIF))
    cell = forced(layer.cell, dynamics=forced(LIF, rule=rule))
    with pytest.raises(ValueError, match=f"do not know {field}='{value}'.*expected one of"):
        twin.check_cell("event.RNN", cell)


class Plain(snn.LIFCell):
    """A subclass that overrides nothing that makes a step."""

    def described(self) -> str:
        return self.dynamics.describe()


def test_a_subclass_that_overrides_nothing_is_its_cell() -> None:
    params = {"params": {"cell": {"kernel": 6.0 * jnp.ones((2, 3))}}}
    a, b = (RNN(kind(3, dynamics=LIF)).apply(params, INPUTS) for kind in (Plain, snn.LIFCell))
    assert np.isfinite(a.time).any()
    np.testing.assert_array_equal(a.time, b.time)
    generic = RNN(NeuronCell(3, dynamics=LIF)).apply(params, INPUTS)
    np.testing.assert_array_equal(generic.time, b.time)


def overriding(name: str) -> Any:
    method = getattr(snn.LIFCell, name)

    def own(self: Any, *args: Any, **kwargs: Any) -> Any:
        return method(self, *args, **kwargs)

    return type("Own", (snn.LIFCell,), {name: own, "__module__": __name__})


@pytest.mark.parametrize(
    "name", ["__call__", "project", "integrate", "coefficients", "initialize_carry", "feedback"]
)
def test_a_cell_with_a_step_of_its_own_is_refused(name: str) -> None:
    cell = overriding(name)(3, dynamics=LIF)
    with pytest.raises(TypeError, match=rf"RNN\(Own\): the cell has a {name} of its own.*snn.RNN"):
        RNN(snn.Chain([cell]))


def test_a_transformed_cell_is_refused() -> None:
    with pytest.raises(TypeError, match="of its own, which has no equation"):
        RNN(nn.remat(snn.LIFCell)(3, dynamics=LIF))


@dataclasses.dataclass(frozen=True, init=False)
class OwnStep(snn.LIFDynamics):
    """Another neuron that inherits what a LIF neuron says about its twins."""

    def step(self, *args: Any, **kwargs: Any) -> Any:
        return super().step(*args, **kwargs)


@dataclasses.dataclass(frozen=True)
class Promising(snn.Neuron):
    """A neuron that says that it has a twin, which event layers cannot solve."""

    dt: float = 1e-3

    def initial_state(self, v_init: Any, *, recurrent: bool = False) -> Any:
        return {"v": v_init}

    def coefficients(self, values: Any = None, *, dtype: Any = None) -> Mapping[str, float]:
        return {"alpha": 0.9, "theta": 1.0}

    def step(self, coefficients: Any, state: Any, current: Any, *_: Any, **__: Any) -> Any:
        v = coefficients["alpha"] * state["v"] + current
        return {"v": v}, (v > coefficients["theta"]).astype(v.dtype)

    def lacks(self, twin: Any) -> str | None:
        return None


class Silent(Promising):
    """The same, and says so."""

    def lacks(self, twin: Any) -> str | None:
        return "it was never thought about"


@pytest.mark.parametrize(
    ("dynamics", "message"),
    [
        (OwnStep(tau_syn=5e-3), "OwnStep has a step of its own.*say so in its method lacks"),
        (Promising(), "Promising says that it has a twin.*but it has no LIFParameters"),
        (Silent(), r"RNN\(NeuronCell\): Silent has no twin .*: it was never thought about; run"),
        (snn.AdLIFDynamics(), "AdLIFDynamics has no twin in continuous time"),
    ],
)
def test_neurons_without_a_twin(dynamics: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        RNN(NeuronCell(3, dynamics=dynamics))


def test_a_period_that_is_not_that_of_the_steps() -> None:
    held = dataclasses.replace(LIF.rule, hold=2)
    with pytest.raises(ValueError, match="hold=2 steps .* but refractory=0.0 s.*make them agree"):
        RNN(snn.LIFCell(3, dynamics=with_rule(held)))


def test_coefficients_that_are_not_those_of_the_time_constants() -> None:
    numbers = LIF.coefficients()
    assert isinstance(numbers, Coefficients)
    options: Any = {"dt": LIF.dt, "rule": LIF.rule, "parameters": LIF.parameters}
    RNN(snn.LIFCell(3, dynamics=snn.LIFDynamics.from_coefficients(numbers, **options)))
    other = snn.LIFDynamics.from_coefficients(numbers.replace(alpha=0.5), **options)
    with pytest.raises(ValueError, match="alpha=0.5, which their time constants do not reproduce"):
        RNN(snn.LIFCell(3, dynamics=other))


def test_noise_that_is_switched_off() -> None:
    noisy = snn.LIFDynamics(tau_syn=5e-3, noise_std=0.1)
    RNN(snn.LIFCell(3, dynamics=noisy, deterministic=True))
    with pytest.raises(ValueError, match="noise"):
        RNN(snn.LIFCell(3, dynamics=noisy))


def test_a_start_at_the_threshold_is_refused() -> None:
    cell = snn.LIFCell(3, dynamics=snn.LIFDynamics(tau_syn=5e-3, v_init=1.0))
    params = {"params": {"cell": {"kernel": jnp.ones((2, 3))}}}
    for options in ({}, {"method": "first_spike"}):
        with pytest.raises(ValueError, match="v_init: expected a potential below the threshold"):
            RNN(cell, **options).apply(params, INPUTS)
    learned = snn.LIFCell(3, dynamics=LIF.replace(v_init=0.9), learn=("threshold",))
    low = {"kernel": jnp.ones((2, 3)), "log_threshold": jnp.log(jnp.array([1.0, 0.5, 1.0]))}
    apply = jax.jit(RNN(learned, method="first_spike").apply)
    assert np.isnan(apply({"params": {"cell": low}}, INPUTS).time).all()


def numeric(function: Any, x: Any, step: float = 1e-6) -> Any:
    flat = np.asarray(x, np.float64)
    result = np.zeros_like(flat)
    for k in range(flat.size):
        move = np.zeros_like(flat)
        move[k] = step
        result[k] = (function(flat + move) - function(flat - move)) / (2 * step)
    return result


@pytest.mark.slow
@pytest.mark.parametrize("method", covered_by(["eventprop", "first_spike"], ["first_spike"]))
def test_gradients_know_where_the_membrane_starts(method: Any, x64: None) -> None:
    """Against central differences: the resting potential and the bias move the start, too."""
    dynamics = snn.LIFDynamics(tau_mem=20e-3, tau_syn=5e-3, v_init=(0.6, -0.4), v_reset=-0.2)
    learn = ("tau_mem", "v_rest", "bias", "threshold")
    cell = snn.LIFCell(2, dynamics=dynamics, learn=learn, param_dtype=jnp.float64)
    layer = RNN(cell, method=method, duration=40e-3)
    inputs = snn.event.from_times(jnp.array([[2e-3, 9e-3, 15e-3]]))
    params = layer.init(jax.random.key(0), inputs)["params"]
    params["cell"]["kernel"] = jnp.array([[4.0, 6.0], [3.0, 5.0], [4.5, 5.5]])

    def loss(params: Any) -> Any:
        out, membrane = layer.apply({"params": params}, inputs, return_membrane=True)
        times = jnp.where(jnp.isfinite(out.time), out.time, 0.0)
        late = jnp.sum(times * jnp.arange(1.0, times.shape[1] + 1.0)[None])
        return late + membrane.integral(40e-3).sum()

    run = jax.jit(loss)
    grads = jax.jit(jax.grad(loss))(params)
    for name in ("log_tau_mem", "learned_v_rest", "learned_bias", "log_threshold"):

        def moved(x: Any, name: str = name) -> float:
            return float(run({"cell": {**params["cell"], name: jnp.asarray(x)}}))

        expected = numeric(moved, params["cell"][name])
        assert np.abs(expected).min() > 1e-6
        np.testing.assert_allclose(grads["cell"][name], expected, rtol=1e-5, atol=1e-9)


@pytest.mark.slow
def test_the_membrane_knows_where_it_starts(x64: None) -> None:
    """Its integral and its maximum are those of its values on a fine grid."""
    dynamics = snn.LIDynamics(tau_mem=20e-3, tau_syn=5e-3, v_init=(0.8, -0.5, 0.1), bias=0.1)
    cell = snn.LeakyIntegratorReadout(3, dynamics=dynamics, param_dtype=jnp.float64)
    inputs = snn.event.from_times(jnp.array([[2e-3, 9e-3, 15e-3]]))
    params = {"params": {"cell": {"kernel": jnp.array([[0.4], [0.6], [1.0]]) * jnp.ones((1, 3))}}}
    membrane = RNN(cell, duration=40e-3).apply(params, inputs)
    grid = jnp.linspace(0.0, 40e-3, 40001)
    v = np.asarray(membrane.at(grid))
    np.testing.assert_allclose(v[0, 0], dynamics.v_init, rtol=1e-12)
    np.testing.assert_allclose(membrane.integral(), np.trapezoid(v, grid, axis=1), rtol=1e-6)
    np.testing.assert_allclose(membrane.maximum(), v.max(axis=1), rtol=1e-6)
