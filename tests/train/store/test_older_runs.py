"""Runs that older releases stored are read, and go on, as in the release that stored them."""

import functools
import json
import shutil
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from same_run import evaluate_checkpoint, records

import train as app
from train.command_line import run_command
from train.compare import compare
from train.settings import NO_CROSSBAR, VERSION
from train.store.read import find_checkpoint, open_checkpoint
from train.tasks.yin_yang.task import YinYang

ROOT = Path(__file__).resolve().parents[3]
RUNS = ROOT / "tests" / "golden" / "runs"
REFERENCE = ROOT / "checkpoints" / "randman_reference"
NAMES = ["yin_yang_eventprop", "yin_yang_delays"]
# Compiling a network in continuous time takes seconds; the one with delays has all that the other
# one has.
RUN = [pytest.param("yin_yang_eventprop", marks=pytest.mark.slow), "yin_yang_delays"]


def expected(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((RUNS / name / "expected.json").read_text())
    return found


def names_of(tree: Any) -> set[str]:
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator="/") for path, _ in leaves}


def test_the_stored_runs_are_of_older_versions():
    assert open_checkpoint(find_checkpoint(REFERENCE)).settings_version == 2 < VERSION
    for name in NAMES:
        assert open_checkpoint(find_checkpoint(RUNS / name)).settings_version == 3 < VERSION


def test_the_reference_of_version_2_has_the_settings_of_today():
    run = app.restore(REFERENCE)
    stored = json.loads((REFERENCE / "config.json").read_text())
    assert stored["version"] == 2 and set(stored["config"]) == {"data", "network", "training"}
    # What was stored is read; what came later has the value that was built in.
    for part, fields in stored["config"].items():
        for field, value in fields.items():
            found = getattr(getattr(run.settings, part), field)
            assert (list(found) if isinstance(found, tuple) else found) == value
    assert run.settings.crossbar == NO_CROSSBAR
    assert run.settings.network.loss == "cross_entropy"


@pytest.mark.slow
@pytest.mark.usefixtures("optimised")
def test_the_reference_of_version_2_scores_what_its_result_says():
    stored = json.loads((REFERENCE / "result.json").read_text())
    run = app.restore(str(REFERENCE))
    assert run.epoch == stored["best_epoch"] == 30
    # Another processor rounds differently, which may move a spike: 2 of 1000 samples.
    assert run.accuracy("test") == pytest.approx(stored["test_accuracy"], abs=2e-3)
    assert run.accuracy("validation") == pytest.approx(stored["validation_accuracy"], abs=2e-3)
    sums = run.evaluate(run.data("test")).sums
    assert float(sums.loss / sums.samples) == pytest.approx(stored["test_loss"], rel=1e-3)


@functools.cache
def restored(name: str) -> Any:
    return app.restore(RUNS / name)


@pytest.mark.parametrize("name", NAMES)
def test_parameters_of_version_3_have_the_names_of_today(name):
    run = restored(name)
    delays = {"log_delay_0", "log_delay_1"} if name == "yin_yang_delays" else set()
    assert names_of(run.params) == {"cell/cells_0/kernel", "cell/cells_1/kernel"} | delays
    shapes = {"log_delay_0": (5, 6), "log_delay_1": (6, 3)}
    assert {n: run.params[n].shape for n in delays} == {n: shapes[n] for n in delays}
    assert run.epoch == expected(name)["epoch"]


@pytest.mark.parametrize("name", RUN)
def test_a_network_of_version_3_does_what_it_did(name):
    """Predictions, spikes and their times, as the release that stored it saw them."""
    run, then = restored(name), expected(name)
    points = run.data("test").inputs
    output = jax.jit(run.model.apply)(run.params, points, jax.random.key(0))
    assert not output.lost.any()
    for found, counts in zip(output.activity, then["counts"], strict=True):
        np.testing.assert_array_equal(found, counts)
    first = np.array(then["first_spikes"], np.float64)  # null is not a number
    silent = np.isnan(first)
    times = np.asarray(output.z.times)
    np.testing.assert_array_equal(np.isinf(times), silent)
    # A few roundings of float32 on times of 50 ms, made larger where a threshold is grazed.
    np.testing.assert_allclose(times[~silent], first[~silent], atol=1e-6)
    np.testing.assert_array_equal(run.model.objective.predict(output.z), then["predictions"])


@pytest.mark.slow
@pytest.mark.parametrize("name", RUN)
@pytest.mark.optimizer
def test_a_stopped_run_of_version_3_goes_on_as_it_would_have(name, tmp_path):
    """Optimiser and noise are those of then too: epochs 3 and 4 are those of the unbroken run."""
    run = Path(shutil.copytree(RUNS / name, tmp_path / "run"))
    before = records(run)
    flags = ["--resume", "--workdir", str(run), "--no-plots", "--quiet", "--no-cache"]
    assert run_command(YinYang(), flags) == 0
    found, wanted = records(run), expected(name)["metrics"]
    assert found[:2] == before and [record["epoch"] for record in found] == [1, 2, 3, 4]
    for record, then in zip(found[2:], wanted[2:], strict=True):
        assert record["step"] == then["step"]
        assert record["learning_rate"] == pytest.approx(then["learning_rate"], rel=1e-6)
        # Another program rounds differently, and six updates enlarge it.
        for number in ("train_loss", "validation_loss", "grad_norm"):
            assert record[number] == pytest.approx(then[number], rel=1e-3), number
    result = json.loads((run / "result.json").read_text())
    then = expected(name)["result"]
    assert result["test_loss"] == pytest.approx(then["test_loss"], rel=1e-3)
    assert result["best_epoch"] == then["best_epoch"]


@pytest.mark.slow
def test_older_runs_are_evaluated():
    found = evaluate_checkpoint(RUNS / "yin_yang_delays")
    then = expected("yin_yang_delays")
    labels = restored("yin_yang_delays").data("test").labels
    right = np.mean(np.array(then["predictions"]) == labels)
    assert found["test_accuracy"] == pytest.approx(right) and found["task"] == "yin_yang"


def test_older_runs_are_compared_by_the_settings_of_today():
    one, other = compare([RUNS / name for name in NAMES])
    assert (one["settings"], other["settings"]) == ({"delays": "none"}, {"delays": "synaptic"})
