"""Evaluation from a checkpoint alone, and the reference checkpoint of the repository."""

import json
from pathlib import Path

import numpy as np
import pytest
from same_run import evaluate_checkpoint

from flax_snn.datasets import randman
from train.errors import NotFiniteError
from train.evaluate import describe, main
from train.restored.evaluation import evaluate_network
from train.restored.run import restore

ROOT = Path(__file__).resolve().parents[2]
REFERENCE = ROOT / "checkpoints" / "randman_reference"


def test_json_repeats_the_result_of_the_run(tiny_run, capsys):
    assert main(["--checkpoint", str(tiny_run), "--json"]) == 0
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    result = json.loads((tiny_run / "result.json").read_text())
    assert found["test_accuracy"] == result["test_accuracy"]
    assert found["epoch"] == result["best_epoch"]
    assert found["rates_hz"] == pytest.approx(result["test_rates_hz"], rel=1e-6)


def test_the_confusion_matrix_counts_every_sample(tiny_run):
    found = evaluate_checkpoint(tiny_run)
    confusion = np.array(found["confusion"])
    test = randman(classes=2, units=4, alpha=3.0, steps=20, dt=5e-3, samples_per_class=40)
    np.testing.assert_array_equal(confusion.sum(axis=1), np.bincount(test.split().test.labels))
    assert np.trace(confusion) / confusion.sum() == pytest.approx(found["test_accuracy"])


@pytest.mark.slow
def test_a_diagnosis_and_pictures_on_request(copy_of_run, capsys):
    assert main(["--checkpoint", str(copy_of_run), "--diagnose", "--plots"]) == 0
    shown = capsys.readouterr().out
    assert "cells_0" in shown and "spread" in shown
    drawn = sorted(p.name for p in (copy_of_run / "plots").iterdir())
    assert drawn == [
        "confusion.png",
        "firing_rates.png",
        "learning_curves.png",
        "manifold.png",
        "sample.png",
    ]


def test_rates_are_the_activity_in_hz(tiny_run):
    found = evaluate_checkpoint(tiny_run, "train")
    assert found["samples"] == 64 and 0 <= found["train_accuracy"] <= 1
    for layer in ("hidden_1", "output"):
        assert found["rates_hz"][layer] == pytest.approx(found["activity"][layer] / 5e-3)
    assert found["rates_hz"]["hidden_1"] > 0


def test_text_says_what_was_found():
    text = describe(
        {
            "task": "randman",
            "checkpoint": "somewhere",
            "epoch": 3,
            "part": "test",
            "score": "accuracy",
            "samples": 7,
            "test_accuracy": 5 / 7,
            "test_loss": 0.5,
            "rates_hz": {"hidden_1": 12.5},
            "activity": {"hidden_1": 0.025},
            "slot": "step",
            "confusion": [[3, 0], [2, 2]],
        }
    )
    assert text == (
        "somewhere: task randman, epoch 3\n"
        "test accuracy 71.43%, loss 0.5000 (7 samples)\n"
        "\n"
        "confusion matrix (rows: true class, columns: predicted class)\n"
        "        | 0 1\n"
        "      0 | 3 .\n"
        "      1 | 2 2\n"
        "\n"
        "mean firing rate\n"
        "  hidden_1     12.50 Hz     2.50% of slots"
    )


@pytest.mark.slow
def test_the_reference_checkpoint_keeps_its_accuracy():
    """Guards the format: a checkpoint of an earlier release stays readable, with its numbers."""
    stored = json.loads((REFERENCE / "result.json").read_text())
    found = evaluate_checkpoint(REFERENCE)
    # Another processor rounds differently, which may move a spike: 2 of 1000 samples.
    assert found["test_accuracy"] == pytest.approx(stored["test_accuracy"], abs=2e-3)
    assert found["test_accuracy"] >= 0.99
    assert found["rates_hz"] == pytest.approx(stored["test_rates_hz"], rel=1e-2)


def test_the_reference_checkpoint_is_small_and_names_no_machine():
    files = [path for path in REFERENCE.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 500_000
    for path in files:
        content = path.read_bytes()
        for word in (b"/home/", b"/root/", b"/tmp/", b"/Users/"):
            assert word not in content, path


def test_a_loss_that_is_no_number_is_refused(tiny_run, monkeypatch):
    trained = restore(tiny_run)
    scored = trained.evaluate(trained.data("test"))
    broken = scored._replace(sums=scored.sums._replace(loss=np.float32(np.nan)))
    monkeypatch.setattr(type(trained), "evaluate", lambda self, part: broken)
    with pytest.raises(NotFiniteError, match="expected a finite loss on the test part, got nan"):
        evaluate_network(trained, tiny_run)
    assert main(["--checkpoint", str(tiny_run)]) == 2


@pytest.mark.parametrize(
    ("target", "words"), [("missing/net.nir", "there is no folder"), (".", "got the folder")]
)
def test_an_export_that_cannot_be_written_is_refused_before_the_work(
    target, words, tmp_path, capsys
):
    assert main(["--checkpoint", str(tmp_path / "run"), "--export", str(tmp_path / target)]) == 2
    said = capsys.readouterr().err
    assert said.startswith("python -m train.evaluate: error: --export") and words in said
