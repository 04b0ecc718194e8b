"""The third task: points told apart by spike times, by three methods over one network."""

import dataclasses
import json
import re
import signal

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from covering_rows import covered_by
from same_run import evaluate_checkpoint

from flax_snn import datasets
from train.command_line import parse, run_command
from train.compare import compare
from train.evaluate import describe, main
from train.model.build import REMEDIES as RASTER
from train.progress.report import Progress, farewell
from train.settings.options import RunOptions
from train.settings.training import TrainingConfig
from train.store.settings_json import from_json, to_json
from train.tasks.yin_yang.network import REMEDIES
from train.tasks.yin_yang.settings import SpikeTimeLoss, YinYangConfig, YinYangData, YinYangNetwork
from train.tasks.yin_yang.task import YinYang, load_yin_yang

TASK = YinYang()
METHODS = ("surrogate", "first_spike", "eventprop")


def records(run):
    lines = (run / "metrics.jsonl").read_text().splitlines()
    return [{k: v for k, v in json.loads(line).items() if k != "seconds"} for line in lines]


@pytest.fixture(scope="module")
def runs(train_yin_yang, tmp_path_factory):
    """Finished runs by method, each trained when it is first asked for."""
    folder = tmp_path_factory.mktemp("yin_yang")

    def run(method):
        path = folder / method
        if not path.exists():
            assert train_yin_yang(path, "--method", method) == 0
        return path

    return run


# Settings


def test_the_default_data_are_the_published_parts():
    found, published = load_yin_yang(YinYangData()), datasets.yin_yang_splits()
    for part, points in zip(found, published, strict=True):
        assert part.inputs.dtype == np.float32 and part.labels.dtype == np.int32
        np.testing.assert_array_equal(part.inputs, points.x.astype(np.float32))
        np.testing.assert_array_equal(part.labels, points.labels)


def test_flags_and_json_reach_every_part():
    flags = "--train-samples 60 --method eventprop --hidden 8 4 --loss mse --epochs 3"
    config, _ = parse(TASK, flags.split(), YinYangConfig())
    assert config == YinYangConfig(
        YinYangData(train_samples=60),
        YinYangNetwork(method="eventprop", hidden=(8, 4)),
        SpikeTimeLoss(loss="mse"),
        dataclasses.replace(YinYangConfig().training, epochs=3),
    )
    assert from_json(YinYangConfig, json.loads(json.dumps(to_json("yin_yang", config)))) == config


def flags_of(*parts) -> set[str]:
    return {f"--{f.name.replace('_', '-')}" for part in parts for f in dataclasses.fields(part)}


def test_help_names_every_flag_and_remedies_name_no_other(capsys):
    with pytest.raises(SystemExit):
        parse(TASK, ["--help"], YinYangConfig())
    text = capsys.readouterr().out
    known = flags_of(YinYangData, YinYangNetwork, SpikeTimeLoss, TrainingConfig, RunOptions)
    known.discard("--extended-from")  # the app fills it in
    assert {flag for flag in known if flag not in text} == set()
    assert REMEDIES != RASTER
    words = " ".join(filter(None, REMEDIES))
    assert set(re.findall(r"--[a-z-]+", words)) <= known


def test_the_defaults_can_work():
    TASK.check(YinYangConfig())


