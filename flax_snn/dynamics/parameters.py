"""Physics of a leaky integrate-and-fire neuron in continuous time.

    tau_mem dv/dt = -(v - v_rest) + resistance * (sum of synaptic currents i + bias)
    tau_syn di/dt = -i                    an input spike of weight w:  i <- i + w
    v reaches threshold:  spike, reset, pause of `refractory` seconds

No time step and no switches: event-based layers and interchange formats read only this.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from flax import struct

from flax_snn import checks
from flax_snn.typing import Scalar

PER_NEURON = "per-neuron values are parameters of a cell: name the field in `learn`"
"""What to do with an array of one value per neuron, for errors."""


@struct.dataclass
class LIFParameters:
    """Parameters of a leaky integrate-and-fire neuron, in continuous time.

    A pytree: each field is a number, or an array ``(N,)`` with one value per neuron.

    Attributes:
      tau_mem: membrane time constant in seconds.
      tau_syn: synaptic time constant in seconds; a tuple for several synaptic channels; ``None``
        for a current that acts on the membrane directly.
      tau_syn_rec: time constant in seconds of a separate synaptic current for recurrent input;
        ``None`` where recurrent and feed-forward input share their synapse.
      threshold: membrane potential at which the neuron spikes.
      v_rest: membrane potential without input.
      v_reset: membrane potential after a spike (hard reset) and during the refractory period.
      refractory: time in seconds for which the membrane stays at v_reset after a spike.
      resistance: membrane potential per unit of current.
      bias: constant input current.
    """

    tau_mem: Scalar = 20e-3
    tau_syn: Any = None
    tau_syn_rec: Scalar | None = None
    threshold: Scalar = 1.0
    v_rest: Scalar = 0.0
    v_reset: Scalar = 0.0
    refractory: Scalar = 0.0
    resistance: Scalar = 1.0
    bias: Scalar = 0.0

    @property
    def synapses(self) -> tuple[Scalar, ...]:
        """Time constants in seconds of all synaptic channels, the recurrent one last."""
        inputs = self.tau_syn if isinstance(self.tau_syn, tuple) else (self.tau_syn,)
        return tuple(tau for tau in (*inputs, self.tau_syn_rec) if tau is not None)


def number(
    name: str,
    value: Any,
    *,
    above: float | None = None,
    at_least: float | None = None,
    below: float | None = None,
    unit: str = "",
    remedy: str = "",
) -> float:
    """Returns a finite number of a neuron as a float.

    Args:
      name: name of the argument.
      value: the number.
      above: bound that it must exceed, or None for no such bound.
      at_least: least number allowed, or None for no such bound.
      below: bound that it must stay below, or None for none.
      unit: unit, for the error.
      remedy: what to do, for the error.

    Raises:
      TypeError: not a real number; the error for an array says where per-neuron values belong.
      ValueError: not finite, or outside the bounds.
    """
    return checks.in_range(
        name,
        value,
        at_least if above is None else above,
        below,
        low_allowed=above is None,
        high_allowed=False,
        unit=unit,
        remedy=PER_NEURON if getattr(value, "shape", ()) else remedy,
    )


def starting_potential(
    name: str, value: Any, *, below: float | None = None
) -> float | tuple[float, ...]:
    """Returns the membrane potential before the first step, one number or a tuple with one each.

    Args:
      name: name of the argument.
      value: a number, or a tuple, list or array of NumPy with one per neuron.
      below: bound that all must stay below, or None for none.

    Raises:
      TypeError: not of real numbers.
      ValueError: numbers that are not finite, or not below the bound.
    """
    if isinstance(value, tuple | list | np.ndarray) and np.ndim(value) > 0:
        return tuple(number(f"{name}[{k}]", v, below=below) for k, v in enumerate(value))
    return number(name, value, below=below)


def checked(parameters: LIFParameters) -> LIFParameters:
    """Returns the parameters as finite floats, time constants and resistance above 0.

    Raises:
      TypeError: a field is not a number.
      ValueError: a field is NaN, infinite or outside its range.
    """
    values: dict[str, Any] = {}
    for field in dataclasses.fields(LIFParameters):
        name, value = field.name, getattr(parameters, field.name)
        if name in ("tau_syn", "tau_syn_rec") and value is None:
            values[name] = None
        elif name == "tau_syn" and isinstance(value, tuple | list):
            if not value:
                raise ValueError("tau_syn: expected at least one time constant, got an empty tuple")
            values[name] = tuple(
                number(f"tau_syn[{k}]", tau, above=0.0, unit="seconds")
                for k, tau in enumerate(value)
            )
        elif name.startswith("tau"):
            values[name] = number(name, value, above=0.0, unit="seconds")
        elif name == "resistance":
            values[name] = number(name, value, above=0.0)
        elif name == "refractory":
            values[name] = number(name, value, at_least=0.0, unit="seconds")
        else:
            values[name] = number(name, value)
    if values["tau_syn_rec"] is not None and values["tau_syn"] is None:
        raise ValueError(
            "tau_syn_rec: expected a neuron with a synapse, got tau_syn=None; give tau_syn too"
        )
    return LIFParameters(**values)


def steps_of(refractory: float, dt: float) -> int:
    """Returns a refractory period as a number of steps.

    Raises:
      ValueError: not a whole number of steps.
    """
    count = refractory / dt
    if abs(count - round(count)) > 1e-6:
        raise ValueError(
            f"refractory: expected a whole number of steps of dt={dt!r} s, got {refractory!r} s ="
            f" {count:.6g} steps; use {round(count) * dt:.6g} s or another dt"
        )
    return round(count)
