"""AdLIF: a membrane coupled to an adaptation current, so that it oscillates below threshold."""

from __future__ import annotations

import cmath
import dataclasses
import math
from collections.abc import Collection
from typing import Any, Literal

import jax.numpy as jnp
from flax import struct
from jax import lax

from flax_snn import checks
from flax_snn.dynamics.adaptive import shared
from flax_snn.dynamics.domain import Learnable, positive, time_constant
from flax_snn.dynamics.neuron import Neuron, Twin
from flax_snn.dynamics.parameters import number
from flax_snn.dynamics.spike import spike
from flax_snn.surrogate import Surrogate
from flax_snn.typing import Array, Currents, Float, Projection, Scalar

SCHEMES = ("symplectic", "euler")
"""Whether the adaptation sees the membrane after the step, or the one before it."""


def slayer(alpha: float = 5.0, scale: float = 0.4) -> Surrogate:
    """Exponential on both sides: ``h = scale alpha / 2 exp(-alpha |u|)``, whatever the threshold.

    Args:
      alpha: steepness in 1/(unit of v).
      scale: area under the curve.

    Reference: Shrestha & Orchard, *SLAYER: spike layer error reassignment in time*, 2018; values of
    Baronig et al. 2025, where the height is 1.
    """
    return Surrogate("slayer", _slayer, (("alpha", float(alpha)), ("scale", float(scale))))


def _slayer(v: Array, theta: Scalar, alpha: float, scale: float) -> Array:
    u = v - theta
    return scale * alpha / 2.0 * jnp.exp(-alpha * u * jnp.sign(u))


@struct.dataclass
class AdLIFCoefficients:
    """Numbers of one step of `AdLIFDynamics`, each a number or one per neuron ``(N,)``.

    Attributes:
      alpha: decay of the membrane.
      beta: decay of the adaptation current.
      a: coupling of the membrane to the adaptation.
      b: jump of the adaptation at a spike.
      q: scale of both.
      theta: threshold.
    """

    alpha: Scalar
    beta: Scalar
    a: Scalar
    b: Scalar
    q: Scalar
    theta: Scalar


@struct.dataclass
class AdLIFState:
    """State of a layer of AdLIF neurons between two steps.

    Attributes:
      v: membrane potential ``(*B, N)``; under ``euler`` before the reset by the spike of the step.
      w: adaptation current ``(*B, N)``.
      s: spikes that the step returned ``(*B, N)``, where the next step needs them.
    """

    v: Array
    w: Array
    s: Array | None = None


