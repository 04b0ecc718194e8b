"""Fashion-MNIST in a spiking perceptron, beside snnTorch; rewrites benchmarks/results/images.json.

    python -m benchmarks.accuracy.images --data-dir FOLDER --peers PEERS [--parts ...] [--cores 1]

FOLDER as for `benchmarks.accuracy.real_data`; PEERS/snntorch is an environment of
benchmarks/peers/snntorch.txt. Both train the same network on the same images: the same equations
(their logits are compared for the same weights), sizes, initial distribution, loss, AdamW and
schedule; nothing is changed at random.

- ``seconds``: training on so many batches, in turns, in one process each; of the median the
  seconds of an epoch. What a step takes here is compiled, and there it is eager, as documented.
  Seconds are those of the processor, so that other work on the machine does not count, and
  ``--cores 1`` keeps both to one thread, whose seconds are comparable (threads that wait for each
  other burn time); the seconds of the clock stand beside them.
- ``accuracy``: after a few epochs, three seeds each by default.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.machine import write_results
from benchmarks.rows import run
from benchmarks.speed.workers import Worker
from train.command_line import parse
from train.data.order import epoch_order
from train.data.parts import Dataset
from train.run.step import create_state, train_batches
from train.tasks import find_task

RESULTS = Path(__file__).parents[1] / "results" / "images.json"
COMMAND = "python -m benchmarks.accuracy.images --data-dir FOLDER --peers PEERS"
FLAGS = (
    "--hidden 512 --steps 8 --batch-size 250 --pixel-shift 0 --no-flip --dropout 0 --init gains"
    " --input-gain 8 --no-learn-tau --learning-rate 2e-3"
)
EPOCHS, BATCHES, ROUNDS = 3, 20, 9


def peer_settings(settings: Any, hidden: int, file: Path, updates: int) -> dict[str, Any]:
    """Returns what the peer is told of the network and its training."""
    data, network, training = settings.data, settings.network, settings.training
    return {
        "file": str(file),
        "sizes": [784, hidden, 10],
        "steps": data.steps,
        "decay": float(np.exp(-data.dt / network.tau_mem)),
        "readout_decay": float(np.exp(-data.dt / network.tau_readout)),
        "slope": network.surrogate_slope,
        "scale": network.membrane_scale,
        "updates": updates,
        **{name: getattr(network, name) for name in ("input_gain", "readout_gain")},
        **{
            name: getattr(training, name)
            for name in (
                "batch_size",
                "learning_rate",
                "weight_decay",
                "warm_up",
                "label_smoothing",
            )
        },
    }


def write_arrays(file: Path, data: Dataset, params: Any) -> None:
    """Writes images, labels and first weights for the peer."""
    parts: dict[str, Any] = {
        f"{name}_{field}": np.asarray(getattr(part, field))
        for name, part in zip(Dataset._fields, data, strict=True)
        for field in ("inputs", "labels")
    }
    parts |= {
        "first": np.asarray(params["Dense_0"]["kernel"]),
        "readout": np.asarray(params["readout"]["kernel"]),
        "bias": np.asarray(params["readout"]["bias"]),
    }
    np.savez(file, **parts)


def seconds(ours: Callable[[], Any], peer: Worker) -> dict[str, Any]:
    """Returns the time of a batch of both, measured in turns."""
    taken: dict[str, list[tuple[float, float]]] = {"flax_snn": [], "snntorch": []}
    for _ in range(ROUNDS + 2):
        begin = time.process_time(), time.perf_counter()
        jax.block_until_ready(ours())
        end = time.process_time(), time.perf_counter()
        taken["flax_snn"].append((end[0] - begin[0], end[1] - begin[1]))
        answer = peer.ask({"do": "batches", "count": BATCHES})
        taken["snntorch"].append((answer["processor_seconds"], answer["seconds"]))
    found: dict[str, Any] = {
        "batches": BATCHES,
        "rounds": ROUNDS,
        "cores": len(os.sched_getaffinity(0)),
    }
    for k, clock in enumerate(("processor", "clock")):
        each = {name: [times[k] for times in runs[2:]] for name, runs in taken.items()}
        ratios = [a / b for a, b in zip(each["flax_snn"], each["snntorch"], strict=True)]
        low, middle, high = statistics.quantiles(ratios, n=4)
        found[clock] = {
            "ms_per_batch": {
                name: round(1e3 * statistics.median(runs) / BATCHES, 2)
                for name, runs in each.items()
            },
            "ratio": {"median": round(middle, 3), "from": round(low, 3), "to": round(high, 3)},
        }
    return found


def accuracy(data_dir: Path, peer: Worker, seeds: list[int]) -> dict[str, Any]:
    """Returns the accuracies of both after the same number of epochs, seed by seed."""
    found: dict[str, Any] = {"epochs": EPOCHS, "flax_snn": {}, "snntorch": {}}
    for seed in seeds:
        flags = f"{FLAGS} --epochs {EPOCHS} --seed {seed} --data-dir {data_dir}"
        result = run("fashion_mnist", flags).result
        found["flax_snn"][f"seed {seed}"] = {
            "test": result["test_accuracy"],
            "validation": result["validation_accuracy"],
            "training_seconds": result["training_seconds"],
        }
        answer = peer.ask({"do": "train", "epochs": EPOCHS, "seed": seed})
        took, _ = answer.pop("seconds"), answer.pop("processor_seconds")
        found["snntorch"][f"seed {seed}"] = answer | {"training_seconds": round(took, 3)}
        print(seed, found["flax_snn"][f"seed {seed}"], answer, flush=True)
    for name in ("flax_snn", "snntorch"):
        found[f"{name}_mean_test"] = round(
            statistics.mean(each["test"] for each in found[name].values()), 6
        )
    return found


def main() -> None:
    """Measures and rewrites the results."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.accuracy.images")
    parser.add_argument(
        "--data-dir", type=Path, required=True, help="folder with one for each task"
    )
    parser.add_argument("--peers", type=Path, required=True, help="folder of the environments")
    parser.add_argument("--parts", nargs="*", default=["seconds", "accuracy"])
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2], help="of accuracy")
    parser.add_argument("--cores", type=int, help="use so many, by default all")
    options = parser.parse_args()
    if options.cores is not None:
        # Before the first array, so that no more threads are made; the peer inherits it.
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[-options.cores :])
    folder = options.data_dir.expanduser().absolute() / "fashion_mnist"
    task = find_task("fashion_mnist")
    given = [*FLAGS.split(), "--epochs", str(EPOCHS), "--data-dir", str(folder)]
    settings, where = parse(task, given, task.settings())
    settings = task.complete(task.with_data(settings, where))
    data, model, training = task.dataset(settings, where), task.build(settings), settings.training
    samples = len(data.train.labels)
    updates = samples // training.batch_size * EPOCHS
    state = create_state(model, training, updates, jnp.uint32(0))
    part = jax.device_put(data.train)
    order = epoch_order(0, 1, samples, training.batch_size)[:BATCHES]
    step = jax.jit(functools.partial(train_batches, model, training))
    with tempfile.TemporaryDirectory() as made:
        file = Path(made, "images.npz")
        write_arrays(file, data, state.params)
        told = peer_settings(settings, settings.network.hidden[0], file, updates)
        peer = Worker(
            str(options.peers / "snntorch" / "bin" / "python"), "snntorch_images.py", told
        )
        logits = np.array(peer.ask({"do": "logits", "count": 200})["logits"])
        own = model.apply(state.params, data.test.inputs[:200], jax.random.key(0)).z
        found: dict[str, Any] = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
        kept: dict[str, Any] = {
            name: found[name] for name in ("seconds", "accuracy") if name in found
        }
        far = np.abs(np.asarray(own) - logits).max(axis=1)
        kept["same_network"] = {
            "images": len(far),
            "median_difference_of_logits": float(np.median(far)),
            "images_with_a_spike_more_or_less": int((far > 1e-3).sum()),
        }
        print(kept["same_network"], flush=True)
        if "seconds" in options.parts:
            kept["seconds"] = seconds(lambda: step(state, part, order), peer)
            each = kept["seconds"]["processor"]["ms_per_batch"]
            kept["seconds"]["processor_seconds_per_epoch"] = {
                name: round(ms * updates / EPOCHS / 1e3, 2) for name, ms in each.items()
            }
            print(kept["seconds"], flush=True)
        if "accuracy" in options.parts:
            kept["accuracy"] = accuracy(folder, peer, options.seeds)
        versions = peer.ask({"do": "versions"})
        peer.close()
    versions = {name: found for name, found in versions.items() if "seconds" not in name}
    told.pop("file")
    content = {"flags": FLAGS, "network": told, "peer_versions": versions, **kept}
    write_results(RESULTS, COMMAND, content)


if __name__ == "__main__":
    main()
