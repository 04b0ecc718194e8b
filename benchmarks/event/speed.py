"""Seconds per epoch beside jaxsnn 0.3.0; rewrites benchmarks/results/event_speed.json.

    python3.11 -m venv PEER && PEER/bin/pip install -r benchmarks/peers/jaxsnn.txt
    python -m benchmarks.event.speed --peer-python PEER/bin/python

runs jaxsnn's layered EventProp example on Yin-Yang (5-100-3, 4992 samples, batches of 64; see
``peers/jaxsnn_epoch.py``) and `snn.event.RNN` in turns, one epoch each, on the same samples, from
the same weights, with the same loss and optimizer, and waits for every result. Before, loss and
gradient of the first batch are compared.

In the example each source spikes five times at one moment, which is one spike of five times the
weight. Rows of ours take these events as they are, or merged, which is the same network and
learns the same. The example's neurons spike once. Neurons that spike several times are reset to 0
instead; from the weights of the example they would spike 5 times, and the outputs 94 times, so they
start from a half and a fifth of them, which makes it 2 and 6 times. The second row of jaxsnn does
the same. About five minutes on 2 cores; results are kept per number of cores (``taskset``).
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import json
import statistics
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from benchmarks.machine import describe_machine, write_results
from flax_snn import LIFCell, LIFDynamics, event

FOLDER = Path(__file__).parents[1]
RESULTS = FOLDER / "results" / "event_speed.json"
COMMAND = "python -m benchmarks.event.speed --peer-python PEER/bin/python"
DUPLICATES = 5
EXAMPLE = "jaxsnn, its example"


@dataclasses.dataclass(frozen=True)
class Row:
    """How our network runs.

    Attributes:
      method: of `event.RNN`.
      max_spikes: most spikes of a neuron.
      budgets: slots of the two layers.
      merged: one spike per source instead of five.
      weights: factors on the first weights of the two layers.
    """

    method: str = "first_spike"
    max_spikes: int | None = 1
    budgets: tuple[int, int] = (100, 3)
    merged: bool = False
    weights: tuple[float, float] = (1.0, 1.0)


SEVERAL = (300, 60)
SMALLER = (0.5, 0.2)
ROWS = {
    "first_spike": Row(),
    "first_spike, merged": Row(merged=True),
    "eventprop, one spike": Row("eventprop"),
    "eventprop, several spikes": Row("eventprop", None, SEVERAL, False, SMALLER),
    "eventprop, several spikes, merged": Row("eventprop", None, SEVERAL, True, SMALLER),
}
PEERS: dict[str, dict[str, Any]] = {
    EXAMPLE: {},
    "jaxsnn, several spikes": {
        "v_reset": 0.0,
        "weights_first": [SMALLER[0] * 3 / 5, SMALLER[0] * 1.6 / 5],
        "weights_second": [SMALLER[1] * 0.5, SMALLER[1] * 0.8],
        "steps_hidden": 25 + SEVERAL[0],
        "steps_output": sum(SEVERAL),
    },
}


class Peer:
    """jaxsnn in a process of its own, which runs an epoch when asked."""

    def __init__(self, python: str, settings: dict[str, Any]) -> None:
        self._process = subprocess.Popen(
            [python, str(FOLDER / "peers" / "jaxsnn_epoch.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self.ready = self._ask(settings)
        self.dispatched: list[float] = []

    def epoch(self) -> float:
        """Run an epoch; return the seconds it took."""
        seconds = self._ask({"do": "epoch"})
        self.dispatched.append(seconds["dispatched"])
        return seconds["waited"]

    def report(self) -> dict[str, Any]:
        return self._ask({"do": "report"}) | {
            "dispatched": round(statistics.median(self.dispatched), 4)
        }

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()

    def _ask(self, question: dict[str, Any]) -> dict[str, Any]:
        assert self._process.stdin is not None and self._process.stdout is not None
        print(json.dumps(question), file=self._process.stdin, flush=True)
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(
                "expected an answer of jaxsnn, got none; run benchmarks/peers/jaxsnn_epoch.py by"
                " itself to see why"
            )
        return json.loads(line)


class Ours:
    """Our network on the data and from the weights of the example."""

    def __init__(self, row: Row, arrays: dict[str, Any], settings: dict[str, Any]) -> None:
        self._settings, self._network = settings, _network(row, settings)
        self._every = every = DUPLICATES if row.merged else 1
        self._parts = {
            name: (
                jnp.asarray(arrays[f"{name}_times"][:, ::every]),
                jnp.asarray(arrays[f"{name}_index"][:, ::every], jnp.int32),
                jnp.asarray(arrays[f"{name}_targets"]),
            )
            for name in ("train", "test")
        }
        first, second = (jnp.asarray(arrays[f"weights_{name}"]) for name in ("first", "second"))
        params = {
            "layers_0": {"cell": {"kernel": first * row.weights[0]}},
            "layers_1": {"cell": {"kernel": second * row.weights[1]}},
        }
        self.differences = self._compare(params, arrays) if row.max_spikes == 1 else None
        batches = settings["train"] // settings["batch"]
        self._tx = optax.chain(
            optax.scale(1 / settings["tau_syn"]),
            optax.clip(settings["clip"]),
            optax.adam(optax.exponential_decay(settings["rate"], batches, settings["decay"])),
        )
        self._rng = np.random.default_rng(settings["seed"])
        self._run = jax.jit(self._updates)
        self._state = (params, self._tx.init(params))
        start, state = time.perf_counter(), self._state
        self.epoch()
        self.compile_seconds = time.perf_counter() - start
        self._state = state

    def epoch(self) -> float:
        """Train one epoch; return the seconds it took."""
        order = self._rng.permutation(self._settings["train"])
        rows = jnp.asarray(order.reshape(-1, self._settings["batch"]), jnp.int32)
        jax.block_until_ready((self._state, rows))
        start = time.perf_counter()
        self._state = jax.block_until_ready(self._run(self._state, rows))
        return time.perf_counter() - start

    def report(self) -> dict[str, Any]:
        """Return spikes per sample and layer, and accuracy, on the test samples."""
        params, (time, index, targets) = self._state[0], self._parts["test"]
        first = event.Spikes(time, index, size=5)
        params = self._weights(params)
        layers: Any = self._network.layers
        hidden = layers[0].apply({"params": params["layers_0"]}, first)
        output = layers[1].apply({"params": params["layers_1"]}, hidden)
        right = output.first_times().argmin(axis=1) == targets.argmin(axis=1)
        spikes = {
            name: float(jnp.mean(jnp.sum(found.index >= 0, axis=1)))
            for name, found in (("input", first), ("hidden", hidden), ("output", output))
        }
        most = int(jnp.max(jnp.sum(hidden.index >= 0, axis=1)))
        return {
            "test_accuracy": float(jnp.mean(right)),
            "spikes": spikes | {"hidden, most": most},
            "differences": self.differences,
        }

    def _updates(self, state: Any, order: jax.Array) -> Any:
        def update(state: Any, rows: jax.Array) -> tuple[Any, None]:
            params, memory = state
            grads = jax.grad(self._loss)(params, *(x[rows] for x in self._parts["train"]))
            updates, memory = self._tx.update(grads, memory, params)
            return (optax.apply_updates(params, updates), memory), None

        return jax.lax.scan(update, state, order)[0]

    def _loss(self, params: Any, time: Any, index: Any, targets: Any) -> jax.Array:
        """Squared differences to the target times, a silent neuron counting as late."""
        spikes = event.Spikes(time, index, size=5)
        output: Any = self._network.apply({"params": self._weights(params)}, spikes)
        tau_mem = self._settings["tau_mem"]
        times = jnp.minimum(output.first_times(), 2 * tau_mem)
        return jnp.mean(jnp.sum(((times - targets) / tau_mem) ** 2, axis=1))

    def _compare(self, params: Any, arrays: dict[str, Any]) -> dict[str, float]:
        """Return how far loss and gradient of the first batch are from those of jaxsnn."""
        batch = (x[: self._settings["batch"]] for x in self._parts["train"])
        loss, grads = jax.jit(jax.value_and_grad(self._loss))(params, *batch)
        found = {"loss": abs(float(loss) / float(arrays["loss"]) - 1)}
        for name, layer in (("first", "layers_0"), ("second", "layers_1")):
            true, own = arrays[f"grads_{name}"], np.asarray(grads[layer]["cell"]["kernel"])
            found[f"gradient of {name} kernel"] = float(abs(own - true).max() / abs(true).max())
        return found

    def _weights(self, params: Any) -> Any:
        """Return the weights as the network has them: of merged spikes, five times as large."""
        kernel = self._every * params["layers_0"]["cell"]["kernel"]
        return params | {"layers_0": {"cell": {"kernel": kernel}}}


def _network(row: Row, settings: dict[str, Any]) -> nn.Sequential:
    """Return the two layers; the time step of the neurons plays no part here."""
    neuron = LIFDynamics(
        tau_mem=settings["tau_mem"],
        tau_syn=settings["tau_syn"],
        threshold=settings["threshold"],
        dt=settings["tau_syn"] / 100,
    )
    once = row.method == "first_spike"
    layers = [
        event.RNN(
            LIFCell(features, dynamics=neuron),
            method=row.method,  # type: ignore[arg-type]
            budget=None if once else budget,
            max_spikes=None if once else row.max_spikes,
            duration=settings["duration"],
        )
        for features, budget in zip((settings["hidden"], 3), row.budgets, strict=True)
    ]
    return nn.Sequential(layers)


def measure(python: str, repeats: int) -> dict[str, Any]:
    """Run all rows in turns; return what they took and found."""
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder, "example.npz"))
        peers = {name: Peer(python, own) for name, own in PEERS.items() if name != EXAMPLE}
        peers = {EXAMPLE: Peer(python, PEERS[EXAMPLE] | {"save": path})} | peers
        arrays = dict(np.load(path))
    settings = peers[EXAMPLE].ready["settings"]
    runners: dict[str, Any] = dict(peers)
    runners |= {name: Ours(row, arrays, settings) for name, row in ROWS.items()}
    seconds: dict[str, list[float]] = {name: [] for name in runners}
    for _ in range(repeats):
        for name, runner in runners.items():
            seconds[name].append(runner.epoch())
            print(f"{name:<40} {seconds[name][-1]:8.3f} s", flush=True)
    found = {}
    for name, runner in runners.items():
        ratios = [a / b for a, b in zip(seconds[EXAMPLE], seconds[name], strict=True)]
        found[name] = {
            "median": round(statistics.median(seconds[name]), 4),
            "all": [round(s, 4) for s in seconds[name]],
            "times faster than the example": round(statistics.median(ratios), 2),
        } | runner.report()
    versions = peers[EXAMPLE].ready["versions"]
    for peer in peers.values():
        peer.close()
    return {"settings": settings, "peer_versions": versions, "rows": found}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.event.speed")
    parser.add_argument("--peer-python", required=True, help="interpreter that has jaxsnn")
    parser.add_argument("--repeats", type=int, default=7, help="epochs of each row")
    options = parser.parse_args()
    found = measure(options.peer_python, options.repeats)
    machine = describe_machine()
    for name, row in found["rows"].items():
        ratio = row["times faster than the example"]
        print(f"{name:<40} {row['median']:8.3f} s {ratio:8.2f}x  {row['test_accuracy']:.2%}")
    stored = json.loads(RESULTS.read_text())["runs"] if RESULTS.exists() else {}
    run = {"date": datetime.date.today().isoformat(), "machine": machine} | found
    stored[f"{machine['cores']} core{'s' if machine['cores'] > 1 else ''}"] = run
    write_results(RESULTS, COMMAND, {"unit": "s per epoch", "runs": dict(sorted(stored.items()))})


if __name__ == "__main__":
    main()
