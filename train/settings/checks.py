"""Settings that cannot work are refused here, before anything is computed or written."""

from __future__ import annotations

from typing import Any

from flax_snn import checks
from train.errors import ConfigError, as_config_error
from train.settings.crossbar import MEASURED, CrossbarConfig
from train.settings.network import NetworkConfig
from train.settings.options import RunOptions
from train.settings.training import TrainingConfig


def check_training(
    training: TrainingConfig, train_samples: int | None, more: str = "--samples-per-class"
) -> None:
    """Refuses settings of the training that cannot work.

    Args:
      training: the settings.
      train_samples: number of training samples of the data set; ``None`` where it is not known.
      more: flag that gives more of them.

    Raises:
      ConfigError: the message names the flag and the remedy.
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
        share(flag(name), getattr(training, name))
    _check_rates(training)
    if train_samples is not None:
        check_batch_size(training.batch_size, train_samples, more)


def check_batch_size(batch_size: int, train_samples: int, more: str = "") -> None:
    """Refuses batches that are larger than the training part.

    Args:
      batch_size: samples per update.
      train_samples: number of training samples.
      more: flag that gives more of them, where there is one.

    Raises:
      ConfigError: fewer samples than one batch.
    """
    if batch_size > train_samples:
        raise ConfigError(
            f"--batch-size: expected at most the {train_samples} training samples, got"
            f" {batch_size}; lower --batch-size{more and f' or raise {more}'}"
        )


def check_network(network: NetworkConfig, regression: bool) -> None:
    """Refuses settings of the network that cannot work.

    Args:
      network: the settings.
      regression: whether values are to be predicted, not classes.

    Raises:
      ConfigError: the message names the flag and the remedy.
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
    if regression and network.loss != NetworkConfig.loss:
        raise ConfigError(
            f"--loss {network.loss}: values are trained by their mean squared error, --loss is for"
            " classes; leave it out"
        )
    number("--tau-mem", network.tau_mem, "> 0", "seconds")
    number("--tau-syn", network.tau_syn, ">= 0", "seconds")
    if not network.tau_syn and (network.neuron != "lif" or network.readout == "first"):
        raise ConfigError(
            "--tau-syn 0: neurons without a synapse are those of --neuron lif, read otherwise than"
            " by --readout first, whose unit of time is --tau-syn; got --neuron"
            f" {network.neuron} and --readout {network.readout}"
        )
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


def check_options(options: RunOptions, on_disk: bool = True, reads_files: bool = False) -> None:
    """Refuses options of a run that contradict each other.

    Args:
      options: the options.
      on_disk: whether the data set of the task can be prepared on disk.
      reads_files: whether the task reads files of `--data-dir`.

    Raises:
      ConfigError: the message names the flag and the remedy.
    """
    whole("--chunk", options.chunk, 1)
    whole("--together", options.together, 0)
    number("--save-every", options.save_every, ">= 0", "seconds")
    if options.resume and options.overwrite:
        raise ConfigError("--resume goes on with a run, --overwrite replaces it; give one of them")
    if options.data == "tfds" and not on_disk:
        how = "read from files" if reads_files else "generated in memory"
        raise ConfigError(f"--data tfds: data of this task are {how}; leave it out")
    if options.data == "tfds" and options.feed == "resident":
        raise ConfigError("--data tfds streams samples; drop --feed resident, or --data tfds")
    if options.data_dir is not None and options.data != "tfds" and not reads_files:
        raise ConfigError("--data-dir is where tfds keeps prepared data; add --data tfds")


def check_crossbar(crossbar: CrossbarConfig) -> None:
    """Refuses settings of crossbars that cannot work.

    Raises:
      ConfigError: the message names the flag and the remedy.
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


def check_crossbar_flags(crossbar: CrossbarConfig) -> None:
    """Refuses flags about crossbars where there are none; for a new run, not for a stored one.

    Raises:
      ConfigError: the message names the flag and the remedy.
    """
    default = CrossbarConfig()
    if crossbar.crossbar == "none" and crossbar != default:
        changed = [n for n, v in vars(crossbar).items() if v != getattr(default, n)]
        raise ConfigError(
            f"{', '.join(map(flag, changed))}: this is about crossbars; add --crossbar pcm, or"
            " leave it out"
        )


def flag(name: str) -> str:
    """Returns the flag of a field."""
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


def share(flag: str, value: Any) -> None:
    """Checks a share, a number from 0 to below 1.

    Args:
      flag: name of the setting.
      value: its value.

    Raises:
      ConfigError: another type, or outside the range.
    """
    with as_config_error():
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
    with as_config_error():
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
    with as_config_error():
        check(flag, value, unit=unit)
