"""ALIF: a leaky integrate-and-fire neuron whose threshold rises with each of its spikes."""

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
from flax_snn.dynamics.parameters import number, steps_of
from flax_snn.surrogate import Surrogate, relu_grad
from flax_snn.typing import Array, Currents, Float, Projection, Scalar

SCHEMES = ("bellec", "same_step")
"""When a spike acts on adaptation and membrane: in the next step, or in the same one."""


@struct.dataclass
class ALIFCoefficients:
    """Numbers of one step of `ALIFDynamics`, each a number or one per neuron ``(N,)``.

    Attributes:
      alpha: decay of the membrane.
      rho: decay of the adaptation.
      beta: how far one unit of adaptation raises the threshold.
      theta: base threshold, which is also what a reset subtracts.
    """

    alpha: Scalar
    rho: Scalar
    beta: Scalar
    theta: Scalar


@struct.dataclass
class ALIFState:
    """State of a layer of ALIF neurons between two steps.

    Attributes:
      v: membrane potential ``(*B, N)``; under ``bellec`` before the reset by the spike of the step.
      a: adaptation ``(*B, N)``, in spikes.
      s: spikes that the step returned ``(*B, N)``, where the next step needs them.
      refractory: steps in which no spike can follow, int32 ``(*B, N)``; ``None`` without a
        refractory period.
    """

    v: Array
    a: Array
    s: Array | None = None
    refractory: Array | None = None


