"""Deployment of a model on chips: programming them, and reading them after some time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import numpy as np
from flax.core import unfreeze
from flax.traverse_util import flatten_dict, unflatten_dict

from flax_snn import checks
from flax_snn.crossbar import chip
from flax_snn.crossbar.chip import Programmed
from flax_snn.crossbar.dot_general import COLLECTION, FAULTS, PROGRAMMING, READING
from flax_snn.typing import Array, PRNGKey

AS_DEVICE = "as device"
"""Drift compensation as the device of each layer says."""


def program(
    model: nn.Module,
    variables: Mapping[str, Any],
    key: PRNGKey,
    *args: Any,
    fault_key: PRNGKey | None = None,
    faults: Mapping[str, Any] | None = None,
    rngs: Mapping[str, PRNGKey] | None = None,
    mutable: Sequence[str] = (),
    **kwargs: Any,
) -> dict[str, Any]:
    """Programs the weights of all analog layers of a network.

    >>> import flax_snn as snn, functools, jax, jax.numpy as jnp
    >>> analog = functools.partial(snn.crossbar.DotGeneral, snn.crossbar.Device.pcm())
    >>> layer = snn.RNN(snn.LIFCell(5, dot_general_cls=analog))
    >>> x = jnp.ones((2, 10, 3))
    >>> variables = layer.init(jax.random.key(0), x)
    >>> chip = snn.crossbar.program(layer, variables, jax.random.key(1), x)
    >>> sorted(chip)
    ['crossbar', 'params']

    Args:
      model: the network, a Linen module.
      variables: its variables, with trained parameters.
      key: random key of the programming: another key, another chip.
      *args: inputs of the model, of which only shapes matter; one time step is enough.
      fault_key: random key of the faults: a chip that is programmed again keeps them. By default
        they follow from ``key``.
      faults: maps of faults, in the place of drawn ones: the tree of `fault_map`, or a part of it.
      rngs: random keys of other streams that the model needs.
      mutable: other collections that the model writes, such as ``membrane``; what it writes is
        dropped.
      **kwargs: arguments of the model, such as ``method``.

    Returns:
      The variables with the collection ``crossbar``, looked at at the first time of the device.

    Raises:
      TypeError: something that is not a module, or not variables.
      ValueError: a model without analog layers; weights beyond ``w_max``; a fault map of the
        wrong shape, or for a layer that does not exist.
    """
    what = "a Linen module; the order is (model, variables, key, inputs)"
    checks.instance("program: model", model, nn.Module, what=what)
    checks.instance("program: variables", variables, Mapping, what="what model.init returns")
    others = {name: value for name, value in variables.items() if name != COLLECTION}
    given = flatten_dict(_plain(faults or {}))
    if given:
        layers = {(*path, "faults"): value for path, value in given.items()}
        others[COLLECTION] = unflatten_dict(layers)
    streams = {PROGRAMMING: key, READING: key, "noise": key, **(rngs or {})}
    if fault_key is not None:
        streams[FAULTS] = fault_key
    _, found = model.apply(others, *args, rngs=streams, mutable=[COLLECTION, *mutable], **kwargs)
    made = {
        path: value
        for path, value in flatten_dict(_plain(found.get(COLLECTION, {}))).items()
        if isinstance(value, Programmed)
    }
    if not made:
        raise ValueError(
            "program: expected a model with a layer on a crossbar, got none; give a layer"
            " dot_general_cls=functools.partial(snn.crossbar.DotGeneral, device). Layers in nn.RNN"
            " or nn.scan need variable_broadcast=('params', 'crossbar') and split_rngs={'params':"
            " False, 'programming': False, 'reading': True}"
        )
    unknown = [path for path in given if (*path, "chip") not in made]
    if unknown:
        known = ", ".join("/".join(path[:-1]) for path in made)
        raise ValueError(
            f"program: faults for {', '.join(map('/'.join, unknown))}: expected layers among"
            f" {known}"
        )
    return {**others, COLLECTION: unflatten_dict(made)}


def at_time(
    variables: Mapping[str, Any],
    seconds: float | Array | np.ndarray,
    key: PRNGKey | None = None,
    drift_compensation: str | None = AS_DEVICE,
) -> dict[str, Any]:
    """Reads programmed layers some time after their programming.

    Any time may follow any other: each reading starts from the conductances as programmed.

    Args:
      variables: what `program` returned.
      seconds: time since the end of programming in s, >= 0.
      key: random key of the read noise.
      drift_compensation: by default that of the devices; ``None`` for none.

    Returns:
      The variables with what was found in the collection ``crossbar``.

    Raises:
      TypeError: a time that is not one number.
      ValueError: nothing is programmed; a negative time, or one for which a device has no data;
        read noise without a key.
    """
    if not isinstance(seconds, jax.core.Tracer):
        checks.non_negative("at_time: seconds", seconds, unit="seconds")
    if drift_compensation != AS_DEVICE:
        choices = (None, "global", "column")
        checks.choice("at_time: drift_compensation", drift_compensation, choices)
    whole: dict[Any, Any] = flatten_dict(_plain(variables.get(COLLECTION, {})))
    layers: dict[Any, Programmed] = {
        path: value for path, value in whole.items() if isinstance(value, Programmed)
    }
    if not layers:
        raise ValueError(
            "at_time: nothing is programmed: expected the variables that"
            " snn.crossbar.program(model, variables, key, inputs) returns"
        )
    for k, (path, value) in enumerate(sorted(layers.items())):
        if value.device.read_noise is not None and key is None:
            raise ValueError(
                f"at_time: {'/'.join(path[:-1])} has read noise; expected a random key, got none"
            )
        layer_key = jax.random.fold_in(jax.random.key(0) if key is None else key, k)
        wanted = drift_compensation
        if wanted == AS_DEVICE:
            wanted = value.device.drift_compensation
        whole[path] = _read(value, seconds, layer_key, wanted)
    return {**variables, COLLECTION: unflatten_dict(whole)}


def fault_map(variables: Mapping[str, Any]) -> dict[str, Any]:
    """Returns which devices of programmed layers are stuck, for reports or for `program`.

    Args:
      variables: what `program` returned.

    Returns:
      For each layer, under its path, int8 ``(2, inputs, outputs)``: g+ and g- of each weight,
      -1 stuck low, 1 stuck high, 0 neither.
    """
    layers = flatten_dict(_plain(variables.get(COLLECTION, {})))
    return unflatten_dict(
        {
            path[:-1]: np.zeros(value.target.shape, np.int8)
            if value.faults is None
            else np.asarray(value.faults)
            for path, value in layers.items()
            if isinstance(value, Programmed)
        }
    )


def _read(found: Programmed, seconds: Any, key: PRNGKey, compensation: Any) -> Programmed:
    if found.w_max.ndim == 2:
        return chip.read(found, seconds, key, compensation)

    def one(found: Programmed, key: PRNGKey) -> Programmed:
        return chip.read(found, seconds, key, compensation)

    return jax.vmap(one)(found, jax.random.split(key, found.w_max.shape[0]))


def _plain(tree: Mapping[str, Any]) -> dict[str, Any]:
    """Returns nested dictionaries, also of a FrozenDict."""
    plain: dict[str, Any] = unfreeze(tree)  # type: ignore[arg-type]
    return plain
