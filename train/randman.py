"""Train a spiking network on Randman: ten classes told apart by spike times alone.

    python -m train.randman

128 recurrent LIF neurons, spiking output neurons, cross-entropy of the spike counts, 30 epochs:
99.9 % test accuracy, in about 60 s on 2 CPU cores; 8 epochs give 99 %. With leaky integrators, read
at their maximum over time, in place of the spiking output neurons:

    python -m train.randman --readout max

99.8 %. All seeds, with machine and date: ``benchmarks/results/randman.json``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from train.cli import run_command
from train.config import RandmanConfig, check_config
from train.task import Task

if TYPE_CHECKING:
    from train.data import Dataset
    from train.model import Model


# JAX is imported by the functions, so that --help and a bad flag answer at once.
def load(config: RandmanConfig) -> Dataset:
    """Generate the data set."""
    from train.data import load_randman

    return load_randman(config.data)


def build(config: RandmanConfig) -> Model:
    """Build the network."""
    from train.model import build_network

    data = config.data
    return build_network(
        config.network, steps=data.steps, units=data.units, classes=data.classes, dt=data.dt
    )


def train_samples(config: RandmanConfig) -> int:
    """Return the number of training samples, 80 % of all."""
    return config.data.classes * config.data.samples_per_class * 8 // 10


TASK = Task(
    name="randman",
    description=__doc__,
    config=RandmanConfig,
    check=check_config,
    load=load,
    build=build,
    train_samples=train_samples,
)


if __name__ == "__main__":
    raise SystemExit(run_command(TASK))
