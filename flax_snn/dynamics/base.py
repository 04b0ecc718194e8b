"""Parameters, time step and rule together: what every kind of neuron shares."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar, TypeVar

import numpy as np

from flax_snn.dynamics.describe import describe
from flax_snn.dynamics.parameters import LIFParameters, checked, number
from flax_snn.dynamics.rule import Coefficients, Rule, discretize, per_channel
from flax_snn.dynamics.validity import check_dynamics, check_structure, leaves
from flax_snn.surrogate import Surrogate, superspike

D = TypeVar("D", bound="Dynamics")


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

    def __init__(self) -> None:
        """Refuse: the kinds of neurons have the constructors."""
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
        unknown = fields.keys() - {field.name for field in dataclasses.fields(self)}
        if unknown:
            raise TypeError(f"{type(self).__name__}: unknown fields {sorted(unknown)}")
        fields = defaults | fields
        if isinstance(fields["v_init"], (list, np.ndarray)):
            fields["v_init"] = tuple(float(v) for v in fields["v_init"])
        fields["rule"] = dataclasses.replace(fields["rule"], noisy=fields["noise_std"] != 0.0)
        for name, value in fields.items():
            object.__setattr__(self, name, value)
        check_dynamics(self)

    @classmethod
    def from_parts(
        cls: type[D], parameters: LIFParameters, dt: float, rule: Rule, **fields: Any
    ) -> D:
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
          **fields: surrogate, v_init, v_min, noise_std, parameters, given_float32.

        Returns:
          Dynamics of this class.
        """
        self = object.__new__(cls)
        dt = number("dt", dt, positive=True, unit="seconds")
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
        self, parameters: LIFParameters | None = None, *, dtype: Any = None
    ) -> Coefficients:
        """Return the numbers of one step.

        Args:
          parameters: parameters to use instead of the own ones, such as learned ones; JAX arrays
            give JAX arrays, through which gradients flow.
          dtype: dtype of the state that they are for; matters only where a framework computes its
            decays in float32.

        Returns:
          The coefficients, float64 numbers where nothing was learned.
        """
        if parameters is None and self.given is not None:
            single = dtype is not None and np.dtype(dtype) == np.float32
            return self.given_float32 if single and self.given_float32 else self.given
        parameters = parameters or self.parameters
        assert parameters is not None
        return discretize(
            self.rule, parameters, self.dt, v_min=self.v_min, noise_std=self.noise_std
        )

    def describe(self) -> str:
        """Return the update equation with its numbers, as text."""
        return describe(type(self).__name__, self.rule, self.coefficients(), self.dt)


def _implied(coefficients: Coefficients, dt: float, rule: Rule) -> LIFParameters | None:
    """Time constants behind given decays, if they reproduce the coefficients to 1e-6."""
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
