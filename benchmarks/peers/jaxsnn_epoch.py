"""jaxsnn's layered EventProp example on Yin-Yang, timed until the result is there.

    echo '{"epochs": 5}' | PEER/bin/python benchmarks/peers/jaxsnn_epoch.py

runs in the environment of ``jaxsnn.txt`` alone and imports nothing of ours. The network, the data,
the loss, the optimizer and all settings are those of ``yinyang_layered_event_prop`` in the wheel
of jaxsnn 0.3.0: 5 sources that spike 5 times each at one moment, 100 and 3 neurons that spike at
most once (a reset to -1000 sees to that), 125 events for the hidden layer (25 inputs and 100
spikes), 103 for the output (100 and 3), 4992 samples in batches of 64. ``weights_first`` and
``weights_second`` are mean and deviation of the first weights.

Each line of standard input is a JSON object, each answer one line of JSON:

    {...}             the first: settings that differ from those of the example, and "save", a file
                      for data, first weights, and loss and gradient of the first batch;
                      "epochs" runs so many, reports and ends
    {"do": "epoch"}   one epoch; answers seconds until the weights are there (waited), and until
                      the call came back (dispatched), which is what the example prints
    {"do": "report"}  spikes per sample and layer, and test accuracy
"""

from __future__ import annotations

import functools
import json
import sys
import time
from importlib.metadata import version
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxsnn.base.dataset import (  # type: ignore[import-not-found]
    data_loader,
    yinyang_dataset,
)
from jaxsnn.event import encode  # type: ignore[import-not-found]
from jaxsnn.event.loss import mse_loss  # type: ignore[import-not-found]
from jaxsnn.event.modules import (  # type: ignore[import-not-found]
    LIF,
    Linear,
    Source,
)
from jaxsnn.event.modules.lif import LIFParameters  # type: ignore[import-not-found]
from jaxsnn.event.topology import Topology  # type: ignore[import-not-found]
from jaxsnn.event.training import update  # type: ignore[import-not-found]
from jaxsnn.event.types import OptState  # type: ignore[import-not-found]
from jaxsnn.examples.event.utils import loss_wrapper  # type: ignore[import-not-found]

TAU_SYN = 6e-6
SETTINGS: dict[str, Any] = {
    "seed": 0,
    "train": 4992,
    "test": 2944,
    "batch": 64,
    "hidden": 100,
    "tau_syn": TAU_SYN,
    "tau_mem": 2 * TAU_SYN,
    "threshold": 1.0,
    "weights_first": [3 / 5, 1.6 / 5],
    "weights_second": [0.5, 0.8],
    "v_reset": -1000.0,
    "steps_hidden": 125,
    "steps_output": 103,
    "duration": 4 * TAU_SYN,
    "t_late": 2 * TAU_SYN,
    "early": 0.8 * TAU_SYN,
    "late": 1.2 * TAU_SYN,
    "duplication": 5,
    "rate": 5e-3,
    "decay": 0.99,
    "clip": 0.01,
    "save": None,
    "epochs": None,
}
CLASSES = 3


