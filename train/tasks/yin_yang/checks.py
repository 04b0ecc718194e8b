"""Settings of Yin-Yang that cannot work are refused here, before anything is computed."""

from __future__ import annotations

from train.errors import ConfigError
from train.settings.checks import check_crossbar, check_training, flag, number, whole
from train.settings.training import TrainingConfig
from train.tasks.yin_yang.settings import SpikeTimeLoss, YinYangConfig, YinYangData, YinYangNetwork


def check_yin_yang(config: YinYangConfig) -> None:
    """Refuses settings that cannot work.

    Raises:
      ConfigError: so it is; the message names the flag and the remedy.
    """
    _check_data(config.data)
    _check_network(config.network)
    check_crossbar(config.crossbar)
    if config.crossbar.crossbar != "none" and config.network.method != "surrogate":
        raise ConfigError(
            f"--crossbar {config.crossbar.crossbar}: crossbars multiply in time steps, which"
            f" --method {config.network.method} has not; add --method surrogate"
        )
    _check_loss(config.loss, config.network)
    check_training(config.training, config.data.train_samples, "--train-samples")
    _check_training(config.training, config.network)


def _check_data(data: YinYangData) -> None:
    whole("--train-samples", data.train_samples, 1)
    whole("--test-samples", data.test_samples, 1)
    whole("--data-seed", data.data_seed, 2)
    if data.data_seed >= 2**32:
        raise ConfigError(
            f"--data-seed: expected a whole number from 2 to 2**32 - 1, got {data.data_seed};"
            " validation and test part have the seeds below it"
        )


def _check_network(network: YinYangNetwork) -> None:
    if not network.hidden:
        raise ConfigError("--hidden: expected at least one layer, got none; try --hidden 120")
    for size in network.hidden:
        whole("--hidden", size, 1)
    for name in ("tau_mem", "tau_syn", "window", "duration", "dt"):
        number(flag(name), getattr(network, name), "> 0", "seconds")
    for name in ("threshold", "surrogate_slope", "budget"):
        number(flag(name), getattr(network, name), "> 0")
    for name in ("input_std", "layer_std", "readout_std", "slope_floor"):
        number(flag(name), getattr(network, name), ">= 0")
    for name in ("input_mean", "layer_mean", "readout_mean"):
        # A mean may have either sign.
        number(flag(name), abs(getattr(network, name)), ">= 0")
    whole("--max-spikes", network.max_spikes, 0)
    if network.window >= network.duration:
        raise ConfigError(
            f"--window: expected less than --duration {network.duration!r} s, got"
            f" {network.window!r} s: output neurons need time after the last input spike; lower"
            " --window or raise --duration"
        )
    _check_method(network)


def _check_method(network: YinYangNetwork) -> None:
    method = network.method
    if method == "surrogate":
        if network.delays != "none":
            raise ConfigError(
                f"--delays {network.delays}: delays are times of events, which a time grid has"
                " not; take --method eventprop or first_spike, or leave them out"
            )
        steps = network.duration / network.dt
        if abs(steps - round(steps)) > 1e-6 * steps or round(steps) < 1:
            raise ConfigError(
                f"--dt: expected a whole number of steps in --duration {network.duration!r} s, got"
                f" {network.dt!r} s, {steps:.6g} steps"
            )
    most = {"eventprop": network.max_spikes, "first_spike": 1, "surrogate": 0}[method]
    if network.max_spikes > most:
        raise ConfigError(
            f"--max-spikes {network.max_spikes}: a neuron has"
            f" {'one spike' if most else 'no such bound'} under --method {method}; leave it out, or"
            " take --method eventprop"
        )


def _check_loss(loss: SpikeTimeLoss, network: YinYangNetwork) -> None:
    for name in ("loss_tau", "late_tau"):
        number(flag(name), getattr(loss, name), "> 0", "seconds")
    number("--late-penalty", loss.late_penalty, ">= 0")
    number("--continuation-slope", loss.continuation_slope, "> 0", "seconds per unit of potential")
    number("--max-scale", loss.max_scale, "> 0")
    number("--target-early", loss.target_early, "> 0", "seconds")
    number("--target-late", loss.target_late, "> 0", "seconds")
    if loss.loss == "mse" and not loss.target_early < loss.target_late <= network.duration:
        raise ConfigError(
            "--target-early, --target-late: expected early before late, and late within --duration"
            f" {network.duration!r} s, got {loss.target_early!r} s and {loss.target_late!r} s"
        )


def _check_training(training: TrainingConfig, network: YinYangNetwork) -> None:
    if training.rate_strength and network.method != "surrogate":
        raise ConfigError(
            f"--rate-strength: the number of spikes has no gradient under --method"
            f" {network.method}; take --method surrogate, or leave it out"
        )
