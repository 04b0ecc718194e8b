"""Classifiers without neurons on the raw spike times of Randman: what the data allow.

    python -m benchmarks.accuracy.raw_times

trains a softmax regression and a network of 128 ReLU units on the step of each unit's spike,
standardised per unit, with Adam for 60 epochs, and rewrites benchmarks/results/raw_times.json. The
samples and their split are those of ``python -m train.randman``. About three minutes on 2 cores.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from benchmarks.machine import take_no_options, write_results
from train.data.order import epoch_order
from train.tasks.randman import RandmanData, load_randman

RESULTS = Path(__file__).parents[1] / "results" / "raw_times.json"
COMMAND = "python -m benchmarks.accuracy.raw_times"
EPOCHS, BATCH, RATE = 60, 250, 1e-2

SETTINGS = {
    "10 classes, dimension 1, numpy": RandmanData(),
    "10 classes, dimension 1, torch": RandmanData(variant="torch"),
    "10 classes, dimension 1, paper": RandmanData(variant="paper"),
    "20 classes, dimension 1, numpy": RandmanData(classes=20),
    "10 classes, dimension 2, numpy": RandmanData(dim=2),
}
MODELS = {"linear": (), "mlp": (128,)}


class Classifier(nn.Module):
    """Dense layers with ReLU between them."""

    hidden: tuple[int, ...]
    classes: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        for size in self.hidden:
            x = nn.relu(nn.Dense(size)(x))
        return nn.Dense(self.classes)(x)


def train(hidden: tuple[int, ...], classes: int, data: Any, seed: int) -> float:
    """Return the test accuracy after the epoch that is best on validation."""
    mean, std = data["train"][0].mean(axis=0), data["train"][0].std(axis=0)
    parts = {k: (jnp.asarray((x - mean) / std), jnp.asarray(y)) for k, (x, y) in data.items()}
    x, y = parts["train"]
    model = Classifier(hidden, classes)
    batches = len(y) // BATCH
    tx = optax.adam(optax.cosine_decay_schedule(RATE, EPOCHS * batches))
    params = model.init(jax.random.key(seed), x[:1])

    @jax.jit
    def epoch(params: Any, memory: Any, order: jax.Array) -> tuple[Any, Any]:
        def update(carry: Any, rows: jax.Array) -> tuple[Any, None]:
            params, memory = carry

            def loss(params: Any) -> jax.Array:
                logits = model.apply(params, x[rows])
                return optax.softmax_cross_entropy_with_integer_labels(logits, y[rows]).mean()

            updates, memory = tx.update(jax.grad(loss)(params), memory, params)
            return (optax.apply_updates(params, updates), memory), None

        return jax.lax.scan(update, (params, memory), order)[0]

    @functools.partial(jax.jit, static_argnums=1)
    def accuracy(params: Any, part: str) -> jax.Array:
        inputs, labels = parts[part]
        logits: Any = model.apply(params, inputs)
        return jnp.mean(logits.argmax(axis=-1) == labels)

    memory, best = tx.init(params), (-1.0, 0.0)
    for number in range(1, EPOCHS + 1):
        params, memory = epoch(params, memory, epoch_order(seed, number, len(y), BATCH))
        best = max(best, (float(accuracy(params, "validation")), float(accuracy(params, "test"))))
    return round(best[1], 6)


def spike_steps(settings: RandmanData) -> dict[str, Any]:
    """Step of each unit's only spike, (S, M), and labels, for each part."""
    data = load_randman(settings)
    return {
        name: (part.inputs.argmax(axis=1).astype(np.float32), part.labels)
        for name, part in data._asdict().items()
    }


def main() -> None:
    take_no_options(COMMAND, __doc__)
    rows: dict[str, Any] = {}
    for name, settings in SETTINGS.items():
        data = spike_steps(settings)
        rows[name] = {
            model: {str(seed): train(hidden, settings.classes, data, seed) for seed in range(3)}
            for model, hidden in MODELS.items()
        }
        print(name, rows[name], flush=True)
    write_results(RESULTS, COMMAND, {"epochs": EPOCHS, "rows": rows})


if __name__ == "__main__":
    main()
