"""Which cells have a twin in continuous time, and what its parameters are.

The event layers read the physics of a cell, `flax_snn.dynamics.LIFParameters`, and nothing of its
discretisation. As ``dt`` goes to 0, steps that give an input spike a fixed jump of the synaptic
current, and the membrane a share ``dt / tau_mem`` of it, go to the same neuron; others go to a
neuron with other weights, and are refused.

Every field of a rule, of its discretisation, of dynamics and of a cell is looked up in a table that
says which of its values keep their meaning as ``dt`` goes to 0, and why the others do not. What no
table knows has to be at its default: a new switch is refused, and not passed over in silence.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from flax_snn.cells.neuron_cell import NeuronCell
from flax_snn.cells.recurrent_cell import RecurrentNeuronCell
from flax_snn.dynamics import LIFParameters
from flax_snn.dynamics.base import Dynamics
from flax_snn.dynamics.rule import Rule, discretize
from flax_snn.dynamics.validity import leaves
from flax_snn.event.physics import check_synapse


class Meaning(NamedTuple):
    """The values of a field that event layers accept, and why they refuse others.

    Attributes:
      values: values whose meaning they keep; ``None`` for any value.
      why: why others are refused, and what to do.
    """

    values: tuple[Any, ...] | None = None
    why: str = ""


ANY = Meaning()
"""Every value keeps its meaning, is judged by other means, or acts on no spike time."""

_SAME_WEIGHTS = (
    "expected a step whose weights mean the same for every dt; rescale the weights for"
    " discretization='exact'"
)
_ONE_SYNAPSE = "event layers have one synaptic current per neuron, which all inputs share"

DISCRETIZATION: Mapping[str, Meaning] = {
    "decay": Meaning(("exponential", "euler")),
    "synapse_gain": Meaning(("unit", "decay"), _SAME_WEIGHTS),
    "membrane_gain": Meaning(("exact", "leak"), _SAME_WEIGHTS),
}
"""Fields of `Discretization`: the ways that lead to the same membrane equation."""

RULE: Mapping[str, Meaning] = {
    "discretization": ANY,  # looked up in `DISCRETIZATION`
    "entry": Meaning(("old", "new", "jump"), "event layers need a synapse; give tau_syn"),
    "channels": Meaning((1,), _ONE_SYNAPSE),
    "recurrent_channel": Meaning((False,), _ONE_SYNAPSE),
    # A membrane that crosses its threshold is at it: one spike, whatever the test.
    "fire": Meaning((">", ">=", "half", "floor", "none")),
    "max_spikes": ANY,
    # Latencies and order within a step vanish with the step.
    "emit": Meaning(("new", "old")),
    "reset": Meaning(("hard", "soft", "none")),  # where each goes: `continuous_parameters`
    "reset_time": Meaning(("same", "next", "give-back")),
    "reset_site": Meaning(("state", "sum")),
    "recurrent_lag": Meaning((False, True)),
    # Gradients are exact, those through resets among them.
    "reset_gradient": Meaning(("flow", "stop", "stop_if_recurrent", "spike_only")),
    "reset_span": Meaning((False, True)),
    "hold": ANY,  # has to agree with the refractory period
    "noisy": Meaning((False,), "event layers have no membrane noise; set deterministic=True"),
}
"""Fields of `Rule`."""

DYNAMICS: Mapping[str, Meaning] = {
    "parameters": ANY,
    "dt": ANY,
    "rule": ANY,  # looked up in `RULE`
    "given": ANY,  # has to agree with the parameters
    "given_float32": ANY,
    "surrogate": ANY,
    "v_init": ANY,  # where the membrane of the event layer starts
    "v_min": Meaning((None,), "event layers have no lower bound of the membrane"),
    "noise_std": ANY,  # `Rule.noisy`
}
"""Fields of dynamics."""

CELL: Mapping[str, Meaning] = {
    "features": ANY,
    "dynamics": ANY,
    "learn": ANY,
    "values": ANY,
    "kernel_init": ANY,
    "recurrent_kernel_init": ANY,
    "param_dtype": ANY,
    "deterministic": ANY,
    "bias_init": ANY,  # of no bias
    "surrogate": ANY,
    "state_dtype": ANY,  # there is no state that is stored from step to step
    "name": ANY,
    "parent": ANY,
    "feature_axes": Meaning((1,)),
    "use_bias": Meaning(
        (False,),
        "a bias of the input weights is a current per time step and has no twin; use"
        " learn=('bias',) for a constant current",
    ),
    "dtype": Meaning(
        (None,),
        "event layers compute in the dtype of the parameters and of the spike times; set"
        " param_dtype, or convert the times",
    ),
    "dot_general_cls": Meaning((None,), "event layers use the kernel itself, not dot_general_cls"),
    "individual": Meaning(
        ((),),
        "coefficients of a time step have no twin one by one; give what they come from in its unit,"
        " values={'tau_mem': ...}",
    ),
}
"""Fields of a cell."""

_STEP = (
    *("setup", "__call__", "project", "integrate", "coefficients", "layer", "prepare"),
    *("parameter_values", "initialize_carry", "feedback", "recurrent"),
)
"""What makes the step of a cell; event layers do what those of this package do."""

_NEURON_STEP = (
    *("initial_state", "coefficients", "step", "membrane", "learnable", "values"),
    *("blocks", "recurrent_blocks", "shares_synapse"),
)
"""What makes the step of dynamics."""


def check_cell(what: str, cell: NeuronCell) -> None:
    """Checks that a cell has a twin in continuous time.

    Raises:
      TypeError: a cell whose step is not that of `NeuronCell`.
      ValueError: there is no twin; the message says why, and what to do.
    """
    name = f"{what}({type(cell).__name__})"
    method = overridden(cell)
    if method is not None:
        raise TypeError(
            f"{name}: the cell has a {method} of its own, which has no equation in continuous time"
            " here; run it with snn.RNN, or use a cell that leaves it as it is"
        )
    _check_neuron(name, cell.dynamics)
    if cell.features is None:
        raise ValueError(f"{name}: expected a cell with input weights, got features=None")
    check_synapse(name, cell.dynamics.parameters)
    _check_fields(name, "the cell", cell, CELL)
    _check_fields(name, "dynamics", cell.dynamics, DYNAMICS)
    _check_fields(name, "Rule", _heard(cell), RULE)
    _check_fields(name, "Discretization", cell.dynamics.rule.discretization, DISCRETIZATION)
    _check_given(name, cell.dynamics)
    _check_reset(name, cell.dynamics)


def overridden(cell: NeuronCell) -> str | None:
    """Returns a method of the step that a subclass or a transformation changed, or None."""
    known = (NeuronCell, RecurrentNeuronCell)
    for name in _STEP:
        if all(getattr(type(cell), name) is not getattr(each, name) for each in known):
            return name
    return cell.overridden()


def continuous_parameters(cell: NeuronCell, size: int) -> LIFParameters:
    """Returns the physics of a cell: learned and given values, and what the reset goes to.

    Args:
      cell: a cell that `check_cell` accepts, bound to its variables.
      size: number of neurons N.

    Returns:
      Fields that are numbers, or arrays ``(N,)``, in seconds and units of potential.
    """
    values = cell.parameter_values(size)
    constant = {k: v for k, v in (cell.values or {}).items() if not callable(v)}
    for name in constant.keys() - set(cell.learn):
        # As numbers that are known while a function is traced.
        values[name] = np.broadcast_to(np.asarray(constant[name]), (size,))
    parameters = cell.dynamics.parameters.replace(**values)
    return _resets_to(cell.dynamics.rule, parameters)


def start_potential(cell: NeuronCell, parameters: LIFParameters) -> Any:
    """Returns the potential at time 0, or None where neurons are known to start at rest.

    Args:
      cell: the cell.
      parameters: its physics, from `continuous_parameters`.

    Returns:
      A number, an array ``(N,)``, or ``None``.
    """
    v_init = cell.dynamics.v_init
    start = np.asarray(v_init) if isinstance(v_init, tuple) else v_init
    numbers = (parameters.v_rest, parameters.resistance, parameters.bias)
    if any(isinstance(number, jax.Array) for number in numbers):
        return start
    rest, resistance, bias = (np.asarray(number) for number in numbers)
    return None if np.all(start == rest + resistance * bias) else start


def _resets_to(rule: Rule, parameters: LIFParameters) -> LIFParameters:
    """Returns the parameters with the reset potential that the rule leads to.

    During a refractory period the membrane is held at ``v_reset`` and goes on from there, whatever
    the reset was. Without one, a soft reset subtracts its span from a membrane at the threshold.
    """
    if rule.reset == "soft" and not rule.reset_span and rule.hold == 0:
        return parameters.replace(v_reset=0.0)  # type: ignore[attr-defined]
    return parameters


def _check_neuron(name: str, neuron: Any) -> None:
    kind = type(neuron).__name__
    reason = neuron.lacks("event")
    if reason is not None:
        raise ValueError(
            f"{name}: {kind} has no twin in continuous time: {reason}; run the cell in time steps,"
            " with snn.RNN"
        )
    if not isinstance(neuron, Dynamics):
        raise ValueError(
            f"{name}: {kind} says that it has a twin in continuous time, but it has no"
            " LIFParameters, which are all that event layers can solve; run the cell with snn.RNN"
        )
    for method in _NEURON_STEP:
        if getattr(type(neuron), method) is not getattr(Dynamics, method):
            raise ValueError(
                f"{name}: {kind} has a {method} of its own, which has no twin in continuous time;"
                " say so in its method lacks, and run the cell with snn.RNN"
            )
    if neuron.parameters is None or neuron.rule.discretization is None:
        raise ValueError(
            f"{name}: expected dynamics with time constants, got coefficients of a time step that"
            " no set of time constants reproduces"
        )


def _heard(cell: NeuronCell) -> Rule:
    """Returns the rule, without noise if the cell is deterministic."""
    rule: Rule = cell.dynamics.rule
    return dataclasses.replace(rule, noisy=False) if cell.deterministic else rule


def _check_fields(name: str, kind: str, instance: Any, table: Mapping[str, Meaning]) -> None:
    for field in dataclasses.fields(instance):
        value = getattr(instance, field.name)
        if field.name in table:
            known = table[field.name]
            if known.values is None or value in known.values:
                continue
            if known.why:
                raise ValueError(f"{name}: {field.name}={value!r}: {known.why}")
            rest = f"expected one of {', '.join(map(repr, known.values))}"
        else:
            default = field.default
            if default is dataclasses.MISSING and field.default_factory is not dataclasses.MISSING:
                default = field.default_factory()
            if default is not dataclasses.MISSING and _same(value, default):
                continue
            rest = "run the cell in time steps, with snn.RNN"
            if default is not dataclasses.MISSING:
                rest = f"leave it at {default!r}, or {rest}"
        raise ValueError(
            f"{name}: event layers do not know {field.name}={value!r} of {kind}, and what it means"
            f" would be lost in continuous time; {rest}"
        )


def _same(value: Any, default: Any) -> bool:
    if value is default:
        return True
    try:
        return bool(value == default)
    except (TypeError, ValueError):  # arrays, which no default is
        return False


def _check_given(name: str, dynamics: Dynamics) -> None:
    """Checks that the time constants and the refractory period fit the coefficients."""
    rule, parameters = dynamics.rule, dynamics.parameters
    assert parameters is not None
    period = parameters.refractory
    if abs(rule.hold - period / dynamics.dt) > 1e-5:
        raise ValueError(
            f"{name}: the rule holds the membrane for hold={rule.hold} steps of {dynamics.dt:g} s,"
            f" but refractory={period!r} s, which event layers read; make them agree"
        )
    if dynamics.given is None:
        return
    bounds = {"v_min": dynamics.given.v_min, "noise_std": dynamics.given.noise_std}
    again = leaves(discretize(rule, parameters, dynamics.dt, **bounds))
    for number, value in leaves(dynamics.given).items():
        if not np.isclose(again.get(number, np.nan), value, rtol=1e-5, atol=1e-12):
            raise ValueError(
                f"{name}: the dynamics are given as coefficients with {number}={value!r}, which"
                f" their time constants do not reproduce ({again.get(number)!r}); use dynamics with"
                " time constants"
            )


def _check_reset(name: str, dynamics: Dynamics) -> None:
    """Checks that a spike takes the membrane below its threshold at once."""
    rule, parameters = dynamics.rule, dynamics.parameters
    assert parameters is not None
    if rule.reset == "none" and rule.fire != "none" and rule.hold == 0:
        raise ValueError(
            f"{name}: expected reset='hard' or 'soft', got 'none': a neuron that is not reset"
            " stays at its threshold"
        )
    lowers = rule.reset != "none"
    if rule.reset == "soft" and not rule.reset_span:
        lowers = parameters.threshold > 0.0
    if rule.fire != "none" and rule.emit == "old" and not lowers:
        raise ValueError(
            f"{name}: emit='old' with a reset that leaves the membrane above its threshold gives"
            " two spikes at each crossing; use emit='new', or reset='hard'"
        )
