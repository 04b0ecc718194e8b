"""Neurons: a NIR node, advanced with a time step and a method, as dynamics.

    LIF      v <- a v + (1 - a) (v_leak + r x)                     fire where v > v_threshold
    CubaLIF  i <- b i + (1 - b) w_in x,   v <- a v + (1 - a) (v_leak + r i)
    IF       v <- v + dt r x

with ``a = 1 - dt / tau`` (Euler) or ``exp(-dt / tau)``; LI, CubaLI and I do not fire. The membrane
starts at v_leak (0 for I and IF), the current at 0; a spike resets the membrane to v_reset in the
same step.
"""

from __future__ import annotations

import dataclasses
from typing import Any

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
from flax_snn.nir.channel_order import Order, to_last
from flax_snn.nir.error import NIRError, fail
from flax_snn.nir.graph import Node
from flax_snn.nir.metadata import rule_changes, surrogate_of
from flax_snn.nir.method import Method
from flax_snn.nir.reading.presets import Producer
from flax_snn.surrogate import Surrogate

_DECAYS: dict[str, Any] = {"euler": "euler", "exp": "exponential"}
_SYNAPSES: dict[str, Any] = {"w_in": "normalized", "one": "unit", "decay": "decay"}
_GAINS: dict[str, Any] = {"r": "leak", "one": "unit", "decay": "decay"}


@dataclasses.dataclass(frozen=True)
class ReadOptions:
    """How a graph is read: what is not in the file.

    Attributes:
      dt: length of a step in seconds.
      method: ``euler`` or ``exp``.
      producer: the preset for the framework that wrote the file.
      surrogate: surrogate derivative of all spikes; ``None``: that of the file, else the default.
    """

    dt: float
    method: Method
    producer: Producer
    surrogate: Surrogate | None = None

    @property
    def decay(self) -> Any:
        """The decay in the terms of `Discretization`."""
        return _DECAYS[self.method]


@dataclasses.dataclass(frozen=True, eq=False)
class Population:
    """The neurons of a node.

    Attributes:
      dynamics: dynamics of the first neuron.
      individual: coefficients that differ between neurons, in the order of Flax.
      features: number of axes of the population.
    """

    dynamics: LIFDynamics | LIDynamics
    individual: dict[str, np.ndarray]
    features: int


def population(
    node: Node,
    name: str,
    options: ReadOptions,
    *,
    threshold: Node | None = None,
    late_current: bool = False,
    order: Order = None,
    param_dtype: Any = np.float32,
) -> Population:
    """Returns the neurons of a node.

    Args:
      node: the node.
      name: name of the node, for error messages.
      options: how the graph is read.
      threshold: a Threshold after an integrator, which makes it a neuron without a reset.
      late_current: whether a Delay before the node makes the synaptic current act one step later.
      order: order of the neurons, if it is that of Flax.
      param_dtype: dtype of the variables. Neurons whose values are equal in it share them.

    Raises:
      NIRError: a time constant is too short for the method, or metadata are not valid.
    """
    where = f"node {name!r} ({node.type})"
    rule = _rule(node, where, options, threshold, late_current)
    numbers = _coefficients(node, where, rule, options, threshold)
    if "v_min" in node.metadata:
        numbers = dataclasses.replace(numbers, v_min=_given(node, "v_min", np.shape(node["r"])))
    elif node.type == "IF" and options.producer.floor is not None:
        floor = options.producer.floor * node["v_threshold"]
        numbers = dataclasses.replace(numbers, v_min=floor)
    if rule.reset != "hard" and not rule.hold and "v_reset" in node.fields and not rule.reset_span:
        _check_unused_reset(node, where, rule)
    shared, individual = _split(numbers, param_dtype)
    make: type[Dynamics] = LIDynamics if rule.fire == "none" else LIFDynamics
    rule, extra = _with_parameters(node, rule, shared, individual, options)
    if rule.fire != "none":
        surrogate = options.surrogate or surrogate_of(node.metadata.get("surrogate"), where)
        if surrogate is not None:
            check_surrogate(surrogate, numbers.theta, where)
            extra |= {"surrogate": surrogate}
    start = to_last(_start(node, options), order).ravel()
    v_init = float(start[0]) if (start == start[0]).all() else tuple(start.tolist())
    try:
        dynamics = make.from_coefficients(shared, dt=options.dt, rule=rule, v_init=v_init, **extra)
    except (TypeError, ValueError) as error:
        raise fail(where, "a neuron that can be advanced by a step", str(error)) from error
    assert isinstance(dynamics, LIFDynamics | LIDynamics)
    arranged = {key: to_last(value, order) for key, value in individual.items()}
    return Population(dynamics, arranged, np.ndim(node["r"]))


