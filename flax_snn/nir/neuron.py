"""Neurons of NIR as dynamics: what a node and a way of stepping make of each other.

    LIF      v <- a v + (1 - a) (v_leak + r x)                     fire where v > v_threshold
    CubaLIF  i <- b i + (1 - b) w_in x,   v <- a v + (1 - a) (v_leak + r i)
    IF       v <- v + dt r x

with ``a = 1 - dt / tau`` (Euler) or ``exp(-dt / tau)``; LI, CubaLI and I do not fire. The membrane
starts at v_leak (0 for I and IF), the current at 0, a spike resets to v_reset in the same step.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

import numpy as np

from flax_snn.dynamics import (
    Coefficients,
    Discretization,
    Dynamics,
    LIDynamics,
    LIFDynamics,
    LIFParameters,
    Rule,
    discretize,
)
from flax_snn.nir.error import fail
from flax_snn.nir.ir import Node
from flax_snn.nir.layout import Order, to_last
from flax_snn.nir.metadata import rule_changes, surrogate_of
from flax_snn.nir.producers import Producer
from flax_snn.surrogate import Surrogate

Method = Literal["euler", "exp"]

_DECAYS: dict[str, Any] = {"euler": "euler", "exp": "exponential"}
_SYNAPSES: dict[str, Any] = {"w_in": "normalized", "one": "unit", "decay": "decay"}
_GAINS: dict[str, Any] = {"r": "leak", "one": "unit", "decay": "decay"}


@dataclasses.dataclass(frozen=True)
class Stepping:
    """What a file does not say.

    Attributes:
      dt: length of a step in seconds.
      method: ``euler`` or ``exp``.
      producer: the preset.
      surrogate: surrogate derivative of all spikes; ``None`` for that of the file or the default.
    """

    dt: float
    method: Method
    producer: Producer
    surrogate: Surrogate | None = None

    @property
    def decay(self) -> Any:
        """The method as `Discretization` names it."""
        return _DECAYS[self.method]


@dataclasses.dataclass(frozen=True, eq=False)
class Population:
    """Neurons of a node.

    Attributes:
      dynamics: rule, and the numbers of the first neuron.
      individual: coefficients that differ between neurons, in the order of Flax.
      features: number of feature axes.
    """

    dynamics: LIFDynamics | LIDynamics
    individual: dict[str, np.ndarray]
    features: int


def population(
    node: Node,
    name: str,
    stepping: Stepping,
    *,
    threshold: Node | None = None,
    old: bool = False,
    order: Order = None,
    param_dtype: Any = np.float32,
) -> Population:
    """Return the neurons of a node.

    Args:
      node: the node.
      name: its name, for errors.
      stepping: how it is stepped.
      threshold: a Threshold behind an integrator, which makes it a neuron without a reset.
      old: whether the synaptic current acts one step later, by a Delay in front of the node.
      order: order of flat values, if it is that of Flax.
      param_dtype: dtype in which values differ, or do not.

    Raises:
      NIRError: a time constant that the method cannot step, metadata that make no sense.
    """
    where = f"node {name!r} ({node.type})"
    rule = _rule(node, where, stepping, threshold, old)
    numbers = _coefficients(node, where, rule, stepping, threshold)
    if "v_min" in node.metadata:
        numbers = dataclasses.replace(numbers, v_min=_given(node, "v_min", np.shape(node["r"])))
    elif node.type == "IF" and stepping.producer.floor is not None:
        floor = stepping.producer.floor * node["v_threshold"]
        numbers = dataclasses.replace(numbers, v_min=floor)
    if rule.reset != "hard" and not rule.hold and "v_reset" in node.fields and not rule.reset_span:
        _check_unused_reset(node, where, rule)
    one, own = _split(numbers, param_dtype)
    make: type[Dynamics] = LIDynamics if rule.fire == "none" else LIFDynamics
    rule, extra = _with_parameters(node, rule, one, own, stepping)
    if rule.fire != "none":
        surrogate = stepping.surrogate or surrogate_of(node.metadata.get("surrogate"), where)
        extra |= {"surrogate": surrogate} if surrogate is not None else {}
    start = to_last(_start(node, stepping), order).ravel()
    v_init = float(start[0]) if (start == start[0]).all() else tuple(start.tolist())
    try:
        dynamics = make.from_coefficients(one, dt=stepping.dt, rule=rule, v_init=v_init, **extra)
    except (TypeError, ValueError) as error:
        raise fail(where, "a neuron that can be stepped", str(error)) from error
    assert isinstance(dynamics, LIFDynamics | LIDynamics)
    arranged = {key: to_last(value, order) for key, value in own.items()}
    return Population(dynamics, arranged, np.ndim(node["r"]))


def _rule(node: Node, where: str, stepping: Stepping, threshold: Node | None, old: bool) -> Rule:
    producer, synapse = stepping.producer, node.type.startswith("Cuba")
    fires = node.type in ("IF", "LIF", "CubaLIF")
    gain = producer.gain if fires or synapse else producer.integrator
    switches: dict[str, Any] = {
        "discretization": Discretization(stepping.decay, _SYNAPSES[producer.synapse], _GAINS[gain]),
        "entry": ("old" if old else "new") if synapse else "direct",
        "channels": int(synapse),
    }
    if threshold is not None:
        switches |= {"reset": "none"}
    elif not fires:
        switches |= {"fire": "none", "reset": "none"}
    else:
        switches |= producer.switches(node.type)
    try:
        return Rule(**switches | rule_changes(node.metadata, where, stepping.dt, node.type))
    except ValueError as error:
        raise fail(f"{where}: metadata", "switches that belong together", str(error)) from error


def _coefficients(
    node: Node, where: str, rule: Rule, stepping: Stepping, threshold: Node | None
) -> Coefficients:
    fields, dt = node.fields, stepping.dt
    theta = threshold["threshold"] if threshold is not None else fields.get("v_threshold")
    v_reset = fields["v_reset"] if rule.uses_v_reset() and "v_reset" in fields else 0.0
    if node.type in ("I", "IF"):
        unit = stepping.producer.if_gain == "one"
        gain = np.ones_like(fields["r"]) if unit else dt * fields["r"]
        return Coefficients(alpha=np.ones_like(gain), theta=theta, c_x=gain, v_reset=v_reset)
    taus = ("tau_mem", "tau_syn") if rule.channels else ("tau",)
    for tau in taus:
        shortest = float(fields[tau].min())
        if stepping.method == "euler" and dt > shortest * (1 + 1e-12):
            raise fail(
                f"{where}: {tau}",
                f"Euler steps of dt={dt:g} s at most the time constant",
                f"{shortest:g} s",
                "use a smaller dt, or method='exp'",
            )
    assert rule.discretization is not None
    scaled = rule.discretization.membrane_gain == "leak"
    numbers = discretize(
        rule,
        LIFParameters(
            tau_mem=fields[taus[0]],
            tau_syn=fields["tau_syn"] if rule.channels else None,
            threshold=theta,
            v_rest=fields["v_leak"],
            v_reset=v_reset,
            resistance=fields["r"] if scaled else 1.0,
        ),
        dt,
    )
    if rule.channels and rule.discretization.synapse_gain == "normalized":
        numbers = dataclasses.replace(numbers, g=numbers.g * fields["w_in"])
    if rule.entry == "jump":  # the current is kept after its decay, not before
        numbers = dataclasses.replace(numbers, g=numbers.g * numbers.beta)
    return numbers


def _start(node: Node, stepping: Stepping) -> np.ndarray:
    shape = np.shape(node["r"])
    if "start" in node.metadata:
        return _given(node, "start", shape)
    field = stepping.producer.start or "v_leak"
    return np.asarray(node.fields[field]) if field in node.fields else np.zeros(shape)


def _given(node: Node, name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Return values that metadata give, one or one per neuron."""
    try:
        values = np.broadcast_to(np.asarray(node.metadata[name], np.float64), shape)
    except (TypeError, ValueError):
        values = np.full(shape, np.nan)
    if not np.isfinite(values).all():
        raise fail(
            f"a {node.type} node: metadata {name}",
            f"a finite number, or one per neuron in the shape {shape}",
            repr(node.metadata[name])[:80],
        )
    return values


