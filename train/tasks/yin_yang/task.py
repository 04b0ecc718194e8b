"""The task Yin-Yang."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from flax_snn.datasets.generated.yin_yang import yin_yang
from train.data.parts import Dataset, Part
from train.model import Model
from train.settings import NO_CROSSBAR, RunOptions
from train.settings.size import RunSize, dense_weights, moments_of
from train.tasks.task import Renaming, Results, Task
from train.tasks.yin_yang.checks import check_yin_yang
from train.tasks.yin_yang.network import build_point_model
from train.tasks.yin_yang.settings import YinYangConfig, YinYangData

VALUES, CLASSES = 4, 3


class YinYang(Task):
    """Train a spiking network on Yin-Yang: three classes of points told apart by spike times.

        python -m train.yin_yang

    The four features of a point, and a bias, are spike times; the output neuron that spikes first
    names the class. One network, one set of weights, three methods:

        python -m train.yin_yang --method first_spike     # exact gradients, one spike per neuron
        python -m train.yin_yang --method eventprop       # exact gradients, several spikes
        python -m train.yin_yang --method surrogate       # surrogate gradients on a time grid

    Settings follow Wunderlich and Pehle, Event-based backpropagation can compute exact gradients
    for spiking neural networks, Scientific Reports 11, 2021.
    """

    settings = YinYangConfig

    def check(self, settings: Any) -> None:
        """Refuses settings that cannot work."""
        check_yin_yang(settings)

    def size(self, settings: Any) -> RunSize:
        """Returns the sizes; in continuous time, a step is an event."""
        network, training, data = settings.network, settings.training, settings.data
        neurons = (*network.hidden, CLASSES)
        if network.method == "surrogate":
            steps = round(network.duration / network.dt)
        else:
            several = network.budget if network.method == "eventprop" else 1.0
            # Spikes that a layer receives, which are handled one after the other.
            steps = int(min(several, 1e18) * max(network.hidden)) + VALUES
        return RunSize(
            samples=data.train_samples + 2 * data.test_samples,
            sample_bytes=4 * VALUES,
            steps=max(steps, 1),
            inputs=VALUES,
            neurons=neurons,
            weights=dense_weights(VALUES, neurons),
            batch_size=training.batch_size,
            epochs=training.epochs,
            moments=moments_of(training),
        )

    def train_samples(self, settings: Any) -> int:
        """Returns the number of training samples."""
        return int(settings.data.train_samples)

    def load(self, settings: Any, options: RunOptions) -> Dataset:
        """Generates the data set."""
        del options  # from memory
        return load_yin_yang(settings.data)

    def build(self, settings: Any) -> Model:
        """Builds the network, with one output neuron per class."""
        return build_point_model(
            settings.network,
            settings.loss,
            values=VALUES,
            classes=CLASSES,
            crossbar=settings.crossbar,
        )

    def with_method(self, settings: Any, method: str) -> Any:
        """Returns settings with another method, and without what bounds spikes under the first."""
        if method == settings.network.method:
            return settings
        network = dataclasses.replace(settings.network, method=method, max_spikes=0)
        settings = dataclasses.replace(settings, network=network)
        if method != "surrogate":  # crossbars multiply in time steps; the weights are the same
            settings = dataclasses.replace(settings, crossbar=NO_CROSSBAR)
        check_yin_yang(settings)
        return settings

    def draw(self, results: Results) -> list[Path]:
        """Draws the plane, spikes of samples and learning curves."""
        from train.tasks.yin_yang.pictures import draw_point_gallery

        return draw_point_gallery(results)

    def older_parameters(self, version: int) -> Renaming | None:
        """Returns the names that parameters had in a version of the settings.

        Up to version 3 layers stood one behind the other, with a runner each.
        """
        return Renaming(_with_a_runner_a_layer, _with_one_runner) if version < 4 else None


def load_yin_yang(config: YinYangData) -> Dataset:
    """Generates the Yin-Yang data set; the default settings give the published parts.

    Args:
      config: settings of the data set.

    Returns:
      Train, validation and test part, of the seeds n, n - 1 and n - 2.
    """
    sizes = (config.train_samples, config.test_samples, config.test_samples)
    parts = (yin_yang(size, config.data_seed - k) for k, size in enumerate(sizes))
    return Dataset(*(Part(part.x.astype(np.float32), part.labels) for part in parts))


def _with_a_runner_a_layer(params: dict[str, Any]) -> dict[str, Any]:
    """Returns parameters under the names of version 3: ``layers_0/cell/kernel``."""
    found = {}
    for name, cell in params["cell"].items():
        k = name.removeprefix("cells_")
        delay = {"log_delay": params[f"log_delay_{k}"]} if f"log_delay_{k}" in params else {}
        found[f"layers_{k}"] = {"cell": cell, **delay}
    return found


def _with_one_runner(params: dict[str, Any]) -> dict[str, Any]:
    """Returns parameters of version 3 under the names of today: ``cell/cells_0/kernel``."""
    numbers = [name.removeprefix("layers_") for name in params]
    cells = {f"cells_{k}": params[f"layers_{k}"]["cell"] for k in numbers}
    delays = {
        f"log_delay_{k}": params[f"layers_{k}"]["log_delay"]
        for k in numbers
        if "log_delay" in params[f"layers_{k}"]
    }
    return {"cell": cells, **delays}
