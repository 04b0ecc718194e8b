"""The switches of the update (`Rule`) and its numbers (`Coefficients`).

Every convention of the field is one row of coefficients and switches in ONE template, which
`flax_snn.dynamics.step` computes. This file says what the switches are and how continuous-time
parameters become coefficients.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Literal, get_args, get_origin, get_type_hints

import jax
import numpy as np
from flax import struct

from flax_snn import checks
from flax_snn.dynamics.kernel import membrane_kernel, namespace
from flax_snn.dynamics.parameters import LIFParameters
from flax_snn.typing import Scalar

Decay = Literal["exponential", "euler"]
SynapseGain = Literal["unit", "decay", "normalized"]
MembraneGain = Literal["exact", "leak", "unit", "decay"]
Entry = Literal["direct", "old", "new", "jump"]
Emit = Literal["new", "old"]
Reset = Literal["hard", "soft", "none"]
ResetTime = Literal["same", "next", "give-back"]
ResetSite = Literal["state", "sum"]
ResetGradient = Literal["flow", "stop", "stop_if_recurrent", "spike_only"]
FireTest = Literal[">", ">=", "half", "floor", "none"]


def _check_choices(instance: Any) -> None:
    """Checks each field whose type is a `Literal` against its choices."""
    for name, hint in get_type_hints(type(instance)).items():
        if get_origin(hint) is Literal:
            checks.choice(name, getattr(instance, name), get_args(hint))


@dataclasses.dataclass(frozen=True)
class Discretization:
    """How time constants become coefficients of a step of length dt.

    Attributes:
      decay: what a time constant tau keeps in one step: ``exponential`` exp(-dt/tau), ``euler``
        1 - dt/tau.
      synapse_gain: what an input adds to the synaptic current: ``unit`` 1, ``decay`` the decay
        beta (the input decays in the step it arrives), ``normalized`` 1 - beta.
      membrane_gain: what a current adds to the membrane: ``exact`` the solution of the ODE over
        one step, ``leak`` 1 - alpha, ``unit`` 1, ``decay`` alpha. Times the resistance.
    """

    decay: Decay = "exponential"
    synapse_gain: SynapseGain = "unit"
    membrane_gain: MembraneGain = "exact"

    def __post_init__(self) -> None:
        _check_choices(self)


DISCRETIZATIONS = {
    "exact": Discretization("exponential", "unit", "exact"),
    "exponential": Discretization("exponential", "unit", "leak"),
    "euler": Discretization("euler", "unit", "leak"),
}
"""Discretizations by their public names."""


def discretization_of(name: str | Discretization) -> Discretization:
    """Returns a discretization, which may be given by its public name.

    Raises:
      ValueError: an unknown name.
    """
    if isinstance(name, Discretization):
        return name
    remedy = "or give a Discretization"
    return DISCRETIZATIONS[checks.choice("discretization", name, [*DISCRETIZATIONS], remedy=remedy)]


@dataclasses.dataclass(frozen=True)
class Rule:
    """Everything of an update that is not a number: static, frozen, hashable.

    Attributes:
      discretization: how the coefficients come from time constants; ``None`` if they are given
        and do not come from time constants.
      entry: which current enters the membrane: ``direct`` the input x, ``old`` the synaptic
        current before its update, ``new`` after it, ``jump`` before it plus the input x.
      channels: synaptic currents that the input drives, 0 for ``entry="direct"``.
      recurrent_channel: whether recurrent input drives a separate synaptic current.
      fire: ``>`` or ``>=`` threshold: 0 or 1 spikes; ``half``: ``>``, and half a spike at
        equality; ``floor``: floor(v / threshold) spikes where v >= threshold; ``none``: the
        neuron is a leaky integrator, its output is the membrane.
      max_spikes: most spikes in one step with ``floor``; ``None`` for no bound.
      emit: ``new`` spikes from the membrane of this step, ``old`` from the membrane that enters
        it (returned together with the updated membrane).
      reset: ``hard`` to v_reset, ``soft`` subtract the threshold, ``none``.
      reset_time: ``same`` step as the spike, ``next`` step, or ``give-back``: the reset of the
        ``next`` rule is undone where no spike follows (snnTorch without delay).
      reset_site: where a reset of the ``next`` kind acts: on the ``state`` before its decay, or
        on the finished ``sum``.
      reset_gradient: gradient through the spike in the reset: ``flow``, ``stop``,
        ``stop_if_recurrent`` (stop in recurrent layers only), or ``spike_only`` (flows through
        the spike, while the membrane keeps its gradient through a hard reset).
      reset_span: whether a soft reset subtracts threshold - v_reset instead of the threshold.
      recurrent_lag: with ``emit="old"``: recurrent input comes from the spikes returned one step
        earlier, not from those returned in this step.
      hold: steps for which the membrane stays at v_reset after the step of the spike.
      noisy: whether Gaussian noise is added to the membrane before the fire test; dynamics set it
        where ``noise_std`` is not 0.
    """

    discretization: Discretization | None = None
    entry: Entry = "direct"
    channels: int = 0
    recurrent_channel: bool = False
    fire: FireTest = ">"
    max_spikes: int | None = None
    emit: Emit = "new"
    reset: Reset = "hard"
    reset_time: ResetTime = "same"
    reset_site: ResetSite = "state"
    reset_gradient: ResetGradient = "stop"
    reset_span: bool = False
    recurrent_lag: bool = False
    hold: int = 0
    noisy: bool = False

    def __post_init__(self) -> None:
        _check_choices(self)
        checks.fields(self, checks.whole_number, "channels", "hold", at_least=0)
        switches = ("recurrent_channel", "reset_span", "recurrent_lag", "noisy")
        checks.fields(self, checks.boolean, *switches)
        if (self.entry == "direct") != (self.channels == 0):
            raise ValueError(
                "rule: expected channels=0 with entry='direct' and channels > 0 otherwise, got "
                f"entry={self.entry!r}, channels={self.channels}"
            )
        if self.entry == "jump" and self.channels + self.recurrent_channel > 1:
            raise ValueError("rule: entry='jump' works with one synaptic channel only")
        if self.fire == "floor" and self.reset == "hard":
            raise ValueError(
                "fire='floor' returns several spikes per step and needs reset='soft' (subtracts the"
                " threshold once per spike) or 'none', got reset='hard'"
            )
        if self.max_spikes is not None:
            checks.fields(self, checks.whole_number, "max_spikes")
            if self.fire != "floor":
                raise ValueError(
                    f"max_spikes: expected None with fire={self.fire!r}, which gives at most one"
                    f" spike per step, got {self.max_spikes!r}; use it with fire='floor' only"
                )
        if self.recurrent_lag and self.emit == "new":
            raise ValueError(
                "recurrent_lag: recurrent input lags behind spikes of the entering membrane:"
                " expected emit='old', got 'new'"
            )
        if self.emit == "old" and self.reset_time == "same" and self.reset != "none":
            raise ValueError(
                "emit='old' returns the spikes of the entering membrane: expected"
                " reset_time='next', got 'same'"
            )
        if self.fire == "none" and (self.hold or self.reset != "none"):
            raise ValueError(
                "a leaky integrator (fire='none') has no reset, no refractory period: expected"
                f" reset='none' and hold=0, got reset={self.reset!r} and hold={self.hold}"
            )

    @property
    def all_channels(self) -> int:
        """Synaptic channels of a neuron, the recurrent one included."""
        return self.channels + self.recurrent_channel

    def uses_v_reset(self) -> bool:
        """Whether the reset potential takes part in a step."""
        return self.reset == "hard" or self.reset_span or self.hold > 0

    def uses_previous_spikes(self) -> bool:
        """Whether a recurrent layer has to remember the spikes it returned last."""
        return self.emit == "new" or self.recurrent_lag


@struct.dataclass
class Coefficients:
    """The numbers of one step: the only ones that a time loop or a kernel ever sees.

    A pytree; every leaf is a number or an array ``(N,)``. Entries that the rule does not use are 0.
    Where a neuron has several synaptic channels, ``beta``, ``g``, ``c_old``, ``c_new`` are tuples
    with one entry per channel, the inputs first and the separate recurrent channel, if any, last.

    Attributes:
      alpha: decay of the membrane.
      theta: threshold; ``None`` for a leaky integrator.
      beta: decay of each synaptic current.
      g: gain from input to each synaptic current.
      c_old: gain from each synaptic current before its update to the membrane.
      c_new: gain from each synaptic current after its update to the membrane.
      c_x: gain from the input to the membrane.
      bias: constant added to the membrane in each step.
      v_reset: potential after a hard reset, and in the steps of `Rule.hold`.
      v_min: lower bound of the membrane; ``None`` for none.
      noise_std: standard deviation of the noise added to the membrane in each step.
    """

    alpha: Scalar
    theta: Any = None
    beta: Any = 0.0
    g: Any = 0.0
    c_old: Any = 0.0
    c_new: Any = 0.0
    c_x: Any = 0.0
    bias: Any = 0.0
    v_reset: Any = 0.0
    v_min: Any = None
    noise_std: Any = 0.0


def discretize(
    rule: Rule,
    parameters: LIFParameters,
    dt: float,
    *,
    v_min: float | None = None,
    noise_std: float = 0.0,
) -> Coefficients:
    """Turns continuous-time parameters into the coefficients of a step of ``dt`` seconds.

    Args:
      rule: the switches; ``rule.discretization`` says how.
      parameters: numbers give float64 numbers, arrays give arrays.
      dt: length of a step in seconds.
      v_min: lower bound of the membrane, passed on.
      noise_std: standard deviation of the membrane noise, passed on.

    Returns:
      The coefficients.
    """
    how = rule.discretization
    if how is None:
        raise ValueError(
            "discretize: expected a rule with a discretization, got one without; its coefficients"
            " are given, use them"
        )
    alpha = _decay(how, parameters.tau_mem, dt)
    betas = tuple(_decay(how, tau, dt) for tau in parameters.synapses)
    gains = {
        "unit": tuple(1.0 for _ in betas),
        "decay": betas,
        "normalized": tuple(_loss(how, tau, dt) for tau in parameters.synapses),
    }[how.synapse_gain]
    loss = _loss(how, parameters.tau_mem, dt)
    leak = loss * parameters.resistance
    direct = {
        "exact": leak,
        "leak": leak,
        "unit": 1.0 * parameters.resistance,
        "decay": alpha * parameters.resistance,
    }[how.membrane_gain]
    through = tuple(
        membrane_kernel(dt, parameters.tau_mem, tau) * parameters.resistance
        if how.membrane_gain == "exact"
        else direct
        for tau in parameters.synapses
    )
    coefficients = Coefficients(
        alpha=alpha,
        theta=None if rule.fire == "none" else parameters.threshold,
        beta=_packed(betas),
        g=_packed(gains),
        c_old=_packed(through) if rule.entry in ("old", "jump") else 0.0,
        c_new=_packed(through) if rule.entry == "new" else 0.0,
        c_x=direct if rule.entry in ("direct", "jump") else 0.0,
        bias=loss * parameters.v_rest + direct * parameters.bias,
        v_reset=parameters.v_reset if rule.uses_v_reset() else 0.0,
        v_min=v_min,
        noise_std=noise_std,
    )
    return jax.tree.map(
        lambda x: x if np.ndim(x) or isinstance(x, jax.Array) else float(x), coefficients
    )


def _decay(how: Discretization, tau: Scalar, dt: float) -> Scalar:
    return 1.0 - dt / tau if how.decay == "euler" else namespace(tau).exp(-dt / tau)


def _loss(how: Discretization, tau: Scalar, dt: float) -> Scalar:
    """Returns 1 - decay, of which the difference itself would lose digits in float32."""
    return dt / tau if how.decay == "euler" else -namespace(tau).expm1(-dt / tau)


def per_channel(values: Any, channels: int) -> tuple[Scalar, ...]:
    """Returns coefficients as a tuple with one entry per synaptic channel."""
    return values if isinstance(values, tuple) else (values,) * channels


def _packed(values: tuple[Scalar, ...]) -> Any:
    return values if len(values) > 1 else (*values, 0.0)[0]
