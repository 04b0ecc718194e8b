"""The second task: coordinates on a manifold instead of classes."""

import json

import jax.numpy as jnp
import numpy as np
import pytest
from same_run import evaluate_checkpoint

from train.evaluate import describe
from train.model.objectives.cross_entropy import CLASSIFICATION
from train.model.objectives.squared_error import make


def test_score_and_loss_of_a_sample():
    objective = make(2)
    z = jnp.array([[0.5, 0.25], [0.0, 1.0]])
    labels = jnp.array([[0.5, 0.75], [0.0, 1.0]])
    np.testing.assert_allclose(objective.loss(z, labels, 0.0), [0.125, 0.0])
    # 1/12 is the variance of a uniform coordinate.
    np.testing.assert_allclose(objective.points(z, labels), [1 - 0.125 * 12, 1.0], rtol=1e-6)


def test_the_mean_of_uniform_labels_explains_nothing():
    labels = jnp.linspace(0.0, 1.0, 10001)[:, None]
    points = make(1).points(jnp.full_like(labels, 0.5), labels)
    assert float(points.mean()) == pytest.approx(0.0, abs=1e-3)


def test_classes_are_scored_by_what_is_right():
    logits, labels = jnp.array([[2.0, 1.0], [0.0, 3.0], [1.0, 1.0]]), jnp.array([0, 0, 0])
    # Ties go to the lower class.
    assert CLASSIFICATION.points(logits, labels).tolist() == [1.0, 0.0, 1.0]
    assert CLASSIFICATION.predict(logits).tolist() == [0, 1, 0]


@pytest.mark.slow
def test_a_run_of_the_second_task(train_regression, tmp_path):
    flags = "--samples-per-class 200 --hidden 16 --epochs 10 --dim 2 --units 8 --plots"
    assert train_regression(tmp_path, *flags.split()) == 0
    result = json.loads((tmp_path / "result.json").read_text())
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    best = max(json.loads(line)["validation_r2"] for line in lines)
    assert result["validation_r2"] == best and result["score"] == "r2"
    # Better than the mean of the labels.
    assert result["test_r2"] > 0
    found = evaluate_checkpoint(tmp_path)
    assert found["test_r2"] == result["test_r2"] and "confusion" not in found
    assert found["test_loss"] * 12 == pytest.approx(1 - found["test_r2"], rel=1e-4)
    assert "test r2" in describe(found)
    drawn = {p.name for p in (tmp_path / "plots").iterdir()}
    assert {"learning_curves.png", "sample.png", "predictions.png"} <= drawn
