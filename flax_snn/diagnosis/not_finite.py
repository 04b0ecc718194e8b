"""Where in a model the first number appears that is not finite.

A NaN that enters a neuron stays in its membrane, which then never reaches the threshold: the
neuron is silent for ever, and all that is behind it has finite numbers again. So the membranes and
currents of the layers are looked at too, not only what layers return.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax.core import DenyList

from flax_snn.initializers.recording import check_model
from flax_snn.time_loop import stepwise
from flax_snn.typing import Array, Shaped


def first_not_finite(
    model: nn.Module,
    variables: Mapping[str, Any],
    inputs: Shaped[Array | np.ndarray, "..."] | Any,
    *,
    loss: Callable[[Any], Any] | None = None,
    rngs: Mapping[str, Array] | None = None,
    arguments: Mapping[str, Any] | None = None,
) -> str | None:
    """Returns where the first number that is not finite appears, or None if all are finite.

    Looked at are, in this order, the inputs, the variables, what each layer computes in the order
    in which the layers finish (of cells their membranes, currents and spikes as well as what they
    return), the loss, and the gradient of each parameter.

    >>> import flax_snn as snn, jax, jax.numpy as jnp
    >>> net = snn.RNN(snn.LIFCell(2))
    >>> x = jnp.ones((1, 5, 3))
    >>> variables = net.init(jax.random.key(0), x)
    >>> print(first_not_finite(net, variables, x))
    None
    >>> kernel = variables["params"]["cell"]["kernel"]
    >>> first_not_finite(net, {"params": {"cell": {"kernel": kernel.at[0, 1].set(jnp.inf)}}}, x)
    'variables: inf at params/cell/kernel[0, 1]'

    Args:
      model: a Linen model.
      variables: its variables, with ``params``; none of them is changed.
      inputs: what the model takes, an array or a tree of arrays.
      loss: makes a number of what the model returns; None, the default, leaves the gradient out.
      rngs: random streams of the model, such as ``noise``.
      arguments: further arguments of the model's call, such as ``{"train": False}``.

    Returns:
      The place in words, such as ``cell: v: nan at [0, 17, 3]``; None if all numbers are finite.
      Spike times of `flax_snn.event` may be infinite, as they are where there is no spike.

    Raises:
      TypeError: not a model.
      ValueError: no variables.
    """
    check_model(model, variables)
    for name, tree in (("inputs", inputs), ("variables", dict(variables))):
        if found := _first(tree):
            return f"{name}: {found}"
    given = {name: value for name, value in variables.items() if name != "intermediates"}
    streams = None if rngs is None else dict(rngs)
    order: list[tuple[str, ...]] = []

    def note(call: Any, args: Any, kwargs: Any, context: nn.module.InterceptorContext) -> Any:
        result = call(*args, **kwargs)
        if context.module.path not in order:
            order.append(context.module.path)
        return result

    with nn.intercept_methods(note), stepwise():
        output, state = model.apply(
            given,
            inputs,
            rngs=streams,
            capture_intermediates=True,
            mutable=DenyList("params"),
            **(arguments or {}),
        )
    traces = state.get("intermediates", {})
    for path in order:
        name = "/".join(path) or type(model).__name__
        for key, value in _at(traces, path).items():
            if isinstance(value, tuple) and (
                found := _first(value if len(value) > 1 else value[0])
            ):
                what = "what it returns" if key == "__call__" else key
                return f"{name}: {what}: {found}"
    if found := _first(output):
        return f"what the model returns: {found}"
    return None if loss is None else _in_gradient(model, given, inputs, loss, streams, arguments)


def _in_gradient(
    model: nn.Module,
    variables: Mapping[str, Any],
    inputs: Any,
    loss: Callable[[Any], Any],
    rngs: dict[str, Array] | None,
    arguments: Mapping[str, Any] | None,
) -> str | None:
    def loss_of(params: Any) -> Any:
        every = {**variables, "params": params}
        mutable = DenyList("params")
        output, _ = model.apply(every, inputs, rngs=rngs, mutable=mutable, **(arguments or {}))
        return loss(output)

    value, gradient = jax.value_and_grad(loss_of)(variables["params"])
    if found := _first(value):
        return f"loss: {found}"
    found = _first(gradient)
    return f"gradient: {found}" if found else None


def _first(tree: Any) -> str | None:
    """Returns value and place of the first number of a tree that is not finite."""
    pairs, _ = jax.tree_util.tree_flatten_with_path(nn.unbox(tree), is_leaf=_is_spikes)
    for path, leaf in pairs:
        array = jnp.asarray(leaf.time if _is_spikes(leaf) else leaf)
        if not jnp.issubdtype(array.dtype, jnp.inexact):
            continue
        bad = np.asarray(jnp.isnan(array) if _is_spikes(leaf) else ~jnp.isfinite(array))
        if bad.any():
            place = np.argwhere(bad)[0].tolist() if bad.ndim else ""
            name = jax.tree_util.keystr(path, simple=True, separator="/")
            where = f" at {name}{place}" if name or place else ""
            return f"{np.asarray(array)[bad].flat[0]}{where}"
    return None


def _is_spikes(value: Any) -> bool:
    """Returns whether a value is spikes with their times, of which missing ones are at infinity."""
    return hasattr(value, "time") and hasattr(value, "overflow")


def _at(tree: Any, path: tuple[str, ...]) -> Mapping[str, Any]:
    for name in path:
        tree = tree.get(name, {})
    return tree
