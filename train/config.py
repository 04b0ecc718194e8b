"""Settings of a run: frozen dataclasses, one field per flag.

A `Config` holds everything that decides the result, and is what a checkpoint stores. `RunOptions`
say where a run goes and how it is shown; they change no number and are not stored, so that no path
of one machine travels with a checkpoint.
"""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any, Literal

from train.errors import ConfigError

Readout = Literal["spikes", "max", "mean", "last"]


@dataclasses.dataclass(frozen=True)
class RandmanData:
    """The Randman data set; see ``flax_snn.datasets.randman``."""

    classes: int = 10
    """Number of classes, each a manifold of its own."""
    units: int = 20
    """Input units, each of which spikes once per sample."""
    dim: int = 1
    """Dimension of the manifolds; larger is harder."""
    alpha: float = 1.0
    """Smoothness of the manifolds; smaller is rougher and harder."""
    variant: Literal["paper", "numpy", "torch"] = "numpy"
    """Which published formula makes the manifolds."""
    steps: int = 100
    """Time steps of a sample."""
    dt: float = 2e-3
    """Length of a time step in seconds."""
    step_frac: float = 0.5
    """Fraction of the steps in which inputs spike; the rest is silent."""
    samples_per_class: int = 1000
    """Samples of each class: 80 % train, 10 % validation, 10 % test."""
    data_seed: int = 0
    """Seed of the data set: manifolds, samples and split."""


@dataclasses.dataclass(frozen=True)
class NetworkConfig:
    """Hidden layers of LIF neurons, and a readout with one neuron per class."""

    hidden: tuple[int, ...] = (128,)
    """Neurons of each hidden layer."""
    recurrent: bool = True
    """Whether the neurons of a hidden layer feed each other."""
    readout: Readout = "spikes"
    """`spikes`: output neurons spike, and the most spikes win. `max`, `mean`, `last`: leaky
    integrators that do not spike, read at their maximum over time, mean, or last step."""
    tau_mem: float = 20e-3
    """Membrane time constant of all neurons in seconds."""
    tau_syn: float = 10e-3
    """Synaptic time constant of all neurons in seconds."""
    input_gain: float = 8.0
    """Initial input weights are normal with standard deviation input_gain / sqrt(fan in)."""
    recurrent_gain: float = 0.3
    """Initial recurrent weights: recurrent_gain / sqrt(neurons)."""
    readout_gain: float = 3.0
    """Initial weights of the readout: readout_gain / sqrt(fan in)."""
    surrogate_slope: float = 10.0
    """Slope of the SuperSpike surrogate derivative."""
    count_scale: float = 1.0
    """Factor from spike counts to logits (readout `spikes`)."""
    membrane_scale: float = 4.0
    """Factor from membrane potentials to logits (the other readouts)."""


@dataclasses.dataclass(frozen=True)
class TrainingConfig:
    """AdamW; the learning rate rises at first, then falls to zero as half a cosine."""

    epochs: int = 30
    """Passes over the training samples; the schedule of the learning rate scales with them."""
    batch_size: int = 250
    """Samples per update."""
    learning_rate: float = 2e-2
    """Highest learning rate."""
    warm_up: float = 0.1
    """Share of the run in which the learning rate rises linearly from a tenth of the highest."""
    weight_decay: float = 1e-4
    """Decoupled weight decay of AdamW, per update and unit of learning rate."""
    seed: int = 0
    """Seed of the network's weights, of noise and of the order of samples."""


@dataclasses.dataclass(frozen=True)
class RandmanConfig:
    """Everything that decides the result of ``python -m train.randman``."""

    data: RandmanData = RandmanData()
    network: NetworkConfig = NetworkConfig()
    training: TrainingConfig = TrainingConfig()


