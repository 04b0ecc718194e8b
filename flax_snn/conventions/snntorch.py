"""Neurons of snnTorch (version 1.0.0), whose ``beta`` is the decay of the membrane."""

from __future__ import annotations

import dataclasses

from flax_snn import checks
from flax_snn.conventions.decays import decay
from flax_snn.conventions.peer_surrogates import PeerSurrogate, surrogate_of
from flax_snn.dynamics import Coefficients, Discretization, LIFDynamics, Rule
from flax_snn.dynamics.rule import Reset, ResetSite
from flax_snn.surrogate import arctan

_DECAYS = Discretization("exponential", "unit", "unit")
_RESETS: dict[str, Reset] = {"subtract": "soft", "zero": "hard", "none": "none"}


def snntorch_leaky(
    beta: float,
    threshold: float = 1.0,
    reset_mechanism: str = "subtract",
    reset_delay: bool = True,
    surrogate: PeerSurrogate = None,
    *,
    dt: float = 1e-3,
) -> LIFDynamics:
    """Builds ``Leaky`` of snnTorch: ``v <- beta v + x``, spikes where ``v > threshold``.

    With ``reset_delay`` the reset comes in the next step: subtraction from the finished sum, zero
    on the entering membrane (the new input is kept). Without it snnTorch applies the delayed reset
    and hands it back where no spike follows: a membrane left above threshold may stay silent.
    ``inhibition`` and graded spikes do not fit the template.

    Args:
      beta: decay of the membrane per step.
      threshold: threshold.
      reset_mechanism: ``subtract``, ``zero`` or ``none`` (as a readout, ignore its spikes).
      reset_delay: reset in the next step.
      surrogate: ``("atan", {"alpha": 2.0})``, ``("fast_sigmoid", {"slope": 25.0})`` or a
        `Surrogate`; atan with alpha 2 if not given.
      dt: length of a step in seconds, which snnTorch does not have.

    Raises:
      ValueError: beta outside 0..1 (snnTorch clips it), unknown reset mechanism.
    """
    coefficients = Coefficients(alpha=decay("beta", beta), c_x=1.0)
    rule = Rule(discretization=_DECAYS)
    return _build(
        rule, coefficients, threshold, reset_mechanism, reset_delay, surrogate, dt, "state"
    )


def snntorch_rleaky(
    beta: float,
    threshold: float = 1.0,
    reset_mechanism: str = "subtract",
    reset_delay: bool = True,
    surrogate: PeerSurrogate = None,
    *,
    dt: float = 1e-3,
) -> LIFDynamics:
    """Builds ``RLeaky`` of snnTorch (dense recurrence): `snntorch_leaky` for a recurrent cell.

    Differs from it in one place: a delayed reset to zero acts on the finished sum, so the input of
    that step is lost. snnTorch keeps the recurrent weights as (post, pre): transpose them. Its
    recurrent bias is a constant recurrent input.

    Args:
      beta: decay of the membrane per step.
      threshold: threshold.
      reset_mechanism: ``subtract``, ``zero`` or ``none``.
      reset_delay: reset in the next step.
      surrogate: as in `snntorch_leaky`.
      dt: length of a step in seconds, which snnTorch does not have.

    Raises:
      ValueError: beta outside 0..1, unknown reset mechanism.
    """
    coefficients = Coefficients(alpha=decay("beta", beta), c_x=1.0)
    rule = Rule(discretization=_DECAYS)
    return _build(rule, coefficients, threshold, reset_mechanism, reset_delay, surrogate, dt, "sum")


def snntorch_synaptic(
    alpha: float,
    beta: float,
    threshold: float = 1.0,
    reset_mechanism: str = "subtract",
    reset_delay: bool = True,
    surrogate: PeerSurrogate = None,
    *,
    dt: float = 1e-3,
) -> LIFDynamics:
    """Builds ``Synaptic`` of snnTorch: ``i <- alpha i + x``, ``v <- beta v + i``.

    A delayed reset to zero acts on the finished sum: the input of that step is lost, the current
    is not.

    Args:
      alpha: decay of the synaptic current per step (of the membrane nearly everywhere else).
      beta: decay of the membrane per step.
      threshold: threshold.
      reset_mechanism: ``subtract``, ``zero`` or ``none``.
      reset_delay: reset in the next step.
      surrogate: as in `snntorch_leaky`.
      dt: length of a step in seconds, which snnTorch does not have.

    Raises:
      ValueError: a decay outside 0..1 (snnTorch clips it), unknown reset mechanism.
    """
    coefficients = Coefficients(
        alpha=decay("beta", beta), beta=decay("alpha", alpha), g=1.0, c_new=1.0
    )
    rule = Rule(discretization=_DECAYS, entry="new", channels=1)
    return _build(rule, coefficients, threshold, reset_mechanism, reset_delay, surrogate, dt, "sum")


def _build(
    rule: Rule,
    coefficients: Coefficients,
    threshold: float,
    mechanism: str,
    delay: bool,
    surrogate: PeerSurrogate,
    dt: float,
    zero_site: ResetSite,
) -> LIFDynamics:
    checks.choice("reset_mechanism", mechanism, ("subtract", "zero", "none"))
    delay = checks.boolean("reset_delay", delay)
    site: ResetSite = zero_site if mechanism == "zero" and delay else "sum"
    rule = dataclasses.replace(
        rule,
        reset=_RESETS[mechanism],
        reset_time="next" if delay else "give-back",
        reset_site=site,
        reset_gradient="stop" if delay else "flow",
    )
    coefficients = coefficients.replace(  # type: ignore[attr-defined]
        theta=checks.number("threshold", threshold)
    )
    return LIFDynamics.from_coefficients(
        coefficients, dt=dt, rule=rule, surrogate=surrogate_of(surrogate, arctan(2.0))
    )
