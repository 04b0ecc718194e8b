"""Izhikevich's simple model: two equations, four numbers, most firing patterns of the cortex."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import struct
from jax import lax

from flax_snn import checks
from flax_snn.dynamics.adaptive import shared
from flax_snn.dynamics.domain import Learnable
from flax_snn.dynamics.kernel import namespace
from flax_snn.dynamics.neuron import Neuron, Twin
from flax_snn.dynamics.parameters import number, starting_potential
from flax_snn.dynamics.spike import spike
from flax_snn.surrogate import Surrogate, superspike
from flax_snn.typing import Array, Currents, Float, Projection, Scalar

NO_LEAK = -62.5
"""Potential in mV where ``0.04 v^2 + 5 v`` turns from falling to rising: no leak is left."""


@struct.dataclass
class IzhikevichCoefficients:
    """Numbers of one step of `IzhikevichDynamics`, each a number or one per neuron ``(N,)``.

    Attributes:
      a: rate of the recovery in 1/ms.
      b: sensitivity of the recovery to the membrane in 1/ms.
      c: membrane potential after a spike in mV.
      d: jump of the recovery at a spike in mV/ms.
      v_peak: potential in mV at which a spike is over.
    """

    a: Scalar
    b: Scalar
    c: Scalar
    d: Scalar
    v_peak: Scalar


@struct.dataclass
class IzhikevichState:
    """State of a layer of Izhikevich neurons between two steps.

    Attributes:
      v: membrane potential in mV after the step and its reset, ``(*B, N)``.
      u: recovery in mV/ms ``(*B, N)``.
      s: spikes that the step returned ``(*B, N)``, where the next step needs them.
    """

    v: Array
    u: Array
    s: Array | None = None


@dataclasses.dataclass(frozen=True)
class IzhikevichDynamics(Neuron):
    """Izhikevich's neuron, a quadratic membrane with a linear recovery.

    Time in ms, potentials in mV, currents in mV/ms:

        dv/dt = 0.04 v^2 + 5 v + 140 - u + x
        du/dt = a (b v - u)
        v >= v_peak:  spike,  v <- c,  u <- u + d

    A step moves v by ``substeps`` Euler steps of ``dt / substeps``, then u by one Euler step with
    the new v, as the published program does with two of 0.5 ms. A membrane that has reached v_peak
    waits there for the end of the step, where spike and reset follow; so v_peak is not a threshold
    but where a spike that began near -50 mV is cut off. The published program lets v go on to some
    hundreds of mV within the step, which raises u: a chattering neuron with 10 mV/ms fires 43 times
    in a second there, 70 times here, and 87 times by the differential equations.

    Published kinds: regular spiking (0.02, 0.2, -65, 8), chattering (0.02, 0.2, -50, 2),
    intrinsically bursting (0.02, 0.2, -55, 4), fast spiking (0.1, 0.2, -65, 2), low threshold
    spiking (0.02, 0.25, -65, 2), resonator (0.1, 0.26, -65, 2), each (a, b, c, d).

    Weights have to be in mV/ms: about 4 of steady input make a regular spiking neuron fire. Below
    about -125 mV an Euler step of 0.5 ms jumps across the rest to a spike that the equations do not
    have: use more substeps where inhibition is that strong.

    >>> from flax_snn.dynamics.adaptive.izhikevich import IzhikevichDynamics
    >>> print(IzhikevichDynamics(a=0.02, b=0.2, c=-65.0, d=8.0).describe())
    IzhikevichDynamics, step of 0.001 s
      v = v + 0.5 (0.04 v^2 + 5 v + 140 - u + x)   (2 times, as long as v < 30)
      u = u + 0.02 (0.2 v - u)
      s = v >= 30
      v = (1 - s) v + -65 s
      u = u + 8 s   (gradient through s stopped here and in the reset)
      rest at -70 mV, runs away above -50 mV of steady potential

    Attributes:
      a: rate of the recovery in 1/ms, above 0 and below 1 per step.
      b: sensitivity of the recovery to the membrane in 1/ms. Above 0.267 there is no rest: the
        neuron fires without input.
      c: membrane potential after a spike in mV, below v_peak.
      d: jump of the recovery at a spike in mV/ms.
      v_peak: potential in mV at which a spike is over.
      dt: length of a time step in seconds (not ms).
      substeps: Euler steps of the membrane in a step.
      reset_gradient: ``stop`` (default): no gradient through the spikes that set v to c and raise
        u by d; ``flow``.
      surrogate: surrogate derivative; by default superspike(0.05 / mV).
      v_init: membrane potential before the first step in mV: a number, or a tuple with one per
        neuron. The recovery starts at b times that, with the neuron's b.

    Raises:
      TypeError: a value that is not a number; an unknown argument.
      ValueError: a value outside its range.

    Reference: Izhikevich, *Simple model of spiking neurons*, 2003.
    """

    a: float = 0.02
    b: float = 0.2
    c: float = -65.0
    d: float = 8.0
    v_peak: float = 30.0
    dt: float = 1e-3
    substeps: int = 2
    reset_gradient: Literal["stop", "flow"] = "stop"
    surrogate: Surrogate = superspike(slope=0.05)
    v_init: float | tuple[float, ...] = -65.0

    def __post_init__(self) -> None:
        """Checks the fields."""
        shared.check_shared_fields(self)
        checks.fields(self, checks.whole_number, "substeps")
        checks.fields(self, number, "a", above=0.0, unit="1/ms")
        checks.fields(self, number, "b", "d", "v_peak")
        if self.a * self._milliseconds >= 1.0:
            raise ValueError(
                f"IzhikevichDynamics: a: expected a rate below one per step of"
                f" {self._milliseconds:g} ms, got {self.a!r} per ms; use a shorter dt, which is in"
                " seconds"
            )
        remedy = "potentials have to lie below v_peak, which is in mV"
        checks.fields(self, number, "c", below=self.v_peak, unit="mV", remedy=remedy)
        checks.fields(self, starting_potential, "v_init", below=self.v_peak)

    @property
    def _milliseconds(self) -> float:
        return self.dt * 1e3

    def initial_state(
        self, v_init: Float[Array, "*B N"], *, recurrent: bool = False
    ) -> IzhikevichState:
        """Returns the state before the first step: recovery as if v_init had lasted, no spike."""
        zeros = jnp.zeros_like(v_init)
        return IzhikevichState(v=v_init, u=self.b * v_init, s=zeros if recurrent else None)

    def coefficients(self, values: Any = None, *, dtype: Any = None) -> IzhikevichCoefficients:
        """Returns the numbers of one step, of this neuron or of some values by name."""
        del dtype
        return IzhikevichCoefficients(v_peak=self.v_peak, **shared.named_values(self, values))

    def step(
        self,
        coefficients: IzhikevichCoefficients,
        state: IzhikevichState,
        current: Currents,
        surrogate: Surrogate | None = None,
        *,
        recurrent: Projection | None = None,
        noise: Float[Array, "*B N"] | None = None,
    ) -> tuple[IzhikevichState, Float[Array, "*B N"]]:
        """Advances by one time step."""
        del noise
        c, before = coefficients, state.s
        x = shared.with_feedback(current, recurrent, before)
        v, u = self._integrate(c, state.v, state.u, x)
        s = spike(v, surrogate, True, c.v_peak)
        spent = lax.stop_gradient(s) if self.reset_gradient == "stop" else s
        v = (1 - spent) * v + spent * c.c
        return IzhikevichState(v=v, u=u + spent * c.d, s=None if before is None else s), s

    def _integrate(
        self, c: IzhikevichCoefficients, v: Array, u: Array, x: Array
    ) -> tuple[Array, Array]:
        """Returns membrane and recovery at the end of the step, before spike and reset."""
        h = self._milliseconds / self.substeps
        for _ in range(self.substeps):
            moved = v + h * (0.04 * v * v + 5.0 * v + 140.0 - u + x)
            v = jnp.where(v < c.v_peak, moved, v)
        return v, u + self._milliseconds * c.a * (c.b * v - u)

    def learnable(self, learn: Collection[str] = ()) -> dict[str, Learnable]:
        """Returns what may be learned: a below one per step, b, c below v_peak, d."""
        del learn
        fastest = max(0.999 / self._milliseconds, self.a)
        highest = self.v_peak - 1e-3 * (self.v_peak - self.c)
        return {
            "a": Learnable(self.a, "1/ms", log=True, lower=1e-6 * self.a, upper=fastest),
            "b": Learnable(self.b, "1/ms"),
            "c": Learnable(self.c, "mV", upper=highest),
            "d": Learnable(self.d, "mV/ms"),
        }

    def describe(self) -> str:
        """Returns the update equations with their numbers, as text."""
        c, ms = self.coefficients(), self._milliseconds
        stop = self.reset_gradient == "stop"
        rest, limit = self.resting_potential(c), self.threshold_of(c)
        lines = [
            f"v = v + {ms / self.substeps:g} (0.04 v^2 + 5 v + 140 - u + x)"
            f"   ({self.substeps} times, as long as v < {c.v_peak:g})",
            f"u = u + {ms * c.a:g} ({c.b:g} v - u)",
            f"s = v >= {c.v_peak:g}",
            f"v = (1 - s) v + {c.c:g} s",
            f"u = u + {c.d:g} s"
            + ("   (gradient through s stopped here and in the reset)" if stop else ""),
            f"rest at {rest:g} mV, runs away above {limit:g} mV of steady potential"
            if limit > rest
            else "no rest: fires without input",
        ]
        return "\n  ".join([f"IzhikevichDynamics, step of {self.dt:g} s", *lines])

    def lacks(self, twin: Twin) -> str | None:
        """Returns why the neuron has no such twin."""
        return {
            "event": "its quadratic membrane has no closed form between spikes",
            "nir": "NIR has no node with a quadratic membrane",
            "parallel": "its quadratic membrane and its reset make each step wait for the one"
            " before",
        }[twin]

    def resting_potential(self, coefficients: IzhikevichCoefficients) -> Scalar:
        """Returns the lower equilibrium without input in mV; if there is none, the slowest point.

        The equilibria of both equations are ``(b - 5 -+ sqrt((b - 5)^2 - 22.4)) / 0.08``.
        """
        return self._equilibrium(coefficients, -1.0)

    def threshold_of(self, coefficients: IzhikevichCoefficients) -> Scalar:
        """Returns the upper equilibrium without input in mV: slow input beyond it makes a spike."""
        return self._equilibrium(coefficients, 1.0)

    def _equilibrium(self, coefficients: IzhikevichCoefficients, sign: float) -> Scalar:
        b = coefficients.b
        xp = namespace(b)
        root = xp.sqrt(xp.maximum((b - 5.0) ** 2 - 22.4, 0.0))
        return (b - 5.0 + sign * root) / 0.08

    def silenced(self, coefficients: IzhikevichCoefficients) -> IzhikevichCoefficients:
        """Returns the coefficients as they are: `free_membrane` is linear and has no spikes."""
        return coefficients

    def free_membrane(
        self, coefficients: IzhikevichCoefficients, current: Currents, recurrent: Currents = None
    ) -> Array:
        """Returns the membrane that small currents drive, above rest in mV, linear in them.

        A quadratic membrane spikes at any threshold, so this is the derivative of the step
        at rest, or at -62.5 mV where rest lies above (or does not exist), which has no leak left.

        Args:
          coefficients: the numbers, as arrays that broadcast against one step.
          current: weighted input ``(T, *B, N)`` in mV/ms.
          recurrent: what the recurrent weights add; ``None`` for nothing.

        Returns:
          The membrane after each step, ``(T, *B, N)``.
        """
        c = coefficients
        driven = current if recurrent is None else current + recurrent
        zeros = jnp.zeros_like(driven[0])
        v = zeros + jnp.minimum(jnp.asarray(self.resting_potential(c), zeros.dtype), NO_LEAK)

        def move(state: Any, x: Array) -> Any:
            at = (v, c.b * v, c.b * v - (0.04 * v * v + 5.0 * v + 140.0))
            _, moved = jax.jvp(lambda v, u, x: self._integrate(c, v, u, x), at, (*state, x))
            return moved, moved[0]

        return lax.scan(move, (zeros, zeros), driven)[1]
