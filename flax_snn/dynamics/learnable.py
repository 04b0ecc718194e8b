"""Which values of integrate-and-fire neurons may be learned, and in which domain.

The domain is what `flax_snn.dynamics.validity` accepts: time constants above the step under Euler,
a threshold above the reset potential and the lower bound, a reset potential below the threshold.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from flax_snn.dynamics.domain import Learnable, positive, real, time_constant
from flax_snn.dynamics.rule import Rule

if TYPE_CHECKING:
    from flax_snn.dynamics.base import Dynamics

NAMES = (
    *("tau_mem", "tau_syn", "tau_syn_rec", "resistance", "threshold"),
    *("v_rest", "v_reset", "bias"),
)
"""All that may be learned of integrate-and-fire neurons."""


def learnable_of(dynamics: Dynamics, learn: Collection[str] = ()) -> dict[str, Learnable]:
    """Returns what may be learned of these dynamics, by name.

    Args:
      dynamics: the neuron; one that is given as coefficients without time constants has nothing.
      learn: names that are learned together. Where the reset potential is learned too, it follows
        the threshold, and else the threshold stays above it.

    Returns:
      The values in the order in which they are learned: the threshold before what depends on it.
    """
    p, rule, dt = dynamics.parameters, dynamics.rule, dynamics.dt
    if p is None or rule.discretization is None:
        return {}
    euler = rule.discretization.decay == "euler"
    found = {"tau_mem": time_constant(p.tau_mem, dt, euler=euler)}
    for name in ("tau_syn", "tau_syn_rec"):
        if getattr(p, name) is not None:
            found[name] = time_constant(getattr(p, name), dt, euler=euler)
    found["resistance"] = positive(p.resistance)
    if rule.fire != "none":
        floors = [] if dynamics.v_min is None else [dynamics.v_min]
        if rule.uses_v_reset() and "v_reset" not in learn:
            floors.append(p.v_reset)
        if dynamics.surrogate.above is not None:
            floors.append(dynamics.surrogate.above)
        if p.threshold > 0.0:
            found["threshold"] = _threshold(p.threshold, max(floors, default=0.0))
    found["v_rest"] = real(p.v_rest)
    if rule.uses_v_reset() and not _resets_to_zero_only(rule):
        found["v_reset"] = real(p.v_reset, below="threshold")
    found["bias"] = real(p.bias)
    return found


def why_not_learnable(dynamics: Dynamics, name: str) -> str:
    """Returns the reason why a name is not among `learnable_of`."""
    p = dynamics.parameters
    if name not in NAMES:
        return f"expected names among {', '.join(NAMES)}, got {name!r}"
    if p is None or dynamics.rule.discretization is None:
        return (
            "these dynamics are given as coefficients that no set of time constants reproduces; use"
            " dynamics with time constants"
        )
    if name == "threshold" and dynamics.rule.fire != "none":
        return (
            f"learn='threshold' learns its logarithm and needs a threshold > 0, got {p.threshold!r}"
        )
    if name == "v_reset" and dynamics.rule.uses_v_reset():
        return "a reset that is given back goes to 0 only, so its potential is not learned"
    return f"these dynamics have no {name}"


def _threshold(value: float, floor: float) -> Learnable:
    if value == floor:  # a strict test at the reset potential itself does not fire
        return Learnable(value, log=True, lower=value, upper=1e6 * value)
    return positive(value, lower=max(floor, 0.0))


def _resets_to_zero_only(rule: Rule) -> bool:
    return rule.reset_time == "give-back" and rule.reset == "hard"
