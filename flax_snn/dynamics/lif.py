"""The neurons that users make: leaky integrate-and-fire, and leaky integrator."""

from __future__ import annotations

import dataclasses

from flax_snn.dynamics.base import Dynamics
from flax_snn.dynamics.parameters import LIFParameters, checked, number, steps_of
from flax_snn.dynamics.rule import (
    Discretization,
    Emit,
    FireTest,
    Reset,
    ResetGradient,
    ResetSite,
    ResetTime,
    Rule,
    discretization_of,
)
from flax_snn.dynamics.validity import check_reset_potential
from flax_snn.surrogate import Surrogate, superspike


@dataclasses.dataclass(frozen=True, init=False)
class LIFDynamics(Dynamics):
    """A leaky integrate-and-fire neuron in discrete time.

    The default is the exact solution of the membrane equation for a current that is constant over
    the step (without a synapse), or for the exponential synaptic current (with one); it spikes
    where the new membrane is above threshold and is reset in the same step. With the defaults

        v <- alpha v + (1 - alpha) x,    s = v > threshold,    v <- (1 - s) v + s v_reset
        alpha = exp(-dt / tau_mem)

    >>> import flax_snn as snn
    >>> lif = snn.LIFDynamics(tau_mem=20e-3, tau_syn=5e-3, dt=1e-3)
    >>> print(lif.describe())  # doctest: +NORMALIZE_WHITESPACE
    LIFDynamics, step of 0.001 s
      i_new = 0.818731 i + x
      v_int = 0.951229 v + 0.0441662 i
      s     = v_int > 1
      v_new = (1 - s) v_int   (gradient through s stopped)

    Args:
      tau_mem: membrane time constant in seconds.
      tau_syn: synaptic time constant in seconds; a tuple makes that many synaptic channels per
        neuron; ``None`` (default) lets the input act on the membrane directly.
      dt: length of a time step in seconds.
      threshold: membrane potential at which the neuron spikes.
      v_rest: membrane potential without input.
      v_reset: membrane potential after a hard reset and during the refractory period.
      reset: ``hard`` to v_reset, ``soft`` subtract the threshold, ``none``.
      refractory: time in seconds for which the membrane stays at v_reset after the step of the
        spike: a whole number of steps. Input still reaches the synapses.
      discretization: ``exact``, ``exponential`` (exact decays, gain 1 - alpha), ``euler``, or a
        `Discretization`.
      tau_syn_rec: time constant in seconds of a separate synaptic current for recurrent input.
      resistance: membrane potential per unit of current.
      bias: constant input current.
      fire: ``>`` (default) or ``>=`` threshold; ``half``: half a spike at equality; ``floor``:
        several spikes per step.
      max_spikes: most spikes in a step with ``fire="floor"``; ``None`` for no bound.
      emit: ``new`` (default): spikes of this step's membrane; ``old``: of the entering membrane.
      reset_time: ``same`` (default), ``next`` or ``give-back``.
      reset_site: for resets in the next step: on the ``state`` (default) or on the ``sum``.
      reset_gradient: ``stop`` (default), ``flow``, ``stop_if_recurrent``, ``spike_only``.
      recurrent_lag: with ``emit="old"``, recurrent input from the spikes one step earlier.
      v_min: lower bound of the membrane; ``None`` for none.
      noise_std: standard deviation of the Gaussian noise added to the membrane in each step
        before the fire test (for a diffusion sigma per square root of second: sigma sqrt(dt)).
      v_init: membrane potential before the first step, a number or one per neuron; v_rest if
        not given.
      surrogate: surrogate derivative of cells that are given none; superspike(10) by default.

    Raises:
      TypeError: a value that is not a number; an unknown argument.
      ValueError: a value outside its range; a refractory period that is not a whole number of
        steps; dt not below every time constant under Euler; switches that contradict each other.

    Reference: Gerstner, Kistler, Naud, Paninski, *Neuronal Dynamics*, 2014, chapter 1.
    """

    spikes = True

    def __init__(
        self,
        tau_mem: float = 20e-3,
        tau_syn: float | tuple[float, ...] | None = None,
        dt: float = 1e-3,
        threshold: float = 1.0,
        v_rest: float = 0.0,
        v_reset: float = 0.0,
        reset: Reset = "hard",
        refractory: float = 0.0,
        discretization: str | Discretization = "exact",
        *,
        tau_syn_rec: float | None = None,
        resistance: float = 1.0,
        bias: float = 0.0,
        fire: FireTest = ">",
        max_spikes: int | None = None,
        emit: Emit = "new",
        reset_time: ResetTime = "same",
        reset_site: ResetSite = "state",
        reset_gradient: ResetGradient = "stop",
        recurrent_lag: bool = False,
        v_min: float | None = None,
        noise_std: float = 0.0,
        v_init: float | tuple[float, ...] | None = None,
        surrogate: Surrogate | None = None,
    ) -> None:
        parameters = checked(
            LIFParameters(
                tau_mem=tau_mem,
                tau_syn=tau_syn,
                tau_syn_rec=tau_syn_rec,
                threshold=threshold,
                v_rest=v_rest,
                v_reset=v_reset,
                refractory=refractory,
                resistance=resistance,
                bias=bias,
            )
        )
        dt = number("dt", dt, above=0.0, unit="seconds")
        if fire == "none":
            raise ValueError("fire: expected a neuron that spikes, got 'none'; use LIDynamics")
        _check_v_reset(parameters, reset, fire)
        rule = Rule(
            discretization=discretization_of(discretization),
            channels=_channel_count(parameters),
            entry="direct" if parameters.tau_syn is None else "old",
            recurrent_channel=tau_syn_rec is not None,
            fire=fire,
            max_spikes=max_spikes,
            emit=emit,
            reset=reset,
            reset_time=reset_time,
            reset_site=reset_site,
            reset_gradient=reset_gradient,
            recurrent_lag=recurrent_lag,
            hold=steps_of(parameters.refractory, dt),
        )
        self._set(
            parameters=parameters,
            dt=dt,
            rule=rule,
            surrogate=surrogate or superspike(),
            v_min=v_min,
            noise_std=noise_std,
            v_init=parameters.v_rest if v_init is None else v_init,
        )


