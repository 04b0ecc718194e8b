"""Train a spiking network on Yin-Yang: three classes of points told apart by spike times.

    python -m train.yin_yang

The four features of a point, and a bias, are spike times; the output neuron that spikes first names
the class. One network, one set of weights, three methods:

    python -m train.yin_yang --method first_spike     # exact gradients, one spike per neuron
    python -m train.yin_yang --method eventprop       # exact gradients, several spikes per neuron
    python -m train.yin_yang --method surrogate       # surrogate gradients on a time grid

Settings follow Wunderlich and Pehle, Event-based backpropagation can compute exact gradients for
spiking neural networks, Scientific Reports 11, 2021.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from train.cli import run_command
from train.config import RunOptions, YinYangConfig
from train.task import Task
from train.yin_yang_check import check_yin_yang

if TYPE_CHECKING:
    from train.data import Dataset
    from train.model import Model

FEATURES, CLASSES = 4, 3


# JAX is imported by the functions, so that --help and a bad flag answer at once.
def load(config: YinYangConfig, options: RunOptions) -> Dataset:
    """Generate the data set."""
    from train.points import load_yin_yang

    del options  # from memory
    return load_yin_yang(config.data)


def build(config: YinYangConfig) -> Model:
    """Build the network, with one output neuron per class."""
    from train.point_model import build_point_model

    return build_point_model(
        config.network, config.loss, features=FEATURES, classes=CLASSES, crossbar=config.crossbar
    )


TASK = Task(
    name="yin_yang",
    description=__doc__,
    config=YinYangConfig,
    check=check_yin_yang,
    load=load,
    build=build,
    train_samples=lambda config: config.data.train_samples,
    on_disk=False,
)


if __name__ == "__main__":
    raise SystemExit(run_command(TASK))