@dataclasses.dataclass(frozen=True)
class ALIFDynamics(Neuron):
    """A leaky integrate-and-fire neuron with an adaptive threshold.

    With ``scheme="bellec"`` (default) a spike acts in the step after it, s_old:

        a <- rho a + s_old
        v <- alpha v + x - threshold s_old
        s  = v > threshold + beta a
        alpha = exp(-dt / tau_mem),    rho = exp(-dt / tau_adapt)

    With ``scheme="same_step"``, as in sparx, it acts in the same step, and the test is ``>=``:

        v <- alpha v + x
        s  = v >= threshold + beta a
        v <- v - threshold s,    a <- rho a + s

    The reset subtracts the base threshold in both. The input current has gain 1, not 1 - alpha as
    in `LIFDynamics`: weights are smaller here by that factor. Recurrent layers of Bellec et al.
    have no weights from a neuron to itself, which is a matter of the weights and not of the neuron.

    >>> from flax_snn.dynamics.adaptive.alif import ALIFDynamics
    >>> print(ALIFDynamics(tau_mem=20e-3, tau_adapt=200e-3, beta=0.1, refractory=3e-3).describe())
    ALIFDynamics, bellec, step of 0.001 s
      a = 0.995012 a + s
      v = 0.951229 v + x - 1 s   (gradient through s stopped)
      s = v > 1 + 0.1 a, none in the 2 step(s) after a spike

    Attributes:
      tau_mem: membrane time constant in seconds.
      tau_adapt: time constant of the adaptation in seconds.
      beta: how far one spike raises the threshold, in units of the membrane, >= 0; 0 is a neuron
        without adaptation. The default is the 0.07 that Bellec et al. use at a threshold of 0.62,
        scaled to a threshold of 1.
      threshold: base threshold, above 0.
      refractory: time in seconds from a spike to the first step that may spike again, a whole
        number of steps; it includes the step of the spike, so that 0 and dt mean none. (That of
        `LIFDynamics` does not include it.) The membrane integrates meanwhile, without a surrogate.
      dt: length of a time step in seconds.
      scheme: ``bellec`` or ``same_step``.
      reset_gradient: ``stop`` (default): no gradient through the spikes of the reset; ``flow``:
        as sparx has it. Gradients through the spikes of the adaptation always flow.
      surrogate: surrogate derivative; by default ``0.3 / threshold max(0, 1 - |u| / threshold)``
        with the base threshold, where u is the distance from the threshold in force.
      v_init: membrane potential before the first step: a number, or a tuple with one per neuron.

    Raises:
      TypeError: a value that is not a number; an unknown argument.
      ValueError: a value outside its range; a refractory period that is not a whole number of
        steps.

    Reference: Bellec et al., *A solution to the learning dilemma for recurrent networks of spiking
    neurons*, 2020.
    """

    tau_mem: float = 20e-3
    tau_adapt: float = 200e-3
    beta: float = 0.11
    threshold: float = 1.0
    refractory: float = 0.0
    dt: float = 1e-3
    scheme: Literal["bellec", "same_step"] = "bellec"
    reset_gradient: Literal["stop", "flow"] = "stop"
    surrogate: Surrogate = relu_grad(height=0.3, width=1.0)
    v_init: float | tuple[float, ...] = 0.0

    def __post_init__(self) -> None:
        """Checks the fields."""
        shared.check_shared_fields(self)
        checks.fields(self, number, "tau_mem", "tau_adapt", above=0.0, unit="seconds")
        checks.fields(self, number, "threshold", above=0.0)
        checks.fields(self, number, "beta", at_least=0.0)
        checks.fields(self, number, "refractory", at_least=0.0, unit="seconds")
        checks.fields(self, checks.choice, "scheme", options=SCHEMES)
        steps_of(self.refractory, self.dt)

    @classmethod
    def from_decays(cls, *, alpha: float, rho: float, dt: float = 1e-3, **fields: Any) -> Any:
        """Makes the neuron of its decays in a step.

        >>> from flax_snn.dynamics.adaptive.alif import ALIFDynamics
        >>> neuron = ALIFDynamics.from_decays(alpha=0.95, rho=0.99, beta=0.07, threshold=0.62)
        >>> round(neuron.tau_mem, 6), round(float(neuron.coefficients().alpha), 12)
        (0.019496, 0.95)

        Args:
          alpha: decay of the membrane, between 0 and 1.
          rho: decay of the adaptation, between 0 and 1.
          dt: length of a time step in seconds.
          **fields: other fields by name.

        Returns:
          The neuron with the time constants ``-dt / log(decay)``.
        """
        return cls(
            tau_mem=shared.time_constant_of("alpha", alpha, dt),
            tau_adapt=shared.time_constant_of("rho", rho, dt),
            dt=dt,
            **fields,
        )

    def initial_state(self, v_init: Float[Array, "*B N"], *, recurrent: bool = False) -> ALIFState:
        """Returns the state before the first step: no adaptation, no spike."""
        zeros = jnp.zeros_like(v_init)
        silent = self.longest_silence()
        return ALIFState(
            v=v_init,
            a=zeros,
            s=zeros if recurrent or self.scheme == "bellec" else None,
            refractory=jnp.zeros(v_init.shape, jnp.int32) if silent else None,
        )

    def coefficients(self, values: Any = None, *, dtype: Any = None) -> ALIFCoefficients:
        """Returns the numbers of one step, of this neuron or of some values by name."""
        del dtype
        p = shared.named_values(self, values)
        return ALIFCoefficients(
            alpha=shared.decay(self.dt, p["tau_mem"]),
            rho=shared.decay(self.dt, p["tau_adapt"]),
            beta=p["beta"],
            theta=p["threshold"],
        )

    def step(
        self,
        coefficients: ALIFCoefficients,
        state: ALIFState,
        current: Currents,
        surrogate: Surrogate | None = None,
        *,
        recurrent: Projection | None = None,
        noise: Float[Array, "*B N"] | None = None,
    ) -> tuple[ALIFState, Float[Array, "*B N"]]:
        """Advances by one time step."""
        del noise
        c, before, pause = coefficients, state.s, state.refractory
        x = shared.with_feedback(current, recurrent, before)
        delayed = self.scheme == "bellec"
        a = c.rho * state.a + before if delayed else state.a
        v = c.alpha * state.v + x
        if delayed:
            v = v - self._reset(c, before)
        s = shared.adaptive_spike(v, surrogate, not delayed, c.theta + c.beta * a, c.theta)
        if pause is not None:
            s = jnp.where(pause > 0, 0, s)
            pause = jnp.where(s > 0, self.longest_silence(), jnp.maximum(pause - 1, 0))
        if not delayed:
            v, a = v - self._reset(c, s), c.rho * a + s
        return ALIFState(v=v, a=a, s=None if before is None else s, refractory=pause), s

    def _reset(self, c: ALIFCoefficients, s: Any) -> Array:
        """Returns what spikes take from the membrane: nothing where the threshold is infinite."""
        s = lax.stop_gradient(s) if self.reset_gradient == "stop" else s
        theta = jnp.asarray(c.theta, s.dtype)
        return s * jnp.where(jnp.isfinite(theta), theta, 0)

    def learnable(self, learn: Collection[str] = ()) -> dict[str, Learnable]:
        """Returns what may be learned: both time constants, beta >= 0, the base threshold."""
        del learn
        return {
            "tau_mem": time_constant(self.tau_mem, self.dt),
            "tau_adapt": time_constant(self.tau_adapt, self.dt),
            "beta": Learnable(self.beta, lower=0.0),
            "threshold": positive(self.threshold),
        }

    def describe(self) -> str:
        """Returns the update equations with their numbers, as text."""
        c = self.coefficients()
        stopped = "   (gradient through s stopped)" if self.reset_gradient == "stop" else ""
        silent = self.longest_silence()
        pause = f", none in the {silent} step(s) after a spike" if silent else ""
        limit = f"{c.theta:g} + {c.beta:g} a{pause}"
        if self.scheme == "bellec":
            lines = [
                f"a = {c.rho:g} a + s",
                f"v = {c.alpha:g} v + x - {c.theta:g} s{stopped}",
                f"s = v > {limit}",
            ]
        else:
            lines = [
                f"v = {c.alpha:g} v + x",
                f"s = v >= {limit}",
                f"v = v - {c.theta:g} s{stopped}",
                f"a = {c.rho:g} a + s",
            ]
        return "\n  ".join([f"ALIFDynamics, {self.scheme}, step of {self.dt:g} s", *lines])

    def lacks(self, twin: Twin) -> str | None:
        """Returns why the neuron has no such twin."""
        return {
            "event": "its threshold relaxes between spikes, and event layers solve for the crossing"
            " of a fixed one",
            "nir": "NIR has no node with an adaptive threshold",
            "parallel": "its reset and its threshold make each step wait for the spikes of the one"
            " before",
        }[twin]

    def longest_silence(self) -> int:
        """Returns the number of steps without a spike that follow each spike at least."""
        return max(steps_of(self.refractory, self.dt) - 1, 0)

    def resting_potential(self, coefficients: ALIFCoefficients) -> Scalar:
        """Returns the potential of the membrane without input, which is 0."""
        del coefficients
        return 0.0
