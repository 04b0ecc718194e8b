"""Settings: to JSON and back, to flags and back, and what is refused."""

import copy
import dataclasses
import json
import typing

import pytest
import tyro

from train.command_line import parse, run_command
from train.errors import ConfigError
from train.settings import VERSION
from train.settings.checks import check_options
from train.settings.network import NetworkConfig
from train.settings.options import RunOptions
from train.settings.training import TrainingConfig
from train.store.settings_json import from_json, to_json
from train.tasks.randman import (
    Randman,
    RandmanConfig,
    RandmanData,
    RandmanRegression,
    RandmanRegressionConfig,
)

TASK = Randman()
(SUPPRESSED,) = tyro.conf.Suppress[int].__metadata__

OTHER = RandmanConfig(
    RandmanData(classes=3, alpha=2.5, variant="torch"),
    NetworkConfig(hidden=(32, 16), recurrent=False, readout="last"),
    TrainingConfig(epochs=7, learning_rate=1e-3, seed=4),
)


@pytest.mark.parametrize("config", [RandmanConfig(), OTHER])
def test_settings_survive_json(config):
    stored = json.loads(json.dumps(to_json("randman", config)))
    assert stored["task"] == "randman"
    assert from_json(RandmanConfig, stored) == config


def changed(path, value):
    stored = copy.deepcopy(to_json("randman", RandmanConfig()))
    *parents, last = path.split(".")
    place = stored
    for name in parents:
        place = place[name]
    if value is None:
        del place[last]
    else:
        place[last] = value
    return stored


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        ("version", VERSION + 1, "version"),
        ("config.data.colour", 1, r"config.data: unknown fields \['colour'\]"),
        ("config.network.hidden", None, r"config.network: missing fields \['hidden'\]"),
        ("config.network.hidden", 128, "config.network.hidden: expected a list"),
        ("config.network.hidden", [1.5], r"hidden\[0\]: expected a whole number, got 1.5"),
        ("config.network.readout", "vote", "readout: expected one of"),
        ("config.training.epochs", True, "epochs: expected a whole number, got true"),
        ("config.training.learning_rate", "fast", "rate: expected a finite number, got 'fast'"),
        ("config.training", [], "config.training: expected an object"),
        ("task", None, "expected the key 'task', got the keys 'version', 'config'"),
    ],
)
def test_strange_json_is_refused(path, value, words):
    with pytest.raises(ConfigError, match=words):
        from_json(RandmanConfig, changed(path, value))


def test_flags_reach_every_part():
    config, options = parse(
        TASK,
        "--classes 3 --alpha 2.5 --variant torch --hidden 32 16 --no-recurrent --readout last"
        " --epochs 7 --learning-rate 1e-3 --seed 4 --workdir somewhere --overwrite".split(),
        RandmanConfig(),
    )
    assert config == OTHER
    assert (str(options.workdir), options.overwrite, options.quiet) == ("somewhere", True, False)


def test_no_flags_are_the_defaults():
    assert parse(TASK, [], RandmanConfig()) == (RandmanConfig(), RunOptions())
    task = RandmanRegression()
    assert parse(task, [], task.settings()) == (RandmanRegressionConfig(), RunOptions())


def test_flags_change_the_given_defaults_alone():
    config, _ = parse(TASK, ["--seed", "5"], OTHER)
    training = dataclasses.replace(OTHER.training, seed=5)
    assert config == dataclasses.replace(OTHER, training=training)


def test_help_names_every_flag(capsys):
    with pytest.raises(SystemExit) as end:
        parse(TASK, ["--help"], RandmanConfig())
    assert end.value.code == 0
    text = capsys.readouterr().out
    for part in (RandmanData, NetworkConfig, TrainingConfig, RunOptions):
        hints = typing.get_type_hints(part, include_extras=True)
        for field in dataclasses.fields(part):
            # What the app fills in itself is marked so, and is no flag.
            hidden = SUPPRESSED in getattr(hints[field.name], "__metadata__", ())
            assert (f"--{field.name.replace('_', '-')}" in text) != hidden, field.name


@pytest.mark.parametrize("flags", ["--epoch 3", "--epochs three", "--readout vote", "--hidden x"])
def test_flags_that_are_none_end_with_code_2(flags, capsys):
    with pytest.raises(SystemExit) as end:
        parse(TASK, flags.split(), RandmanConfig())
    assert end.value.code == 2
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ("--epochs 0", "--epochs: expected a whole number >= 1, got 0"),
        ("--batch-size 0", "--batch-size"),
        ("--batch-size 9000", "at most the 8000 training samples"),
        ("--learning-rate -1", "--learning-rate: expected a finite number > 0"),
        ("--learning-rate nan", "--learning-rate"),
        ("--weight-decay -1", "--weight-decay"),
        ("--warm-up 1", "--warm-up"),
        ("--seed -1", "--seed"),
        ("--seed 4294967296", "--seed"),
        ("--data-seed -1", "seed: expected a whole number >= 0"),
        ("--hidden", "--hidden: expected at least one layer"),
        ("--hidden 0", "--hidden: expected a whole number >= 1"),
        ("--tau-mem 0", "--tau-mem"),
        ("--tau-syn inf", "--tau-syn"),
        ("--dt 0", "dt: expected a finite number of seconds > 0"),
        ("--step-frac 2", "step_frac"),
        ("--alpha 0", "alpha"),
        ("--classes 1", "--classes"),
        ("--samples-per-class 33", "--samples-per-class: expected a multiple of 10"),
        ("--count-scale 0", "--count-scale"),
        ("--recurrent-gain -1", "--recurrent-gain"),
        ("--population 0", "--population"),
        ("--patience -1", "--patience"),
        ("--clip-norm nan", "--clip-norm"),
        ("--momentum 1", "--momentum: expected a share in [0, 1)"),
        ("--label-smoothing 1", "--label-smoothing: expected a share in [0, 1)"),
        ("--lower-rate 5", "--rate-strength and at least one of"),
        ("--rate-strength 1", "--rate-strength and at least one of"),
        ("--lower-rate 5 --upper-rate 4 --rate-strength 1", "--lower-rate: expected at most"),
        ("--chunk 0", "--chunk"),
        ("--seeds 0-1 --together -1", "--together: expected a whole number >= 0, got -1"),
        ("--seeds=", "--seeds '': expected whole numbers below 2**32 and ranges"),
        ("--together 2", "--together: this is about several runs; add --seeds"),
        ("--data tfds --feed resident", "--data tfds streams samples"),
        ("--data-dir somewhere", "add --data tfds"),
    ],
)
def test_values_that_cannot_work_end_with_code_2(flags, words, tmp_path, capsys):
    workdir = tmp_path / "run"
    assert run_command(TASK, [*flags.split(), "--workdir", str(workdir), "--no-cache"]) == 2
    message = capsys.readouterr().err
    assert message.startswith("python -m train.randman: error: ")
    assert words in message
    assert not workdir.exists()


@pytest.mark.parametrize("readout", ["spikes", "first"])
def test_regression_reads_membranes(readout, tmp_path, capsys):
    flags = ["--readout", readout, "--workdir", str(tmp_path / "run"), "--no-cache"]
    assert run_command(RandmanRegression(), flags) == 2
    assert "regression reads membranes" in capsys.readouterr().err


@pytest.mark.parametrize("task", [Randman(), RandmanRegression()])
def test_the_defaults_can_work(task):
    task.check(task.settings())
    check_options(RunOptions(), task.on_disk)
