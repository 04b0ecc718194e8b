"""SiLIF: an adaptive neuron in the form of a state space model, adaptation first."""

from __future__ import annotations

import dataclasses
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


def boxcar(half_width: float = 0.5) -> Surrogate:
    """Box of height 1: ``h = 1`` where ``-half_width < u <= half_width``, else 0.

    Args:
      half_width: in the unit of v.

    Reference: Kaiser, Mostafa, Neftci, *Synaptic plasticity dynamics for deep continuous local
    learning (DECOLLE)*, 2020.
    """
    return Surrogate("boxcar", _boxcar, (("half_width", float(half_width)),))


def _boxcar(v: Array, theta: Scalar, half_width: float) -> Array:
    u = v - theta
    return ((u > -half_width) & (u <= half_width)).astype(v.dtype)


@struct.dataclass
class SiLIFCoefficients:
    """Numbers of one step of `SiLIFDynamics`, each a number or one per neuron ``(N,)``.

    Attributes:
      alpha: decay of the membrane.
      beta: decay of the adaptation current.
      a: coupling of the membrane to the adaptation, per step.
      b: jump of the adaptation at a spike.
      theta: threshold.
    """

    alpha: Scalar
    beta: Scalar
    a: Scalar
    b: Scalar
    theta: Scalar


@struct.dataclass
class SiLIFState:
    """State of a layer of SiLIF neurons between two steps.

    Attributes:
      v: membrane potential ``(*B, N)``, before the reset by the spike of the step.
      w: adaptation current ``(*B, N)``.
      s: spikes that the step returned ``(*B, N)``.
    """

    v: Array
    w: Array
    s: Array