@dataclasses.dataclass(frozen=True)
class RunOptions:
    """Where a run goes and how it is shown."""

    workdir: Path | None = None
    """Directory of the run; by default checkpoints/<task>/<time>."""
    overwrite: bool = False
    """Replace the run that the directory already holds."""
    quiet: bool = False
    """Show no progress, only the result."""
    cache: bool = True
    """Keep compiled functions on disk, so that the next run starts sooner."""
    cache_dir: Path | None = None
    """Where they are kept; by default $JAX_COMPILATION_CACHE_DIR, or flax_snn/xla in the user's
    cache directory."""


def check_training(training: TrainingConfig, train_samples: int) -> None:
    """Refuse settings of the training that cannot work.

    Args:
      training: the settings.
      train_samples: number of training samples of the data set.

    Raises:
      ConfigError: so it is.
    """
    _whole("--epochs", training.epochs, 1)
    _whole("--batch-size", training.batch_size, 1)
    _whole("--seed", training.seed, 0)
    if training.seed >= 2**32:
        raise ConfigError(f"--seed: expected a whole number below 2**32, got {training.seed}")
    _number("--learning-rate", training.learning_rate, "> 0")
    _number("--weight-decay", training.weight_decay, ">= 0")
    _number("--warm-up", training.warm_up, ">= 0")
    if training.warm_up >= 1:
        raise ConfigError(f"--warm-up: expected a share below 1, got {training.warm_up!r}")
    if training.batch_size > train_samples:
        raise ConfigError(
            f"--batch-size: expected at most the {train_samples} training samples, got"
            f" {training.batch_size}; lower --batch-size or raise --samples-per-class"
        )


def check_network(network: NetworkConfig) -> None:
    """Refuse settings of the network that cannot work.

    Raises:
      ConfigError: so it is.
    """
    if not network.hidden:
        raise ConfigError("--hidden: expected at least one layer, got none; try --hidden 128")
    for size in network.hidden:
        _whole("--hidden", size, 1)
    for name in ("tau_mem", "tau_syn"):
        _number(_flag(name), getattr(network, name), "> 0, in seconds")
    for name in ("input_gain", "readout_gain", "surrogate_slope", "count_scale", "membrane_scale"):
        _number(_flag(name), getattr(network, name), "> 0")
    _number("--recurrent-gain", network.recurrent_gain, ">= 0")


def check_randman(data: RandmanData) -> None:
    """Refuse settings of the data set that the generator would refuse, or that cannot be split.

    Raises:
      ConfigError: so it is.
    """
    # The generator's own checks, before it has drawn anything.
    from flax_snn.datasets import RandmanSettings

    fixed = {"offset_frac": 0.0, "spikes_per_unit": 1, "f_max": 1000, "prec": 1e-3}
    settings: dict[str, Any] = dataclasses.asdict(data) | fixed
    seed = settings.pop("data_seed")
    try:
        RandmanSettings(**settings, seed=seed, use_bias=False, beta=0.0)
    except ValueError as error:
        raise ConfigError(f"data set: {error}") from error
    if data.classes < 2:
        raise ConfigError(f"--classes: expected at least 2, got {data.classes}")
    if data.samples_per_class % 10:
        raise ConfigError(
            "--samples-per-class: expected a multiple of 10, so that 80/10/10 % are whole numbers"
            f" of samples, got {data.samples_per_class}"
        )


def check_config(config: RandmanConfig) -> None:
    """Refuse settings that cannot work, before anything is computed or written.

    Raises:
      ConfigError: so it is; the message names the flag and the remedy.
    """
    check_randman(config.data)
    check_network(config.network)
    check_training(config.training, config.data.classes * config.data.samples_per_class * 8 // 10)


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def _whole(flag: str, value: Any, minimum: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < minimum:
        raise ConfigError(f"{flag}: expected a whole number >= {minimum}, got {value!r}")


def _number(flag: str, value: Any, wanted: str) -> None:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    low_enough = number and (value >= 0 if wanted.startswith(">=") else value > 0)
    if not (low_enough and math.isfinite(value)):
        raise ConfigError(f"{flag}: expected a finite number {wanted}, got {value!r}")