@pytest.mark.slow
def test_the_default_room_holds_all_spikes_before_training():
    network = dataclasses.replace(YinYangNetwork(), method="eventprop")
    model = TASK.build(dataclasses.replace(YinYangConfig(), network=network))
    points = jnp.asarray(load_yin_yang(YinYangData()).validation.inputs[:300])
    apply = jax.jit(model.apply)
    for seed in range(3):
        output = apply(model.init(jax.random.key(seed)), points, jax.random.key(0))
        assert output.lost.sum() == 0 and output.activity[0].mean() > 1


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ("--tau-mem 0", "--tau-mem: expected a finite number of seconds > 0, got 0"),
        ("--tau-syn nan", "--tau-syn"),
        ("--threshold 0", "--threshold: expected a finite number > 0"),
        ("--threshold -1", "--threshold"),
        ("--hidden", "--hidden: expected at least one layer"),
        ("--hidden 0", "--hidden: expected a whole number >= 1"),
        ("--window 50e-3", "--window: expected less than --duration 0.05 s"),
        ("--duration 20e-3", "--window: expected less than --duration 0.02 s"),
        ("--input-std -1", "--input-std"),
        ("--input-mean inf", "--input-mean"),
        ("--budget 0", "--budget: expected a finite number > 0"),
        ("--max-spikes -1", "--max-spikes"),
        ("--max-spikes 2", "one spike under --method first_spike"),
        ("--method surrogate --max-spikes 1", "no such bound under --method surrogate"),
        ("--method surrogate --delays synaptic", "which a time grid has not"),
        ("--method surrogate --dt 3e-3", "--dt: expected a whole number of steps"),
        ("--method surrogate --dt 0", "--dt"),
        ("--rate-strength 1 --lower-rate 5", "has no gradient under --method first_spike"),
        ("--loss-tau 0", "--loss-tau"),
        ("--late-penalty -1", "--late-penalty"),
        ("--late-tau 0", "--late-tau"),
        ("--continuation-slope 0", "--continuation-slope: expected a finite"),
        ("--max-scale 0", "--max-scale"),
        ("--loss mse --target-early 31e-3", "expected early before late"),
        ("--loss mse --target-late 1", "late within --duration"),
        ("--train-samples 0", "--train-samples"),
        ("--test-samples 0", "--test-samples"),
        ("--data-seed 1", "--data-seed: expected a whole number >= 2"),
        ("--data-seed 4294967296", "--data-seed"),
        ("--batch-size 5001", "lower --batch-size or raise --train-samples"),
        ("--data tfds", "generated in memory; leave it out"),
        ("--epochs 0", "--epochs"),
    ],
)
def test_values_that_cannot_work_end_with_code_2(flags, words, tmp_path, capsys):
    workdir = tmp_path / "run"
    assert run_command(TASK, [*flags.split(), "--workdir", str(workdir), "--no-cache"]) == 2
    message = capsys.readouterr().err
    assert message.startswith("python -m train.yin_yang: error: ")
    assert words in message
    assert not workdir.exists()


def test_an_unknown_method_is_refused(capsys):
    with pytest.raises(SystemExit) as end:
        parse(TASK, ["--method", "magic"], YinYangConfig())
    assert end.value.code == 2
    assert "Traceback" not in capsys.readouterr().err


# Spikes without room


@pytest.mark.slow
def test_too_little_room_is_refused_before_anything_is_replaced(train_yin_yang, runs, capsys):
    run = runs("surrogate")
    before = (run / "config.json").read_text()
    flags = ("--method", "eventprop", "--budget", "0.2", "--overwrite")
    assert train_yin_yang(run, *flags) == 2
    message = capsys.readouterr().err
    assert "found no room" in message and "--budget" in message
    assert (run / "config.json").read_text() == before and (run / "result.json").exists()


def test_lost_spikes_are_said_at_the_end(tmp_path):
    result = {"score": "accuracy", "test_accuracy": 0.9, "validation_accuracy": 0.9}
    result |= {"best_epoch": 1, "epochs_done": 2, "seconds": 3.0}
    assert "found no room" not in farewell(tmp_path, result | {"test_lost_spikes": 0})
    assert "at least 7 spikes of the test" in farewell(tmp_path, result | {"test_lost_spikes": 7})


# Runs


