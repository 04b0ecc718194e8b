"""Physics of a leaky integrate-and-fire neuron in continuous time.

    tau_mem dv/dt = -(v - v_rest) + resistance * (sum of synaptic currents i + bias)
    tau_syn di/dt = -i                    an input spike of weight w:  i <- i + w
    v reaches threshold:  spike, reset, hold for `refractory` seconds

No time step and no switches: event-based layers and interchange formats read only this.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

from flax import struct

from flax_snn.typing import Scalar

POSITIVE = ("tau_mem", "tau_syn", "tau_syn_rec", "resistance")
"""Parameters that must be above 0."""


@struct.dataclass
class LIFParameters:
    """Parameters of a leaky integrate-and-fire neuron, in continuous time.

    A pytree: each field is a number, or an array ``(N,)`` with one value per neuron.

    Attributes:
      tau_mem: membrane time constant in seconds.
      tau_syn: synaptic time constant in seconds; a tuple for several synaptic channels; ``None``
        for a current that acts on the membrane directly.
      tau_syn_rec: time constant in seconds of a synaptic current of its own for recurrent input;
        ``None`` where recurrent and feed-forward input share their synapse.
      threshold: membrane potential at which the neuron spikes.
      v_rest: membrane potential without input.
      v_reset: membrane potential after a spike (hard reset) and during the refractory period.
      refractory: time in seconds for which the membrane is held after a spike.
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


def number(name: str, value: Any, *, positive: bool = False, unit: str = "") -> float:
    """Return ``value`` as a float.

    Args:
      name: what the number is, for the error.
      value: the number.
      positive: refuse values that are not above 0.
      unit: unit, for the error.

    Raises:
      TypeError: not a real number.
      ValueError: not finite, or not above 0 where it must be.
    """
    what = f"a finite number{' > 0' if positive else ''}{f' in {unit}' if unit else ''}"
    if isinstance(value, bool | str | bytes) or value is None or getattr(value, "shape", ()) != ():
        hint = (
            "; per-neuron values are parameters of a cell: name the field in `learn`"
            if getattr(value, "shape", ())
            else ""
        )
        raise TypeError(f"{name}: expected {what}, got {value!r}{hint}")
    try:
        result = float(value)
    except TypeError:
        raise TypeError(f"{name}: expected {what}, got {value!r}") from None
    if not math.isfinite(result) or (positive and result <= 0.0):
        raise ValueError(f"{name}: expected {what}, got {value!r}")
    return result


def checked(parameters: LIFParameters) -> LIFParameters:
    """Return the parameters as finite floats, time constants and resistance above 0.

    Raises:
      TypeError: a field is not a number.
      ValueError: a field is NaN, infinite or outside its range.
    """
    values: dict[str, Any] = {}
    for field in dataclasses.fields(LIFParameters):
        name, value = field.name, getattr(parameters, field.name)
        positive = name in POSITIVE
        unit = "seconds" if name.startswith("tau") or name == "refractory" else ""
        if name in ("tau_syn", "tau_syn_rec") and value is None:
            values[name] = None
        elif name == "tau_syn" and isinstance(value, tuple | list):
            if not value:
                raise ValueError("tau_syn: expected at least one time constant, got an empty tuple")
            values[name] = tuple(
                number(f"tau_syn[{k}]", tau, positive=True, unit=unit)
                for k, tau in enumerate(value)
            )
        else:
            values[name] = number(name, value, positive=positive, unit=unit)
    if values["refractory"] < 0.0:
        raise ValueError(f"refractory: expected seconds >= 0, got {values['refractory']!r}")
    if values["tau_syn_rec"] is not None and values["tau_syn"] is None:
        raise ValueError(
            "tau_syn_rec: expected a neuron with a synapse, got tau_syn=None; give tau_syn too"
        )
    return LIFParameters(**values)


def steps_of(refractory: float, dt: float) -> int:
    """Return a refractory period as a number of steps.

    Raises:
      ValueError: no whole number of steps.
    """
    count = refractory / dt
    if abs(count - round(count)) > 1e-6:
        raise ValueError(
            f"refractory: expected a whole number of steps of dt={dt!r} s, got {refractory!r} s ="
            f" {count:.6g} steps; use {round(count) * dt:.6g} s or another dt"
        )
    return round(count)
