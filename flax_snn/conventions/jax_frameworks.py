"""Neurons of jaxpike (version 0.1.4), Slax (0.0.1), jaxsnn (0.3.0) and BrainPy (2.9.0)."""

from __future__ import annotations

import math

import numpy as np

from flax_snn import checks
from flax_snn.conventions.peer_surrogates import PeerSurrogate, surrogate_of
from flax_snn.dynamics import (
    Coefficients,
    Discretization,
    LIDynamics,
    LIFDynamics,
    LIFParameters,
    Rule,
)
from flax_snn.surrogate import relu_grad, superspike

_DECAYS = Discretization("exponential", "unit", "unit")
_LEAK = Discretization("exponential", "unit", "leak")


def jaxpike_lif(
    tau: float = 20.0,
    dt: float = 1.0,
    threshold: float = 1.0,
    reset: str = "subtract",
    surrogate: PeerSurrogate = None,
) -> LIFDynamics:
    """Builds ``LIF`` of jaxpike: ``v <- alpha v + (1 - alpha) x``, ``alpha = exp(-dt / tau)``.

    Args:
      tau: membrane time constant in the unit of ``dt``.
      dt: length of a step; taken as milliseconds, as jaxpike itself does on export.
      threshold: threshold.
      reset: ``subtract`` or ``zero``, in the same step; the gradient flows through both.
      surrogate: ``("fast_sigmoid", {"slope": 25.0})``, ``("atan", {"alpha": 2.0})`` or a
        `Surrogate`; the first if not given.

    Raises:
      ValueError: a time that is not above 0, unknown reset.
    """
    checks.choice("reset", reset, ("subtract", "zero"))
    rule = Rule(
        discretization=_LEAK, reset="soft" if reset == "subtract" else "hard", reset_gradient="flow"
    )
    parameters = LIFParameters(tau_mem=_seconds("tau", tau), threshold=threshold)
    chosen = surrogate_of(surrogate, superspike(25.0))
    return LIFDynamics.from_parts(parameters, _seconds("dt", dt), rule, surrogate=chosen)


def jaxpike_li(tau: float = 20.0, dt: float = 1.0) -> LIDynamics:
    """Builds ``LeakyIntegrator`` of jaxpike: ``v <- alpha v + (1 - alpha) x``.

    Args:
      tau: time constant in the unit of ``dt``.
      dt: length of a step; taken as milliseconds, as jaxpike itself does on export.

    Raises:
      ValueError: a time that is not above 0.
    """
    rule = Rule(discretization=_LEAK, fire="none", reset="none")
    parameters = LIFParameters(tau_mem=_seconds("tau", tau))
    return LIDynamics.from_parts(parameters, _seconds("dt", dt), rule)


def slax_lif(
    init_tau: float = 2.0,
    v_threshold: float = 1.0,
    v_reset: float = 0.0,
    subtraction_reset: bool = True,
    surrogate: PeerSurrogate = None,
    *,
    dt: float = 1e-3,
) -> LIFDynamics:
    """Builds ``LIF`` of Slax: ``v <- sigmoid(init_tau) v + x``, spikes where ``v >= v_threshold``.

    With a float32 state the decay is the float32 sigmoid, one unit in the last place off, as in
    Slax.

    The ``LeakyIntegrator`` of Slax 0.0.1 never writes its state back and has no row here.

    Args:
      init_tau: logit of the decay per step.
      v_threshold: threshold.
      v_reset: reset potential where ``subtraction_reset`` is False; Slax ignores it otherwise.
      subtraction_reset: subtract the threshold instead of a reset to v_reset.
      surrogate: ``("fast_sigmoid", {"slope": 25.0})`` or a `Surrogate`; that if not given.
      dt: length of a step in seconds, which Slax does not have.

    Raises:
      ValueError: a number that is not finite.
    """
    soft = checks.boolean("subtraction_reset", subtraction_reset)
    rule = Rule(
        discretization=_DECAYS,
        fire=">=",
        reset="soft" if soft else "hard",
        reset_gradient="flow",
    )
    level, logit = checks.number("v_reset", v_reset), checks.number("init_tau", init_tau)
    single = np.float32(1.0) / (np.float32(1.0) + np.exp(-np.float32(logit)))
    coefficients = Coefficients(
        alpha=1.0 / (1.0 + math.exp(-logit)),
        theta=checks.number("v_threshold", v_threshold),
        c_x=1.0,
        v_reset=0.0 if soft else level,
    )
    chosen = surrogate_of(surrogate, superspike(25.0))
    return LIFDynamics.from_coefficients(
        coefficients,
        dt=dt,
        rule=rule,
        surrogate=chosen,
        given_float32=coefficients.replace(alpha=float(single)),  # type: ignore[attr-defined]
    )


