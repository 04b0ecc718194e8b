"""Neurons of SpikingJelly (version 2.0.0), whose time constants are in steps."""

from __future__ import annotations

from flax_snn import checks
from flax_snn.conventions.decays import decay, seconds_from_steps
from flax_snn.conventions.peer_surrogates import PeerSurrogate, surrogate_of
from flax_snn.dynamics import (
    Coefficients,
    Discretization,
    LIDynamics,
    LIFDynamics,
    LIFParameters,
    Rule,
)
from flax_snn.dynamics.rule import MembraneGain
from flax_snn.surrogate import sigmoid


def spikingjelly_lif(
    tau: float = 2.0,
    decay_input: bool = True,
    v_threshold: float = 1.0,
    v_reset: float | None = 0.0,
    detach_reset: bool = False,
    surrogate: PeerSurrogate = None,
    *,
    dt: float = 1e-3,
) -> LIFDynamics:
    """Builds ``LIFNode`` of SpikingJelly: ``v <- v + (x - (v - v_reset)) / tau``.

    Without ``decay_input``: ``v <- v - (v - v_reset) / tau + x``. v_reset is also the resting
    potential and that before the first step. Spikes where ``v >= v_threshold``.

    Args:
      tau: membrane time constant in steps, above 1.
      decay_input: whether the input is divided by tau.
      v_threshold: threshold.
      v_reset: reset and resting potential; ``None``: subtract the threshold, rest at 0.
      detach_reset: stop the gradient through the spike in the reset.
      surrogate: ``("sigmoid", {"alpha": 4.0})``, ``("atan", {"alpha": 2.0})`` or a `Surrogate`;
        sigmoid with alpha 4 if not given.
      dt: length of a step in seconds, which SpikingJelly does not have.

    Raises:
      ValueError: tau not above 1.
    """
    gain: MembraneGain = "leak" if checks.boolean("decay_input", decay_input) else "unit"
    rule = Rule(
        discretization=Discretization("euler", "unit", gain),
        fire=">=",
        reset="soft" if v_reset is None else "hard",
        reset_gradient="stop" if checks.boolean("detach_reset", detach_reset) else "flow",
    )
    level = 0.0 if v_reset is None else v_reset
    parameters = LIFParameters(
        tau_mem=seconds_from_steps("tau", tau, dt, above=1.0),
        threshold=v_threshold,
        v_rest=level,
        v_reset=level,
    )
    chosen = surrogate_of(surrogate, sigmoid(4.0))
    return LIFDynamics.from_parts(parameters, dt, rule, surrogate=chosen)


def spikingjelly_cuba(
    c_decay: float = 0.5,
    v_decay: float = 0.75,
    v_threshold: float = 0.5,
    v_reset: float | None = 0.0,
    surrogate: PeerSurrogate = None,
    *,
    dt: float = 1e-3,
) -> LIFDynamics:
    """Builds ``CUBALIFNode`` of SpikingJelly: ``i <- c_decay i + x``, ``v <- v_decay v + i``.

    Args:
      c_decay: decay of the synaptic current per step.
      v_decay: decay of the membrane per step.
      v_threshold: threshold.
      v_reset: reset potential; ``None``: subtract the threshold.
      surrogate: as in `spikingjelly_lif`; sigmoid with alpha 4 if not given (SpikingJelly's own
        default is a rectangle).
      dt: length of a step in seconds, which SpikingJelly does not have.

    Raises:
      ValueError: a decay outside 0..1.
    """
    rule = Rule(
        discretization=Discretization("exponential", "unit", "unit"),
        entry="new",
        channels=1,
        fire=">=",
        reset="soft" if v_reset is None else "hard",
        reset_gradient="flow",
    )
    coefficients = Coefficients(
        alpha=decay("v_decay", v_decay),
        theta=checks.number("v_threshold", v_threshold),
        beta=decay("c_decay", c_decay),
        g=1.0,
        c_new=1.0,
        v_reset=0.0 if v_reset is None else checks.number("v_reset", v_reset),
    )
    chosen = surrogate_of(surrogate, sigmoid(4.0))
    start = 0.0 if v_reset is None else v_reset
    return LIFDynamics.from_coefficients(
        coefficients, dt=dt, rule=rule, surrogate=chosen, v_init=start
    )


def spikingjelly_li(tau: float = 2.0, *, dt: float = 1e-3) -> LIDynamics:
    """Builds ``NonSpikingLIFNode`` of SpikingJelly: ``v <- v + (x - v) / tau``.

    SpikingJelly restarts it from 0 in each call; here the carry decides.

    Args:
      tau: time constant in steps, above 1.
      dt: length of a step in seconds, which SpikingJelly does not have.

    Raises:
      ValueError: tau not above 1.
    """
    rule = Rule(discretization=Discretization("euler", "unit", "leak"), fire="none", reset="none")
    return LIDynamics.from_parts(
        LIFParameters(tau_mem=seconds_from_steps("tau", tau, dt, above=1.0)), dt, rule
    )