@pytest.mark.parametrize("method", covered_by(METHODS, ["surrogate"]))
def test_a_run_leaves_its_files_and_is_evaluated(runs, method, capsys):
    run = runs(method)
    files = {"config.json", "environment.json", "metrics.jsonl", "result.json"}
    assert {p.name for p in run.iterdir()} == {*files, "checkpoints"}
    result = json.loads((run / "result.json").read_text())
    best = max(records(run), key=lambda r: (r["validation_accuracy"], r["epoch"]))
    assert result["best_epoch"] == best["epoch"]
    assert result["validation_accuracy"] == best["validation_accuracy"]
    assert ("lost_spikes" in best) == ("test_lost_spikes" in result) == (method == "eventprop")
    assert main(["--checkpoint", str(run), "--json"]) == 0
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert found["test_accuracy"] == result["test_accuracy"] and found["task"] == "yin_yang"
    assert np.sum(found["confusion"]) == 30
    for layer, spikes in found["activity"].items():
        assert found["rates_hz"][layer] == pytest.approx(spikes / 50e-3)
    assert "spikes per neuron and sample" in describe(found)


@pytest.mark.slow
def test_weights_of_one_method_run_by_another(runs, capsys):
    run = runs("surrogate")
    exact = evaluate_checkpoint(run, method="first_spike")
    grid = evaluate_checkpoint(run)
    # 30 samples; a step of 0.5 ms decides few of them.
    assert exact["test_accuracy"] == pytest.approx(grid["test_accuracy"], abs=0.2)
    assert exact["activity"]["output"] <= 1
    assert main(["--checkpoint", str(run), "--diagnose"]) == 0
    assert "cells_0" in capsys.readouterr().out


@pytest.mark.slow
def test_membranes_in_continuous_time_are_not_diagnosed(runs, capsys):
    exact = ["--checkpoint", str(runs("surrogate")), "--method", "first_spike"]
    assert main([*exact, "--diagnose"]) == 2
    assert "add --method surrogate" in capsys.readouterr().err


def test_randman_has_one_method(tiny_run, capsys):
    assert main(["--checkpoint", str(tiny_run), "--method", "eventprop"]) == 2
    assert "run in one way only" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_a_stopped_run_ends_as_an_unbroken_one(train_yin_yang, tmp_path, method):
    stopped = []

    def stop(self, record, score):
        if not stopped:
            stopped.append(record)
            signal.raise_signal(signal.SIGTERM)

    run, flags = tmp_path / "run", ("--method", method, "--epochs", "4")
    assert train_yin_yang(tmp_path / "whole", *flags) == 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Progress, "epoch", stop)
        assert train_yin_yang(run, *flags) == 143
    assert len(records(run)) == 2
    assert train_yin_yang(run, "--resume", *flags) == 0
    assert records(run) == records(tmp_path / "whole")


@pytest.mark.slow
def test_streamed_points_are_those_in_memory(train_yin_yang, runs, tmp_path):
    run = tmp_path / "run"
    streamed = ("--method", "surrogate", "--feed", "streamed", "--chunk", "2")
    assert train_yin_yang(run, *streamed) == 0
    for a, b in zip(records(run), records(runs("surrogate")), strict=True):
        for name in ("train_loss", "validation_loss"):
            # The order of a sum differs, in float32.
            assert a[name] == pytest.approx(b[name], rel=1e-5)


@pytest.mark.slow
def test_runs_of_two_methods_side_by_side(runs):
    first, second = compare([runs("surrogate"), runs("first_spike")])
    assert first["settings"] == {"method": "surrogate"}
    assert second["settings"] == {"method": "first_spike"}
    assert {first["task"], second["task"]} == {"yin_yang"}


@pytest.mark.slow
@pytest.mark.optimizer
@pytest.mark.parametrize("method", ["first_spike", "eventprop"])
@pytest.mark.usefixtures("optimised")
def test_exact_gradients_learn(method, tmp_path):
    flags = ["--method", method, "--epochs", "10", "--no-cache", "--no-plots"]
    assert run_command(TASK, [*flags, "--workdir", str(tmp_path / "run")]) == 0
    assert json.loads((tmp_path / "run" / "result.json").read_text())["test_accuracy"] > 0.9
