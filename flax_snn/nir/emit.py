"""Neurons as nodes: the inverse of `flax_snn.nir.neuron`, by the same equations.

From the decays a, b and the gains of one step (source of the formulas: `neuron`)

    tau = dt / (1 - a)  or  -dt / ln(a),    r = c_x / (1 - a),    w_in = g / (1 - b)

nudged by units in the last place until reading them gives back the very same numbers.
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
from flax_snn.nir.neuron import Method

LEAVES: dict[str, str] = {
    "soft_reset": "spikes that subtract the threshold",
    "refractory": "a refractory period",
    "several_spikes": "several spikes in a step",
    "fire_at_threshold": "firing at the threshold instead of above it",
    "delayed_reset": "a reset that loses the input of the next step",
    "lower_bound": "a lower bound of the membrane",
    "start": "a membrane that does not start at rest",
}
"""What NIR cannot say of a neuron and metadata carry: names for ``allow``, in words."""


@dataclasses.dataclass(frozen=True, eq=False)
class Emitted:
    """Nodes of a population.

    Attributes:
      kind: type of its node.
      fields: parameters of the node, in the order of Flax.
      metadata: what NIR cannot say; arrays in the order of Flax.
      gain: gain of the input in one step, for those who rescale it.
      leaves: what of it NIR cannot say, names of `LEAVES`.
      threshold: thresholds of a Threshold behind it; ``None`` for none.
      lag: steps of a Delay in front of it.
      emit_lag: steps of a Delay behind it.
      recurrent_lag: steps of a Delay behind recurrent weights.
      synapses: parameters of an LI for each of several synaptic currents, which then stand in front
        of a neuron without one; the recurrent current last.
    """

    kind: str
    fields: dict[str, np.ndarray]
    metadata: dict[str, Any]
    gain: np.ndarray
    leaves: tuple[str, ...] = ()
    threshold: np.ndarray | None = None
    lag: int = 0
    emit_lag: int = 0
    recurrent_lag: int = 0
    synapses: tuple[dict[str, np.ndarray], ...] = ()


def method_of(dynamics: Dynamics) -> Method | None:
    """Return the method that dynamics are discretized by; ``None`` if only decays are given."""
    how = dynamics.rule.discretization
    if dynamics.given is not None or how is None:
        return None
    return "euler" if how.decay == "euler" else "exp"


def emit(
    dynamics: Dynamics,
    numbers: dict[str, Any],
    shape: tuple[int, ...],
    where: str,
    dt: float,
    method: Method,
    allow: Collection[str],
) -> Emitted:
    """Return a population as nodes.

    Args:
      dynamics: the neuron.
      numbers: its coefficients by name, numbers or arrays that broadcast to the features.
      shape: shape of the features, channels last.
      where: the layer, for errors.
      dt: step in seconds for which time constants are written.
      method: method for which they are written.
      allow: what may be left to metadata.

    Raises:
      NIRError: NIR cannot say it.
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
    leaves = _leaves(rule, "v_min" in values, away)
    _check_allowed(leaves, where, allow)
    old = rule.entry == "old"
    late = rule.emit == "old" and fires
    if late:
        recurrent_lag = int(rule.recurrent_lag) + old
    else:
        recurrent_lag = 2 * old
    return Emitted(
        kind,
        fields,
        metadata,
        gain,
        leaves,
        threshold,
        int(old),
        int(late),
        recurrent_lag,
        synapses,
    )


_SAID = {
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
"""Fields that nodes or their metadata say; a field that is not among them is refused."""


def _check_rule(dynamics: Dynamics, numbers: dict[str, Any], where: str) -> None:
    rule = dynamics.rule
    for kind, instance in (("rule", rule), ("dynamics", dynamics)):
        for field in dataclasses.fields(instance):
            value = getattr(instance, field.name)
            if field.name not in _SAID[kind] and value != field.default:
                raise fail(
                    where,
                    "a neuron of which all is known how to write it",
                    f"{field.name}={value!r}",
                    f"set {field.name} to {field.default!r}",
                )
    if rule.fire != "none" and rule.reset == "none" and rule.fire != ">":
        raise fail(where, "fire='>' where there is no reset", repr(rule.fire), "use fire='>'")
    if rule.entry == "jump" and numbers["c_old"] != numbers["c_x"]:
        raise fail(where, "one gain for synaptic current and input", "two")


def _leaves(rule: Rule, bounded: bool, away: bool) -> tuple[str, ...]:
    """Return what of a neuron NIR cannot say."""
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


def _check_allowed(leaves: tuple[str, ...], where: str, allow: Collection[str]) -> None:
    needed = tuple(name for name in leaves if name not in allow)
    if needed:
        words = ", ".join(LEAVES[name] for name in needed)
        extra = " (or allow_soft_reset=True)" if needed == ("soft_reset",) else ""
        raise NIRError(
            f"{where}: expected a neuron that NIR can say, got {words}; pass"
            f" allow={needed!r}{extra} to write it into the metadata, which flax_snn reads"
            " and others leave out: the network then computes something else there"
        )


def _fields(
    dynamics: Dynamics,
    values: dict[str, np.ndarray],
    where: str,
    dt: float,
    method: Method,
    fires: bool,
) -> tuple[str, dict[str, np.ndarray], np.ndarray]:
    """Return node type, parameters and the gain of the input."""
    rule, decay = dynamics.rule, values["alpha"]
    synapse = rule.all_channels == 1
    entry = rule.entry if synapse or rule.entry == "jump" else "direct"
    gain = values[{"direct": "c_x", "jump": "c_x", "old": "c_old", "new": "c_new"}[entry]]
    if (gain <= 0).any():
        raise fail(
            where, "a gain of the input above 0", f"{gain.min():g}", "turn the weights round"
        )
    fire = {"v_threshold": values["theta"], "v_reset": values["v_reset"]} if fires else {}
    if (decay == 1.0).all() and not synapse:
        if (values["bias"] != 0).any():
            raise fail(where, "no bias current in a neuron without a leak", "one", "use use_bias")
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
    """Return each synaptic current as the potential of an LI that is added to the membrane."""
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
    """Return the time constants that this method turns into these decays."""
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
    known = getattr(dynamics.parameters, name, None)
    if isinstance(known, float):
        same = np.full(decay.shape, known)
        guess = np.where(again(same) == decay, same, guess)
    return _exact(guess, again, decay)


def _loss(tau: np.ndarray, dt: float, method: Method) -> np.ndarray:
    """Return 1 - decay, as it is computed when the file is read."""
    how = Discretization("euler" if method == "euler" else "exponential", "unit", "leak")
    numbers = discretize(Rule(discretization=how), LIFParameters(tau_mem=tau), dt)
    return np.asarray(vars(numbers)["c_x"])


def _exact(
    guess: np.ndarray, forward: Callable[[np.ndarray], np.ndarray], target: np.ndarray
) -> np.ndarray:
    """Return the values next to a guess that give exactly the target, where there are any."""
    best, up, down = np.array(guess), np.array(guess), np.array(guess)
    for _ in range(16):
        missed = forward(best) != target
        if not missed.any():
            break
        up, down = np.nextafter(up, np.inf), np.nextafter(down, -np.inf)
        for tried in (up, down):
            best = np.where(missed & (forward(tried) == target), tried, best)
    return best