def _check_unused_reset(node: Node, where: str, rule: Rule) -> None:
    if (node["v_reset"] != 0.0).any():
        raise fail(
            f"{where}: v_reset",
            f"0, since a {rule.reset} reset has no reset potential",
            f"{node['v_reset'].flat[0]:g}",
        )


def _split(numbers: Coefficients, param_dtype: Any) -> tuple[Coefficients, dict[str, np.ndarray]]:
    """Return the numbers of the first neuron, and those that differ between neurons."""
    one: dict[str, Any] = {}
    own: dict[str, np.ndarray] = {}
    for name, value in vars(numbers).items():
        if value is None:
            one[name] = None
            continue
        array = np.asarray(value, np.float64)
        rounded = array.astype(param_dtype).astype(np.float64)
        first, near = float(array.flat[0]), float(rounded.flat[0])
        one[name] = first if (array == first).all() else near
        if (rounded != near).any():
            own[name] = array
    return Coefficients(**one), own


def _with_parameters(
    node: Node, rule: Rule, one: Coefficients, own: dict[str, np.ndarray], stepping: Stepping
) -> tuple[Rule, dict[str, Any]]:
    """Return the rule with a discretization, and time constants, that give the same numbers."""
    bare = dataclasses.replace(rule, discretization=None), {"parameters": None}
    if own or node.type in ("I", "IF"):
        return bare
    fields = {name: float(value.flat[0]) for name, value in node.fields.items()}
    gains = ("unit", "normalized", "decay") if rule.channels else ("unit",)
    for gain in gains:
        for membrane, resistance in (("exact", 1.0), ("leak", fields["r"]), ("unit", 1.0)):
            how = Discretization(stepping.decay, gain, membrane)  # type: ignore[arg-type]
            if membrane == "exact" and stepping.method == "euler":
                continue
            parameters = LIFParameters(
                tau_mem=fields.get("tau", fields.get("tau_mem", 0.0)),
                tau_syn=fields["tau_syn"] if rule.channels else None,
                threshold=1.0 if one.theta is None else one.theta,
                v_rest=fields["v_leak"],
                v_reset=one.v_reset,
                refractory=rule.hold * stepping.dt,
                resistance=resistance,
            )
            tried = dataclasses.replace(rule, discretization=how)
            again = discretize(tried, parameters, stepping.dt, v_min=one.v_min)
            if again == one:
                return tried, {"parameters": parameters}
    return bare
