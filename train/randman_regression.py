"""Train a spiking network to tell where on its manifold a Randman sample lies.

    python -m train.randman_regression

The coordinates of a sample, uniform on [0, 1], are predicted by leaky integrators, one for each,
read as their mean over time. The loss is the mean squared error. The score is R2, the share of the
variance that is explained: that of a uniform coordinate, 1/12, so that the score is a mean over
samples; ``predictions.png`` gives R2 by the variance of the samples that it shows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from train.cli import run_command
from train.config import RandmanRegressionConfig, RunOptions
from train.config_check import check_config, train_samples
from train.randman import input_rate
from train.task import Task

if TYPE_CHECKING:
    from train.data import Dataset
    from train.model import Model


# JAX is imported by the functions, so that --help and a bad flag answer at once.
def load(config: RandmanRegressionConfig, options: RunOptions) -> Dataset:
    """Generate the data set, or open it through TFDS; labels are coordinates."""
    from train.data import load_randman, open_randman

    if options.data == "tfds":
        return open_randman(config.data, options.data_dir, "x")
    return load_randman(config.data, "x")


def build(config: RandmanRegressionConfig) -> Model:
    """Build the network, with one output per coordinate."""
    from train.objective import regression
    from train.raster_network import build_network

    data = config.data
    return build_network(
        config.network,
        regression(data.dim),
        steps=data.steps,
        units=data.units,
        outputs=data.dim,
        dt=data.dt,
        input_rate=input_rate(data),
        crossbar=config.crossbar,
    )


TASK = Task(
    name="randman_regression",
    description=__doc__,
    config=RandmanRegressionConfig,
    check=check_config,
    load=load,
    build=build,
    train_samples=lambda config: train_samples(config.data),
)


if __name__ == "__main__":
    raise SystemExit(run_command(TASK))
