"""Training with `--check-numbers`: each update is looked at, and the first NaN is given a place."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from flax_snn.diagnosis import first_not_finite
from train.data.parts import Part
from train.errors import ConfigError, NotFiniteError
from train.model import Model
from train.run.step import Sums, TrainState
from train.settings import TrainingConfig

Train = Callable[[TrainState, Part, Any], tuple[TrainState, Sums]]


def watched(train: Train, model: Model, training: TrainingConfig) -> Train:
    """Returns a function that trains batch by batch, and stops at a number that is not finite.

    Args:
      train: runs one update per batch, as `train.run.step.train_batches` does.
      model: the network.
      training: settings of the training.

    Returns:
      The function; it raises a NotFiniteError that names the update and the layer.
    """

    def call(state: TrainState, part: Part, order: Any) -> tuple[TrainState, Sums]:
        count = len(part.labels) if order is None else len(order)
        total: Any = None
        for k in range(count):
            one = slice(k, k + 1)
            if order is None:
                after, sums = train(state, part.take(one), None)
                batch = part.take(k)
            else:
                after, sums = train(state, part, order[one])
                batch = part.take(order[k])
            if not _all_finite((after.params, after.opt_state, sums)):
                raise NotFiniteError(
                    f"update {int(state.step) + 1}: {_place(model, training, state, after, batch)}"
                )
            state = after
            total = sums if total is None else jax.tree.map(jnp.add, total, sums)
        return state, total

    return call


@jax.jit
def _all_finite(tree: Any) -> jax.Array:
    leaves = [x for x in jax.tree.leaves(tree) if jnp.issubdtype(x.dtype, jnp.inexact)]
    return functools.reduce(jnp.logical_and, [jnp.all(jnp.isfinite(x)) for x in leaves])


def _place(
    model: Model, training: TrainingConfig, state: TrainState, after: TrainState, batch: Part
) -> str:
    """Returns in words where the first number that is not finite comes up in an update."""
    variables = {"params": state.params}
    try:
        network, inputs = model.on_grid(batch.inputs)
    except ConfigError:  # continuous time: its layers keep no membranes to look at
        found = None
    else:
        variables |= getattr(model.runner, "constants", {})
        found = first_not_finite(network, variables, inputs)
    if found:
        return found
    key = jax.random.wrap_key_data(state.noise_key)

    def loss_of(params: Any) -> Any:
        output = model.apply(params, batch.inputs, key, batch.lengths, training)
        loss = model.objective.loss(output.z, batch.labels, training.label_smoothing)
        return jnp.mean(loss) + output.penalty, (output.z, loss, output.penalty)

    (_, parts), gradient = jax.value_and_grad(loss_of, has_aux=True)(state.params)
    named = dict(zip(("output", "loss of a sample", "penalty"), parts, strict=True))
    every = named | {"gradient": gradient, "updated parameters": after.params}
    every |= {"optimizer": after.opt_state}
    for name, tree in every.items():
        for path, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]:
            values = jnp.asarray(leaf)
            if jnp.issubdtype(values.dtype, jnp.inexact) and not jnp.isfinite(values).all():
                inner = jax.tree_util.keystr(path, simple=True, separator="/")
                bad = values[~jnp.isfinite(values)].ravel()[0]
                return f"{name}{f' of {inner}' if inner else ''}: {bad} among its numbers"
    return "sums over the batch: a number that is not finite"
