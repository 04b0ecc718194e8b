"""Neurons of publications, not of frameworks: a tutorial, Zenke and co-authors, two simulations.

Equations and traces: the sources named in each docstring, run as printed.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from flax_snn import checks
from flax_snn.conventions.decays import decay
from flax_snn.dynamics import (
    Coefficients,
    Discretization,
    LIDynamics,
    LIFDynamics,
    LIFParameters,
    Rule,
)
from flax_snn.dynamics.rule import MembraneGain
from flax_snn.surrogate import superspike


def tutorial(
    alpha: float = 0.95,
    beta: float = 0.9,
    beta_rec: float = 0.85,
    input_gain: float = 20.0,
    theta: float = 1.0,
    slope: float = 10.0,
    *,
    dt: float = 1e-3,
) -> LIFDynamics:
    """Builds the neuron of the pure-JAX tutorial on rate-coded spiking networks.

        i   <- beta i + (1 - beta) x
        i_r <- beta_rec i_r + (1 - beta_rec) s_prev W
        v   <- alpha (1 - r) v + (1 - alpha) (input_gain i + i_r),   r = v > theta, detached
        s    = v > theta

    There are two synaptic currents, one of feed-forward and one of recurrent input, both read
    before their update; the reset is detached.
    Because of the gain on one of them no single set of time constants stands behind the
    coefficients: learnable time constants are refused.

    Args:
      alpha: decay of the membrane per step.
      beta: decay of the feed-forward current per step.
      beta_rec: decay of the recurrent current per step.
      input_gain: factor of the feed-forward current.
      theta: threshold.
      slope: slope of the SuperSpike surrogate.
      dt: length of a step in seconds.

    Raises:
      ValueError: a decay outside 0..1, or a value that is not finite.
    """
    a, b, b_r = decay("alpha", alpha), decay("beta", beta), decay("beta_rec", beta_rec)
    rule = Rule(
        entry="old", channels=1, recurrent_channel=True, reset_time="next", reset_site="state"
    )
    coefficients = Coefficients(
        alpha=a,
        theta=checks.number("theta", theta),
        beta=(b, b_r),
        g=(1.0 - b, 1.0 - b_r),
        c_old=((1.0 - a) * checks.number("input_gain", input_gain), 1.0 - a),
        v_reset=0.0,
    )
    return LIFDynamics.from_coefficients(
        coefficients, dt=dt, rule=rule, surrogate=superspike(slope)
    )


def zenke(
    tau_mem: float = 10e-3,
    tau_syn: float = 5e-3,
    dt: float = 1e-3,
    slope: float = 20.0,
    unit_gain: bool = False,
    rec_lag: bool = False,
) -> LIFDynamics:
    """Builds the neuron of Zenke & Ganguli 2018 and Zenke & Vogels 2021; of SpyTorch and Stork.

        i <- beta i + x + q W
        v <- (1 - r) (alpha v + (1 - alpha) i),   s = r = v > 1 before the step, detached

    The current is read before its update, the spikes are those of the entering membrane, the
    whole update is gated by the reset. Threshold 1.

    Args:
      tau_mem: membrane time constant in seconds.
      tau_syn: synaptic time constant in seconds.
      dt: length of a step in seconds.
      slope: slope of the SuperSpike surrogate; 20 in Stork, 100 in SpyTorch.
      unit_gain: current enters with gain 1 (SpyTorch) instead of 1 - alpha (published).
      rec_lag: recurrent input from the spikes returned one step earlier (SpyTorch, Stork) instead
        of those of this step (published).

    Raises:
      ValueError: a time constant that is not above 0.
    """
    gain: MembraneGain = "unit" if checks.boolean("unit_gain", unit_gain) else "leak"
    rule = Rule(
        discretization=Discretization("exponential", "unit", gain),
        entry="old",
        channels=1,
        emit="old",
        reset_time="next",
        reset_site="sum",
        recurrent_lag=checks.boolean("rec_lag", rec_lag),
    )
    parameters = LIFParameters(tau_mem=tau_mem, tau_syn=tau_syn)
    return LIFDynamics.from_parts(parameters, dt, rule, surrogate=superspike(slope))


def zenke_li(
    tau_mem: float = 10e-3, tau_syn: float = 5e-3, dt: float = 1e-3, unit_gain: bool = False
) -> LIDynamics:
    """Builds the readout of Zenke & Vogels 2021: `zenke` without threshold and reset.

    The current is read before its update, so the output comes one step late.

    Args:
      tau_mem: membrane time constant in seconds.
      tau_syn: synaptic time constant in seconds.
      dt: length of a step in seconds.
      unit_gain: current enters with gain 1 (SpyTorch) instead of 1 - alpha (published).

    Raises:
      ValueError: a time constant that is not above 0.
    """
    gain: MembraneGain = "unit" if checks.boolean("unit_gain", unit_gain) else "leak"
    rule = Rule(
        discretization=Discretization("exponential", "unit", gain),
        entry="old",
        channels=1,
        fire="none",
        reset="none",
    )
    return LIDynamics.from_parts(LIFParameters(tau_mem=tau_mem, tau_syn=tau_syn), dt, rule)


def refractory(
    tau_m: float = 10e-3,
    t_ref: float = 1e-3,
    R: float = 1.0,  # noqa: N803
    v_rest: float = 0.0,
    v_reset: float = 0.0,
    theta: float = 1.0,
    dt: float = 1e-4,
    v_init: float | None = None,
) -> LIFDynamics:
    """Builds the refractory LIF neuron of the simulations that time Python, NumPy and JAX.

        v <- v + dt/tau_m (v_rest - v + R x)
        s  = v > theta before the step; then v <- v_reset for the refractory period

    The period is ``int(t_ref / dt)`` steps after the step that resets: truncated, as in the source,
    also where floating-point division lands below the whole number. The source trains nothing;
    the surrogate is superspike(10).

    Args:
      tau_m: membrane time constant in seconds.
      t_ref: refractory period in seconds.
      R: membrane resistance.
      v_rest: resting potential.
      v_reset: reset potential.
      theta: threshold.
      dt: length of a step in seconds.
      v_init: membrane potential before the first step; v_rest if not given.

    Raises:
      ValueError: dt not below tau_m; a negative refractory period.
    """
    hold = int(checks.number("t_ref", t_ref, unit="seconds") / checks.positive("dt", dt))
    if t_ref < 0.0:
        raise ValueError(f"t_ref: expected seconds >= 0, got {t_ref!r}")
    rule = Rule(
        discretization=Discretization("euler", "unit", "leak"),
        emit="old",
        reset_time="next",
        reset_site="sum",
        hold=hold,
    )
    parameters = LIFParameters(
        tau_mem=tau_m,
        threshold=theta,
        v_rest=v_rest,
        v_reset=v_reset,
        refractory=hold * dt,
        resistance=R,
    )
    start = v_rest if v_init is None else v_init
    return LIFDynamics.from_parts(parameters, dt, rule, v_init=start)


def network(
    tau_m: float = 10.0,
    R: float = 1.0,  # noqa: N803
    v_reset: float = 0.0,
    theta: float = 1.0,
    dt: float = 1.0,
    v_init: float | Sequence[float] | np.ndarray | None = None,
) -> LIFDynamics:
    """Builds the LIF neuron of the simulation of a recurrent network given as a weight matrix.

        s = r = v >= theta;   v <- v + dt/tau_m (v_reset - v + R (x + s W));   v <- v_reset where s

    v_reset is also what the membrane leaks to. The reset drops the input of its step, recurrent
    input included. The source trains nothing; the surrogate is superspike(10).

    Args:
      tau_m: membrane time constant, in the unit of ``dt``.
      R: membrane resistance.
      v_reset: reset and resting potential.
      theta: threshold.
      dt: length of a step, in the unit of ``tau_m`` (seconds, or milliseconds as in the source).
      v_init: membrane potential before the first step, a number or one per neuron; v_reset if
        not given.

    Raises:
      ValueError: dt not below tau_m.
    """
    rule = Rule(
        discretization=Discretization("euler", "unit", "leak"),
        fire=">=",
        emit="old",
        reset_time="next",
        reset_site="sum",
    )
    parameters = LIFParameters(
        tau_mem=tau_m, threshold=theta, v_rest=v_reset, v_reset=v_reset, resistance=R
    )
    start = v_reset if v_init is None else v_init
    start = tuple(np.asarray(start, np.float64).tolist()) if np.ndim(start) == 1 else start
    return LIFDynamics.from_parts(parameters, dt, rule, v_init=start)
