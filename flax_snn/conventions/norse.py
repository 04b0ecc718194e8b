"""Neurons of Norse (version 1.1.0): Euler steps, times as inverse time constants in 1/s."""

from __future__ import annotations

from flax_snn import checks
from flax_snn.dynamics import Discretization, LIDynamics, LIFDynamics, LIFParameters, Rule
from flax_snn.surrogate import superspike

_EULER = Discretization("euler", "unit", "leak")
_EULER_JUMP = Discretization("euler", "decay", "leak")


def norse_lif(
    tau_mem_inv: float = 100.0,
    tau_syn_inv: float = 200.0,
    v_leak: float = 0.0,
    v_th: float = 1.0,
    v_reset: float = 0.0,
    alpha: float = 100.0,
    dt: float = 1e-3,
) -> LIFDynamics:
    """Builds the LIF neuron of Norse: Euler steps, the current jumps before it drives the membrane.

        i_jump = i + x,  v <- v + dt tau_mem_inv (v_leak - v + i_jump),  i <- i_jump (1 - dt tau_syn_inv)

    The gradient flows through the reset in feed-forward layers and is stopped in recurrent ones,
    as in Norse. Its recurrent weights are (post, pre), and its recurrent cells zero the diagonal.

    Args:
      tau_mem_inv: inverse membrane time constant in 1/s.
      tau_syn_inv: inverse synaptic time constant in 1/s.
      v_leak: resting potential, also that before the first step.
      v_th: threshold.
      v_reset: reset potential.
      alpha: steepness that Norse 1.1.0 accepts for its ``super`` surrogate and ignores: the
        surrogate is superspike(1) whatever it is.
      dt: length of a step in seconds.

    Raises:
      ValueError: dt not below a time constant.
    """  # noqa: E501
    checks.number("alpha", alpha)
    rule = Rule(
        discretization=_EULER_JUMP, entry="jump", channels=1, reset_gradient="stop_if_recurrent"
    )
    parameters = LIFParameters(
        tau_mem=_inverse("tau_mem_inv", tau_mem_inv),
        tau_syn=_inverse("tau_syn_inv", tau_syn_inv),
        threshold=v_th,
        v_rest=v_leak,
        v_reset=v_reset,
    )
    return LIFDynamics.from_parts(parameters, dt, rule, surrogate=superspike(1.0))


def norse_lif_box(
    tau_mem_inv: float = 100.0,
    v_leak: float = 0.0,
    v_th: float = 1.0,
    v_reset: float = 0.0,
    alpha: float = 100.0,
    reset_method: str = "value",
    dt: float = 1e-3,
) -> LIFDynamics:
    """Builds the LIF neuron of Norse without a synapse.

        v <- v + dt tau_mem_inv (v_leak - v + x)

    Args:
      tau_mem_inv: inverse membrane time constant in 1/s.
      v_leak: resting potential, also that before the first step.
      v_th: threshold.
      v_reset: reset potential of ``reset_method="value"``.
      alpha: accepted and ignored, as in Norse 1.1.0 (`norse_lif`).
      reset_method: ``value`` (to v_reset) or ``subtract`` (the threshold; Norse then ignores
        v_reset).
      dt: length of a step in seconds.

    Raises:
      ValueError: dt not below the time constant, unknown reset method.
    """
    checks.number("alpha", alpha)
    checks.choice("reset_method", reset_method, ("value", "subtract"))
    rule = Rule(
        discretization=_EULER,
        reset="hard" if reset_method == "value" else "soft",
        reset_gradient="flow",
    )
    parameters = LIFParameters(
        tau_mem=_inverse("tau_mem_inv", tau_mem_inv),
        threshold=v_th,
        v_rest=v_leak,
        v_reset=v_reset,
    )
    return LIFDynamics.from_parts(parameters, dt, rule, surrogate=superspike(1.0))


def norse_li(
    tau_mem_inv: float = 100.0, tau_syn_inv: float = 200.0, v_leak: float = 0.0, dt: float = 1e-3
) -> LIDynamics:
    """Builds the leaky integrator of Norse: `norse_lif` without threshold and reset.

    Args:
      tau_mem_inv: inverse membrane time constant in 1/s.
      tau_syn_inv: inverse synaptic time constant in 1/s.
      v_leak: resting potential, also that before the first step.
      dt: length of a step in seconds.

    Raises:
      ValueError: dt not below a time constant.
    """
    rule = Rule(discretization=_EULER_JUMP, entry="jump", channels=1, fire="none", reset="none")
    parameters = LIFParameters(
        tau_mem=_inverse("tau_mem_inv", tau_mem_inv),
        tau_syn=_inverse("tau_syn_inv", tau_syn_inv),
        v_rest=v_leak,
    )
    return LIDynamics.from_parts(parameters, dt, rule)


def norse_li_box(tau_mem_inv: float = 100.0, v_leak: float = 0.0, dt: float = 1e-3) -> LIDynamics:
    """Builds the leaky integrator of Norse without a synapse.

    Args:
      tau_mem_inv: inverse membrane time constant in 1/s.
      v_leak: resting potential, also that before the first step.
      dt: length of a step in seconds.

    Raises:
      ValueError: dt not below the time constant.
    """
    rule = Rule(discretization=_EULER, fire="none", reset="none")
    parameters = LIFParameters(tau_mem=_inverse("tau_mem_inv", tau_mem_inv), v_rest=v_leak)
    return LIDynamics.from_parts(parameters, dt, rule)


def _inverse(name: str, value: float) -> float:
    return 1.0 / checks.positive(name, value, unit="1/s")
