"""Neurons: parameters, time step and rule together, with the constructors that users call."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from flax_snn.dynamics.describe import describe
from flax_snn.dynamics.parameters import LIFParameters, checked, number
from flax_snn.dynamics.rule import (
    DISCRETIZATIONS,
    Coefficients,
    Discretization,
    FireTest,
    Rule,
    discretize,
)
from flax_snn.surrogate import Surrogate, superspike


@dataclasses.dataclass(frozen=True, init=False)
class Dynamics:
    """What a neuron does in one time step: parameters, dt and rule, or given coefficients.

    Use `LIFDynamics`, `LIDynamics` or a constructor of `flax_snn.conventions`.

    Attributes:
      parameters: physics in continuous time; ``None`` where only coefficients were given and no
        time constants stand behind them.
      dt: length of a step in seconds.
      rule: the switches.
      given: coefficients of a convention that is given as decays; ``None`` where they follow from
        the parameters.
      surrogate: surrogate derivative that belongs to the dynamics; a cell may override it.
      v_init: membrane potential before the first step: a number, or a tuple with one per neuron.
      v_min: lower bound of the membrane, or ``None``.
      noise_std: standard deviation of the Gaussian noise of each step, 0 for none.
    """

    parameters: LIFParameters | None
    dt: float
    rule: Rule
    given: Coefficients | None
    surrogate: Surrogate
    v_init: float | tuple[float, ...]
    v_min: float | None
    noise_std: float

    def _set(self, **fields: Any) -> None:
        fields = {"given": None, "surrogate": superspike(), "v_min": None, "noise_std": 0.0} | fields
        for name, value in fields.items():
            object.__setattr__(self, name, value)
        _check(self)

    @classmethod
    def from_parts(cls, parameters: LIFParameters, dt: float, rule: Rule, **fields: Any) -> Any:
        """Make dynamics of parameters, a time step and a rule that carries a discretization.

        Args:
          parameters: physics in continuous time.
          dt: length of a step in seconds.
          rule: the switches, with a discretization.
          **fields: surrogate, v_init, v_min, noise_std.

        Returns:
          Dynamics of this class.
        """
        self = object.__new__(cls)
        rest = parameters.v_rest
        self._set(**({"parameters": checked(parameters), "v_init": rest} | fields), dt=dt, rule=rule)
        return self

    @classmethod
    def from_coefficients(
        cls, coefficients: Coefficients, *, dt: float, rule: Rule, **fields: Any
    ) -> Any:
        """Make dynamics of the coefficients themselves, bit for bit.

        For conventions that are given as decays: a time constant is not a faithful store of a
        float32 decay. Where the rule carries a discretization, time constants are derived from
        the decays for what needs them (learnable time constants, interchange).

        >>> import flax_snn as snn
        >>> rule = snn.dynamics.Rule(entry="direct", reset="soft")
        >>> leaky = snn.LIFDynamics.from_coefficients(
        ...     snn.dynamics.Coefficients(alpha=0.9, c_x=1.0, theta=1.0), dt=1e-3, rule=rule)
        >>> leaky.coefficients().alpha
        0.9

        Args:
          coefficients: the numbers, as the rule needs them.
          dt: length of a step in seconds.
          rule: the switches.
          **fields: surrogate, v_init, v_min, noise_std, parameters.

        Returns:
          Dynamics of this class.
        """
        self = object.__new__(cls)
        defaults = {"parameters": _implied(coefficients, dt, rule), "v_init": 0.0}
        self._set(**(defaults | fields), given=coefficients, dt=dt, rule=rule)
        return self

    def coefficients(self, parameters: LIFParameters | None = None) -> Coefficients:
        """Return the numbers of one step.

        Args:
          parameters: parameters to use instead of the own ones, such as learned ones; JAX arrays
            give JAX arrays, through which gradients flow.

        Returns:
          The coefficients, float64 numbers where nothing was learned.
        """
        if parameters is None and self.given is not None:
            return self.given
        parameters = parameters or self.parameters
        assert parameters is not None
        noise = self.noise_std if self.rule.noisy else None
        return discretize(self.rule, parameters, self.dt, v_min=self.v_min, noise_std=noise)

    def describe(self) -> str:
        """Return the update equation with its numbers, as text."""
        return describe(type(self).__name__, self.rule, self.coefficients(), self.dt)


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
      refractory: time in seconds for which the membrane is held at v_reset after the step of the
        spike: a whole number of steps. Input still reaches the synapses.
      discretization: ``exact``, ``exponential`` (exact decays, gain 1 - alpha), ``euler``, or a
        `Discretization`.
      tau_syn_rec: time constant in seconds of a synaptic current of its own for recurrent input.
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
      TypeError: a number is not a number; a name is not a parameter.
      ValueError: a value outside its range; a refractory period that is no whole number of steps;
        dt not below every time constant under Euler; switches that contradict each other.

    Reference: Gerstner, Kistler, Naud, Paninski, *Neuronal Dynamics*, 2014, chapter 1.
    """

    def __init__(
        self,
        tau_mem: float = 20e-3,
        tau_syn: float | tuple[float, ...] | None = None,
        dt: float = 1e-3,
        threshold: float = 1.0,
        v_rest: float = 0.0,
        v_reset: float = 0.0,
        reset: str = "hard",
        refractory: float = 0.0,
        discretization: str | Discretization = "exact",
        *,
        tau_syn_rec: float | None = None,
        resistance: float = 1.0,
        bias: float = 0.0,
        fire: FireTest = ">",
        max_spikes: int | None = None,
        emit: str = "new",
        reset_time: str = "same",
        reset_site: str = "state",
        reset_gradient: str = "stop",
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
        dt = number("dt", dt, positive=True, unit="seconds")
        if reset == "hard" and fire != "none" and parameters.v_reset > parameters.threshold:
            raise ValueError(
                f"v_reset: expected a potential at or below the threshold {threshold!r}, got"
                f" {v_reset!r}: the neuron would fire in every step"
            )
        if reset != "hard" and parameters.v_reset != 0.0 and parameters.refractory == 0.0:
            raise ValueError(
                f"v_reset: reset={reset!r} has no reset potential, got {v_reset!r}; use reset='hard'"
            )
        rule = Rule(
            discretization=_discretization(discretization),
            channels=_channel_count(parameters),
            entry="direct" if parameters.tau_syn is None else "old",
            recurrent_channel=tau_syn_rec is not None,
            fire=fire,
            max_spikes=max_spikes,
            emit=emit,  # type: ignore[arg-type]
            reset=reset,  # type: ignore[arg-type]
            reset_time=reset_time,  # type: ignore[arg-type]
            reset_site=reset_site,  # type: ignore[arg-type]
            reset_gradient=reset_gradient,  # type: ignore[arg-type]
            recurrent_lag=recurrent_lag,
            hold=_whole_steps(parameters.refractory, dt),
            floor=v_min is not None,
            noisy=noise_std != 0.0,
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
      TypeError: a number is not a number; a name is not a parameter.
      ValueError: a value outside its range; dt not below every time constant under Euler.
    """

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
            discretization=_discretization(discretization),
            channels=_channel_count(parameters),
            entry="direct" if parameters.tau_syn is None else "old",
            fire="none",
            reset="none",
            floor=v_min is not None,
            noisy=noise_std != 0.0,
        )
        self._set(
            parameters=parameters,
            dt=number("dt", dt, positive=True, unit="seconds"),
            rule=rule,
            v_min=v_min,
            noise_std=noise_std,
            v_init=parameters.v_rest if v_init is None else v_init,
        )


def _discretization(name: str | Discretization) -> Discretization:
    if isinstance(name, Discretization):
        return name
    if name not in DISCRETIZATIONS:
        raise ValueError(
            f"discretization: expected one of {', '.join(DISCRETIZATIONS)} or a Discretization, got"
            f" {name!r}"
        )
    return DISCRETIZATIONS[name]


def _channel_count(parameters: LIFParameters) -> int:
    return len(parameters.synapses) - (parameters.tau_syn_rec is not None)


def _whole_steps(refractory: float, dt: float) -> int:
    steps = refractory / dt
    if abs(steps - round(steps)) > 1e-6:
        raise ValueError(
            f"refractory: expected a whole number of steps of dt={dt!r} s, got {refractory!r} s ="
            f" {steps:.6g} steps; use {round(steps) * dt:.6g} s or another dt"
        )
    return round(steps)


def _implied(coefficients: Coefficients, dt: float, rule: Rule) -> LIFParameters | None:
    """Time constants behind given decays, if they reproduce the coefficients to 1e-6."""
    decays = (coefficients.alpha, *coefficients.beta)
    if rule.discretization is None or not all(0.0 < decay < 1.0 for decay in decays):
        return None
    if rule.discretization.decay == "euler":
        taus = [dt / (1.0 - decay) for decay in decays]
    else:
        taus = [-dt / float(np.log(decay)) for decay in decays]
    inputs = tuple(taus[1 : 1 + rule.channels])
    bias = coefficients.bias or 0.0
    parameters = LIFParameters(
        tau_mem=taus[0],
        tau_syn=(inputs[0] if len(inputs) == 1 else inputs) or None,
        tau_syn_rec=taus[-1] if rule.recurrent_channel else None,
        threshold=1.0 if coefficients.theta is None else coefficients.theta,
        v_reset=coefficients.v_reset or 0.0,
        v_rest=bias / (1.0 - coefficients.alpha),
        refractory=rule.hold * dt,
    )
    again = discretize(
        rule, parameters, dt, v_min=coefficients.v_min, noise_std=coefficients.noise_std
    )
    if _leaves(again).keys() != _leaves(coefficients).keys():
        return None
    pairs = zip(_leaves(again).values(), _leaves(coefficients).values(), strict=True)
    close = all(np.isclose(new, old, rtol=1e-6, atol=1e-12) for new, old in pairs)
    return parameters if close else None


def _leaves(coefficients: Coefficients) -> dict[str, float]:
    found: dict[str, float] = {}
    for field in dataclasses.fields(coefficients):
        value = getattr(coefficients, field.name)
        if isinstance(value, tuple):
            found |= {f"{field.name}[{k}]": v for k, v in enumerate(value)}
        elif value is not None:
            found[field.name] = value
    return found


def _check(dynamics: Dynamics) -> None:
    """Raise where numbers and switches of finished dynamics contradict each other."""
    rule, parameters, dt = dynamics.rule, dynamics.parameters, dynamics.dt
    number("dt", dt, positive=True, unit="seconds")
    number("noise_std", dynamics.noise_std)
    if dynamics.noise_std < 0.0:
        raise ValueError(f"noise_std: expected a number >= 0, got {dynamics.noise_std!r}")
    if dynamics.v_min is not None:
        number("v_min", dynamics.v_min)
    v_init = dynamics.v_init
    for value in v_init if isinstance(v_init, tuple) else (v_init,):
        number("v_init", value)
    how = rule.discretization
    if dynamics.given is None and how is not None and how.decay == "euler":
        assert parameters is not None
        shortest = min((parameters.tau_mem, *parameters.synapses))
        if dt >= shortest:
            raise ValueError(
                f"dt: Euler steps need dt below every time constant, got dt={dt!r} s and a time"
                f" constant of {shortest!r} s; use a smaller dt or discretization='exact'"
            )
    coefficients = dynamics.coefficients()
    for name, value in _leaves(coefficients).items():
        number(f"coefficient {name}", value)
    if rule.fire == "floor" and coefficients.theta <= 0.0:  # type: ignore[operator]
        raise ValueError(
            f"threshold: fire='floor' counts v / threshold and needs a threshold > 0, got"
            f" {coefficients.theta!r}"
        )
    if rule.reset_time == "give-back" and rule.reset == "hard" and coefficients.v_reset != 0.0:
        raise ValueError(
            f"v_reset: reset_time='give-back' resets to 0 only, got {coefficients.v_reset!r}"
        )
    lengths = {"beta": coefficients.beta, "g": coefficients.g}
    for name, values in lengths.items():
        if len(values) != rule.all_channels:
            raise ValueError(
                f"coefficient {name}: expected {rule.all_channels} value(s), one per synaptic"
                f" channel, got {len(values)}"
            )
