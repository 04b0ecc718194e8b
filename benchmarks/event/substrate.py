"""Training in the loop with an imperfect substrate; rewrites benchmarks/results/substrate.json.

    python -m benchmarks.event.substrate                     trains the ideal networks first
    python -m benchmarks.event.substrate --runs DIR DIR ...  takes those of these runs of the app

Networks are trained by ``python -m train.yin_yang``, one per seed, and each is put on a chip of its
own, a simulated one (`flax_snn.event.substrate`): neurons whose time constants and thresholds
differ, weights of 6 bits and a sign, spikes that jitter and get lost anew in each run. Accuracies:

    ideal        the network as it was trained
    deployed     its weights on the chip
    in the loop  weights trained on: spikes of the chip, recorded, and gradients of the ideal
                 neurons at these spikes; nothing else is known of the chip
    off the loop the same training without the chip, for comparison, and then its weights on it

The epoch is that of the best validation accuracy on the chip, the deployed weights among them; on
the chip an accuracy is the mean over runs that differ in jitter and lost spikes. An output of which
no spike arrives names no class. About a quarter of an hour on 2 cores, a third of it without the
training of the ideal networks.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.machine import write_results
from flax_snn import event, losses
from train.restored.run import Restored, restore
from train.run.optimizer import optimizer

RESULTS = Path(__file__).parents[1] / "results" / "substrate.json"
COMMAND = "python -m benchmarks.event.substrate"
NETWORK = "--method first_spike --hidden 100"
WAYS = ("ideal", "deployed", "in the loop", "off the loop")


@dataclasses.dataclass(frozen=True)
class Imperfection:
    """What is wrong with a chip.

    Attributes:
      mismatch: standard deviation of the logarithm of time constants and thresholds.
      jitter: standard deviation of the shift of a spike in seconds.
      drop: probability that a spike is lost.
      bits: bits of a weight, besides its sign.
    """

    mismatch: float = 0.2
    jitter: float = 0.1e-3
    drop: float = 2e-3
    bits: int = 6


@dataclasses.dataclass(frozen=True)
class Settings:
    """How training goes on.

    Attributes:
      epochs: passes over the training samples.
      learning_rate: the highest; it falls to 0 as half a cosine.
      runs: runs of an evaluation on the chip.
    """

    epochs: int = 20
    learning_rate: float = 5e-3
    runs: int = 5


class Chips:
    """Networks on chips: their first spikes come from neurons that are not those of the model.

    A chip is a random key, and so is a run on it.
    """

    def __init__(self, model: Any, faults: Imperfection) -> None:
        self._model, self._faults = model, faults

    def run(
        self, params: Any, inputs: jax.Array, chip: jax.Array, key: jax.Array
    ) -> list[event.Spikes]:
        """Return the spikes of each layer, as they arrive."""
        faults = self._faults
        network = self._model.runner.network
        spikes, found = self._model.encode(inputs), []
        for k, cell in enumerate(network.cell.cells):
            neurons = event.mismatched(
                cell.dynamics.parameters,
                jax.random.fold_in(chip, k),
                cell.features,
                tau_mem=faults.mismatch,
                tau_syn=faults.mismatch,
                threshold=faults.mismatch,
            )
            kernel = event.quantized(params["cell"][f"cells_{k}"]["kernel"], faults.bits)
            times = event.first_spikes(spikes, kernel, neurons, duration=network.duration)
            spikes = event.disturbed(
                event.from_times(times),
                jax.random.fold_in(key, k),
                jitter=faults.jitter,
                drop=faults.drop,
            )
            found.append(spikes)
        return found

    def accuracy(
        self, params: Any, part: Any, chip: jax.Array, key: jax.Array, *, runs: int
    ) -> jax.Array:
        """Return the share of samples whose label neuron is the first from which a spike comes."""

        def one(key: jax.Array) -> jax.Array:
            first = self.run(params, part.inputs, chip, key)[-1].index[:, 0]
            return jnp.mean((first == part.labels).astype(jnp.float32))

        return jnp.mean(jax.lax.map(one, jax.random.split(key, runs)))


class Training:
    """Training that goes on from a trained network, in the loop with a chip or without it."""

    def __init__(
        self, trained: Restored, data: Any, chips: Chips, settings: Settings, *, in_the_loop: bool
    ) -> None:
        self._model, self._data, self._chips = trained.model, data, chips
        self._settings, self._in_the_loop = settings, in_the_loop
        self._network, self._config = trained.settings.network, trained.settings.loss
        training = dataclasses.replace(
            trained.settings.training, learning_rate=settings.learning_rate, warm_up=0.0
        )
        self._batch = training.batch_size
        self._updates = len(data.train.labels) // self._batch
        self._tx = optimizer(training, settings.epochs * self._updates, trained.model.depth)
        self._epoch = jax.jit(self._update_all)
        self._score = jax.jit(functools.partial(chips.accuracy, runs=settings.runs))

    def run(self, params: Any, number: int) -> dict[str, Any]:
        """Train the network of a chip; return accuracies on it, before and at the best epoch."""
        chip, *keys = jax.random.split(jax.random.key(number), 4 + self._settings.epochs)
        validation, test = self._data.validation, self._data.test
        before = best = params
        state, order = self._tx.init(params), np.random.default_rng(number)
        curve = [float(self._score(params, validation, chip, keys[0]))]
        for key in keys[3:]:
            shuffled = order.permutation(len(self._data.train.labels))
            rows = jnp.asarray(shuffled[: self._updates * self._batch], jnp.int32)
            rows = rows.reshape(self._updates, self._batch)
            params, state = self._epoch(params, state, rows, chip, key)
            curve.append(float(self._score(params, validation, chip, jax.random.fold_in(key, 0))))
            if curve[-1] >= max(curve):
                best = params
        return {
            "deployed": float(self._score(before, test, chip, keys[1])),
            "continued": float(self._score(best, test, chip, keys[2])),
            "epoch": len(curve) - 1 - int(np.argmax(curve[::-1])),
            "validation": [round(v, 4) for v in curve],
        }

    def _update_all(
        self, params: Any, state: Any, rows: jax.Array, chip: jax.Array, key: jax.Array
    ) -> Any:
        def update(carry: Any, now: Any) -> Any:
            (params, state), (rows, key) = carry, now
            part = self._data.train.take(rows)
            grads = jax.grad(self._loss)(params, part.inputs, part.labels, chip, key)
            updates, state = self._tx.update(grads, state, params)
            return (jax.tree.map(jnp.add, params, updates), state), None

        keys = jax.random.split(key, len(rows))
        return jax.lax.scan(update, (params, state), (rows, keys))[0]

    def _loss(
        self, params: Any, x: jax.Array, y: jax.Array, chip: jax.Array, key: jax.Array
    ) -> jax.Array:
        model: Any = self._model
        variables = {"params": params}
        if self._in_the_loop:
            found = self._chips.run(params, x, chip, key)
            variables["recorded"] = {f"spikes_{k}": s for k, s in enumerate(found)}
        network = model.runner.network
        spikes, membrane = network.apply(variables, model.encode(x), return_membrane=True)
        threshold = self._network.threshold
        times = losses.wake_silent(
            spikes.first_times(),
            # What was lost on the chip may spike in the model; there is nothing to wake then.
            jnp.minimum(membrane.maximum(), threshold),
            threshold=threshold,
            cap=self._network.duration,
            slope=self._config.continuation_slope,
        )
        return losses.first_spike_cross_entropy(
            times,
            y,
            tau=self._config.loss_tau,
            late_penalty=self._config.late_penalty,
            late_tau=self._config.late_tau,
        )


def measure(runs: Sequence[Path], faults: Imperfection, settings: Settings) -> dict[str, Any]:
    """Put each network on a chip, train it there, and return the accuracies."""
    networks = [restore(path) for path in runs]
    first, rows = networks[0], {}
    parts = first.load_data()
    data = jax.tree.map(jnp.asarray, parts)
    chips = Chips(first.model, faults)
    inside, outside = (
        Training(first, data, chips, settings, in_the_loop=loop) for loop in (True, False)
    )
    for number, trained in enumerate(networks):
        ideal = trained.evaluate(parts.test).sums
        looped, alone = (way.run(trained.params, number) for way in (inside, outside))
        rows[f"network and chip {number}"] = row = {
            "ideal": float(ideal.points / ideal.samples),
            "deployed": looped["deployed"],
            "in the loop": looped["continued"],
            "off the loop": alone["continued"],
            "epochs": {"in the loop": looped["epoch"], "off the loop": alone["epoch"]},
            "validation on the chip": {
                "in the loop": looped["validation"],
                "off the loop": alone["validation"],
            },
        }
        shown = (f"{name} {row[name]:.2%}" for name in WAYS)
        print(f"chip {number}: {', '.join(shown)}", flush=True)
    return rows


def summary(rows: dict[str, Any]) -> dict[str, Any]:
    """Return means and deviations over the chips, and the share of lost points that came back."""
    found: dict[str, Any] = {}
    for name in WAYS:
        values = [row[name] for row in rows.values()]
        found[name] = {
            "mean": round(statistics.mean(values), 5),
            "deviation": round(statistics.stdev(values), 5) if len(values) > 1 else None,
        }
    means = {name: value["mean"] for name, value in found.items()}
    lost = means["ideal"] - means["deployed"]
    for name in ("in the loop", "off the loop"):
        found[f"recovered {name}"] = round((means[name] - means["deployed"]) / lost, 4)
    return found


def ideal_run(seed: int, folder: Path) -> Path:
    """Train an ideal network with the app; return its run directory."""
    path = folder / f"seed_{seed}"
    command = [sys.executable, "-m", "train.yin_yang", *NETWORK.split(), "--seed", str(seed)]
    command += ["--workdir", str(path), "--no-plots", "--quiet"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return path


def main() -> None:
    parser = argparse.ArgumentParser(prog=COMMAND)
    parser.add_argument("--runs", nargs="*", type=Path, help="run directories of the app")
    parser.add_argument("--networks", type=int, default=5, help="how many to train, without --runs")
    options = parser.parse_args()
    faults, settings = Imperfection(), Settings()
    with tempfile.TemporaryDirectory() as folder:
        runs = options.runs or [ideal_run(seed, Path(folder)) for seed in range(options.networks)]
        rows = measure(runs, faults, settings)
    found = summary(rows)
    print(*(f"{name}: {value}" for name, value in found.items()), sep="\n")
    write_results(
        RESULTS,
        COMMAND,
        {
            "network": f"python -m train.yin_yang {NETWORK} --seed N",
            "imperfection": dataclasses.asdict(faults),
            "settings": dataclasses.asdict(settings),
            "summary": found,
            "rows": rows,
        },
    )


if __name__ == "__main__":
    main()