class Example:
    """The compiled example.

    Attributes:
      compile_seconds: of the epoch, tracing included.
    """

    def __init__(self, settings: dict[str, Any]) -> None:
        self._settings = s = SETTINGS | settings
        keys = jax.random.split(jax.random.PRNGKey(s["seed"]), 3)
        self._train = self._data(keys[1], s["train"])
        self._test = self._data(keys[2], s["test"])
        init, apply = self._network()
        weights = init(keys[0])
        batches = s["train"] // s["batch"]
        tx = optax.chain(
            optax.scale(1 / s["tau_syn"]),
            optax.clip(s["clip"]),
            optax.adam(optax.exponential_decay(s["rate"], batches, s["decay"])),
        )
        self._loss = functools.partial(
            loss_wrapper, apply, mse_loss, jnp.array(s["tau_mem"]), "output", CLASSES
        )
        # As the example has it, which compiles the update and not the loop: a loop that is called
        # outside of `jit` is compiled once as well.
        self._update = jax.jit(functools.partial(update, tx, self._loss))
        self._score = jax.jit(jax.vmap(self._loss, in_axes=(None, 0)))
        self._state = OptState(tx.init(weights), weights, keys[0])
        if s["save"]:
            self._save(s["save"])
        start, state = time.perf_counter(), self._state
        self.epoch()
        self.compile_seconds = time.perf_counter() - start
        self._state = state

    def epoch(self) -> dict[str, float]:
        """Train one epoch; batches are drawn before the clock starts, as in the example."""
        rng, key = jax.random.split(self._state.rng)
        batches = data_loader(self._train, self._settings["batch"], rng=key)
        jax.block_until_ready((self._state, batches))
        start = time.perf_counter()
        state, _ = jax.lax.scan(self._update, self._state, batches)
        dispatched = time.perf_counter() - start
        jax.block_until_ready(state)
        waited = time.perf_counter() - start
        self._state = OptState(state.opt_state, state.params, rng)
        return {"waited": waited, "dispatched": dispatched}

    def report(self) -> dict[str, Any]:
        """Spikes per sample and layer, and accuracy, on the test samples."""
        batches = data_loader(self._test, self._settings["batch"])
        _, (times, events) = self._score(self._state.params, batches)
        right = jnp.argmin(batches[1], axis=-1) == jnp.argmin(times, axis=-1)
        spikes = {
            name: float(jnp.mean(jnp.sum(events[name].internal, axis=-1)))
            for name in ("input", "hidden", "output")
        }
        return {"test_accuracy": float(jnp.mean(right)), "spikes": spikes}

    def _data(self, key: jax.Array, samples: int) -> Any:
        s = self._settings
        spikes = functools.partial(
            encode.spatio_temporal_encode,
            t_late=s["t_late"],
            duplication=s["duplication"],
            duplicate_neurons=False,
        )
        targets = functools.partial(
            encode.target_temporal_encode,
            n_classes=CLASSES,
            correct_target_time=s["early"],
            wrong_target_time=s["late"],
        )
        points = yinyang_dataset(key, samples, mirror=True, bias_spike=0.0)
        events, times = encode.encode(points, *(jax.jit(jax.vmap(f)) for f in (spikes, targets)))
        return {"input": events}, times

    def _network(self) -> Any:
        s = self._settings
        neuron = LIFParameters(
            v_reset=s["v_reset"],
            v_th=s["threshold"],
            tau_syn=s["tau_syn"],
            tau_mem=s["tau_mem"],
        )
        network = Topology(t_max=s["duration"], backprop_method="eventprop")
        network.add(
            {
                "input": Source(5),
                "hidden": LIF(s["hidden"], s["steps_hidden"], neuron),
                "output": LIF(CLASSES, s["steps_output"], neuron),
                "first": Linear(*s["weights_first"]),
                "second": Linear(*s["weights_second"]),
            }
        )
        path = ("input", "first", "hidden", "second", "output")
        network.connect(list(zip(path, path[1:], strict=False)))
        return network.done()

    def _save(self, path: str) -> None:
        s, weights = self._settings, self._state.params
        batch = jax.tree.map(lambda x: x[: s["batch"]], self._train)
        (loss, _), grads = jax.jit(jax.value_and_grad(self._loss, has_aux=True))(weights, batch)
        parts = {"train": self._train, "test": self._test}
        arrays = {f"{name}_times": part[0]["input"].time for name, part in parts.items()}
        arrays |= {f"{name}_index": part[0]["input"].idx for name, part in parts.items()}
        arrays |= {f"{name}_targets": part[1] for name, part in parts.items()}
        arrays |= {f"weights_{name}": weights[name] for name in ("first", "second")}
        arrays |= {f"grads_{name}": grads[name] for name in ("first", "second")}
        arrays |= {"loss": loss}
        np.savez(path, allow_pickle=False, **{name: np.asarray(x) for name, x in arrays.items()})


def answer(content: dict[str, Any]) -> None:
    print(json.dumps(content), flush=True)


def versions() -> dict[str, str]:
    names = ("jaxsnn", "jax", "jaxlib", "optax", "numpy", "tree-math")
    return {"python": sys.version.split()[0], **{name: version(name) for name in names}}


def main() -> None:
    settings = json.loads(sys.stdin.readline())
    example = Example(settings)
    ready = {"settings": SETTINGS | settings, "versions": versions()}
    ready["compile_seconds"] = example.compile_seconds
    if settings.get("epochs"):
        epochs = [example.epoch() for _ in range(settings["epochs"])]
        answer(ready | {"epochs": epochs} | example.report())
        return
    answer(ready)
    for line in sys.stdin:
        answer({"epoch": example.epoch, "report": example.report}[json.loads(line)["do"]]())


if __name__ == "__main__":
    main()