@dataclasses.dataclass(frozen=True, init=False)
class LIDynamics(Dynamics):
    """A leaky integrator: a membrane that never spikes. Its output is its potential.

    With the defaults ``v <- alpha v + (1 - alpha) x``, ``alpha = exp(-dt / tau_mem)``.

    >>> import flax_snn as snn
    >>> print(snn.LIDynamics(tau_mem=20e-3, dt=2e-3).describe())
    LIDynamics, step of 0.002 s
      v_new = 0.904837 v + 0.0951626 x

    Args:
      tau_mem: membrane time constant in seconds.
      tau_syn: synaptic time constant in seconds, a tuple for several channels, ``None`` for none.
      dt: length of a time step in seconds.
      v_rest: membrane potential without input.
      discretization: ``exact``, ``exponential``, ``euler``, or a `Discretization`.
      resistance: membrane potential per unit of current.
      bias: constant input current.
      v_min: lower bound of the membrane; ``None`` for none.
      noise_std: standard deviation of the Gaussian noise added in each step.
      v_init: membrane potential before the first step; v_rest if not given.

    Raises:
      TypeError: a value that is not a number; an unknown argument.
      ValueError: a value outside its range; dt not below every time constant under Euler.
    """

    spikes = False

    def __init__(
        self,
        tau_mem: float = 20e-3,
        tau_syn: float | tuple[float, ...] | None = None,
        dt: float = 1e-3,
        v_rest: float = 0.0,
        discretization: str | Discretization = "exact",
        *,
        resistance: float = 1.0,
        bias: float = 0.0,
        v_min: float | None = None,
        noise_std: float = 0.0,
        v_init: float | tuple[float, ...] | None = None,
    ) -> None:
        parameters = checked(
            LIFParameters(
                tau_mem=tau_mem, tau_syn=tau_syn, v_rest=v_rest, resistance=resistance, bias=bias
            )
        )
        rule = Rule(
            discretization=discretization_of(discretization),
            channels=_channel_count(parameters),
            entry="direct" if parameters.tau_syn is None else "old",
            fire="none",
            reset="none",
        )
        self._set(
            parameters=parameters,
            dt=number("dt", dt, above=0.0, unit="seconds"),
            rule=rule,
            v_min=v_min,
            noise_std=noise_std,
            v_init=parameters.v_rest if v_init is None else v_init,
        )


def _check_v_reset(parameters: LIFParameters, reset: Reset, fire: FireTest) -> None:
    check_reset_potential(parameters, reset, fire)
    goes_there = reset == "hard" or parameters.refractory > 0.0
    if not goes_there and parameters.v_reset != 0.0:
        raise ValueError(
            f"v_reset: reset={reset!r} has no reset potential, got {parameters.v_reset!r}; use"
            " reset='hard'"
        )


def _channel_count(parameters: LIFParameters) -> int:
    return len(parameters.synapses) - (parameters.tau_syn_rec is not None)
