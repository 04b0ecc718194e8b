"""Parameters, time step and rule together: what every kind of neuron shares."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping
from typing import Any, ClassVar, TypeVar

import numpy as np

from flax_snn import checks
from flax_snn.dynamics.changes import changed
from flax_snn.dynamics.describe import constructor_call, describe
from flax_snn.dynamics.domain import Learnable
from flax_snn.dynamics.learnable import learnable_of
from flax_snn.dynamics.neuron import Neuron, Twin
from flax_snn.dynamics.parameters import LIFParameters, checked, number, starting_potential
from flax_snn.dynamics.response import (
    free_membrane,
    membrane_gain,
    membrane_power,
    resting_potential,
)
from flax_snn.dynamics.rule import Coefficients, Rule, discretize, per_channel
from flax_snn.dynamics.step import initial_state
from flax_snn.dynamics.step import step as one_step
from flax_snn.dynamics.validity import (
    check_dynamics,
    check_structure,
    checked_surrogate,
    leaves,
)
from flax_snn.representation import short_repr
from flax_snn.surrogate import Surrogate, superspike
from flax_snn.typing import Array, Currents, LIFState, Projection, Scalar

D = TypeVar("D", bound="Dynamics")


@dataclasses.dataclass(frozen=True, init=False)
class Dynamics(Neuron):
    """What an integrate-and-fire neuron does in one time step: parameters, dt and rule.

    Use `LIFDynamics`, `LIDynamics` or a constructor of `flax_snn.conventions`.

    Attributes:
      parameters: physics in continuous time; ``None`` if coefficients were given
        that do not come from time constants.
      dt: length of a step in seconds.
      rule: the switches.
      given: coefficients of a convention that is given as decays; ``None`` where they follow from
        the parameters.
      given_float32: what ``given`` is in a float32 run of a framework that computes its decays in
        float32; ``None`` where rounding ``given`` gives the same.
      surrogate: surrogate derivative that belongs to the dynamics; a cell may override it.
      v_init: membrane potential before the first step: a number, or a tuple with one per neuron.
      v_min: lower bound of the membrane, or ``None``.
      noise_std: standard deviation of the Gaussian noise of each step, 0 for none.
    """

    parameters: LIFParameters | None
    dt: float
    rule: Rule
    given: Coefficients | None
    given_float32: Coefficients | None
    surrogate: Surrogate
    v_init: float | tuple[float, ...]
    v_min: float | None
    noise_std: float

    spikes: ClassVar[bool]
    """Whether this kind of neuron has a fire test."""

    def __init__(self, *_: Any, **__: Any) -> None:
        """Raises a TypeError: only the kinds of neurons can be made."""
        raise TypeError(
            "Dynamics: expected a kind of neuron; use LIFDynamics(...), LIDynamics(...) or a"
            " constructor of flax_snn.conventions"
        )

    def _set(self, **fields: Any) -> None:
        defaults: dict[str, Any] = {
            "given": None,
            "given_float32": None,
            "surrogate": superspike(),
            "v_min": None,
            "noise_std": 0.0,
        }
        known = [field.name for field in dataclasses.fields(self)]
        checks.argument_names(type(self).__name__, fields, known)
        fields = defaults | fields
        fields["dt"] = number("dt", fields["dt"], above=0.0, unit="seconds")
        fields["noise_std"] = number("noise_std", fields["noise_std"], at_least=0.0)
        fields["v_init"] = starting_potential("v_init", fields["v_init"])
        checked_surrogate("surrogate", fields["surrogate"])
        if fields["v_min"] is not None:
            fields["v_min"] = number("v_min", fields["v_min"])
        fields["rule"] = dataclasses.replace(fields["rule"], noisy=fields["noise_std"] != 0.0)
        for name, value in fields.items():
            object.__setattr__(self, name, value)
        check_dynamics(self)

    def __repr__(self) -> str:
        """Returns the call that makes the dynamics; their fields if the constructor cannot."""
        return constructor_call(self) or short_repr(self)

    @classmethod
    def from_parts(
        cls: type[D], parameters: LIFParameters, dt: float, rule: Rule, **fields: Any
    ) -> D:
        """Makes dynamics of parameters, a time step and a rule that carries a discretization.

        Args:
          parameters: physics in continuous time.
          dt: length of a step in seconds.
          rule: the switches, with a discretization.
          **fields: surrogate, v_init, v_min, noise_std.

        Returns:
          Dynamics of this class.
        """
        self = object.__new__(cls)
        parameters = checked(parameters)
        if len(parameters.synapses) != rule.all_channels:
            raise ValueError(
                f"tau_syn: expected {rule.all_channels} synaptic time constant(s) for this rule,"
                f" got {len(parameters.synapses)}"
            )
        defaults = {"parameters": parameters, "v_init": parameters.v_rest}
        self._set(**(defaults | fields), dt=dt, rule=rule)
        return self

    @classmethod
    def from_coefficients(
        cls: type[D], coefficients: Coefficients, *, dt: float, rule: Rule, **fields: Any
    ) -> D:
        """Makes dynamics of the coefficients themselves, bit for bit.

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
          **fields: surrogate, v_init, v_min, noise_std, parameters, given_float32.

        Returns:
          Dynamics of this class.
        """
        self = object.__new__(cls)
        dt = number("dt", dt, above=0.0, unit="seconds")
        for name, value in leaves(coefficients).items():
            number(f"coefficient {name}", value)
        check_structure(rule, coefficients)
        defaults = {
            "parameters": _implied(coefficients, dt, rule),
            "v_init": 0.0,
            "v_min": coefficients.v_min,
            "noise_std": coefficients.noise_std,
        }
        self._set(**(defaults | fields), given=coefficients, dt=dt, rule=rule)
        return self

    def coefficients(
        self, values: LIFParameters | Mapping[str, Any] | None = None, *, dtype: Any = None
    ) -> Coefficients:
        """Returns the numbers of one step.

        Args:
          values: parameters to use instead of those of the dynamics, such as learned ones, whole
            or some of them by name; JAX arrays give JAX arrays, through which gradients flow.
          dtype: dtype of the state that they are for; matters only where a framework computes its
            decays in float32.

        Returns:
          The coefficients, float64 numbers where nothing was learned.
        """
        if not values and self.given is not None:
            single = dtype is not None and np.dtype(dtype) == np.float32
            return self.given_float32 if single and self.given_float32 else self.given
        parameters = values if isinstance(values, LIFParameters) else self.parameters
        assert parameters is not None
        if isinstance(values, Mapping):
            parameters = parameters.replace(**values)  # type: ignore[attr-defined]
        return discretize(
            self.rule, parameters, self.dt, v_min=self.v_min, noise_std=self.noise_std
        )

    def describe(self) -> str:
        """Returns the update equation with its numbers, as text."""
        return describe(type(self).__name__, self.rule, self.coefficients(), self.dt)

    @property
    def blocks(self) -> int:
        """Input currents that a neuron takes, one for each synaptic channel."""
        return max(self.rule.channels, 1)

    @property
    def recurrent_blocks(self) -> int:
        """Recurrent currents that a neuron takes."""
        return 1 if self.rule.recurrent_channel else self.blocks

    @property
    def shares_synapse(self) -> bool:
        """Whether recurrent currents are added to input currents before anything else."""
        return not self.rule.recurrent_channel

    @property
    def noisy(self) -> bool:
        """Whether a step takes Gaussian noise."""
        return self.rule.noisy

    def initial_state(self, v_init: Array, *, recurrent: bool = False) -> LIFState:
        """Returns the state before the first step, with no current and no refractoriness."""
        return initial_state(self.rule, v_init, recurrent=recurrent)

    def step(
        self,
        coefficients: Coefficients,
        state: LIFState,
        current: Currents,
        surrogate: Surrogate | None = None,
        *,
        recurrent: Projection | None = None,
        noise: Array | None = None,
    ) -> tuple[LIFState, Array]:
        """Advances by one time step: `flax_snn.dynamics.step` with the rule of these dynamics."""
        return one_step(
            self.rule, coefficients, state, current, surrogate, recurrent=recurrent, noise=noise
        )

    def learnable(self, learn: Collection[str] = ()) -> Mapping[str, Learnable]:
        """Returns what may be learned, by name: the fields of `LIFParameters` that act here."""
        return learnable_of(self, learn)

    def replace(self: D, **changes: Any) -> D:
        """Returns the dynamics with some values or fields changed.

        >>> import flax_snn as snn
        >>> snn.LIFDynamics(tau_mem=20e-3).replace(tau_mem=10e-3).parameters.tau_mem
        0.01

        Args:
          **changes: fields of `LIFParameters` by name (``tau_mem``, ``threshold``, ...), switches
            of `Rule` (``reset``, ``discretization``, ...), or dt, rule, surrogate, v_init, v_min,
            noise_std.

        Raises:
          TypeError: an unknown name; parameters of dynamics that are given as coefficients.
          ValueError: values that do not fit together.
        """
        made: D = changed(self, changes)
        return made

    def lacks(self, twin: Twin) -> str | None:
        """Returns why the neuron has no such twin, or None if it has one."""
        if twin == "parallel":
            return _why_not_parallel(self.rule, self.v_min)
        return None

    def longest_silence(self) -> int:
        """Returns the number of steps without a spike that follow each spike at least."""
        return self.rule.hold

    def channels(self, *, recurrent: bool = False) -> list[int]:
        """Returns the synaptic channels that a kernel feeds, one block of its columns each."""
        if recurrent and self.rule.recurrent_channel:
            return [self.rule.channels]
        return list(range(self.blocks))

    def resting_potential(self, coefficients: Coefficients) -> Scalar:
        """Returns the potential of the membrane without input; 0 without a leak."""
        return resting_potential(coefficients)

    def free_membrane(
        self, coefficients: Coefficients, current: Currents, recurrent: Currents = None
    ) -> Array:
        """Returns the membrane that currents drive if it never spikes, above its resting value."""
        return free_membrane(self.rule, coefficients, current, recurrent)

    def membrane_gain(
        self, channel: int | tuple[float, ...] = 0, *, longest: float | None = None
    ) -> float:
        """Returns the sum of the response of the membrane to one unit of input."""
        return membrane_gain(self.rule, self.coefficients(), channel, longest=longest)

    def membrane_power(
        self, channel: int | tuple[float, ...] = 0, *, longest: float | None = None
    ) -> float:
        """Returns the sum of the squared response of the membrane to one unit of input."""
        return membrane_power(self.rule, self.coefficients(), channel, longest=longest)


def _why_not_parallel(rule: Rule, v_min: float | None) -> str | None:
    if rule.reset != "none":
        return f"a {rule.reset} reset makes each step wait for the spikes of the one before"
    if rule.hold:
        return "a refractory period makes each step wait for the spikes of those before"
    if v_min is not None:
        return "a bound v_min makes the membrane depend on the order of its inputs"
    return None


def _implied(coefficients: Coefficients, dt: float, rule: Rule) -> LIFParameters | None:
    """Returns the parameters behind given coefficients, or None if none reproduce them to 1e-6."""
    decays = (coefficients.alpha, *per_channel(coefficients.beta, rule.all_channels))
    if rule.discretization is None or not all(0.0 < decay < 1.0 for decay in decays):
        return None
    if rule.discretization.decay == "euler":
        taus = [dt / (1.0 - decay) for decay in decays]
    else:
        taus = [-dt / float(np.log(decay)) for decay in decays]
    inputs = tuple(taus[1 : 1 + rule.channels])
    parameters = LIFParameters(
        tau_mem=taus[0],
        tau_syn=(inputs[0] if len(inputs) == 1 else inputs) or None,
        tau_syn_rec=taus[-1] if rule.recurrent_channel else None,
        threshold=1.0 if coefficients.theta is None else coefficients.theta,
        v_reset=coefficients.v_reset,
        v_rest=coefficients.bias / (1.0 - coefficients.alpha),
        refractory=rule.hold * dt,
    )
    again = discretize(
        rule, parameters, dt, v_min=coefficients.v_min, noise_std=coefficients.noise_std
    )
    if leaves(again).keys() != leaves(coefficients).keys():
        return None
    pairs = zip(leaves(again).values(), leaves(coefficients).values(), strict=True)
    close = all(np.isclose(new, old, rtol=1e-6, atol=1e-12) for new, old in pairs)
    return parameters if close else None
