"""The checks of a neuron when a cell is made: that it behaves as the protocol `Neuron` says.

Its methods are called with the shapes of two samples of three neurons; nothing is computed but the
coefficients. What a method raises then is said with the name of the neuron and of the method.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from flax_snn import checks
from flax_snn.dynamics.dependence import used
from flax_snn.dynamics.domain import Learnable
from flax_snn.dynamics.neuron import Neuron
from flax_snn.dynamics.validity import checked_surrogate
from flax_snn.surrogate import Surrogate

SHAPE, DTYPE = (2, 3), jnp.float32
"""Shape and dtype of the membrane with which a neuron is tried."""


def check_neuron(
    what: str, neuron: Any, surrogate: Surrogate | None = None, *, recurrent: bool = False
) -> None:
    """Checks that a neuron behaves as the protocol says.

    Args:
      what: name of the cell, for the error.
      neuron: the neuron.
      surrogate: surrogate derivative of the cell, or None for that of the neuron.
      recurrent: whether the neurons of the cell feed each other.

    Raises:
      TypeError: not a `Neuron`, or not hashable; a surrogate that is not a `Surrogate`; a field or
        result of a wrong type.
      ValueError: a step that changes structure, shape or dtype of its state, coefficients that do
        not broadcast or are NaN, a state without a membrane, a learnable value without effect, a
        recurrent cell of a neuron that is not; a method that raises an error.
    """
    checks.instance(what, neuron, Neuron, what="dynamics that are a Neuron, such as LIFDynamics()")
    try:
        hash(neuron)
    except TypeError:
        raise TypeError(
            f"{what}: expected a hashable neuron, got {type(neuron).__name__}; make it a"
            " @dataclasses.dataclass(frozen=True) of numbers and tuples"
        ) from None
    _check_promises(what, neuron, surrogate, recurrent)


@functools.lru_cache(maxsize=1024)
def entry_without_batch(neuron: Neuron, recurrent: bool) -> str | None:
    """Returns the name of an entry of the state that does not begin with the batch axes, or None.

    Such an entry, say a counter of steps or a delay line with its steps in front, is one for all
    samples: only a loop that never regroups the samples can run the neuron.
    """
    batch = (11, 13)
    start = functools.partial(neuron.initial_state, recurrent=recurrent)
    state = jax.eval_shape(start, jax.ShapeDtypeStruct((*batch, 3), DTYPE))
    for path, leaf in jax.tree_util.tree_leaves_with_path(state):
        if leaf.shape[:2] != batch:
            return jax.tree_util.keystr(path)
    return None


@functools.lru_cache(maxsize=1024)
def _check_promises(
    what: str, neuron: Neuron, surrogate: Surrogate | None, recurrent: bool
) -> None:
    kind = f"{what}: {type(neuron).__name__}"
    _check_fields(kind, neuron)
    derivative = surrogate or neuron.surrogate
    if neuron.spikes:
        checked_surrogate(kind, derivative)
    coefficients = _coefficients_of(kind, neuron)
    _check_learnable(kind, neuron)
    state = _state_of(kind, neuron, recurrent)
    _check_step(kind, neuron, derivative, coefficients, state, recurrent)
    if neuron.spikes:
        _check_surrogate(kind, derivative)


def _check_fields(kind: str, neuron: Neuron) -> None:
    """Checks the answers that are no methods."""
    checks.positive(f"{kind}: dt", neuron.dt, unit="seconds")
    for name in ("spikes", "noisy", "shares_synapse"):
        checks.boolean(f"{kind}: {name}", getattr(neuron, name))
    for name in ("blocks", "recurrent_blocks"):
        checks.whole_number(f"{kind}: {name}", getattr(neuron, name))
    start = neuron.v_init if isinstance(neuron.v_init, tuple) else (neuron.v_init,)
    for value in start:
        remedy = "give one, or a tuple with one per neuron"
        checks.number(f"{kind}: v_init", value, remedy=remedy)


def _coefficients_of(kind: str, neuron: Neuron) -> Any:
    """Returns the shapes of the coefficients, which are checked."""
    with jax.ensure_compile_time_eval():
        found = _called(kind, neuron, "coefficients", None, dtype=DTYPE)
        leaves = jax.tree_util.tree_leaves_with_path(found)
        known = isinstance(found, Mapping) or hasattr(found, "__dict__")
        named = type(neuron).threshold_of is not Neuron.threshold_of
        if not leaves or not (known or named):
            raise TypeError(
                f"{kind}.coefficients: expected a dict or a dataclass of numbers, got"
                f" {_kind_of(found)}"
            )
        for path, leaf in leaves:
            _check_coefficient(f"{kind}.coefficients", jax.tree_util.keystr(path), leaf)
    return jax.tree.map(lambda _: jax.ShapeDtypeStruct((), DTYPE), found)


def _check_coefficient(where: str, name: str, value: Any) -> None:
    try:
        array = np.asarray(value)
        numeric = jnp.issubdtype(array.dtype, jnp.floating) or array.dtype.kind in "biu"
    except (TypeError, ValueError):
        numeric = False
    if not numeric:
        raise TypeError(
            f"{where}: expected numbers, got {name} = {checks.shown(value)}; a choice is a field of"
            " the neuron, and step reads it there"
        )
    if array.ndim > 1 or array.size != 1:
        raise ValueError(
            f"{where}: expected numbers as long as nothing is learned, got {name} of shape"
            f" {array.shape}, which does not broadcast against neurons of any number; give values"
            " per neuron to the cell (values=...)"
        )
    if np.isnan(array).any():
        raise ValueError(f"{where}: expected numbers, got {name} = nan")


def _check_learnable(kind: str, neuron: Neuron) -> None:
    """Checks that what may be learned has a domain, and changes the coefficients."""
    found = _called(kind, neuron, "learnable", ())
    wrong = not isinstance(found, Mapping) or not all(
        isinstance(name, str) and isinstance(each, Learnable) for name, each in found.items()
    )
    if wrong:
        raise TypeError(
            f"{kind}.learnable: expected a mapping from names to values with a domain, such as"
            " {'tau_mem': snn.dynamics.time_constant(self.tau_mem, self.dt)}, got"
            f" {checks.shown(found)}"
        )
    if not found:
        return
    per_neuron = jax.ShapeDtypeStruct(SHAPE[1:], DTYPE)
    values = {
        name: tuple(per_neuron for _ in each.value) if isinstance(each.value, tuple) else per_neuron
        for name, each in neuron.learnable(tuple(found)).items()
    }

    def coefficients(values: Any) -> Any:
        return neuron.coefficients(values, dtype=DTYPE)

    effects = _tried(kind, "coefficients", values, lambda: used(coefficients, values))
    names = [path[0].key for path, _ in jax.tree_util.tree_leaves_with_path(values)]
    for name, effect in zip(names, effects, strict=True):
        if not effect:
            raise ValueError(
                f"{kind}.coefficients: expected coefficients that depend on {name!r}, which is"
                f" among its learnable values, got the same whatever its value: learning it would"
                f" change nothing; take it from self.values(values)[{name!r}], or leave it out of"
                " learnable"
            )


def _state_of(kind: str, neuron: Neuron, recurrent: bool) -> Any:
    """Returns the shapes of the state of a neuron, which has a membrane."""
    v = jax.ShapeDtypeStruct(SHAPE, DTYPE)
    state = _shapes(kind, neuron, "initial_state", v, recurrent=recurrent)
    try:
        membrane = jax.eval_shape(neuron.membrane, state)
    except (AttributeError, KeyError, IndexError, TypeError):
        raise ValueError(
            f"{kind}: expected a state with an entry 'v', the membrane, got"
            f" {_kind_of(state)}; name it v, or say which it is in the method membrane(state)"
        ) from None
    if not hasattr(membrane, "shape") or (membrane.shape, membrane.dtype) != (SHAPE, DTYPE):
        raise ValueError(
            f"{kind}: expected a membrane of the shape and dtype of v_init, {SHAPE} float32, got"
            f" {_kind_of(membrane)}"
        )
    return state


def _check_step(
    kind: str,
    neuron: Neuron,
    derivative: Surrogate,
    coefficients: Any,
    state: Any,
    recurrent: bool,
) -> None:
    """Checks what a step returns, and what it feeds back."""
    v = jax.ShapeDtypeStruct(SHAPE, DTYPE)
    current = (v,) * neuron.blocks if neuron.blocks > 1 else v
    caused = (v,) * neuron.recurrent_blocks if neuron.recurrent_blocks > 1 else v
    noise = v if neuron.noisy else None
    fed_back: list[Any] = []

    def step(coefficients: Any, state: Any, current: Any, noise: Any, caused: Any) -> Any:
        def feed(spikes: Any) -> Any:
            fed_back.append(spikes)
            return caused

        fed_back.clear()
        projection = feed if recurrent else None
        return neuron.step(
            coefficients, state, current, derivative, recurrent=projection, noise=noise
        )

    _check_signature(kind, neuron, "step", None, state, v, derivative, recurrent=None, noise=None)
    given = (coefficients, state, current, noise, caused)
    described = {"current": current, "state": state, "coefficients": coefficients}
    outcome: list[Any] = []

    def shapes() -> Any:
        def seen(*given: Any) -> Any:
            outcome[:] = [step(*given)]
            return outcome[0] if _is_pair(outcome[0]) else None

        return jax.eval_shape(seen, *given)

    found = _tried(kind, "step", described, shapes)
    if found is None:
        raise TypeError(
            f"{kind}.step: expected a tuple of the state after the step and the output, got"
            f" {_kind_of(outcome[0])}"
        )
    after, output = found
    _check_state_after(kind, state, after)
    _check_output(kind, neuron, output)
    if recurrent:
        _check_fed_back(kind, fed_back)

        def fed(current: Any) -> Any:
            step(*given[:2], current, *given[3:])
            return fed_back[0]

        given = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), given)
        if any(used(fed, current)):
            raise ValueError(
                f"{kind}.step: expected to feed back spikes that follow from the state before the"
                " step, got spikes that depend on the current; feed back those of the step before:"
                " recurrent(spike(state.v, ...))"
            )


def _is_pair(result: Any) -> bool:
    return isinstance(result, tuple) and len(result) == 2


def _check_state_after(kind: str, state: Any, after: Any) -> None:
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


def _check_output(kind: str, neuron: Neuron, output: Any) -> None:
    if not hasattr(output, "shape") or output.shape != SHAPE:
        raise ValueError(
            f"{kind}.step: expected an output of the shape of the membrane, {SHAPE}, got"
            f" {_kind_of(output)}"
        )
    if not jnp.issubdtype(output.dtype, jnp.floating):
        remedy = "return the membrane"
        if neuron.spikes:
            remedy = "spikes of snn.dynamics.spike(v, surrogate, False, threshold) have one"
        raise TypeError(
            f"{kind}.step: expected an output of a floating dtype, through which gradients flow,"
            f" got {output.dtype}; {remedy}"
        )


def _check_fed_back(kind: str, fed_back: list[Any]) -> None:
    if not fed_back:
        raise ValueError(
            f"{kind}.step: expected to call recurrent(spikes), since the cell is recurrent, got a"
            " step without a call of it: its recurrent weights would do nothing; add its current,"
            " x = x if recurrent is None else x + recurrent(spikes), or take a cell that is not"
            " recurrent"
        )
    if len(fed_back) > 1:
        raise ValueError(
            f"{kind}.step: expected to call recurrent(spikes) once, got {len(fed_back)} calls;"
            " keep what the first one returns"
        )
    if getattr(fed_back[0], "shape", None) != SHAPE:
        raise ValueError(
            f"{kind}.step: expected to call recurrent(spikes) with spikes of the shape of the"
            f" membrane, {SHAPE}, got {_kind_of(fed_back[0])}"
        )


def _check_surrogate(kind: str, surrogate: Surrogate) -> None:
    value = jax.ShapeDtypeStruct(SHAPE, DTYPE)
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


def _shapes(kind: str, neuron: Neuron, method: str, *arguments: Any, **options: Any) -> Any:
    """Returns the shapes of what a method returns for arguments of given shapes."""
    _check_signature(kind, neuron, method, *arguments, **options)
    function = functools.partial(getattr(neuron, method), **options)
    return _tried(kind, method, arguments, lambda: jax.eval_shape(function, *arguments))


def _called(kind: str, neuron: Neuron, method: str, *arguments: Any, **options: Any) -> Any:
    """Returns what a method returns."""
    _check_signature(kind, neuron, method, *arguments, **options)
    return _tried(kind, method, arguments, lambda: getattr(neuron, method)(*arguments, **options))


def _check_signature(
    kind: str, neuron: Neuron, method: str, *arguments: Any, **options: Any
) -> None:
    """Checks that a method takes the arguments that the protocol gives it.

    Raises:
      TypeError: it does not.
    """
    try:
        signature = inspect.signature(getattr(neuron, method))
        signature.bind(*arguments, **options)
    except TypeError as error:
        expected = inspect.signature(getattr(Neuron, method)).replace(
            return_annotation=inspect.Signature.empty
        )
        names = [
            p.replace(annotation=inspect.Parameter.empty) for p in expected.parameters.values()
        ]
        raise TypeError(
            f"{kind}: expected a method {method}{expected.replace(parameters=names)}, got"
            f" {method}{signature} without self: {error}"
        ) from None


def _tried(kind: str, method: str, given: Any, call: Callable[[], Any]) -> Any:
    """Returns what a call returns, or says which method of which neuron raised an error."""
    try:
        return call()
    except NotImplementedError:
        raise
    except Exception as error:
        shown = jax.tree.map(_kind_of, given)
        error_kind = TypeError if isinstance(error, TypeError) else ValueError
        first_line = str(error).split("\n")[0]
        raise error_kind(
            f"{kind}.{method}: expected a result, got {type(error).__name__}: {first_line}; it was"
            f" called with {shown}"
        ) from error


def _kind_of(value: Any) -> str:
    """Returns what a value is, in a word or two: arrays by their shape and dtype."""
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        return f"{value.shape} {value.dtype}"
    if isinstance(value, tuple):
        return f"a tuple of {len(value)}"
    return "None" if value is None else f"{type(value).__name__} {checks.shown(value)}"
