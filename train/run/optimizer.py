"""The optimiser of a run: learning rate schedule, gradient clipping, AdamW or SGD."""

from __future__ import annotations

from typing import Any

import jax
import optax

from train.settings.training import TrainingConfig


def learning_rate(config: TrainingConfig, updates: int, layers: int) -> optax.Schedule:
    """Returns the learning rate of each update.

    It rises linearly from a tenth of the highest rate, then falls to zero as half a cosine or
    linearly, or stays.

    Args:
      config: settings of the training.
      updates: number of updates of the whole run.
      layers: number of hidden layers n; the rate is that of the settings over sqrt(n).

    Returns:
      Learning rate as a function of the number of updates done.
    """
    rate, rising = config.learning_rate / layers**0.5, round(config.warm_up * updates)
    falling = max(updates - rising, 1)
    after = {
        "cosine": lambda: optax.cosine_decay_schedule(rate, falling),
        "linear": lambda: optax.linear_schedule(rate, 0.0, falling),
        "constant": lambda: optax.constant_schedule(rate),
    }[config.schedule]()
    if not rising:
        return after
    rise = optax.linear_schedule(0.1 * rate, rate, rising)
    return optax.join_schedules([rise, after], [rising])


def optimizer(config: TrainingConfig, updates: int, layers: int) -> optax.GradientTransformation:
    """Returns the optimiser that the settings describe.

    Args:
      config: settings of the training.
      updates: number of updates of the whole run.
      layers: number of hidden layers.

    Returns:
      The optimiser: clipping by the global norm where asked for, then AdamW or SGD.
    """
    schedule = learning_rate(config, updates, layers)
    if config.optimizer == "sgd":
        # Without momentum optax would keep no trace; with 0 it keeps one of no effect.
        update = optax.sgd(schedule, momentum=config.momentum or None)
    else:
        update = optax.adamw(schedule, weight_decay=config.weight_decay, mask=_kernels)
    if not config.clip_norm:
        return update
    return optax.chain(optax.clip_by_global_norm(config.clip_norm), update)


def _kernels(params: Any) -> Any:
    """Marks what weight decay acts on."""
    return jax.tree_util.tree_map_with_path(lambda path, _: "kernel" in path[-1].key, params)