@dataclasses.dataclass(frozen=True)
class SiLIFDynamics(Neuron):
    """An adaptive leaky integrate-and-fire neuron after state space models.

    The adaptation moves first, driven by membrane and spike of the step before (s_old), and the
    membrane sees the new adaptation:

        w <- beta w + a v + b s_old
        v <- alpha (v - s_old) + (1 - alpha) (x - w)
        s  = v > threshold
        alpha = exp(-dt / tau_mem),    beta = exp(-dt / tau_adapt)

    The reset subtracts 1 whatever the threshold is, as published, where the threshold is 1. The
    drive of w has no factor 1 - beta: ``a`` and ``b`` belong to the length of a step. The input
    current has gain 1 - alpha, as in `LIFDynamics`.

    The authors' code starts v, w and s from uniform random numbers in (0, 1), s included, which
    then acts as a graded spike. Here all start at 0 (v at ``v_init``); give a `SiLIFState` of such
    numbers as the first carry to start as they do.

    >>> from flax_snn.dynamics.adaptive.silif import SiLIFDynamics
    >>> print(SiLIFDynamics(tau_mem=20e-3, tau_adapt=200e-3, a=0.5, b=1.0, dt=4e-3).describe())
    SiLIFDynamics, step of 0.004 s
      w = 0.980199 w + 0.5 v + 1 s_old
      v = 0.818731 (v - s_old) + 0.181269 (x - w)   (gradient through s_old stopped)
      s = v > 1

    Attributes:
      tau_mem: membrane time constant in seconds; published: 4e-3 to 100e-3, spread evenly in the
        logarithm. Their ``dt`` is learned per neuron and scales both time constants, which is the
        same as to learn the time constants.
      tau_adapt: time constant of the adaptation in seconds; published: 0.1 to 0.4.
      a: coupling of the membrane to the adaptation; the published networks draw it from (0, 1).
      b: jump of the adaptation at a spike; the published networks draw it from (0, 2).
      threshold: membrane potential above which the neuron spikes, above 0; 1 as published.
      dt: length of a time step in seconds; 4e-3 as published, unlike that of other neurons here.
      reset_gradient: ``stop`` (default): no gradient through the spikes of the reset; ``flow``: as
        the authors' code has it. Gradients through the spikes of the adaptation always flow.
      a_range: least and largest ``a``, for the constructor and for learning; as published. The
        authors' clip has no gradient outside; here learning is reflected at the ends.
      b_range: least and largest ``b``, for the constructor and for learning; as published.
      surrogate: surrogate derivative; by default 1 up to half a unit from the threshold.
      v_init: membrane potential before the first step: a number, or a tuple with one per neuron.

    Raises:
      TypeError: a value that is not a number; an unknown argument.
      ValueError: a value outside its range.

    Reference: Fabre, Dudchenko, Neftci, *Structured state space model dynamics and parametrization
    for spiking neural networks*, 2025.
    """

    tau_mem: float = 20e-3
    tau_adapt: float = 200e-3
    a: float = 0.5
    b: float = 1.0
    threshold: float = 1.0
    dt: float = 4e-3
    reset_gradient: Literal["stop", "flow"] = "stop"
    a_range: tuple[float, float] = (0.0, 1.0)
    b_range: tuple[float, float] = (0.0, 2.0)
    surrogate: Surrogate = boxcar()
    v_init: float | tuple[float, ...] = 0.0

    def __post_init__(self) -> None:
        """Checks the fields."""
        shared.check_shared_fields(self)
        checks.fields(self, number, "tau_mem", "tau_adapt", above=0.0, unit="seconds")
        checks.fields(self, number, "threshold", above=0.0)
        shared.check_ranges(self, "a", "b")

    @classmethod
    def from_decays(cls, *, alpha: float, beta: float, dt: float = 4e-3, **fields: Any) -> Any:
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

    def initial_state(self, v_init: Float[Array, "*B N"], *, recurrent: bool = False) -> SiLIFState:
        """Returns the state before the first step: no adaptation, no spike."""
        del recurrent
        return SiLIFState(v=v_init, w=jnp.zeros_like(v_init), s=jnp.zeros_like(v_init))

    def coefficients(self, values: Any = None, *, dtype: Any = None) -> SiLIFCoefficients:
        """Returns the numbers of one step, of this neuron or of some values by name."""
        del dtype
        p = shared.named_values(self, values)
        return SiLIFCoefficients(
            alpha=shared.decay(self.dt, p["tau_mem"]),
            beta=shared.decay(self.dt, p["tau_adapt"]),
            a=p["a"],
            b=p["b"],
            theta=p["threshold"],
        )

    def step(
        self,
        coefficients: SiLIFCoefficients,
        state: SiLIFState,
        current: Currents,
        surrogate: Surrogate | None = None,
        *,
        recurrent: Projection | None = None,
        noise: Float[Array, "*B N"] | None = None,
    ) -> tuple[SiLIFState, Float[Array, "*B N"]]:
        """Advances by one time step."""
        del noise
        c, before = coefficients, state.s
        x = shared.with_feedback(current, recurrent, before)
        spent = lax.stop_gradient(before) if self.reset_gradient == "stop" else before
        w = c.beta * state.w + c.a * state.v + c.b * before
        v = c.alpha * (state.v - spent) + (1 - c.alpha) * (x - w)
        s = spike(v, surrogate, False, c.theta)
        return SiLIFState(v=v, w=w, s=s), s

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
        stopped = "   (gradient through s_old stopped)" if self.reset_gradient == "stop" else ""
        lines = [
            f"w = {c.beta:g} w + {c.a:g} v + {c.b:g} s_old",
            f"v = {c.alpha:g} (v - s_old) + {1.0 - c.alpha:g} (x - w){stopped}",
            f"s = v > {c.theta:g}",
        ]
        return "\n  ".join([f"SiLIFDynamics, step of {self.dt:g} s", *lines])

    def lacks(self, twin: Twin) -> str | None:
        """Returns why the neuron has no such twin."""
        return {
            "event": "it is defined in steps: its adaptation is driven once a step, whatever its"
            " length",
            "nir": "NIR has no node with an adaptation current",
            "parallel": "its reset makes each step wait for the spikes of the one before",
        }[twin]

    def resting_potential(self, coefficients: SiLIFCoefficients) -> Scalar:
        """Returns the potential of the membrane without input, which is 0."""
        del coefficients
        return 0.0
