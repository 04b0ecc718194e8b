"""Train a spiking network on Randman: ten classes told apart by spike times alone.

    python -m train.randman

128 recurrent LIF neurons, spiking output neurons, cross-entropy of the spike counts, 30 epochs:
100 % test accuracy, in about a minute on 2 CPU cores; 8 epochs give 99.8 %. With leaky integrators,
read at their maximum over time, in place of the spiking output neurons:

    python -m train.randman --readout max

99.96 %. All seeds, with machine and date: ``benchmarks/results/randman.json``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from train.cli import run_command
from train.config import RandmanConfig, RandmanData, RunOptions
from train.config_check import check_config, train_samples
from train.task import Task

if TYPE_CHECKING:
    from train.data import Dataset
    from train.model import Model


# JAX is imported by the functions, so that --help and a bad flag answer at once.
def load(config: RandmanConfig, options: RunOptions) -> Dataset:
    """Generate the data set, or open it through TFDS."""
    from train.data import load_randman, open_randman

    if options.data == "tfds":
        return open_randman(config.data, options.data_dir)
    return load_randman(config.data)


def build(config: RandmanConfig) -> Model:
    """Build the network, with one output per class."""
    from train.objective import CLASSIFICATION
    from train.raster_network import build_network

    data = config.data
    return build_network(
        config.network,
        CLASSIFICATION,
        steps=data.steps,
        units=data.units,
        outputs=data.classes,
        dt=data.dt,
        input_rate=input_rate(data),
        crossbar=config.crossbar,
    )


def input_rate(data: RandmanData) -> float:
    """Return the mean firing rate of an input in Hz: one spike per sample."""
    return 1.0 / (data.steps * data.dt)


TASK = Task(
    name="randman",
    description=__doc__,
    config=RandmanConfig,
    check=check_config,
    load=load,
    build=build,
    train_samples=lambda config: train_samples(config.data),
)


if __name__ == "__main__":
    raise SystemExit(run_command(TASK))
