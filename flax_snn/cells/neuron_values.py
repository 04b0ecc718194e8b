"""Values of which each neuron has its own: learned parameters, and coefficients that are given.

Each is a small module that shares the scope of its cell, so that parameters are named
``log_tau_mem``, ``learned_bias``, ... without a level between.
"""

from __future__ import annotations

import math
from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from flax_snn.dynamics import Coefficients, Dynamics, LIFParameters
from flax_snn.dynamics.parameters import POSITIVE
from flax_snn.typing import Array

_RAW = ("v_rest", "v_reset", "bias")
_LEARNABLE = (*POSITIVE, "threshold", *_RAW)


class Learned(nn.Module):
    """Parameters of the neuron that are learned, one value per neuron.

    Positive parameters are learned as logarithms: ``tau_mem = exp(log_tau_mem)``.
    """

    dynamics: Dynamics
    learn: tuple[str, ...]
    param_dtype: Any

    @nn.compact
    def __call__(self, size: int) -> LIFParameters:
        """Return the parameters of ``size`` neurons, learned where named."""
        parameters = self.dynamics.parameters
        assert parameters is not None
        changes: dict[str, Any] = {}
        for name in self.learn:
            value = getattr(parameters, name)
            if isinstance(value, tuple):
                changes[name] = tuple(
                    self._parameter(f"{name}_{k}", v, size, log=True) for k, v in enumerate(value)
                )
            else:
                changes[name] = self._parameter(name, value, size, log=name not in _RAW)
        return parameters.replace(**changes)  # type: ignore[attr-defined]

    def _parameter(self, name: str, value: float, size: int, log: bool) -> Array:
        start = math.log(value) if log else value
        init = nn.initializers.constant(start)
        raw = self.param(
            f"log_{name}" if log else f"learned_{name}", init, (size,), self.param_dtype
        )
        return jnp.exp(raw) if log else raw


class Individual(nn.Module):
    """Coefficients of which each neuron has its own value, in the collection ``neuron``."""

    names: tuple[str, ...]
    param_dtype: Any

    @nn.compact
    def __call__(self, numbers: Coefficients, shape: tuple[int, ...]) -> Coefficients:
        """Return the coefficients of neurons of this shape, their own where named."""
        changes: dict[str, Any] = {}
        for name in self.names:
            value = getattr(numbers, name)
            own = self.variable("neuron", name, jnp.full, shape, value, self.param_dtype).value
            if own.shape != shape:
                raise ValueError(
                    f"expected {name} of shape {shape} in the collection 'neuron', as the input"
                    f" has it, got {own.shape}"
                )
            changes[name] = own
        return numbers.replace(**changes)  # type: ignore[attr-defined]


def check_learn(cell: str, dynamics: Dynamics, learn: tuple[str, ...]) -> None:
    """Raise where a name in ``learn`` is unknown or means nothing to these dynamics."""
    if isinstance(learn, str) or len(set(learn)) != len(learn):
        raise ValueError(f"{cell}: expected learn to be a tuple of distinct names, got {learn!r}")
    for name in learn:
        if name not in _LEARNABLE:
            raise ValueError(
                f"{cell}: learn: expected names among {', '.join(_LEARNABLE)}, got {name!r}"
            )
        parameters, rule = dynamics.parameters, dynamics.rule
        if parameters is None:
            raise ValueError(
                f"{cell}: learn={name!r}: these dynamics are given as coefficients that no set of"
                " time constants reproduces; use dynamics with time constants"
            )
        value = getattr(parameters, name)
        unused = (
            value is None
            or (name == "threshold" and rule.fire == "none")
            or (name == "v_reset" and not rule.uses_v_reset())
        )
        if unused:
            raise ValueError(f"{cell}: learn={name!r}: these dynamics have no {name}")
        if name == "threshold" and value <= 0.0:
            raise ValueError(
                f"{cell}: learn='threshold' learns its logarithm and needs a threshold > 0, got"
                f" {value!r}"
            )


def check_individual(
    cell: str, dynamics: Dynamics, individual: tuple[str, ...], learn: tuple[str, ...]
) -> None:
    """Raise where a name in ``individual`` is no coefficient of these dynamics."""
    if not individual:
        return
    if isinstance(individual, str) or len(set(individual)) != len(individual):
        raise ValueError(
            f"{cell}: expected individual to be a tuple of distinct names, got {individual!r}"
        )
    if learn:
        raise ValueError(
            f"{cell}: expected either learn or individual, got both: what is learned has one value"
            " per neuron already"
        )
    known = [name for name, value in vars(dynamics.coefficients()).items() if _one(value)]
    for name in individual:
        if name not in known:
            raise ValueError(
                f"{cell}: individual: expected names among {', '.join(known)}, got {name!r}"
            )


def _one(value: Any) -> bool:
    return value is not None and not isinstance(value, tuple)
