"""The state of a training run, and the two compiled calls that use it: an epoch, an evaluation.

Data lie on the device as a whole; one call runs ``lax.scan`` over all batches of an epoch and
returns means, so that Python and the device meet once per epoch.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax.training import train_state

from flax_snn import losses
from flax_snn.typing import Array, Float, Int, Num
from train.config import TrainingConfig
from train.model import Model


class TrainState(train_state.TrainState):
    """Everything that training changes: what a resumed run needs.

    Attributes:
      noise_key: raw data of the random key from which noise is drawn, uint32; the noise of an
        update follows from it and ``step``.

    The other attributes are those of ``flax.training.train_state.TrainState``: step, params,
    opt_state (stored), apply_fn, tx (not stored).
    """

    noise_key: Array


class Metrics(NamedTuple):
    """Means over samples.

    Attributes:
      loss: cross-entropy in nats.
      accuracy: share of samples classified correctly.
      activity: share of slots with a spike, one number per layer that spikes.
    """

    loss: Float[Array, "*K"]
    accuracy: Float[Array, "*K"]
    activity: Float[Array, "*K L"]


class Evaluation(NamedTuple):
    """What one pass over a part without training gives.

    Attributes:
      metrics: means over its samples.
      predictions: predicted class of each sample, padding included, int32 ``(K, B)``.
    """

    metrics: Metrics
    predictions: Int[Array, "K B"]


def optimizer(config: TrainingConfig, updates: int) -> optax.GradientTransformation:
    """AdamW whose learning rate rises linearly, then falls to zero as half a cosine.

    Args:
      config: settings of the training.
      updates: number of updates of the whole run.

    Returns:
      The optimiser.
    """
    rate, rising = config.learning_rate, round(config.warm_up * updates)
    fall = optax.cosine_decay_schedule(rate, max(updates - rising, 1))
    rise = optax.linear_schedule(0.1 * rate, rate, max(rising, 1))
    schedule = optax.join_schedules([rise, fall], [rising])
    return optax.adamw(schedule, weight_decay=config.weight_decay)


def create_state(
    model: Model, config: TrainingConfig, updates: int, seed: Int[Array, ""]
) -> TrainState:
    """Return the state before the first update.

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
        tx=optimizer(config, updates),
        noise_key=jax.random.key_data(noise_key),
    )


def train_epoch(
    state: TrainState,
    inputs: Num[Array, "S T F"],
    labels: Int[Array, "S"],
    order: Int[Array, "K B"],
) -> tuple[TrainState, Metrics]:
    """Run one update per row of ``order``.

    Args:
      state: state before.
      inputs: all training samples.
      labels: their classes.
      order: rows of samples of each batch.

    Returns:
      The state after, and means over the epoch, taken before each update.
    """

    def update(state: TrainState, rows: Array) -> tuple[TrainState, Metrics]:
        noise_key = jax.random.fold_in(jax.random.wrap_key_data(state.noise_key), state.step)

        def loss_of(params: Any) -> tuple[Array, Metrics]:
            logits, activity = state.apply_fn(params, inputs[rows], noise_key)
            loss = losses.softmax_cross_entropy(logits, labels[rows])
            correct = jnp.argmax(logits, axis=-1) == labels[rows]
            return loss, Metrics(loss, jnp.mean(correct), jnp.mean(activity, axis=0))

        grads, metrics = jax.grad(loss_of, has_aux=True)(state.params)
        return state.apply_gradients(grads=grads), metrics

    state, metrics = jax.lax.scan(update, state, order)
    return state, jax.tree.map(lambda m: jnp.mean(m, axis=0), metrics)


def evaluate(
    model: Model,
    params: Any,
    inputs: Num[Array, "S T F"],
    labels: Int[Array, "S"],
    order: Int[Array, "K B"],
) -> Evaluation:
    """Classify all samples of ``order``, in which -1 is padding that counts for nothing.

    Membrane noise, where a model has any, is drawn from one fixed key.

    Args:
      model: the network.
      params: its parameters.
      inputs: samples.
      labels: their classes.
      order: rows of samples of each batch.

    Returns:
      Means over the samples, and predictions.
    """

    def batch(rows: Array) -> tuple[Metrics, Array, Array]:
        real = rows >= 0
        x, y = inputs[jnp.maximum(rows, 0)], labels[jnp.maximum(rows, 0)]
        logits, activity = model.apply(params, x, jax.random.key(0))
        log_p = jax.nn.log_softmax(logits)
        loss = -jnp.take_along_axis(log_p, y[:, None], axis=-1)[:, 0]
        predicted = jnp.argmax(logits, axis=-1).astype(jnp.int32)
        sums = jax.tree.map(
            lambda m: jnp.sum(jnp.where(real.reshape(-1, *[1] * (m.ndim - 1)), m, 0.0), axis=0),
            Metrics(loss, (predicted == y).astype(jnp.float32), activity),
        )
        return sums, predicted, jnp.sum(real, dtype=jnp.float32)

    sums, predictions, counts = jax.lax.map(batch, order)
    total = jnp.sum(counts)
    return Evaluation(jax.tree.map(lambda m: jnp.sum(m, axis=0) / total, sums), predictions)


def share(value: Array) -> float:
    """Return a share of samples as a number of at most 6 digits, free of float32's own: 0.434."""
    return round(float(value), 6)


def rates_hz(model: Model, metrics: Metrics) -> dict[str, float]:
    """Return the mean firing rate in Hz of each layer that spikes."""
    hz = np.asarray(metrics.activity, np.float64) / model.dt
    return dict(zip(model.layers, hz.tolist(), strict=True))