@dataclasses.dataclass(frozen=True)
class AdLIFDynamics(Neuron):
    """An adaptive leaky integrate-and-fire neuron, whose membrane drives its adaptation.

    With ``scheme="symplectic"`` (default) the adaptation sees membrane and spike of this step:

        v <- alpha v + (1 - alpha) (x - w)
        s  = v > threshold,    v <- (1 - s) v
        w <- beta w + (1 - beta) q (a v + b s)
        alpha = exp(-dt / tau_mem),    beta = exp(-dt / tau_adapt)

    With ``scheme="euler"`` it sees those of the step before (spikes s_old):

        v0 = (1 - s_old) v,    v <- alpha v0 + (1 - alpha) (x - w),    s = v > threshold
        w <- beta w + (1 - beta) q (a v0 + b s_old)

    The input current has gain 1 - alpha, as in `LIFDynamics`. Below threshold membrane and
    adaptation are a damped oscillator (`free_oscillation`), which under ``euler`` may grow instead.

    >>> from flax_snn.dynamics.adaptive.adlif import AdLIFDynamics
    >>> print(AdLIFDynamics(tau_mem=15e-3, tau_adapt=180e-3, a=0.5, b=1.0).describe())
    AdLIFDynamics, symplectic, step of 0.001 s
      v = 0.935507 v + 0.064493 (x - w)
      s = v > 1
      v = (1 - s) v   (gradient through s stopped)
      w = 0.99446 w + 0.664818 (0.5 v + 1 s)
      without spikes: 23.2445 Hz, to 0.964533 of itself in a step

    Attributes:
      tau_mem: membrane time constant in seconds; published: 5e-3 to 25e-3 at steps of 1e-3.
      tau_adapt: time constant of the adaptation in seconds; published: 60e-3 to 300e-3.
      a: coupling of the membrane to the adaptation; the published networks draw it from (0, 1).
      b: jump of the adaptation at a spike; the published networks draw it from (0, 2).
      q: scale of both; 120 as published for the symplectic scheme, which uses 60 under ``euler``.
      threshold: membrane potential above which the neuron spikes, above 0.
      dt: length of a time step in seconds.
      scheme: ``symplectic`` or ``euler``.
      reset_gradient: ``stop`` (default): no gradient through the spikes of the reset; ``flow``.
        Gradients through the spikes of the adaptation always flow.
      a_range: least and largest ``a``, for the constructor and for learning; as published.
      b_range: least and largest ``b``, for the constructor and for learning; as published.
      surrogate: surrogate derivative; by default ``exp(-5 |v - threshold|)``.
      v_init: membrane potential before the first step: a number, or a tuple with one per neuron.

    Raises:
      TypeError: a value that is not a number; an unknown argument.
      ValueError: a value outside its range.

    Reference: Baronig et al., *Advancing spatio-temporal processing through adaptation in spiking
    neural networks*, 2025.
    """

    tau_mem: float = 15e-3
    tau_adapt: float = 180e-3
    a: float = 0.5
    b: float = 1.0
    q: float = 120.0
    threshold: float = 1.0
    dt: float = 1e-3
    scheme: Literal["symplectic", "euler"] = "symplectic"
    reset_gradient: Literal["stop", "flow"] = "stop"
    a_range: tuple[float, float] = (0.0, 1.0)
    b_range: tuple[float, float] = (0.0, 2.0)
    surrogate: Surrogate = slayer()
    v_init: float | tuple[float, ...] = 0.0

    def __post_init__(self) -> None:
        """Checks the fields."""
        shared.check_shared_fields(self)
        checks.fields(self, number, "tau_mem", "tau_adapt", above=0.0, unit="seconds")
        checks.fields(self, number, "threshold", "q", above=0.0)
        shared.check_ranges(self, "a", "b")
        checks.fields(self, checks.choice, "scheme", options=SCHEMES)

    @classmethod
    def from_decays(cls, *, alpha: float, beta: float, dt: float = 1e-3, **fields: Any) -> Any:
        """Makes the neuron of its decays in a step, between 0 and 1.

        Args:
          alpha: decay of the membrane.
          beta: decay of the adaptation.
          dt: length of a time step in seconds.
          **fields: other fields by name.

        Returns:
          The neuron with the time constants ``-dt / log(decay)``.
        """
        return cls(
            tau_mem=shared.time_constant_of("alpha", alpha, dt),
            tau_adapt=shared.time_constant_of("beta", beta, dt),
            dt=dt,
            **fields,
        )

    def free_oscillation(self) -> tuple[float, float]:
        """Returns what membrane and adaptation do without input and without spikes.

        Returns:
          Frequency in Hz (0 where they do not oscillate), and the factor by which the slowest part
          changes in a step; above 1 it grows.
        """
        c = self.coefficients()
        trace, determinant = c.alpha + c.beta, c.alpha * c.beta
        coupling = (1.0 - c.alpha) * (1.0 - c.beta) * c.q * c.a
        if self.scheme == "symplectic":
            trace -= coupling
        else:
            determinant += coupling
        root = cmath.sqrt(trace * trace / 4.0 - determinant)
        slowest = max((trace / 2.0 + root, trace / 2.0 - root), key=abs)
        turns = abs(cmath.phase(slowest)) / (2.0 * math.pi) if root.imag else 0.0
        return turns / self.dt, abs(slowest)

    def initial_state(self, v_init: Float[Array, "*B N"], *, recurrent: bool = False) -> AdLIFState:
        """Returns the state before the first step: no adaptation, no spike."""
        zeros = jnp.zeros_like(v_init)
        needed = recurrent or self.scheme == "euler"
        return AdLIFState(v=v_init, w=zeros, s=zeros if needed else None)

    def coefficients(self, values: Any = None, *, dtype: Any = None) -> AdLIFCoefficients:
        """Returns the numbers of one step, of this neuron or of some values by name."""
        del dtype
        p = shared.named_values(self, values)
        return AdLIFCoefficients(
            alpha=shared.decay(self.dt, p["tau_mem"]),
            beta=shared.decay(self.dt, p["tau_adapt"]),
            a=p["a"],
            b=p["b"],
            q=self.q,
            theta=p["threshold"],
        )

    def step(
        self,
        coefficients: AdLIFCoefficients,
        state: AdLIFState,
        current: Currents,
        surrogate: Surrogate | None = None,
        *,
        recurrent: Projection | None = None,
        noise: Float[Array, "*B N"] | None = None,
    ) -> tuple[AdLIFState, Float[Array, "*B N"]]:
        """Advances by one time step."""
        del noise
        c, before = coefficients, state.s
        x = shared.with_feedback(current, recurrent, before)
        delayed = self.scheme == "euler"
        v0 = self._reset(state.v, before) if delayed else state.v
        v = c.alpha * v0 + (1 - c.alpha) * (x - state.w)
        s = spike(v, surrogate, False, c.theta)
        if delayed:
            driven, jump = v0, before
        else:
            v = self._reset(v, s)
            driven, jump = v, s
        w = c.beta * state.w + (1 - c.beta) * c.q * (c.a * driven + c.b * jump)
        return AdLIFState(v=v, w=w, s=None if before is None else s), s

    def _reset(self, v: Array, s: Any) -> Array:
        return v * (1 - (lax.stop_gradient(s) if self.reset_gradient == "stop" else s))

    def learnable(self, learn: Collection[str] = ()) -> dict[str, Learnable]:
        """Returns what may be learned: time constants, a and b in their ranges, the threshold."""
        del learn
        (a_low, a_high), (b_low, b_high) = self.a_range, self.b_range
        return {
            "tau_mem": time_constant(self.tau_mem, self.dt),
            "tau_adapt": time_constant(self.tau_adapt, self.dt),
            "a": Learnable(self.a, lower=a_low, upper=a_high),
            "b": Learnable(self.b, lower=b_low, upper=b_high),
            "threshold": positive(self.threshold),
        }

    def describe(self) -> str:
        """Returns the update equations with their numbers, as text."""
        c = self.coefficients()
        stopped = "   (gradient through s stopped)" if self.reset_gradient == "stop" else ""
        drive = f"(x - w)\n  s = v > {c.theta:g}"
        scale = f"w = {c.beta:g} w + {(1.0 - c.beta) * c.q:g}"
        if self.scheme == "euler":
            lines = [
                f"v0 = (1 - s_old) v{stopped.replace('through s', 'through s_old')}",
                f"v = {c.alpha:g} v0 + {1.0 - c.alpha:g} {drive}",
                f"{scale} ({c.a:g} v0 + {c.b:g} s_old)",
            ]
        else:
            lines = [
                f"v = {c.alpha:g} v + {1.0 - c.alpha:g} {drive}",
                f"v = (1 - s) v{stopped}",
                f"{scale} ({c.a:g} v + {c.b:g} s)",
            ]
        frequency, factor = self.free_oscillation()
        lines.append(f"without spikes: {frequency:g} Hz, to {factor:g} of itself in a step")
        return "\n  ".join([f"AdLIFDynamics, {self.scheme}, step of {self.dt:g} s", *lines])

    def lacks(self, twin: Twin) -> str | None:
        """Returns why the neuron has no such twin."""
        return {
            "event": "its membrane oscillates between spikes, and event layers solve for the first"
            " crossing of sums of two exponentials only",
            "nir": "NIR has no node with an adaptation current",
            "parallel": f"its reset (scheme {self.scheme!r}) makes each step wait for the spikes of"
            " the one before",
        }[twin]

    def resting_potential(self, coefficients: AdLIFCoefficients) -> Scalar:
        """Returns the potential of the membrane without input, which is 0."""
        del coefficients
        return 0.0
