"""The checks of a neuron when a cell is made: that it behaves as the protocol `Neuron` says."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from flax_snn import checks
from flax_snn.dynamics.neuron import Neuron
from flax_snn.dynamics.validity import checked_surrogate
from flax_snn.surrogate import Surrogate


def check_neuron(what: str, neuron: Any, surrogate: Surrogate | None = None) -> None:
    """Checks that a neuron behaves as the protocol says.

    Args:
      what: name of the cell, for the error.
      neuron: the neuron.
      surrogate: surrogate derivative of the cell, or None for that of the neuron.

    Raises:
      TypeError: not a `Neuron`, or not hashable; a surrogate that is not a `Surrogate`.
      ValueError: a step that changes structure, shape or dtype of its state, coefficients that do
        not broadcast, a state without a membrane.
    """
    checks.instance(what, neuron, Neuron, what="dynamics that are a Neuron, such as LIFDynamics()")
    try:
        hash(neuron)
    except TypeError:
        raise TypeError(
            f"{what}: expected a hashable neuron, got {type(neuron).__name__}; make it a"
            " @dataclasses.dataclass(frozen=True) of numbers and tuples"
        ) from None
    _check_promises(what, neuron, surrogate)


@functools.lru_cache(maxsize=1024)
def _check_promises(what: str, neuron: Neuron, surrogate: Surrogate | None) -> None:
    kind = f"{what}: {type(neuron).__name__}"
    used = surrogate or neuron.surrogate
    if neuron.spikes:
        checked_surrogate(kind, used)
    shape, dtype = (2, 3), jnp.float32
    current = jax.ShapeDtypeStruct(shape, dtype)
    for name in ("blocks", "recurrent_blocks"):
        checks.whole_number(f"{kind}: {name}", getattr(neuron, name))
    currents = current if neuron.blocks == 1 else (current,) * neuron.blocks
    coefficients = _coefficients_of(kind, neuron, shape)
    state = jax.eval_shape(neuron.initial_state, current)
    membrane = _membrane_of(kind, neuron, state)
    if membrane.shape != shape or membrane.dtype != dtype:
        raise ValueError(
            f"{kind}: expected a membrane of the shape and dtype of v_init, {shape} float32, got"
            f" {membrane.shape} {membrane.dtype}"
        )
    noise = current if neuron.noisy else None
    after, output = jax.eval_shape(
        lambda c, s, x, n: neuron.step(c, s, x, used, noise=n), coefficients, state, currents, noise
    )
    if repr(jax.tree.structure(after)) != repr(jax.tree.structure(state)):
        raise ValueError(
            f"{kind}.step: expected a state of the structure that initial_state returns,"
            f" {jax.tree.structure(state)}, got {jax.tree.structure(after)}"
        )
    before = jax.tree_util.tree_leaves_with_path(state)
    for (path, a), b in zip(before, jax.tree.leaves(after), strict=True):
        if (a.shape, a.dtype) != (b.shape, b.dtype):
            raise ValueError(
                f"{kind}.step: expected the state{jax.tree_util.keystr(path)} to keep its shape and"
                f" dtype, {a.shape} {a.dtype}, got {b.shape} {b.dtype}"
            )
    if output.shape != shape:
        raise ValueError(
            f"{kind}.step: expected an output of the shape of the membrane, {shape}, got"
            f" {output.shape}"
        )
    if neuron.spikes:
        _check_surrogate(kind, used)


def _coefficients_of(kind: str, neuron: Neuron, shape: tuple[int, ...]) -> Any:
    coefficients = neuron.coefficients()
    for path, leaf in jax.tree_util.tree_leaves_with_path(coefficients):
        if np.ndim(leaf) > 1 or (np.ndim(leaf) == 1 and np.size(leaf) != 1):
            raise ValueError(
                f"{kind}: expected coefficients that are numbers as long as nothing is learned, got"
                f" {jax.tree_util.keystr(path)} of shape {np.shape(leaf)}, which does not broadcast"
                " against neurons of any number; give values per neuron to the cell (values=...)"
            )
    return jax.tree.map(lambda _: jax.ShapeDtypeStruct((), jnp.float32), coefficients)


def _membrane_of(kind: str, neuron: Neuron, state: Any) -> Any:
    try:
        return jax.eval_shape(neuron.membrane, state)
    except (AttributeError, KeyError):
        raise ValueError(
            f"{kind}: expected a state with an entry 'v', the membrane, got"
            f" {type(state).__name__}; name it v, or say which it is in the method membrane(state)"
        ) from None


def _check_surrogate(kind: str, surrogate: Surrogate) -> None:
    value = jax.ShapeDtypeStruct((2, 3), jnp.float32)
    try:
        slope = jax.eval_shape(surrogate, value, value)
    except TypeError as error:
        raise TypeError(
            f"{kind}: expected a surrogate derivative of two arguments, membrane and threshold, got"
            f" {surrogate!r}: {error}"
        ) from error
    if slope.shape != value.shape:
        raise ValueError(
            f"{kind}: expected a surrogate derivative of the shape of the membrane, {value.shape},"
            f" got {slope.shape} from {surrogate!r}"
        )
