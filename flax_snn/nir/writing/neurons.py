"""Neurons as nodes: the inverse of `flax_snn.nir.reading.neurons`, with the same equations.

The decays a, b and the gains c_x, g of one step give

    tau = dt / (1 - a)  or  -dt / ln(a),    r = c_x / (1 - a),    w_in = g / (1 - b)

changed by units in the last place until reading them returns exactly the same coefficients.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Collection
from typing import Any

import numpy as np

from flax_snn.dynamics import Discretization, Dynamics, LIFParameters, Rule, discretize
from flax_snn.nir.error import NIRError, fail
from flax_snn.nir.metadata import neuron_metadata
from flax_snn.nir.method import Method

LEAVES: dict[str, str] = {
    "soft_reset": "spikes that subtract the threshold",
    "refractory": "a refractory period",
    "several_spikes": "several spikes in a step",
    "fire_at_threshold": "firing at the threshold instead of above it",
    "delayed_reset": "a reset that loses the input of the next step",
    "lower_bound": "a lower bound of the membrane",
    "start": "a membrane that does not start at rest",
}
"""Properties of a neuron that NIR has no field for and that metadata can hold.

The names can be passed to `to_nir` as ``allow``; the values describe them.
"""


@dataclasses.dataclass(frozen=True, eq=False)
class PopulationNodes:
    """The nodes of a population.

    Attributes:
      kind: type of the node of the neurons.
      fields: parameters of that node, in the order of Flax.
      metadata: metadata of that node; arrays are in the order of Flax.
      gain: gain of the input in one step, which a target may move into the weights.
      not_in_nir: properties that only metadata hold, names of `LEAVES`.
      threshold: thresholds of a Threshold after the node; ``None`` if there is none.
      lag: steps of a Delay before the node; 0 for none.
      emit_lag: steps of a Delay after the node; 0 for none.
      recurrent_lag: steps of a Delay after the recurrent weights; 0 for none.
      synapses: if there are several synaptic currents, the parameters of an LI for each, before a
        neuron without a current of its node; the recurrent current is the last.
    """

    kind: str
    fields: dict[str, np.ndarray]
    metadata: dict[str, Any]
    gain: np.ndarray
    not_in_nir: tuple[str, ...] = ()
    threshold: np.ndarray | None = None
    lag: int = 0
    emit_lag: int = 0
    recurrent_lag: int = 0
    synapses: tuple[dict[str, np.ndarray], ...] = ()


def method_of(dynamics: Dynamics) -> Method | None:
    """Returns the method by which dynamics are discretized, or None if only decays are given."""
    how = dynamics.rule.discretization
    if dynamics.given is not None or how is None:
        return None
    return "euler" if how.decay == "euler" else "exp"


def population_nodes(
    dynamics: Dynamics,
    numbers: dict[str, Any],
    shape: tuple[int, ...],
    where: str,
    dt: float,
    method: Method,
    allow: Collection[str],
) -> PopulationNodes:
    """Returns the nodes of a population.

    Args:
      dynamics: the dynamics of its neurons.
      numbers: coefficients by name, numbers or arrays that broadcast to the features.
      shape: shape of the features, channels last.
      where: the layer, for error messages.
      dt: step in seconds for which time constants are written.
      method: method for which time constants are written.
      allow: properties that may be written into metadata.

    Raises:
      NIRError: NIR has no nodes for these neurons.
    """
    rule = dynamics.rule
    values = {
        name: np.broadcast_to(np.asarray(value, np.float64), shape)
        for name, value in numbers.items()
        if value is not None and not isinstance(value, tuple)
    }
    _check_rule(dynamics, numbers, where)
    start = np.asarray(dynamics.v_init, np.float64)
    start = np.broadcast_to(start.reshape(shape) if start.size == np.prod(shape) else start, shape)
    fires = rule.fire != "none"
    threshold = values["theta"] if fires and rule.reset == "none" else None
    synapses: tuple[dict[str, np.ndarray], ...] = ()
    if rule.all_channels > 1:
        synapses = _synapses(dynamics, numbers, shape, where, dt, method)
        values["c_x"] = np.ones(shape)
    kind, fields, gain = _fields(dynamics, values, where, dt, method, fires and threshold is None)
    metadata = neuron_metadata(dynamics)
    if "v_min" in values:
        metadata["v_min"] = values["v_min"]
    rest = fields.get("v_leak", np.zeros(shape))
    if (start != rest).any():
        metadata["start"] = start
    away = not np.allclose(start, rest, rtol=1e-6, atol=1e-6)
    not_in_nir = _not_in_nir(rule, "v_min" in values, away)
    _check_allowed(not_in_nir, where, allow)
    old = rule.entry == "old"
    late = rule.emit == "old" and fires
    if late:
        recurrent_lag = int(rule.recurrent_lag) + old
    else:
        recurrent_lag = 2 * old
    return PopulationNodes(
        kind,
        fields,
        metadata,
        gain,
        not_in_nir,
        threshold,
        int(old),
        int(late),
        recurrent_lag,
        synapses,
    )


_WRITTEN = {
    "rule": {
        *("discretization", "entry", "channels", "recurrent_channel", "fire", "max_spikes"),
        *("emit", "reset", "reset_time", "reset_site", "reset_gradient", "reset_span"),
        *("recurrent_lag", "hold", "noisy"),
    },
    "dynamics": {
        *("parameters", "dt", "rule", "given", "given_float32", "surrogate", "v_init", "v_min"),
        "noise_std",
    },
}
"""Fields that are written into nodes or metadata; others must have their default values."""


def _check_rule(dynamics: Dynamics, numbers: dict[str, Any], where: str) -> None:
    rule = dynamics.rule
    for kind, instance in (("rule", rule), ("dynamics", dynamics)):
        for field in dataclasses.fields(instance):
            value = getattr(instance, field.name)
            if field.name not in _WRITTEN[kind] and value != field.default:
                raise fail(
                    where,
                    "a neuron whose fields can all be written",
                    f"{field.name}={value!r}",
                    f"set {field.name} to {field.default!r}",
                )
    if rule.fire != "none" and rule.reset == "none" and rule.fire != ">":
        raise fail(where, "fire='>' where there is no reset", repr(rule.fire), "use fire='>'")
    if rule.entry == "jump" and numbers["c_old"] != numbers["c_x"]:
        raise fail(where, "one gain for the synaptic current and the input", "two", "use one gain")


def _not_in_nir(rule: Rule, bounded: bool, away: bool) -> tuple[str, ...]:
    """Returns the properties of a neuron that NIR has no field for, names of `LEAVES`."""
    delayed = rule.reset == "hard" and rule.reset_time != "same"
    lost = rule.reset_time == "give-back" or rule.reset_site == "sum" or rule.hold > 0
    found = {
        "soft_reset": rule.reset == "soft",
        "refractory": rule.hold > 0,
        "several_spikes": rule.fire == "floor",
        "fire_at_threshold": rule.fire in (">=", "half"),
        "delayed_reset": delayed and lost,
        "lower_bound": bounded,
        "start": away,
    }
    return tuple(name for name, present in found.items() if present)


def _check_allowed(not_in_nir: tuple[str, ...], where: str, allow: Collection[str]) -> None:
    needed = tuple(name for name in not_in_nir if name not in allow)
    if needed:
        descriptions = ", ".join(LEAVES[name] for name in needed)
        extra = " (or allow_soft_reset=True)" if needed == ("soft_reset",) else ""
        raise NIRError(
            f"{where}: expected a neuron that NIR can describe, got {descriptions}; pass"
            f" allow={needed!r}{extra} to write it into the metadata, which flax_snn reads"
            " and other frameworks ignore: there, the network will compute something else"
        )


def _fields(
    dynamics: Dynamics,
    values: dict[str, np.ndarray],
    where: str,
    dt: float,
    method: Method,
    fires: bool,
) -> tuple[str, dict[str, np.ndarray], np.ndarray]:
    """Returns the type of the node, its parameters, and the gain of the input."""
    rule, decay = dynamics.rule, values["alpha"]
    synapse = rule.all_channels == 1
    entry = rule.entry if synapse or rule.entry == "jump" else "direct"
    gain = values[{"direct": "c_x", "jump": "c_x", "old": "c_old", "new": "c_new"}[entry]]
    if (gain <= 0).any():
        raise fail(
            where,
            "a gain of the input above 0",
            f"{gain.min():g}",
            "multiply the weights by -1 and make the gain positive",
        )
    fire = {"v_threshold": values["theta"], "v_reset": values["v_reset"]} if fires else {}
    if (decay == 1.0).all() and not synapse:
        if (values["bias"] != 0).any():
            raise fail(
                where,
                "no bias current in a neuron without a leak",
                "one",
                "give the weights a bias",
            )
        rate = _exact(gain / dt, lambda r: dt * r, gain)
        return "IF" if fires else "I", {"r": rate} | fire, gain
    taus = {"tau_mem" if synapse else "tau": _tau(dynamics, "tau_mem", decay, where, dt, method)}
    loss = _loss(next(iter(taus.values())), dt, method)
    fields = taus | {
        "r": _exact(gain / loss, lambda r: loss * r, gain),
        "v_leak": _exact(values["bias"] / loss, lambda v: loss * v, values["bias"]),
    }
    if not synapse:
        return "LIF" if fires else "LI", fields | fire, gain
    beta = values["beta"]
    into = values["g"] / beta if rule.entry == "jump" else values["g"]
    if rule.entry == "jump" and not np.allclose(into, 1.0, rtol=1e-6):
        raise fail(where, "input that decays with the current it jumps onto", f"{into.flat[0]:g}")
    fields["tau_syn"] = _tau(dynamics, "tau_syn", beta, where, dt, method)
    lost = _loss(fields["tau_syn"], dt, method)
    fields["w_in"] = _exact(into / lost, lambda w: lost * w, into)
    return "CubaLIF" if fires else "CubaLI", fields | fire, gain * into


def _synapses(
    dynamics: Dynamics,
    numbers: dict[str, Any],
    shape: tuple[int, ...],
    where: str,
    dt: float,
    method: Method,
) -> tuple[dict[str, np.ndarray], ...]:
    """Returns parameters of an LI for each synaptic current; its potential enters the membrane."""
    through = numbers["c_new" if dynamics.rule.entry == "new" else "c_old"]
    found = []
    for beta, g, gain in zip(numbers["beta"], numbers["g"], through, strict=True):
        decay, into = (np.broadcast_to(np.asarray(x, np.float64), shape) for x in (beta, g * gain))
        if (into <= 0).any():
            raise fail(where, "a gain of every synapse above 0", f"{into.min():g}")
        tau = _tau(dynamics, "tau_syn", decay, where, dt, method)
        lost = _loss(tau, dt, method)
        rate = _exact(into / lost, functools.partial(np.multiply, lost), into)
        found.append({"tau": tau, "r": rate, "v_leak": np.zeros(shape)})
    return tuple(found)


def _tau(
    dynamics: Dynamics, name: str, decay: np.ndarray, where: str, dt: float, method: Method
) -> np.ndarray:
    """Returns the time constants for which the method gives these decays."""
    highest = 0.0 if method == "euler" else np.nextafter(0.0, 1.0)
    if (decay < highest).any() or (decay >= 1.0).any():
        worst = float(decay.min() if (decay < highest).any() else decay.max())
        raise fail(
            where,
            f"decays per step of {'0' if method == 'euler' else 'more than 0'} to below 1",
            f"{worst:g}",
            "no time constant has this decay",
        )

    def again(tau: np.ndarray) -> np.ndarray:
        return 1.0 - dt / tau if method == "euler" else np.exp(-dt / tau)

    with np.errstate(divide="ignore"):
        guess = dt / (1.0 - decay) if method == "euler" else -dt / np.log(decay)
    parameter = getattr(dynamics.parameters, name, None)
    if isinstance(parameter, float):
        same = np.full(decay.shape, parameter)
        guess = np.where(again(same) == decay, same, guess)
    return _exact(guess, again, decay)


def _loss(tau: np.ndarray, dt: float, method: Method) -> np.ndarray:
    """Returns 1 - decay, computed as when the file is read."""
    how = Discretization("euler" if method == "euler" else "exponential", "unit", "leak")
    numbers = discretize(Rule(discretization=how), LIFParameters(tau_mem=tau), dt)
    return np.asarray(vars(numbers)["c_x"])


def _exact(
    guess: np.ndarray, forward: Callable[[np.ndarray], np.ndarray], target: np.ndarray
) -> np.ndarray:
    """Returns values close to a guess whose result is exactly the target, where there are any."""
    best, up, down = np.array(guess), np.array(guess), np.array(guess)
    for _ in range(16):
        missed = forward(best) != target
        if not missed.any():
            break
        up, down = np.nextafter(up, np.inf), np.nextafter(down, -np.inf)
        for tried in (up, down):
            best = np.where(missed & (forward(tried) == target), tried, best)
    return best
