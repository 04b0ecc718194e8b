"""Values that differ from neuron to neuron: learned values, given values, given coefficients.

Each is a small module that shares the scope of its cell, so that parameters are named
``log_tau_mem``, ``learned_bias``, ... without a level between.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from flax_snn.dynamics import Dynamics, Learnable, Neuron
from flax_snn.dynamics.learnable import why_not_learnable
from flax_snn.typing import Array, Shape


class NeuronValues(nn.Module):
    """Values of the neuron that are learned or given, one per neuron.

    Learned ones are parameters: positive values as logarithms, ``tau_mem = exp(log_tau_mem)``, in
    the domain of `flax_snn.dynamics.domain`. Given ones are constants, or, where an initialiser
    draws them, variables of the collection ``neuron``.
    """

    dynamics: Neuron
    learn: tuple[str, ...]
    given: Any
    param_dtype: Any
    state_dtype: Any

    @nn.compact
    def of(self, size: int) -> dict[str, Any]:
        """Returns the values of ``size`` neurons by name, in their units."""
        learnable = self.dynamics.learnable(self.learn)
        values = self.dynamics.values()
        changes: dict[str, Any] = {}
        for name, each in learnable.items():
            if name not in self.learn and name not in self.given:
                continue
            value = each.value
            if isinstance(value, tuple):
                changes[name] = tuple(
                    self._value(f"{name}_{k}", name, dataclasses.replace(each, value=v), size, {})
                    for k, v in enumerate(value)
                )
            else:
                changes[name] = self._value(name, name, each, size, values | changes)
        return changes

    def _value(
        self, label: str, name: str, each: Learnable, size: int, others: Mapping[str, Any]
    ) -> Array:
        # A decay is not worth computing in less than float32.
        dtype = at_least_float32(self.state_dtype)
        given = self.given.get(name)

        def start(key: Any, shape: Any, dtype: Any) -> Array:
            if given is None:
                return jnp.full(shape, np.asarray(each.value), dtype)
            if isinstance(given, tuple):
                return jnp.asarray(_fitting(name, given, size), dtype)
            drawn = jnp.asarray(given(key, shape, dtype))
            _check_drawn(name, each, drawn)
            return drawn

        if name in self.learn:
            # Values that lie outside would be moved into the domain when they are read.
            ends = (min(given), max(given)) if isinstance(given, tuple) else each.value
            dataclasses.replace(each, value=ends).check_dtype(f"learn: {name}", dtype)
            raw = self.param(
                f"log_{label}" if each.log else f"learned_{label}",
                lambda key, shape: each.raw(start(key, shape, dtype)).astype(self.param_dtype),
                (size,),
            )
            return each.learned(jnp.asarray(nn.unbox(raw)).astype(dtype), others)
        if isinstance(given, tuple):
            return start(None, (size,), dtype)
        stored = self.variable(
            "neuron", name, lambda: start(self.make_rng("params"), (size,), dtype)
        )
        return jnp.asarray(nn.unbox(stored.value)).astype(dtype)


class Individual(nn.Module):
    """Coefficients that differ from neuron to neuron, in the collection ``neuron``."""

    names: tuple[str, ...]
    dtype: Any

    @nn.compact
    def of(self, numbers: Any, shape: Shape) -> Any:
        """Returns the coefficients, those named with one value per neuron of this shape."""
        changes: dict[str, Any] = {}
        for name in self.names:
            value = fields_of(numbers)[name]
            stored = self.variable("neuron", name, jnp.full, shape, value, self.dtype).value
            if stored.shape != shape:
                raise ValueError(
                    f"expected {name} of shape {shape} in the collection 'neuron', as the input"
                    f" has it, got {stored.shape}"
                )
            changes[name] = stored
        if isinstance(numbers, Mapping):
            return {**numbers, **changes}
        return dataclasses.replace(numbers, **changes)


def at_least_float32(dtype: Any) -> Any:
    """Returns a floating dtype, or float32 where it has fewer bits."""
    return dtype if jnp.finfo(dtype).bits >= 32 else jnp.float32


def fields_of(coefficients: Any) -> Mapping[str, Any]:
    """Returns coefficients by name."""
    return coefficients if isinstance(coefficients, Mapping) else vars(coefficients)


def as_given(values: Any) -> Any:
    """Returns given values with arrays and lists as tuples, so that a cell can be compared."""
    if not isinstance(values, Mapping):
        return values

    def frozen(name: str, value: Any) -> Any:
        if callable(value) or isinstance(value, tuple):
            return value
        try:
            numbers = np.asarray(value, np.float64)
        except (TypeError, ValueError):
            raise TypeError(
                f"values: {name}: expected one number per neuron, or an initialiser, got {value!r}"
            ) from None
        if numbers.ndim > 1:
            raise ValueError(
                f"values: {name}: expected one number per neuron, (N,), got shape {numbers.shape}"
            )
        return tuple(numbers.reshape(-1).tolist())

    return {name: frozen(name, value) for name, value in values.items()}


def read(cell: Any, params: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the learned values of a cell, in their units, from its parameters."""
    learnable = cell.dynamics.learnable(cell.learn)
    values = cell.dynamics.values()
    dtype = at_least_float32(cell.dtype_of_state)

    def one(each: Learnable, label: str) -> Array:
        key = f"log_{label}" if each.log else f"learned_{label}"
        if key not in params:
            raise ValueError(
                f"values_of: expected the parameters of a cell with {key!r}, got"
                f" {', '.join(sorted(params)) or 'none'}; pass variables['params'] down to the name"
                " of the cell"
            )
        return each.learned(jnp.asarray(nn.unbox(params[key])).astype(dtype), values)

    found: dict[str, Any] = {}
    for name in (name for name in learnable if name in cell.learn):
        each = learnable[name]
        if isinstance(each.value, tuple):
            channels = (dataclasses.replace(each, value=v) for v in each.value)
            found[name] = tuple(one(channel, f"{name}_{k}") for k, channel in enumerate(channels))
        else:
            found[name] = one(each, name)
        values[name] = found[name]
    return found


