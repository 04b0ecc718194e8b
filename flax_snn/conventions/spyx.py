"""Neurons of Spyx (version 1.0.0), whose ``beta`` is the decay of the membrane."""

from __future__ import annotations

from flax_snn import checks
from flax_snn.conventions.decays import decay
from flax_snn.conventions.peer_surrogates import PeerSurrogate, surrogate_of
from flax_snn.dynamics import Coefficients, Discretization, LIDynamics, LIFDynamics, Rule
from flax_snn.surrogate import superspike

_DECAYS = Discretization("exponential", "unit", "unit")


def spyx_lif(
    beta: float,
    threshold: float = 1.0,
    surrogate: PeerSurrogate = None,
    *,
    dt: float = 1e-3,
) -> LIFDynamics:
    """Builds ``LIF`` of Spyx: ``s = v > threshold``, then ``v <- beta v + x - s threshold``.

    The spikes are those of the entering membrane, one step later than in snnTorch.

    Args:
      beta: decay of the membrane per step; Spyx draws one per neuron around 0.5.
      threshold: threshold.
      surrogate: ``("superspike", {"k": 25})`` or a `Surrogate`; that if not given.
      dt: length of a step in seconds, which Spyx does not have.

    Raises:
      ValueError: beta outside 0..1 (Spyx clips it).
    """
    rule = Rule(
        discretization=_DECAYS,
        emit="old",
        reset="soft",
        reset_time="next",
        reset_site="sum",
        reset_gradient="flow",
    )
    coefficients = Coefficients(
        alpha=decay("beta", beta), theta=checks.number("threshold", threshold), c_x=1.0
    )
    chosen = surrogate_of(surrogate, superspike(25.0))
    return LIFDynamics.from_coefficients(coefficients, dt=dt, rule=rule, surrogate=chosen)


def spyx_rlif(
    beta: float,
    threshold: float = 1.0,
    surrogate: PeerSurrogate = None,
    *,
    dt: float = 1e-3,
) -> LIFDynamics:
    """Builds ``RLIF`` of Spyx: `spyx_lif` for a recurrent cell.

    The recurrent input comes from the spikes emitted in this very step; weights are (pre, post).

    Args:
      beta: decay of the membrane per step.
      threshold: threshold.
      surrogate: as in `spyx_lif`.
      dt: length of a step in seconds, which Spyx does not have.

    Raises:
      ValueError: beta outside 0..1 (Spyx clips it).
    """
    return spyx_lif(beta, threshold, surrogate, dt=dt)


def spyx_cubalif(
    alpha: float,
    beta: float,
    threshold: float = 1.0,
    surrogate: PeerSurrogate = None,
    *,
    dt: float = 1e-3,
) -> LIFDynamics:
    """Builds ``CuBaLIF`` of Spyx: the reset acts on the entering membrane and decays with it.

        s = v > threshold,   i <- alpha i + x,   v <- beta (v - s threshold) + i

    Args:
      alpha: decay of the synaptic current per step (of the membrane nearly everywhere else).
      beta: decay of the membrane per step.
      threshold: threshold.
      surrogate: as in `spyx_lif`.
      dt: length of a step in seconds, which Spyx does not have.

    Raises:
      ValueError: a decay outside 0..1 (Spyx clips it).
    """
    rule = Rule(
        discretization=_DECAYS,
        entry="new",
        channels=1,
        emit="old",
        reset="soft",
        reset_time="next",
        reset_site="state",
        reset_gradient="flow",
    )
    coefficients = Coefficients(
        alpha=decay("beta", beta),
        theta=checks.number("threshold", threshold),
        beta=decay("alpha", alpha),
        g=1.0,
        c_new=1.0,
    )
    chosen = surrogate_of(surrogate, superspike(25.0))
    return LIFDynamics.from_coefficients(coefficients, dt=dt, rule=rule, surrogate=chosen)


def spyx_li(beta: float = 0.8, *, dt: float = 1e-3) -> LIDynamics:
    """Builds ``LI`` of Spyx: ``v <- beta v + x``.

    Args:
      beta: decay per step.
      dt: length of a step in seconds, which Spyx does not have.

    Raises:
      ValueError: beta outside 0..1 (Spyx clips it).
    """
    rule = Rule(discretization=_DECAYS, fire="none", reset="none")
    coefficients = Coefficients(alpha=decay("beta", beta), c_x=1.0)
    return LIDynamics.from_coefficients(coefficients, dt=dt, rule=rule)