def jaxsnn_lif(
    tau_syn: float = 5e-3,
    tau_mem: float = 10e-3,
    v_th: float = 0.6,
    v_leak: float = 0.0,
    v_reset: float = 0.0,
    dt: float = 1e-3,
) -> LIFDynamics:
    """Builds the discrete LIF neuron of jaxsnn: Euler steps, half a spike exactly at threshold.

        v <- v + dt/tau_mem (v_leak - v + i),   i <- i (1 - dt/tau_syn) + x

    The current is read before its update. jaxsnn's event-driven neurons are not this one.

    Args:
      tau_syn: synaptic time constant in seconds.
      tau_mem: membrane time constant in seconds.
      v_th: threshold.
      v_leak: resting potential, also that before the first step.
      v_reset: reset potential.
      dt: length of a step in seconds.

    Raises:
      ValueError: dt not below a time constant.
    """
    rule = Rule(
        discretization=Discretization("euler", "unit", "leak"),
        entry="old",
        channels=1,
        fire="half",
        reset_gradient="flow",
    )
    parameters = LIFParameters(
        tau_mem=tau_mem, tau_syn=tau_syn, threshold=v_th, v_rest=v_leak, v_reset=v_reset
    )
    return LIFDynamics.from_parts(parameters, dt, rule, surrogate=superspike(80.0))


def jaxsnn_li(
    tau_syn: float = 5e-3, tau_mem: float = 10e-3, v_leak: float = 0.0, dt: float = 1e-3
) -> LIDynamics:
    """Builds the discrete leaky integrator of jaxsnn, which updates in another order than its LIF.

        i_jump = i + x,   v <- v + dt/tau_mem (v_leak - v + i_jump),   i <- i_jump (1 - dt/tau_syn)

    Args:
      tau_syn: synaptic time constant in seconds.
      tau_mem: membrane time constant in seconds.
      v_leak: resting potential, also that before the first step.
      dt: length of a step in seconds.

    Raises:
      ValueError: dt not below a time constant.
    """
    rule = Rule(
        discretization=Discretization("euler", "decay", "leak"),
        entry="jump",
        channels=1,
        fire="none",
        reset="none",
    )
    parameters = LIFParameters(tau_mem=tau_mem, tau_syn=tau_syn, v_rest=v_leak)
    return LIDynamics.from_parts(parameters, dt, rule)


def brainpy_lif(
    tau_ms: float = 5.0,
    dt_ms: float = 1.0,
    R: float = 1.0,  # noqa: N803
    V_th: float = 1.0,  # noqa: N803
    V_reset: float = 0.0,  # noqa: N803
    V_rest: float = 0.0,  # noqa: N803
    spk_reset: str = "soft",
    surrogate: PeerSurrogate = None,
) -> LIFDynamics:
    """Builds ``state.LIF`` of BrainPy: exact step, reset of the entering membrane.

        v <- alpha v + (1 - alpha) (V_rest + R x),   spikes where v >= V_th

    ``soft`` subtracts V_th - V_reset, ``hard`` sets V_reset; a hard reset passes gradient through
    the spike only, while the membrane keeps its own.

    Args:
      tau_ms: membrane time constant in milliseconds.
      dt_ms: length of a step in milliseconds.
      R: membrane resistance.
      V_th: threshold.
      V_reset: reset potential.
      V_rest: resting potential, also that before the first step.
      spk_reset: ``soft`` or ``hard``.
      surrogate: ``("relu_grad", {"alpha": 0.3, "width": 1.0})`` or a `Surrogate`; that if not
        given. Its width is in units of V_th - V_reset.

    Raises:
      ValueError: a time that is not above 0, unknown reset.
    """
    hard = checks.choice("spk_reset", spk_reset, ("soft", "hard")) == "hard"
    rule = Rule(
        discretization=_LEAK,
        fire=">=",
        reset="hard" if hard else "soft",
        reset_time="next",
        reset_site="state",
        reset_gradient="spike_only" if hard else "flow",
        reset_span=not hard,
    )
    parameters = LIFParameters(
        tau_mem=_seconds("tau_ms", tau_ms),
        threshold=V_th,
        v_rest=V_rest,
        v_reset=V_reset,
        resistance=R,
    )
    level = checks.number("V_reset", V_reset)
    chosen = surrogate_of(surrogate, relu_grad(0.3, 1.0, level), v_reset=level)
    return LIFDynamics.from_parts(parameters, _seconds("dt_ms", dt_ms), rule, surrogate=chosen)


def _seconds(name: str, milliseconds: float) -> float:
    return checks.positive(name, milliseconds, unit="milliseconds") * 1e-3
