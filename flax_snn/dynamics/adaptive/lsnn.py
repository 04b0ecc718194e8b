"""LSNN as Norse has it: an adaptive threshold, a synapse, Euler steps."""

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
from flax_snn.representation import short_repr
from flax_snn.surrogate import Surrogate, superspike
from flax_snn.typing import Array, Currents, Float, Projection, Scalar

RESET_GRADIENTS = ("norse", "stop", "flow")


@struct.dataclass
class LSNNCoefficients:
    """Numbers of one step of `LSNNDynamics`, each a number or one per neuron ``(N,)``.

    Attributes:
      k_mem: share of the way that the membrane relaxes in a step.
      k_syn: share of the synaptic current that decays in a step.
      k_adapt: share of the adaptation that decays in a step.
      beta: jump of the threshold at a spike.
      theta: threshold at rest.
      v_rest: membrane potential without input.
      v_reset: membrane potential after a spike.
    """

    k_mem: Scalar
    k_syn: Scalar
    k_adapt: Scalar
    beta: Scalar
    theta: Scalar
    v_rest: Scalar
    v_reset: Scalar


@struct.dataclass
class LSNNState:
    """State of a layer of LSNN neurons between two steps.

    Attributes:
      v: membrane potential after the step ``(*B, N)``.
      i: synaptic current ``(*B, N)``.
      a: how far the threshold lies above its value at rest ``(*B, N)``. (Norse stores the whole
        threshold: ``b = theta + a``.)
      s: spikes that the step returned ``(*B, N)``, where the next step needs them.
    """

    v: Array
    i: Array
    a: Array
    s: Array | None = None


