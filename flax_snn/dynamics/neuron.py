"""The protocol `Neuron`: the questions that every kind of neuron answers about itself.

A kind of neuron is one frozen, hashable object in one file. Cells, time loops, streaming, learning,
initialisation, diagnosis and plots work with any object that answers them, whatever its class. What
needs an answer that a neuron does not give raises an error, with its name and what to do.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Callable, Collection, Mapping
from typing import Any, ClassVar, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from flax_snn import checks
from flax_snn.dynamics.domain import Learnable
from flax_snn.representation import short_repr
from flax_snn.surrogate import Surrogate, superspike
from flax_snn.typing import Array, Currents, Float, Projection, Scalar

Twin = Literal["event", "nir", "parallel"]
"""Other forms of a neuron: in continuous time, in the interchange format, all steps at once."""

RESPONSE_STEPS = 2000
"""Steps after which the response of a membrane to its input counts as over."""


class Neuron:
    """A kind of neuron: the protocol behind cells, runners, loops, learning and diagnosis.

    Subclass it as a frozen dataclass of numbers (`examples/own_neuron.py` is a small one) and say
    at least how the state starts (`initial_state`), which numbers a step takes (`coefficients`) and
    what a step does (`step`). ``snn.NeuronCell(features, dynamics=...)`` and
    ``snn.RecurrentNeuronCell`` make cells of it.

    Attributes:
      spikes: whether the output is spikes; otherwise it is the membrane, as of a readout.
      blocks: input currents that a neuron takes, one for each of its synapses; 1 by default.
      recurrent_blocks: recurrent currents that a neuron takes; ``blocks`` by default.
      noisy: whether `step` takes Gaussian noise.
      dt: length of a time step in seconds.
      surrogate: surrogate derivative of the spike, which a cell may override.
      v_init: membrane potential before the first step: a number, or a tuple with one per neuron.
    """

    spikes: ClassVar[bool] = True
    dt: float = 1e-3
    surrogate: Surrogate = superspike()
    v_init: float | tuple[float, ...] = 0.0

    def __new__(cls, *arguments: Any, **named: Any) -> Neuron:
        """Checks the names of the arguments, where Python would only say that one is unknown."""
        if cls.__init__ is object.__init__:
            return super().__new__(cls, *arguments, **named)
        known = _argument_names(cls.__init__)
        if known:
            checks.argument_names(cls.__name__, named, known)
        return super().__new__(cls)

    def __init_subclass__(cls, **options: Any) -> None:
        """Passes `__repr__` on, which ``dataclasses.dataclass`` would write anew."""
        super().__init_subclass__(**options)
        cls.__repr__ = cls.__repr__  # type: ignore[method-assign]

    def __repr__(self) -> str:
        """Returns the class with the fields that are not at their default."""
        return short_repr(self) if dataclasses.is_dataclass(self) else super().__repr__()

    @property
    def blocks(self) -> int:
        """Input currents that a neuron takes."""
        return 1

    @property
    def noisy(self) -> bool:
        """Whether a step takes Gaussian noise."""
        return False

    @property
    def recurrent_blocks(self) -> int:
        """Recurrent currents that a neuron takes."""
        return self.blocks

    @property
    def shares_synapse(self) -> bool:
        """Whether recurrent currents are added to input currents before anything else."""
        return False

    # What every kind has to say.

    def initial_state(self, v_init: Float[Array, "*B N"], *, recurrent: bool = False) -> Any:
        """Returns the state before the first step.

        Args:
          v_init: membrane potential ``(*B, N)``, whose shape and dtype the state has.
          recurrent: whether the layer is recurrent and may have to remember its spikes.

        Returns:
          A pytree of arrays ``(*B, N)`` with named entries, ``v`` among them (an attribute or a
          key): the membrane that traces, diagnosis and plots show. Entries that are not floating
          have no gradient.
        """
        raise NotImplementedError(_missing(self, "initial_state"))

    def coefficients(self, values: Any = None, *, dtype: Any = None) -> Any:
        """Returns the numbers of one step.

        Args:
          values: values of some of `learnable` by name, numbers or arrays ``(N,)``, through which
            gradients flow; those of the neuron itself for the others.
          dtype: dtype of the state that they are for.

        Returns:
          A pytree of numbers and arrays ``(N,)``.
        """
        raise NotImplementedError(_missing(self, "coefficients"))

    def step(
        self,
        coefficients: Any,
        state: Any,
        current: Currents,
        surrogate: Surrogate | None = None,
        *,
        recurrent: Projection | None = None,
        noise: Float[Array, "*B N"] | None = None,
    ) -> tuple[Any, Float[Array, "*B N"]]:
        """Advances by one time step: the equations of the neuron, said once.

        Elementwise over batch and neurons, but for ``recurrent``.

        Args:
          coefficients: the numbers, as arrays that broadcast against the state.
          state: state before the step.
          current: weighted input of the step ``(*B, N)``; a tuple where there are several `blocks`.
          surrogate: derivative of the spike (`flax_snn.dynamics.spike` uses it).
          recurrent: maps spikes ``(*B, N)``, which depend on the state before the step only, to the
            current they cause; a tuple where there are several `recurrent_blocks`. To be called
            at most once.
          noise: unit Gaussian noise ``(*B, N)`` for a `noisy` neuron.

        Returns:
          The state after the step, of the same structure, shapes and dtypes, and the output.
        """
        raise NotImplementedError(_missing(self, "step"))

    # What a kind may say; the answers here are right for any.

    def membrane(self, state: Any) -> Array:
        """Returns the membrane potential of a state, ``(*B, N)``."""
        return state["v"] if isinstance(state, Mapping) else state.v

    def learnable(self, learn: Collection[str] = ()) -> Mapping[str, Learnable]:
        """Returns what may be learned or differ between neurons, by name; nothing by default.

        Args:
          learn: names that are learned together, for domains that depend on each other.
        """
        del learn
        return {}

    def values(self, changes: Any = None) -> dict[str, Any]:
        """Returns the values of `learnable` by name, some of them replaced."""
        return {k: each.value for k, each in self.learnable().items()} | dict(changes or {})

    def describe(self) -> str:
        """Returns the update equation with its numbers, as text."""
        lines = [
            f"{name} = {value:g}"
            for name, value in vars(self).items()
            if isinstance(value, float) and name != "dt"
        ]
        return "\n  ".join([f"{type(self).__name__}, step of {self.dt:g} s", *lines])

    def replace(self, **changes: Any) -> Any:
        """Returns the neuron with some of its fields changed."""
        return dataclasses.replace(self, **changes)  # type: ignore[type-var]

    def lacks(self, twin: Twin) -> str | None:
        """Returns why the neuron has no such twin, or None if it has one.

        Args:
          twin: ``event`` (continuous time), ``nir`` (interchange), ``parallel`` (all steps at
            once).
        """
        return {
            "event": "its equation has no closed form between spikes here",
            "nir": "NIR has no node for it",
            "parallel": "its next step waits for the spikes of the one before",
        }[twin]

    def longest_silence(self) -> int:
        """Returns the number of steps without a spike that follow each spike at least."""
        return 0

    # What weights need: the response to input below threshold.

    def channels(self, *, recurrent: bool = False) -> list[int]:
        """Returns the channels that a kernel feeds, one block of its columns each."""
        return list(range(self.recurrent_blocks if recurrent else self.blocks))

    def threshold_of(self, coefficients: Any) -> Any:
        """Returns the threshold at rest, or None for a neuron without one."""
        fields = coefficients if isinstance(coefficients, Mapping) else vars(coefficients)
        return fields.get("theta", fields.get("threshold")) if self.spikes else None

    def resting_potential(self, coefficients: Any) -> Scalar:
        """Returns the potential of the membrane without input."""
        del coefficients
        return float(np.mean(self.v_init))

    def resting_distance(self, coefficients: Any) -> Any:
        """Returns the distance of the resting membrane from its threshold, always above 0."""
        theta = self.threshold_of(coefficients)
        if theta is None:
            return 1.0
        distance = abs(theta - self.resting_potential(coefficients))
        if isinstance(distance, jax.Array):
            return jnp.where(distance > 0, distance, 1)
        return distance or 1.0

    def silenced(self, coefficients: Any) -> Any:
        """Returns coefficients with which the neuron never fires, for its free membrane.

        By default the threshold ``theta`` becomes infinite; a neuron without one is returned as it
        is, and its free membrane includes what its spikes do.
        """
        if isinstance(coefficients, Mapping):
            fields, put = dict(coefficients), lambda new: {**coefficients, **new}
        else:
            fields, put = vars(coefficients), lambda new: dataclasses.replace(coefficients, **new)
        if fields.get("theta") is None:
            return coefficients
        return put({"theta": jax.tree.map(lambda t: t + np.inf, fields["theta"])})

    def free_membrane(
        self, coefficients: Any, current: Currents, recurrent: Currents = None
    ) -> Array:
        """Returns the membrane that currents drive if it never spikes, above its resting value.

        Args:
          coefficients: the numbers, as arrays that broadcast against one step.
          current: weighted input ``(T, *B, N)``, or a tuple with one per block.
          recurrent: current that the recurrent weights add, of the structure that `step` takes;
            ``None`` for nothing.

        Returns:
          The membrane after each step, ``(T, *B, N)``.
        """
        free = self.silenced(coefficients)
        first = (current[0] if isinstance(current, tuple) else current)[0]
        rest = jnp.asarray(self.resting_potential(coefficients), first.dtype)
        start = self.initial_state(
            jnp.broadcast_to(rest, first.shape), recurrent=recurrent is not None
        )

        def move(state: Any, driven: Any) -> Any:
            x, recurrent_current = driven
            feedback = None if recurrent_current is None else lambda _: recurrent_current
            state, _ = self.step(free, state, x, self.surrogate, recurrent=feedback)
            return state, self.membrane(state) - rest

        return lax.scan(move, start, (current, recurrent))[1]

    def membrane_gain(
        self, channel: int | tuple[float, ...] = 0, *, longest: float | None = None
    ) -> float:
        """Returns the sum of the response of the membrane to one unit of input; inf if it diverges.

        Args:
          channel: channel that receives the input, or the weights with which one input enters each.
          longest: bound of the decays, for kinds that compute the response in closed form.
        """
        del longest
        with np.errstate(over="ignore", invalid="ignore"):
            return float(np.sum(self._entering(channel)))

    def membrane_power(
        self, channel: int | tuple[float, ...] = 0, *, longest: float | None = None
    ) -> float:
        """Returns the sum of the squared response of the membrane to one unit of input."""
        del longest
        with np.errstate(over="ignore", invalid="ignore"):
            return float(np.sum(np.square(self._entering(channel))))

    def _entering(self, channel: int | tuple[float, ...]) -> np.ndarray:
        if not isinstance(channel, tuple):
            return _response(self, channel)
        return np.asarray(sum(w * _response(self, k) for k, w in enumerate(channel) if w != 0.0))


@functools.lru_cache(maxsize=256)
def _response(neuron: Neuron, channel: int) -> np.ndarray:
    """Response of the free membrane to a small pulse of one channel, per unit of input."""
    with jax.enable_x64(True), jax.ensure_compile_time_eval():
        size = 1e-2
        pulse = np.zeros((RESPONSE_STEPS, 1), np.float64)
        pulse[0] = size
        nothing = np.zeros_like(pulse)
        blocks = tuple(
            jnp.asarray(pulse if k == channel else nothing) for k in range(neuron.blocks)
        )
        coefficients = jax.tree.map(lambda c: jnp.asarray(c, jnp.float64), neuron.coefficients())
        one, none = (
            neuron.free_membrane(coefficients, current if neuron.blocks > 1 else current[0])
            for current in (blocks, tuple(jnp.asarray(nothing) for _ in blocks))
        )
        return np.asarray(one - none, np.float64)[:, 0] / size


@functools.cache
def _argument_names(constructor: Callable[..., None]) -> tuple[str, ...]:
    """Returns the names of the arguments of a constructor; none if it takes any name."""
    parameters = inspect.signature(constructor).parameters
    if any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values()):
        return ()
    return tuple(parameters)[1:]


def _missing(neuron: Neuron, method: str) -> str:
    return (
        f"{type(neuron).__name__} has no {method}(): every kind of neuron needs initial_state,"
        " coefficients and step"
    )
