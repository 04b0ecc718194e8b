"""The state of a training run, and the two compiled calls that use it: updates, an evaluation.

Each runs ``lax.scan`` over several batches of samples that lie on the device and returns sums, so
that Python and the device meet once per epoch, or once per chunk where samples are streamed.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax.training import train_state

from flax_snn.typing import Array, Float, Int, Shaped
from train.data.parts import Part
from train.model import Model, Output
from train.run import rules
from train.run.optimizer import optimizer
from train.settings import TrainingConfig


class TrainState(train_state.TrainState):
    """Everything that training changes: what a resumed run needs.

    Attributes:
      noise_key: raw data of the random key from which noise and jitter are drawn, uint32; those
        of an update follow from it and ``step``.

    The other attributes are those of ``flax.training.train_state.TrainState``: step, params,
    opt_state (stored), apply_fn, tx (not stored).
    """

    noise_key: Array


class Sums(NamedTuple):
    """Sums over samples; those of parts of an epoch add up.

    Attributes:
      samples: number of samples, a float, so that all adds up alike.
      loss: of each sample, without regularisers and label smoothing.
      points: score of each sample.
      activity: for each layer that spikes, the spikes of each neuron per slot ``(N,)``; a slot is
        what the model says.
      grad_norm: global norm of the gradient of a batch, counted once per sample; 0 in evaluation.
      lost: spikes that found no room in a layer, at least so many.
    """

    samples: Float[Array, ""]
    loss: Float[Array, ""]
    points: Float[Array, ""]
    activity: tuple[Float[Array, "_"], ...]
    grad_norm: Float[Array, ""]
    lost: Float[Array, ""]


class Evaluation(NamedTuple):
    """What one pass over samples without training gives.

    Attributes:
      sums: sums over the samples.
      predictions: prediction for each sample, padding included, ``(K, B, ...)``.
    """

    sums: Sums
    predictions: Shaped[Array, "K B *L"]


def create_state(
    model: Model, config: TrainingConfig, updates: int, seed: Int[Array, ""]
) -> TrainState:
    """Returns the state before the first update.

    Args:
      model: the network.
      config: settings of the training.
      updates: number of updates of the whole run.
      seed: seed of the run, an array, so that another seed is not another compilation.

    Returns:
      The state.
    """
    params_key, noise_key = jax.random.split(jax.random.key(seed))
    return TrainState.create(
        apply_fn=model.apply,
        params=model.init(params_key),
        tx=optimizer(config, updates, model.depth),
        noise_key=jax.random.key_data(noise_key),
    )


def train_batches(
    model: Model,
    config: TrainingConfig,
    state: TrainState,
    samples: Part,
    order: Int[Array, "K B"] | None,
) -> tuple[TrainState, Sums]:
    """Runs one update per batch.

    Args:
      model: the network.
      config: settings of the training.
      state: state before.
      samples: training samples ``(S, ...)``; the batches themselves ``(K, B, ...)`` where there is
        no order.
      order: rows of samples of each batch.

    Returns:
      The state after, and sums over the batches, each taken before its update.
    """
    rules.check(model, config)

    def update(state: TrainState, chosen: Any) -> tuple[TrainState, Sums]:
        key = jax.random.fold_in(jax.random.wrap_key_data(state.noise_key), state.step)
        noise_key, jitter_key = jax.random.split(key)
        stored, y, lengths = chosen if order is None else samples.take(chosen)
        size = len(y)
        x = model.encode.augment(stored, jitter_key, config.jitter)

        def loss_of(params: Any) -> tuple[Array, Sums]:
            output = model.apply(params, x, noise_key, lengths, config)
            loss = jnp.mean(model.objective.loss(output.z, y, config.label_smoothing))
            sums = _sums(jnp.ones(size), model, output, y)
            return loss + output.penalty, sums

        if config.rule == "bptt":
            grads, sums = jax.grad(loss_of, has_aux=True)(state.params)
        else:
            _, sums = loss_of(state.params)
            run_key = jax.random.wrap_key_data(state.noise_key)
            batch = (x, y, lengths, run_key)
            grads = rules.gradient_of(model, config, state.params, *batch)
        norm = size * optax.tree.norm(grads)
        state = state.apply_gradients(grads=grads)
        state = state.replace(params=model.settle(state.params))
        return state, sums._replace(grad_norm=norm)

    state, sums = jax.lax.scan(update, state, samples if order is None else order)
    return state, jax.tree.map(lambda x: jnp.sum(x, axis=0), sums)


def evaluate(
    model: Model,
    params: Any,
    samples: Part,
    order: Int[Array, "K B"],
    key: Array | None = None,
) -> Evaluation:
    """Score all samples of ``order``, in which -1 is padding that counts for nothing.

    Without a key, all noise is drawn from one fixed key: a model with crossbars is scored on one
    chip, the same one each time.

    Args:
      model: the network.
      params: its parameters.
      samples: the samples.
      order: rows of samples of each batch.
      key: random key of the noise, of which each batch has its own part.

    Returns:
      Sums over the samples, and predictions.
    """

    def batch(job: tuple[Array, Array]) -> tuple[Sums, Array]:
        rows, noise_key = job
        x, y, lengths = samples.take(jnp.maximum(rows, 0))
        output = model.apply(params, x, noise_key, lengths)
        real = (rows >= 0).astype(jnp.float32)
        return _sums(real, model, output, y), model.objective.predict(output.z)

    if key is None:
        keys = jnp.broadcast_to(jax.random.key(0), len(order))
    else:
        keys = jax.random.split(key, len(order))
    sums, predictions = jax.lax.map(batch, (order, keys))
    return Evaluation(jax.tree.map(lambda x: jnp.sum(x, axis=0), sums), predictions)


def _sums(weight: Float[Array, "B"], model: Model, output: Output, labels: Array) -> Sums:
    """Sum over the samples of a batch, each with its weight."""
    loss = model.objective.loss(output.z, labels, 0.0)
    points = model.objective.points(output.z, labels)
    return Sums(
        samples=jnp.sum(weight),
        loss=jnp.sum(jnp.where(weight > 0, loss, 0.0)),
        points=jnp.sum(jnp.where(weight > 0, points, 0.0)),
        activity=tuple(weight @ a for a in output.activity),
        grad_norm=jnp.zeros(()),
        lost=weight @ output.lost.astype(weight.dtype),
    )