def check_learn(cell: str, dynamics: Neuron, learn: tuple[str, ...]) -> None:
    """Checks that every name in ``learn`` is one that these dynamics can learn."""
    if isinstance(learn, str) or len(set(learn)) != len(learn):
        raise ValueError(f"{cell}: expected learn to be a tuple of distinct names, got {learn!r}")
    known = dynamics.learnable(learn)
    for name in learn:
        if name in known:
            continue
        if isinstance(dynamics, Dynamics):
            raise ValueError(f"{cell}: learn: {name!r}: {why_not_learnable(dynamics, name)}")
        raise ValueError(
            f"{cell}: learn: expected names among {', '.join(known) or '(none)'}, which"
            f" {type(dynamics).__name__} has, got {name!r}"
        )


def check_values(cell: str, dynamics: Neuron, values: Any) -> None:
    """Checks that given values have known names, one length, and make possible neurons."""
    if not isinstance(values, Mapping):
        raise TypeError(
            f"{cell}: values: expected a mapping from names to arrays or initialisers, got"
            f" {values!r}"
        )
    known = dynamics.learnable(tuple(values))
    for name, value in values.items():
        if name not in known:
            raise ValueError(
                f"{cell}: values: expected names among {', '.join(known) or '(none)'}, got {name!r}"
            )
        if isinstance(known[name].value, tuple):
            raise ValueError(
                f"{cell}: values: {name} has several channels, of which values per neuron are not"
                " supported; learn them instead"
            )
        if not callable(value) and not value:
            raise ValueError(f"{cell}: values: {name}: expected one value per neuron, got none")
    constant = tuple((name, value) for name, value in values.items() if not callable(value))
    _check_constants(cell, dynamics, constant)


@functools.lru_cache(maxsize=256)
def _check_constants(
    cell: str, dynamics: Neuron, values: tuple[tuple[str, tuple[float, ...]], ...]
) -> None:
    """Checks that given numbers have one length, and that the dynamics accept each neuron.

    Remembered, since Flax makes a cell anew each time it binds it.
    """
    constant = dict(values)
    sizes = {name: len(value) for name, value in constant.items()}
    if len(set(sizes.values()) - {1}) > 1:
        raise ValueError(f"{cell}: values: expected one value per neuron in each, got {sizes}")
    count = max(sizes.values(), default=0)
    rows = {
        tuple(value[k] if len(value) > 1 else value[0] for value in constant.values())
        for k in range(count)
    }
    for row in sorted(rows):
        try:
            dynamics.replace(**dict(zip(constant, row, strict=True)))
        except (TypeError, ValueError) as error:
            given = ", ".join(f"{n}={v:g}" for n, v in zip(constant, row, strict=True))
            raise ValueError(
                f"{cell}: values: a neuron with {given} is not possible: {error}"
            ) from error


def check_individual(
    cell: str, dynamics: Neuron, individual: tuple[str, ...], others: dict[str, Any]
) -> None:
    """Checks that every name in ``individual`` is a coefficient of these dynamics."""
    if not individual:
        return
    if isinstance(individual, str) or len(set(individual)) != len(individual):
        raise ValueError(
            f"{cell}: expected individual to be a tuple of distinct names, got {individual!r}"
        )
    for name, value in others.items():
        if value:
            raise ValueError(
                f"{cell}: expected either {name} or individual, got both: what {name} names has"
                " one value per neuron already"
            )
    numbers = fields_of(dynamics.coefficients())
    known = [name for name, value in numbers.items() if _one(value)]
    for name in individual:
        if name not in known:
            raise ValueError(
                f"{cell}: individual: expected names among {', '.join(known)}, got {name!r}"
            )


def _fitting(name: str, given: tuple[float, ...], size: int) -> np.ndarray:
    if len(given) not in (1, size):
        raise ValueError(f"values: {name}: expected one value per neuron, {size}, got {len(given)}")
    return np.broadcast_to(np.asarray(given), (size,))


def _check_drawn(name: str, each: Learnable, drawn: Array) -> None:
    if isinstance(drawn, jax.core.Tracer):
        return
    low, high = each.bounds
    values = np.asarray(drawn, np.float64)
    good = (values >= low) & (values <= high)
    if not good.all():
        raise ValueError(
            f"values: {name}: expected an initialiser of values from {low:g} to {high:g}"
            f" {each.unit}, got {values[~good][0]:g}"
        )


def _one(value: Any) -> bool:
    return value is not None and not isinstance(value, tuple)