@dataclasses.dataclass(frozen=True)
class LSNNDynamics(Neuron):
    """A leaky integrate-and-fire neuron with an adaptive threshold and a synapse, as in Norse.

        v <- v + k_mem (v_rest - v + i)        i of the step before: an input acts one step later
        a <- a - k_adapt a
        i <- i - k_syn i + x
        s  = v > threshold + a
        v <- (1 - s) v + s v_reset,    a <- a + beta s
        k_mem = dt / tau_mem,    k_syn = dt / tau_syn,    k_adapt = dt / tau_adapt

    It differs from `ALIFDynamics` in more than its coefficients: it resets to ``v_reset`` at once,
    and the threshold jumps by ``beta`` at once. The two betas are alike in meaning and scale.

    >>> from flax_snn.dynamics.adaptive.lsnn import LSNNDynamics
    >>> print(LSNNDynamics(tau_mem=10e-3, tau_syn=5e-3, tau_adapt=0.8, beta=1.8).describe())
    LSNNDynamics, step of 0.001 s
      v = v + 0.1 (0 - v + i)
      a = a - 0.00125 a
      i = i - 0.2 i + x
      s = v > 1 + a
      v = (1 - s) v + 0 s
      a = a + 1.8 s   (gradient through s stopped here and in the reset if recurrent)

    Attributes:
      tau_mem: membrane time constant in seconds, above dt.
      tau_syn: synaptic time constant in seconds, above dt.
      tau_adapt: time constant of the threshold in seconds, above dt. The default of Norse is 1/800
        per SECOND, which hardly decays; the 0.8 seconds here are what it seems to mean.
      beta: jump of the threshold at a spike, in units of the membrane, >= 0.
      threshold: threshold at rest, above 0 and above ``v_reset``.
      v_rest: membrane potential without input.
      v_reset: membrane potential after a spike.
      dt: length of a time step in seconds.
      reset_gradient: ``norse`` (default): in a feed-forward layer gradients flow through the spikes
        of the reset and of the threshold's jump; in a recurrent layer through neither, so that the
        adaptation is not trained through time. ``stop``: only those of the reset are stopped,
        as in `ALIFDynamics`. ``flow``: all flow, also in recurrent layers.
      surrogate: surrogate derivative; by default ``1 / (1 + |u|)^2``, what Norse 1.1.0 computes
        whatever its ``alpha``.
      v_init: membrane potential before the first step: a number, or a tuple with one per neuron;
        v_rest if not given.

    Raises:
      TypeError: a value that is not a number; an unknown argument.
      ValueError: a value outside its range; dt not below every time constant.

    Reference: Bellec et al., *Long short-term memory and learning-to-learn in networks of spiking
    neurons*, 2018; Pehle & Pedersen, *Norse*, version 1.1.0.
    """

    tau_mem: float = 10e-3
    tau_syn: float = 5e-3
    tau_adapt: float = 0.8
    beta: float = 1.8
    threshold: float = 1.0
    v_rest: float = 0.0
    v_reset: float = 0.0
    dt: float = 1e-3
    reset_gradient: Literal["norse", "stop", "flow"] = "norse"
    surrogate: Surrogate = superspike(slope=1.0)
    v_init: Any = None

    def __post_init__(self) -> None:
        """Checks the fields."""
        if self.v_init is None:
            object.__setattr__(self, "v_init", self.v_rest)
        shared.check_shared_fields(self, resets=RESET_GRADIENTS)
        remedy = "Euler steps need time constants longer than dt, so use a shorter step"
        seconds = ("tau_mem", "tau_syn", "tau_adapt")
        checks.fields(self, number, *seconds, above=self.dt, unit="seconds", remedy=remedy)
        checks.fields(self, number, "threshold", above=0.0)
        checks.fields(self, number, "beta", at_least=0.0)
        checks.fields(self, number, "v_rest")
        remedy = "from the threshold on the neuron would fire again at once"
        checks.fields(self, number, "v_reset", below=self.threshold, remedy=remedy)

    def __repr__(self) -> str:
        """Returns the class with the fields that differ from their defaults."""
        return short_repr(self, without=("v_init",) if self.v_init == self.v_rest else ())

    def replace(self, **changes: Any) -> Any:
        """Returns the neuron with some fields changed; a start at v_rest follows v_rest."""
        if self.v_init == self.v_rest and "v_rest" in changes:
            changes = {"v_init": changes["v_rest"]} | changes
        return super().replace(**changes)

    def initial_state(self, v_init: Float[Array, "*B N"], *, recurrent: bool = False) -> LSNNState:
        """Returns the state before the first step: no current, no adaptation, no spike."""
        zeros = jnp.zeros_like(v_init)
        return LSNNState(v=v_init, i=zeros, a=zeros, s=zeros if recurrent else None)

    def coefficients(self, values: Any = None, *, dtype: Any = None) -> LSNNCoefficients:
        """Returns the numbers of one step, of this neuron or of some values by name."""
        del dtype
        p = shared.named_values(self, values)
        return LSNNCoefficients(
            k_mem=self.dt / p["tau_mem"],
            k_syn=self.dt / p["tau_syn"],
            k_adapt=self.dt / p["tau_adapt"],
            beta=p["beta"],
            theta=p["threshold"],
            v_rest=p["v_rest"],
            v_reset=p["v_reset"],
        )

    def step(
        self,
        coefficients: LSNNCoefficients,
        state: LSNNState,
        current: Currents,
        surrogate: Surrogate | None = None,
        *,
        recurrent: Projection | None = None,
        noise: Float[Array, "*B N"] | None = None,
    ) -> tuple[LSNNState, Float[Array, "*B N"]]:
        """Advances by one time step."""
        del noise
        c, before = coefficients, state.s
        x = shared.with_feedback(current, recurrent, before)
        v = state.v + c.k_mem * (c.v_rest - state.v + state.i)
        a = state.a - c.k_adapt * state.a
        i = state.i - c.k_syn * state.i + x
        s = shared.adaptive_spike(v, surrogate, False, c.theta + a, c.theta)
        stop_both = self.reset_gradient == "norse" and recurrent is not None
        spent = lax.stop_gradient(s) if stop_both or self.reset_gradient == "stop" else s
        v = (1 - spent) * v + spent * c.v_reset
        a = a + c.beta * (lax.stop_gradient(s) if stop_both else s)
        return LSNNState(v=v, i=i, a=a, s=None if before is None else s), s

    def learnable(self, learn: Collection[str] = ()) -> dict[str, Learnable]:
        """Returns what may be learned: all but dt.

        Args:
          learn: names that are learned together. Where the reset potential is learned too, it
            follows the threshold, and else the threshold stays above it.
        """
        floor = 0.0 if "v_reset" in learn else max(self.v_reset, 0.0)
        return {
            "tau_mem": time_constant(self.tau_mem, self.dt, euler=True),
            "tau_syn": time_constant(self.tau_syn, self.dt, euler=True),
            "tau_adapt": time_constant(self.tau_adapt, self.dt, euler=True),
            "beta": Learnable(self.beta, lower=0.0),
            "threshold": positive(self.threshold, lower=floor),
            "v_rest": Learnable(self.v_rest),
            "v_reset": Learnable(self.v_reset, below="threshold"),
        }

    def describe(self) -> str:
        """Returns the update equations with their numbers, as text."""
        c = self.coefficients()
        note = {
            "norse": "   (gradient through s stopped here and in the reset if recurrent)",
            "stop": "   (gradient through s stopped in the reset)",
            "flow": "",
        }[self.reset_gradient]
        lines = [
            f"v = v + {c.k_mem:g} ({c.v_rest:g} - v + i)",
            f"a = a - {c.k_adapt:g} a",
            f"i = i - {c.k_syn:g} i + x",
            f"s = v > {c.theta:g} + a",
            f"v = (1 - s) v + {c.v_reset:g} s",
            f"a = a + {c.beta:g} s{note}",
        ]
        return "\n  ".join([f"LSNNDynamics, step of {self.dt:g} s", *lines])

    def lacks(self, twin: Twin) -> str | None:
        """Returns why the neuron has no such twin."""
        return {
            "event": "its threshold relaxes between spikes, and event layers solve for the crossing"
            " of a fixed one",
            "nir": "NIR has no node with an adaptive threshold",
            "parallel": "its reset and its threshold make each step wait for the spikes of the one"
            " before",
        }[twin]

    def resting_potential(self, coefficients: LSNNCoefficients) -> Scalar:
        """Returns the potential of the membrane without input."""
        return coefficients.v_rest
