"""What a run needs at least, of memory and of time, estimated before anything is built.

Settings may come from a file, or have a digit too many, and a network of any size is built without
a question until the memory is full. So the sizes that settings name are multiplied out first. What
is counted is needed whatever the network does besides:

    data         samples x bytes of one
    activity     4 bytes x batch x steps x (inputs + neurons), which the reverse pass goes back over
    parameters   4 bytes x weights, in training with gradient and the moments of the optimizer
    time         the multiplications of all steps, and a least time for each step of the time loop

A run that needs less may still not fit: the estimate refuses what cannot work, and promises
nothing.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from train.errors import ConfigError
from train.settings.network import NetworkConfig
from train.settings.training import TrainingConfig

MOST_LAYERS = 500
"""Hidden layers, each of which is traced and compiled for itself, forward and back."""

MOST_SECONDS = 90 * 86400.0
"""Longest training that is begun without a question."""

RATE = 1e14
"""Multiplications and additions a second, of a fast accelerator that does nothing else."""

STEP_SECONDS = 1e-7
"""Least time of one step of a layer: a time loop does one step after the other."""


@dataclasses.dataclass(frozen=True)
class RunSize:
    """The sizes that decide what a run needs.

    Attributes:
      samples: number of samples of all parts; 0: it is not known before they are read.
      sample_bytes: bytes of one stored sample.
      steps: time steps of a sample.
      inputs: inputs of the network.
      neurons: neurons of each layer, the readout among them.
      weights: number of weights.
      batch_size: samples per update.
      epochs: passes over the training samples.
      moments: numbers that the optimizer keeps for each weight.
      generated: bytes that making the data takes besides, by what for.
    """

    samples: int
    sample_bytes: int
    steps: int
    inputs: int
    neurons: tuple[int, ...]
    weights: int
    batch_size: int
    epochs: int
    moments: int
    generated: tuple[tuple[str, int], ...] = ()

    def memory(self, training: bool = True, streamed: bool = False) -> dict[str, int]:
        """Returns the bytes of each part, by what it is.

        Args:
          training: whether the network is trained, or evaluated.
          streamed: whether training samples are read when they are needed.
        """
        width = self.inputs + sum(self.neurons)
        # Of a streamed data set the parts that are scored are in memory, a fifth as a rule.
        samples = self.samples // 5 if streamed else self.samples
        copies = 2 + self.moments if training else 1
        slots = f"{self.steps} steps x"
        return {
            f"{samples} samples of {slots} {self.inputs} inputs": samples * self.sample_bytes,
            f"a batch of {self.batch_size} of them, {slots} {width} inputs and neurons": (
                4 * self.batch_size * self.steps * (width if training else self.inputs)
            ),
            f"{self.weights} weights": 4 * copies * self.weights,
            **dict(self.generated),
        }

    def seconds(self, training: bool = True) -> float:
        """Returns the least time of training, or of one evaluation, in seconds."""
        # A pass back costs twice a pass forward; a multiplication comes with an addition.
        passes = 3 * self.epochs if training else 1
        samples = max(self.samples, self.batch_size)
        products = 2 * self.weights * self.steps * samples * passes
        steps = len(self.neurons) * self.steps * (samples // self.batch_size) * passes
        return max(_divided(products, RATE), _divided(steps, 1.0 / STEP_SECONDS))


def raster_size(
    network: NetworkConfig,
    training: TrainingConfig,
    *,
    samples: int,
    sample_bytes: int,
    steps: int,
    inputs: int,
    outputs: int,
) -> RunSize:
    """Returns the sizes of hidden layers on rasters, and a readout.

    Args:
      network: settings of the network.
      training: settings of the training.
      samples: number of samples of all parts; 0: not known.
      sample_bytes: bytes of one stored sample.
      steps: time steps of a sample.
      inputs: inputs of the network.
      outputs: classes, or values to predict.
    """
    neurons = (*network.hidden, outputs * network.population)
    weights = dense_weights(inputs, neurons)
    weights += sum(n * n for n in network.hidden) if network.recurrent else 0
    return RunSize(
        samples,
        sample_bytes,
        steps,
        inputs,
        neurons,
        weights,
        training.batch_size,
        training.epochs,
        moments_of(training),
    )


def dense_weights(inputs: int, neurons: tuple[int, ...]) -> int:
    """Returns the number of weights of layers that follow each other."""
    return sum(a * b for a, b in zip((inputs, *neurons[:-1]), neurons, strict=True))


def moments_of(training: TrainingConfig) -> int:
    """Returns the numbers that the optimizer keeps for each weight."""
    return 2 if training.optimizer == "adamw" else 1


def check_size(
    size: RunSize | None, *, limit: bool = True, training: bool = True, streamed: bool = False
) -> None:
    """Refuses what cannot fit into memory, or would not end, before anything is built.

    Args:
      size: the sizes; None for a task that does not say them, which is not checked.
      limit: whether the user wants this check.
      training: whether the network is trained, or evaluated.
      streamed: whether training samples are read when they are needed.

    Raises:
      ConfigError: the message says what takes how much, and which flags change it.
    """
    if size is None or not limit:
        return
    layers = len(size.neurons) - 1
    if layers > MOST_LAYERS:
        raise ConfigError(
            f"--hidden: expected at most {MOST_LAYERS} layers, each of which has to be compiled,"
            f" got {layers}; give fewer, or add --no-size-limit"
        )
    needs, free = size.memory(training, streamed), memory()
    total = sum(needs.values())
    if total > free:
        large = {what: need for what, need in needs.items() if 20 * need > total}
        each = ", ".join(f"{bytes_in_words(need)} for {what}" for what, need in large.items())
        raise ConfigError(
            f"--steps, --batch-size, --hidden: a run needs at least {each}; this machine has"
            f" {bytes_in_words(free)} of memory left. Use less of them, longer steps (--dt), or"
            " fewer inputs or samples; or go on with --no-size-limit"
        )
    seconds = size.seconds(training)
    if seconds > MOST_SECONDS:
        raise ConfigError(
            f"--epochs, --steps, --hidden: a run takes at least {days_in_words(seconds)}, even at"
            f" {RATE:g} multiplications a second: {size.weights} weights, {size.steps} steps,"
            f" {size.samples} samples, {size.epochs} epochs. Use less of any of them, or go on with"
            " --no-size-limit"
        )


def memory() -> int:
    """Returns the bytes of main memory that this process can still have."""
    free = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    found = _fields(Path("/proc/meminfo")).get("MemAvailable:")
    if found is not None:
        free.append(1024 * found)
    # The share of a container, where it has one.
    group = Path("/sys/fs/cgroup")
    most, used = (_number(group / name) for name in ("memory.max", "memory.current"))
    if most is not None:
        free.append(max(most - (used or 0), 0))
    return min(free)


def bytes_in_words(size: float) -> str:
    """Returns a number of bytes in words."""
    scales = {"MB": 10**6, "GB": 10**9, "TB": 10**12, "PB": 10**15}
    unit = next((u for u, s in reversed(scales.items()) if size >= s), "MB")
    return f"{_divided(size, scales[unit]):.3g} {unit}"


def days_in_words(seconds: float) -> str:
    """Returns a long time in words."""
    days = seconds / 86400.0
    return f"{days:.3g} days" if days < 700 else f"{days / 365.25:.3g} years"


def _divided(a: Any, b: float) -> float:
    """Returns a quotient, infinite where a whole number is beyond every float."""
    try:
        return float(a) / b
    except OverflowError:
        return float("inf")


def _fields(path: Path) -> Mapping[str, int]:
    try:
        lines = (line.split() for line in path.read_text().splitlines())
        return {words[0]: int(words[1]) for words in lines if len(words) > 1}
    except (OSError, ValueError):
        return {}


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (OSError, ValueError):  # no such file, or the word "max"
        return None
