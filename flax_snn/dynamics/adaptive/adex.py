"""The adaptive exponential integrate-and-fire neuron (AdEx) of Brette and Gerstner."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Collection
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import struct
from jax import lax

from flax_snn import checks
from flax_snn.dynamics.adaptive import shared
from flax_snn.dynamics.domain import Learnable, positive, time_constant
from flax_snn.dynamics.kernel import namespace
from flax_snn.dynamics.neuron import Neuron, Twin
from flax_snn.dynamics.parameters import number, starting_potential
from flax_snn.dynamics.spike import spike
from flax_snn.representation import short_repr
from flax_snn.surrogate import Surrogate, superspike
from flax_snn.typing import Array, Currents, Float, Projection, Scalar

POTENTIALS = ("v_rest", "v_t", "v_reset")
"""Potentials that have to lie below v_peak."""


@struct.dataclass
class AdExCoefficients:
    """Numbers of one step of `AdExDynamics`, each a number or one per neuron ``(N,)``.

    Attributes:
      k_mem: length of a substep in membrane time constants.
      k_w: length of a substep in time constants of the adaptation.
      a: coupling of the adaptation to the membrane, relative to the leak.
      b: jump of the adaptation at a spike in mV.
      delta_t: slope factor of the upstroke in mV.
      v_t: potential in mV where the upstroke is as steep as the leak.
      v_rest: potential in mV to which the leak pulls.
      v_reset: membrane potential after a spike in mV.
      v_peak: potential in mV at which a spike is over.
    """

    k_mem: Scalar
    k_w: Scalar
    a: Scalar
    b: Scalar
    delta_t: Scalar
    v_t: Scalar
    v_rest: Scalar
    v_reset: Scalar
    v_peak: Scalar


@struct.dataclass
class AdExState:
    """State of a layer of AdEx neurons between two steps.

    Attributes:
      v: membrane potential in mV after the step and its reset, ``(*B, N)``.
      w: adaptation in mV ``(*B, N)``.
      s: spikes that the step returned ``(*B, N)``, where the next step needs them.
    """

    v: Array
    w: Array
    s: Array | None = None


@dataclasses.dataclass(frozen=True)
class AdExDynamics(Neuron):
    """Adaptive exponential integrate-and-fire neuron (AdEx).

    Potentials, weights and the input x (current times membrane resistance) in mV, time in seconds:

        tau_mem dv/dt = -(v - v_rest) + delta_t exp((v - v_t) / delta_t) - w + x
        tau_w   dw/dt = a (v - v_rest) - w
        v >= v_peak:  spike,  v <- v_reset,  w <- w + b

    A step moves v and w together by ``substeps`` Euler steps. A neuron that reaches v_peak waits
    exactly there, with its adaptation, for the end of the step, where spike and reset follow: v is
    never above v_peak, and an interval between spikes is up to a step longer than by the equations.

    Gradients: where ``exp((v - v_t) / delta_t)`` is above ``tau_mem / substep``, the upstroke is
    over within a substep and its slope (10^10 at 0 mV) says nothing about the spike. Derivatives
    take that ratio in place of the exponential there, so a substep multiplies the derivative with
    respect to v by at most 2; below, they are exact. Stopping at v_peak leaves them as they are
    (straight-through), so that the surrogate of the spike has one. With ``reset_gradient="flow"``
    each spike multiplies by the height of the reset, some 60 mV, times the surrogate's.

    Published kinds, with v_t=-50, delta_t=2 and v_peak=0, tau_mem and tau_w in ms, and the steady x
    with which they show:

        kind               tau_mem  v_rest      a  tau_w     b  v_reset      x
        tonic                20        -70    1/5     30     0      -58     50
        adapting           50/3        -70    1/6    300     5      -58   41.7
        initial burst      65/9        -58    2/9    150  20/3      -50   22.2
        regular bursting     20        -58    1/5    120    10      -46     21
        accelerating       50/3        -70   -5/6    300     0      -58     25
        transient            10        -65      1     90    10      -47     18
        irregular          25/3        -60 -11/12    130   2.5      -48   13.3
        regular spiking    9.37      -70.6   2/15    144  2.68    -70.6   33.3   (v_t=-50.4)
        fast spiking       9.37      -70.6   2/15    144     0    -70.6   33.3   (v_t=-50.4)

    The first seven are of Naud et al. 2008 (in the numbers that the example of Brian 2 took from
    their table and figures, divided by the leak conductance), the eighth is of Brette & Gerstner
    2005, and the last one is that without jumps. With steps of 1 ms and 4 substeps all fire as
    they are called but the irregular one, which is chaotic: its spikes depend on the step length,
    and with some it becomes periodic. Delayed regular bursting has ``a = -1``, which cancels the
    leak, and is refused. The default is the adapting one.

    >>> from flax_snn.dynamics.adaptive.adex import AdExDynamics
    >>> print(AdExDynamics(tau_mem=20e-3, tau_w=120e-3, a=0.2, b=10.0, v_reset=-46.0).describe())
    AdExDynamics, step of 0.001 s
      v = v + 0.0125 (-70 - v + 2 exp((v - -50) / 2) - w + x)
      w = w + 0.00208333 (0.2 (v - -70) - w)   (both 4 times, as long as v < 0)
      s = v >= 0
      v = (1 - s) v + -46 s
      w = w + 10 s   (gradient through s stopped here and in the reset)
      rest at -69.9999 mV, runs away above -44.5481 mV of steady potential

    Attributes:
      tau_mem: membrane time constant in seconds, longer than a substep.
      tau_w: time constant of the adaptation in seconds, longer than a substep.
      a: coupling of the adaptation to the membrane, relative to the leak, above -1. Below 0 the
        adaptation helps the membrane up.
      b: jump of the adaptation at a spike in mV, >= 0.
      delta_t: slope factor of the upstroke in mV, above 0.
      v_t: potential in mV where the upstroke is as steep as the leak, below v_peak.
      v_rest: potential in mV to which the leak pulls, below v_peak.
      v_reset: membrane potential after a spike in mV, below v_peak.
      v_peak: potential in mV at which a spike is over.
      dt: length of a time step in seconds.
      substeps: Euler steps in a step.
      reset_gradient: ``stop`` (default): no gradient through the spikes that reset v and raise w;
        ``flow``.
      surrogate: surrogate derivative; by default superspike(0.05 / mV).
      v_init: membrane potential before the first step in mV: a number, or a tuple with one per
        neuron; v_rest if not given. The adaptation starts as if that had lasted.

    Raises:
      TypeError: a value that is not a number; an unknown argument.
      ValueError: a value outside its range.

    Reference: Brette & Gerstner, *Adaptive exponential integrate-and-fire model as an effective
    description of neuronal activity*, 2005; Naud, Marcille, Clopath & Gerstner, *Firing patterns in
    the adaptive exponential integrate-and-fire model*, 2008.
    """

    tau_mem: float = 50e-3 / 3
    tau_w: float = 300e-3
    a: float = 1 / 6
    b: float = 5.0
    delta_t: float = 2.0
    v_t: float = -50.0
    v_rest: float = -70.0
    v_reset: float = -58.0
    v_peak: float = 0.0
    dt: float = 1e-3
    substeps: int = 4
    reset_gradient: Literal["stop", "flow"] = "stop"
    surrogate: Surrogate = superspike(slope=0.05)
    v_init: Any = None

    def __post_init__(self) -> None:
        """Checks the fields."""
        if self.v_init is None:
            object.__setattr__(self, "v_init", self.v_rest)
        shared.check_shared_fields(self)
        checks.fields(self, checks.whole_number, "substeps")
        remedy = "Euler steps need more than a substep, so use more substeps or a shorter dt"
        seconds = ("tau_mem", "tau_w")
        checks.fields(self, number, *seconds, above=self._substep, unit="seconds", remedy=remedy)
        checks.fields(self, number, "delta_t", above=0.0, unit="mV")
        checks.fields(self, number, "b", at_least=0.0, unit="mV")
        remedy = "at -1 the adaptation cancels the leak"
        checks.fields(self, number, "a", above=-1.0, remedy=remedy)
        checks.fields(self, number, "v_peak", unit="mV")
        remedy = "potentials have to lie below v_peak"
        checks.fields(self, number, *POTENTIALS, below=self.v_peak, unit="mV", remedy=remedy)
        checks.fields(self, starting_potential, "v_init", below=self.v_peak)

    @property
    def _substep(self) -> float:
        return self.dt / self.substeps

    def __repr__(self) -> str:
        """Returns the class with the fields that differ from their defaults."""
        return short_repr(self, without=("v_init",) if self.v_init == self.v_rest else ())

    def replace(self, **changes: Any) -> Any:
        """Returns the neuron with some fields changed; a start at v_rest follows v_rest."""
        if self.v_init == self.v_rest and "v_rest" in changes:
            changes = {"v_init": changes["v_rest"]} | changes
        return super().replace(**changes)

    def initial_state(self, v_init: Float[Array, "*B N"], *, recurrent: bool = False) -> AdExState:
        """Returns the state before the first step: adaptation as if v_init had lasted, no spike."""
        zeros = jnp.zeros_like(v_init)
        w = self.a * (v_init - self.v_rest)
        return AdExState(v=v_init, w=w, s=zeros if recurrent else None)

    def coefficients(self, values: Any = None, *, dtype: Any = None) -> AdExCoefficients:
        """Returns the numbers of one step, of this neuron or of some values by name."""
        del dtype
        p = shared.named_values(self, values)
        k_mem, k_w = (self._substep / p.pop(name) for name in ("tau_mem", "tau_w"))
        return AdExCoefficients(k_mem=k_mem, k_w=k_w, v_peak=self.v_peak, **p)

    def step(
        self,
        coefficients: AdExCoefficients,
        state: AdExState,
        current: Currents,
        surrogate: Surrogate | None = None,
        *,
        recurrent: Projection | None = None,
        noise: Float[Array, "*B N"] | None = None,
    ) -> tuple[AdExState, Float[Array, "*B N"]]:
        """Advances by one time step."""
        del noise
        c, before = coefficients, state.s
        x = shared.with_feedback(current, recurrent, before)
        v, w = self._integrate(c, state.v, state.w, x)
        s = spike(v, surrogate, True, c.v_peak)
        spent = lax.stop_gradient(s) if self.reset_gradient == "stop" else s
        v = (1 - spent) * v + spent * c.v_reset
        return AdExState(v=v, w=w + spent * c.b, s=None if before is None else s), s

    def _integrate(self, c: AdExCoefficients, v: Array, w: Array, x: Array) -> tuple[Array, Array]:
        """Returns membrane and adaptation at the end of the step, before spike and reset."""
        for _ in range(self.substeps):
            moved_v = v + c.k_mem * (c.v_rest - v - w + x) + upstroke(v, c.v_t, c.delta_t, c.k_mem)
            moved_w = w + c.k_w * (c.a * (v - c.v_rest) - w)
            waits = v >= c.v_peak
            w = jnp.where(waits, w, moved_w)
            v = jnp.where(waits, v, at_most(moved_v, c.v_peak))
        return v, w

    def learnable(self, learn: Collection[str] = ()) -> dict[str, Learnable]:
        """Returns what may be learned: all but v_peak and dt.

        Time constants stay longer than a substep, potentials below v_peak, a above -1 and below
        half of where Euler steps of the two equations become unstable.
        """
        del learn
        h = self._substep
        strongest = max(self.a, 0.5 * ((self.tau_mem + self.tau_w) / h - 1.0))
        return {
            "tau_mem": time_constant(self.tau_mem, h, euler=True),
            "tau_w": time_constant(self.tau_w, h, euler=True),
            "a": Learnable(self.a, lower=-1.0 + 1e-3 * (1.0 + self.a), upper=strongest),
            "b": Learnable(self.b, "mV", lower=0.0),
            "delta_t": positive(self.delta_t, unit="mV"),
        } | {
            name: Learnable(value, "mV", upper=self.v_peak - 1e-3 * (self.v_peak - value))
            for name, value in ((name, getattr(self, name)) for name in POTENTIALS)
        }

    def describe(self) -> str:
        """Returns the update equations with their numbers, as text."""
        c, stop = self.coefficients(), self.reset_gradient == "stop"
        rest, limit = self.resting_potential(c), self.threshold_of(c)
        lines = [
            f"v = v + {c.k_mem:g} ({c.v_rest:g} - v + {c.delta_t:g} exp((v - {c.v_t:g}) /"
            f" {c.delta_t:g}) - w + x)",
            f"w = w + {c.k_w:g} ({c.a:g} (v - {c.v_rest:g}) - w)"
            f"   (both {self.substeps} times, as long as v < {c.v_peak:g})",
            f"s = v >= {c.v_peak:g}",
            f"v = (1 - s) v + {c.v_reset:g} s",
            f"w = w + {c.b:g} s"
            + ("   (gradient through s stopped here and in the reset)" if stop else ""),
            f"rest at {rest:g} mV, runs away above {limit:g} mV of steady potential"
            if limit > rest
            else "no rest: fires without input",
        ]
        return "\n  ".join([f"AdExDynamics, step of {self.dt:g} s", *lines])

    def lacks(self, twin: Twin) -> str | None:
        """Returns why the neuron has no such twin."""
        return {
            "event": "its exponential membrane has no closed form between spikes",
            "nir": "NIR has no node with an exponential membrane",
            "parallel": "its exponential membrane and its reset make each step wait for the one"
            " before",
        }[twin]

    def resting_potential(self, coefficients: AdExCoefficients) -> Scalar:
        """Returns the lower equilibrium without input in mV; if there is none, the slowest point.

        With ``y = (v - v_rest) / delta_t`` both equilibria solve ``y - log(y) = level``, where
        ``level = log(1 + a) + (v_t - v_rest) / delta_t``; below a level of 1 there is none.
        """
        return _equilibrium(coefficients, upper=False)

    def threshold_of(self, coefficients: AdExCoefficients) -> Scalar:
        """Returns the upper equilibrium without input in mV: slow input beyond it makes a spike."""
        return _equilibrium(coefficients, upper=True)

    def silenced(self, coefficients: AdExCoefficients) -> AdExCoefficients:
        """Returns the coefficients as they are: `free_membrane` is linear and has no spikes."""
        return coefficients

    def free_membrane(
        self, coefficients: AdExCoefficients, current: Currents, recurrent: Currents = None
    ) -> Array:
        """Returns the membrane that small currents drive, above rest in mV, linear in them.

        An exponential membrane spikes at any threshold, so this is the derivative of the step
        at rest, or at v_t where rest lies above (or does not exist), which has no leak left.

        Args:
          coefficients: the numbers, as arrays that broadcast against one step.
          current: weighted input ``(T, *B, N)`` in mV.
          recurrent: what the recurrent weights add; ``None`` for nothing.

        Returns:
          The membrane after each step, ``(T, *B, N)``.
        """
        c = coefficients
        driven = current if recurrent is None else current + recurrent
        zeros = jnp.zeros_like(driven[0])
        v = zeros + jnp.minimum(jnp.asarray(self.resting_potential(c), zeros.dtype), c.v_t)
        w = c.a * (v - c.v_rest)
        # The input that makes this an equilibrium, 0 at rest.
        x = v - c.v_rest + w - upstroke(v, c.v_t, c.delta_t, c.k_mem) / c.k_mem

        def move(state: Any, change: Array) -> Any:
            _, moved = jax.jvp(
                lambda v, w, x: self._integrate(c, v, w, x), (v, w, x), (*state, change)
            )
            return moved, moved[0]

        return lax.scan(move, (zeros, zeros), driven)[1]


@jax.custom_jvp
def upstroke(v: Array, v_t: Array, delta_t: Array, k_mem: Array) -> Array:
    """Returns ``k_mem delta_t exp((v - v_t) / delta_t)`` in mV, finite in the dtype of ``v``.

    Its derivative takes ``1 / k_mem`` in place of the exponential where that is larger.

    Args:
      v: membrane potential in mV ``(*B, N)``.
      v_t: potential in mV where the upstroke is as steep as the leak.
      delta_t: slope factor in mV.
      k_mem: length of a substep in membrane time constants, below 1.
    """
    # A twentieth of the largest number of the dtype takes the membrane to any v_peak.
    largest = math.log(float(jnp.finfo(v.dtype).max)) - 3.0
    return k_mem * delta_t * jnp.exp(jnp.minimum((v - v_t) / delta_t, largest))


@upstroke.defjvp
def _upstroke_jvp(primals: Any, tangents: Any) -> Any:
    (v, v_t, delta_t, k_mem), (dv, dv_t, ddelta_t, dk_mem) = primals, tangents
    z = jnp.minimum((v - v_t) / delta_t, -jnp.log(k_mem))
    change = k_mem * (dv - dv_t + (1 - z) * ddelta_t) + delta_t * dk_mem
    return upstroke(*primals), jnp.exp(z) * change


@jax.custom_jvp
def at_most(v: Array, v_peak: Array) -> Array:
    """Returns the smaller of both, with the derivative of ``v`` (straight-through)."""
    return jnp.minimum(v, v_peak)


@at_most.defjvp
def _at_most_jvp(primals: Any, tangents: Any) -> Any:
    return at_most(*primals), tangents[0]


def _equilibrium(c: AdExCoefficients, *, upper: bool) -> Scalar:
    """Returns an equilibrium without input in mV, by Newton's method from its near side."""
    xp = namespace(c)
    level = xp.log(1.0 + c.a) + (c.v_t - c.v_rest) / c.delta_t
    beyond = xp.maximum(level - 1.0, 1e-6)
    width = xp.sqrt(2.0 * beyond)
    # Bounds of the solutions, from which the steps of Newton come nearer without overshooting.
    y = 1.0 + width + beyond if upper else xp.maximum(1.0 - width, 0.0)
    for _ in range(8):
        if upper:
            y = y - (y - xp.log(y) - 1.0 - beyond) / (1.0 - 1.0 / y)
        else:
            risen = xp.exp(y - 1.0 - beyond)
            y = y - (y - risen) / (1.0 - risen)
    return c.v_rest + c.delta_t * xp.where(level < 1.0, level, y)
