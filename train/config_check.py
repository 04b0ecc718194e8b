"""Settings that cannot work are refused here, before anything is computed or written."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from typing import Any

from flax_snn import checks
from train.config import (
    CrossbarConfig,
    NetworkConfig,
    RandmanConfig,
    RandmanData,
    RandmanRegressionConfig,
    RunOptions,
    TrainingConfig,
)
from train.errors import ConfigError

MEASURED = (1.0, 86400.0, 172800.0)
"""Ages in seconds at which resistive memory was measured."""

_SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "y": 365 * 86400.0}

LONGEST = 1e6 * _SECONDS["y"]
"""Largest age of a chip in seconds."""


def check_training(
    training: TrainingConfig, train_samples: int, more: str = "--samples-per-class"
) -> None:
    """Refuse settings of the training that cannot work.

    Args:
      training: the settings.
      train_samples: number of training samples of the data set.
      more: flag that gives more of them.

    Raises:
      ConfigError: so it is.
    """
    whole("--epochs", training.epochs, 1)
    whole("--batch-size", training.batch_size, 1)
    whole("--seed", training.seed, 0)
    if training.seed >= 2**32:
        raise ConfigError(f"--seed: expected a whole number below 2**32, got {training.seed}")
    whole("--patience", training.patience, 0)
    number("--learning-rate", training.learning_rate, "> 0")
    for name in (
        "weight_decay",
        "clip_norm",
        "jitter",
        "lower_rate",
        "upper_rate",
        "rate_strength",
    ):
        number(flag(name), getattr(training, name), ">= 0")
    for name in ("warm_up", "momentum", "label_smoothing"):
        _share(flag(name), getattr(training, name))
    _check_rates(training)
    if training.batch_size > train_samples:
        raise ConfigError(
            f"--batch-size: expected at most the {train_samples} training samples, got"
            f" {training.batch_size}; lower --batch-size or raise {more}"
        )


def check_network(network: NetworkConfig, regression: bool) -> None:
    """Refuse settings of the network that cannot work.

    Args:
      network: the settings.
      regression: whether values are to be predicted, not classes.

    Raises:
      ConfigError: so it is.
    """
    if not network.hidden:
        raise ConfigError("--hidden: expected at least one layer, got none; try --hidden 128")
    for size in network.hidden:
        whole("--hidden", size, 1)
    whole("--population", network.population, 1)
    if regression and (network.readout in ("spikes", "first") or network.population > 1):
        raise ConfigError(
            "regression reads membranes of one neuron per value: expected --readout max, mean or"
            f" last and --population 1, got {network.readout} and {network.population}"
        )
    for name in ("tau_mem", "tau_syn"):
        number(flag(name), getattr(network, name), "> 0", "seconds")
    for name in (
        "input_gain",
        "init_spread",
        "layer_gain",
        "readout_gain",
        "surrogate_slope",
        "count_scale",
        "membrane_scale",
    ):
        number(flag(name), getattr(network, name), "> 0")
    number("--recurrent-gain", network.recurrent_gain, ">= 0")
    if network.neuron == "tutorial" and network.learn_tau:
        raise ConfigError(
            "--neuron tutorial is given by decays, behind which no time constants stand; add"
            " --no-learn-tau"
        )


def check_randman(data: RandmanData, least_classes: int) -> None:
    """Refuse settings of the data set that the generator would refuse, or that cannot be split.

    Args:
      data: the settings.
      least_classes: fewest classes of the task.

    Raises:
      ConfigError: so it is.
    """
    # The generator's own checks, before it has drawn anything.
    from train.data import randman_settings

    try:
        randman_settings(data)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"data set: {error}") from error
    if data.classes < least_classes:
        raise ConfigError(f"--classes: expected at least {least_classes}, got {data.classes}")
    if data.samples_per_class % 10:
        raise ConfigError(
            "--samples-per-class: expected a multiple of 10, so that 80/10/10 % are whole numbers"
            f" of samples, got {data.samples_per_class}"
        )


def check_options(options: RunOptions, on_disk: bool = True) -> None:
    """Refuse options of a run that contradict each other.

    Args:
      options: the options.
      on_disk: whether the data set of the task can be prepared on disk.

    Raises:
      ConfigError: so it is.
    """
    whole("--chunk", options.chunk, 1)
    number("--save-every", options.save_every, ">= 0", "seconds")
    if options.resume and options.overwrite:
        raise ConfigError("--resume goes on with a run, --overwrite replaces it; give one of them")
    if options.data == "tfds" and not on_disk:
        raise ConfigError("--data tfds: data of this task are generated in memory; leave it out")
    if options.data == "tfds" and options.feed == "resident":
        raise ConfigError("--data tfds streams samples; drop --feed resident, or --data tfds")
    if options.data_dir is not None and options.data != "tfds":
        raise ConfigError("--data-dir is where tfds keeps prepared data; add --data tfds")


def check_config(config: RandmanConfig | RandmanRegressionConfig) -> None:
    """Refuse settings that cannot work, before anything is computed or written.

    Raises:
      ConfigError: so it is; the message names the flag and the remedy.
    """
    regression = isinstance(config, RandmanRegressionConfig)
    check_randman(config.data, 1 if regression else 2)
    check_network(config.network, regression)
    check_crossbar(config.crossbar)
    check_training(config.training, train_samples(config.data))


def check_crossbar(crossbar: CrossbarConfig) -> None:
    """Refuse settings of crossbars that cannot work.

    Raises:
      ConfigError: so it is.
    """
    for name in ("crossbar_noise", "weight_clip"):
        number(flag(name), getattr(crossbar, name), ">= 0")
    number("--crossbar-time", crossbar.crossbar_time, ">= 0", "seconds")
    if 0 < crossbar.weight_clip <= 1:
        raise ConfigError(
            "--weight-clip: expected 0 for none, or more than 1, since no weights but equal ones"
            " lie within their root mean square: each update would make them smaller; got"
            f" {crossbar.weight_clip!r}"
        )
    if crossbar.crossbar == "reram" and crossbar.crossbar_time not in (0.0, *MEASURED):
        raise ConfigError(
            "--crossbar-time: resistive memory was measured after 1, 86400 and 172800 s only, got"
            f" {crossbar.crossbar_time!r} s; take one of these, or 0 for the first"
        )


def parse_times(text: str, device: str) -> dict[str, float]:
    """Return ages of chips in seconds by their names: ``1s,1h,1d,1y``.

    Args:
      text: the flag.
      device: kind of the chips.

    Raises:
      ConfigError: no ages, not rising, or such as the device has no data for.
    """
    times: dict[str, float] = {}
    for name in map(str.strip, text.split(",")):
        found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smhdy])", name)
        if found is None:
            raise ConfigError(
                f"--times {text!r}: expected times such as 1s,1h,1d,1y (seconds, minutes m, hours,"
                f" days, years of 365 days), got {name!r}"
            )
        seconds = float(found[1]) * _SECONDS[found[2]]
        if not seconds <= LONGEST or (times and seconds <= max(times.values())):
            raise ConfigError(
                f"--times {text!r}: expected rising times of at most a million years, got {name!r}"
            )
        times[name] = seconds
    unknown = [name for name, seconds in times.items() if seconds not in MEASURED]
    if device == "reram" and unknown:
        raise ConfigError(
            "--times: resistive memory was measured after 1s, 1d and 2d only, got"
            f" {', '.join(unknown)}; between them nothing is known: --times 1s,1d,2d"
        )
    return times


def check_crossbar_flags(crossbar: CrossbarConfig) -> None:
    """Refuse flags about crossbars where there are none; for a new run, not for a stored one.

    Raises:
      ConfigError: so it is.
    """
    default = CrossbarConfig()
    if crossbar.crossbar == "none" and crossbar != default:
        changed = [n for n, v in vars(crossbar).items() if v != getattr(default, n)]
        raise ConfigError(
            f"{', '.join(map(flag, changed))}: this is about crossbars; add --crossbar pcm, or"
            " leave it out"
        )


def train_samples(data: RandmanData) -> int:
    """Return the number of training samples, 80 % of all."""
    return data.classes * data.samples_per_class * 8 // 10


def flag(name: str) -> str:
    """Return the flag of a field."""
    return "--" + name.replace("_", "-")


def _check_rates(training: TrainingConfig) -> None:
    lower, upper, strength = training.lower_rate, training.upper_rate, training.rate_strength
    if upper and lower > upper:
        raise ConfigError(f"--lower-rate: expected at most --upper-rate {upper!r}, got {lower!r}")
    if bool(lower or upper) != bool(strength):
        raise ConfigError(
            "--rate-strength and at least one of --lower-rate, --upper-rate work together, got"
            f" strength {strength!r}, lower {lower!r} Hz, upper {upper!r} Hz"
        )


def _share(flag: str, value: Any) -> None:
    with _as_config_error():
        checks.in_range(flag, value, 0, 1, high_allowed=False, noun="a share")


def whole(flag: str, value: Any, minimum: int) -> None:
    """Checks a whole number.

    Args:
      flag: name of the setting.
      value: its value.
      minimum: smallest number allowed.

    Raises:
      ConfigError: another type, or below the smallest.
    """
    with _as_config_error():
        checks.whole_number(flag, value, minimum)


def number(flag: str, value: Any, bound: str, unit: str = "") -> None:
    """Checks a finite number.

    Args:
      flag: name of the setting.
      value: its value.
      bound: the range, ``>= 0`` or ``> 0``.
      unit: unit of the number, for the error.

    Raises:
      ConfigError: another type, or outside the range.
    """
    check = {">= 0": checks.non_negative, "> 0": checks.positive}[bound]
    with _as_config_error():
        check(flag, value, unit=unit)


@contextlib.contextmanager
def _as_config_error() -> Iterator[None]:
    """Turns errors of the library's checks into errors of settings."""
    try:
        yield
    except (TypeError, ValueError) as error:
        raise ConfigError(str(error)) from None