def check_surrogate(surrogate: Surrogate, theta: Any, where: str) -> None:
    """Raises a NIRError if a threshold lies where a surrogate derivative is divided by 0."""
    try:
        surrogate.check_threshold(f"{where}: v_threshold", theta)
    except ValueError as error:
        raise NIRError(str(error)) from None


def _rule(
    node: Node, where: str, options: ReadOptions, threshold: Node | None, late_current: bool
) -> Rule:
    producer, synapse = options.producer, node.type.startswith("Cuba")
    fires = node.type in ("IF", "LIF", "CubaLIF")
    gain = producer.gain if fires or synapse else producer.integrator
    switches: dict[str, Any] = {
        "discretization": Discretization(options.decay, _SYNAPSES[producer.synapse], _GAINS[gain]),
        "entry": ("old" if late_current else "new") if synapse else "direct",
        "channels": int(synapse),
    }
    if threshold is not None:
        switches |= {"reset": "none"}
    elif not fires:
        switches |= {"fire": "none", "reset": "none"}
    else:
        switches |= producer.switches(node.type)
    try:
        return Rule(**switches | rule_changes(node.metadata, where, options.dt, node.type))
    except ValueError as error:
        raise fail(f"{where}: metadata", "switches that belong together", str(error)) from error


def _coefficients(
    node: Node, where: str, rule: Rule, options: ReadOptions, threshold: Node | None
) -> Coefficients:
    fields, dt = node.fields, options.dt
    theta = threshold["threshold"] if threshold is not None else fields.get("v_threshold")
    v_reset = fields["v_reset"] if rule.uses_v_reset() and "v_reset" in fields else 0.0
    if node.type in ("I", "IF"):
        unit = options.producer.if_gain == "one"
        gain = np.ones_like(fields["r"]) if unit else dt * fields["r"]
        return Coefficients(alpha=np.ones_like(gain), theta=theta, c_x=gain, v_reset=v_reset)
    taus = ("tau_mem", "tau_syn") if rule.channels else ("tau",)
    for tau in taus:
        shortest = float(fields[tau].min())
        if options.method == "euler" and dt > shortest * (1 + 1e-12):
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
    if rule.entry == "jump":  # the stored current has decayed already
        numbers = dataclasses.replace(numbers, g=numbers.g * numbers.beta)
    return numbers


def _start(node: Node, options: ReadOptions) -> np.ndarray:
    shape = np.shape(node["r"])
    if "start" in node.metadata:
        return _given(node, "start", shape)
    field = options.producer.start or "v_leak"
    return np.asarray(node.fields[field]) if field in node.fields else np.zeros(shape)


def _given(node: Node, name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Returns the values in metadata, which are one for all neurons or one per neuron."""
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
    """Returns the coefficients of the first neuron, and those that differ between neurons."""
    shared: dict[str, Any] = {}
    individual: dict[str, np.ndarray] = {}
    for name, value in vars(numbers).items():
        if value is None:
            shared[name] = None
            continue
        array = np.asarray(value, np.float64)
        rounded = array.astype(param_dtype).astype(np.float64)
        first, near = float(array.flat[0]), float(rounded.flat[0])
        shared[name] = first if (array == first).all() else near
        if (rounded != near).any():
            individual[name] = array
    return Coefficients(**shared), individual


def _with_parameters(
    node: Node,
    rule: Rule,
    shared: Coefficients,
    individual: dict[str, np.ndarray],
    options: ReadOptions,
) -> tuple[Rule, dict[str, Any]]:
    """Returns a rule with a discretization, and parameters, that give the same coefficients.

    If there are none, return the rule without a discretization, and no parameters.
    """
    bare = dataclasses.replace(rule, discretization=None), {"parameters": None}
    if individual or node.type in ("I", "IF"):
        return bare
    fields = {name: float(value.flat[0]) for name, value in node.fields.items()}
    gains = ("unit", "normalized", "decay") if rule.channels else ("unit",)
    for gain in gains:
        for membrane, resistance in (("exact", 1.0), ("leak", fields["r"]), ("unit", 1.0)):
            how = Discretization(options.decay, gain, membrane)  # type: ignore[arg-type]
            if membrane == "exact" and options.method == "euler":
                continue
            parameters = LIFParameters(
                tau_mem=fields.get("tau", fields.get("tau_mem", 0.0)),
                tau_syn=fields["tau_syn"] if rule.channels else None,
                threshold=1.0 if shared.theta is None else shared.theta,
                v_rest=fields["v_leak"],
                v_reset=shared.v_reset,
                refractory=rule.hold * options.dt,
                resistance=resistance,
            )
            tried = dataclasses.replace(rule, discretization=how)
            again = discretize(tried, parameters, options.dt, v_min=shared.v_min)
            if again == shared:
                return tried, {"parameters": parameters}
    return bare
