"""The numbers of event-driven neurons, relative to rest.

    tau_mem dv/dt = -v + i        v = V - v_rest - resistance bias        (potential above rest)
    tau_syn di/dt = -i            arrival over a synapse:  i <- i + resistance w

so that threshold and reset potential are measured from rest, and a constant current is none.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from flax_snn import checks
from flax_snn.dynamics import LIFParameters
from flax_snn.typing import Array

__all__ = ["Physics"]

_ROWS = ("tau_mem", "tau_syn", "threshold", "v_reset", "v_rest", "refractory")

_KNOWN = (*_ROWS, "tau_syn_rec", "resistance", "bias")
"""Parameters that event layers read, or refuse by their value."""


@struct.dataclass
class Physics:
    """Numbers of a layer of neurons; each an array ``(N,)``, or ``(1,)`` where all share it.

    Attributes:
      tau_mem: membrane time constant in seconds.
      tau_syn: synaptic time constant in seconds.
      threshold: threshold above rest.
      reset: reset potential above rest.
      hold: refractory period in seconds.
      gain: factor from weights to jumps of the synaptic current, in units of potential.
      rest: potential at rest, constant current included.
      start: potential above rest at time 0; ``None`` for neurons that start at rest.
    """

    tau_mem: Array
    tau_syn: Array
    threshold: Array
    reset: Array
    hold: Array
    gain: Array
    rest: Array
    start: Any = None

    def lanes(self) -> Physics:
        """Returns the numbers as rows ``(1, N)``, which broadcast over samples."""
        return jax.tree.map(lambda x: x[None, :], self)

    def of(self, index: Array) -> Physics:
        """Returns the numbers of neurons by their index, in its shape ``(B, K)``, or ``(1, 1)``."""
        return jax.tree.map(lambda x: x[None] if x.shape == (1,) else x[index], self)


def physics(
    what: str, parameters: LIFParameters, size: int, dtype: Any, v_init: Any = None
) -> Physics:
    """Returns the numbers of ``size`` neurons.

    Args:
      what: name of the caller, for errors.
      parameters: each field a number, or an array ``(N,)``.
      size: number of neurons N.
      dtype: floating dtype of the result.
      v_init: potential at time 0, a number or an array ``(N,)``; ``None`` for that at rest.

    Raises:
      ValueError: no synapse or several; a field of another shape or outside its range; a field
        that event layers do not know.
    """
    checks.instance(what, parameters, LIFParameters)
    check_synapse(what, parameters)
    _check_fields(what, parameters)
    rows = {name: _row(what, name, getattr(parameters, name), size, dtype) for name in _ROWS}
    gain = _row(what, "resistance", parameters.resistance, size, dtype)
    bias = _row(what, "bias", parameters.bias, size, dtype)
    for name in ("tau_mem", "tau_syn"):
        _check(what, name, rows[name], rows[name] > 0, "a time constant > 0 in seconds")
    _check(what, "refractory", rows["refractory"], rows["refractory"] >= 0, "seconds >= 0")
    above = rows["threshold"] - rows["v_reset"]
    _check(
        what,
        "v_reset",
        rows["v_reset"],
        above > 0,
        "a potential below the threshold (a neuron"
        " that is reset to its threshold spikes again at once)",
    )
    rest = rows["v_rest"] + gain * bias
    return Physics(
        tau_mem=rows["tau_mem"],
        tau_syn=rows["tau_syn"],
        threshold=rows["threshold"] - rest,
        reset=rows["v_reset"] - rest,
        hold=rows["refractory"],
        gain=gain,
        rest=rest,
        start=None if v_init is None else _row(what, "v_init", v_init, size, dtype) - rest,
    )


def check_synapse(what: str, parameters: LIFParameters) -> None:
    """Checks that neurons have exactly one exponential synapse.

    Raises:
      ValueError: no synapse, or several.
    """
    if parameters.tau_syn is None:
        raise ValueError(
            f"{what}: expected neurons with a synapse, got tau_syn=None: an event that acts on the"
            " membrane at once makes it jump, which has no exact gradient; give tau_syn in seconds"
        )
    if isinstance(parameters.tau_syn, tuple) or parameters.tau_syn_rec is not None:
        raise ValueError(
            f"{what}: expected one synaptic current per neuron, got tau_syn="
            f"{parameters.tau_syn!r}, tau_syn_rec={parameters.tau_syn_rec!r}; event layers have one"
        )


def check_start(what: str, numbers: Physics) -> None:
    """Checks that no neuron is known to start at or above its threshold.

    Raises:
      ValueError: a neuron starts there.
    """
    if numbers.start is not None:
        below = numbers.start < numbers.threshold
        start = numbers.start + numbers.rest
        _check(what, "v_init", start, below, "a potential below the threshold")


def certainly_zero(value: Any) -> bool:
    """Returns whether a number is known to be 0 already while a function is traced."""
    known = not isinstance(value, jax.core.Tracer)
    return known and bool(np.all(np.asarray(value) == 0))


def rests_above(parameters: LIFParameters, dtype: Any) -> bool:
    """Returns whether some neuron is known to rest at or above its threshold.

    Read from the parameters: what `physics` computes is not known while a function is traced, even
    where the parameters are.
    """
    names = ("threshold", "v_rest", "resistance", "bias")
    values = [getattr(parameters, name) for name in names]
    if any(isinstance(value, jax.core.Tracer) for value in values):
        return False
    threshold, rest, resistance, bias = (np.asarray(value, dtype) for value in values)
    return bool((threshold - (rest + resistance * bias) <= 0).any())


def _check_fields(what: str, parameters: LIFParameters) -> None:
    for field in dataclasses.fields(parameters):
        value = getattr(parameters, field.name)
        if field.name not in _KNOWN and value is not field.default and value != field.default:
            raise ValueError(
                f"{what}: event layers do not know the parameter {field.name}={value!r}: what it"
                f" means would be lost; leave it at {field.default!r}"
            )


def _row(what: str, name: str, value: Any, size: int, dtype: Any) -> Array:
    row = jnp.asarray(value, dtype)
    if row.shape == ():
        row = row[None]
    if row.shape not in ((1,), (size,)):
        raise ValueError(
            f"{what}: {name}: expected a number or one per neuron, ({size},), got shape {row.shape}"
        )
    _check(what, name, row, jnp.isfinite(row), "finite numbers")
    return row


def _check(what: str, name: str, row: Array, good: Array, wanted: str) -> None:
    if isinstance(good, jax.core.Tracer) or bool(np.all(np.asarray(good))):
        return
    values, fine = np.broadcast_arrays(np.asarray(row), np.asarray(good))
    raise ValueError(f"{what}: {name}: expected {wanted}, got {values[~fine][0]}")
