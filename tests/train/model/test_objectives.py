"""Losses by their names, and the Brier score against float64 NumPy."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from train.errors import ConfigError
from train.model.objectives import brier, cross_entropy, find_loss, names, squared_error

RNG = np.random.default_rng(0)
LOGITS = RNG.normal(size=(50, 4)).astype(np.float32) * 3
LABELS = RNG.integers(0, 4, 50).astype(np.int32)


def expected(smoothing: float) -> np.ndarray:
    """sum_c (softmax(z)_c - target_c)^2, in float64."""
    z = LOGITS.astype(np.float64)
    p = np.exp(z - z.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    target = (1 - smoothing) * np.eye(4)[LABELS] + smoothing / 4
    return ((p - target) ** 2).sum(axis=1)


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.5])
def test_the_brier_score_of_each_sample(smoothing):
    objective = brier.make(4)
    found = objective.loss(jnp.asarray(LOGITS), jnp.asarray(LABELS), smoothing)
    np.testing.assert_allclose(found, expected(smoothing), rtol=1e-5, atol=1e-6)


def test_its_gradient_is_that_of_the_formula():
    """d/dz_k = 2 p_k ((p - t)_k - sum_c p_c (p - t)_c), by the derivative of the softmax."""
    objective = brier.make(4)
    labels = jnp.asarray(LABELS)
    found = jax.grad(lambda z: objective.loss(z, labels, 0.1).sum())(jnp.asarray(LOGITS))
    z = LOGITS.astype(np.float64)
    p = np.exp(z - z.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    d = p - (0.9 * np.eye(4)[LABELS] + 0.025)
    wanted = 2 * p * (d - (p * d).sum(axis=1, keepdims=True))
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-6)


def test_it_is_bounded_and_the_class_is_the_largest_logit():
    objective = brier.make(3)
    z = jnp.array([[1e4, -1e4, 0.0], [1e4, -1e4, 0.0], [2.0, 2.0, 1.0]])
    labels = jnp.array([0, 1, 1])
    # Right for sure, and wrong for sure.
    np.testing.assert_allclose(objective.loss(z, labels, 0.0)[:2], [0.0, 2.0], atol=1e-6)
    assert objective.points(z, labels).tolist() == [1.0, 0.0, 0.0]
    assert objective.predict(z).tolist() == [0, 0, 0]
    assert (objective.score, objective.label_shape) == ("accuracy", ())


def test_losses_are_found_by_the_name_of_their_file():
    assert names("classes") == ["brier", "cross_entropy"] and names("values") == ["squared_error"]
    assert find_loss("brier", "classes") is brier
    assert find_loss("cross_entropy", "classes") is cross_entropy
    assert find_loss("squared_error", "values") is squared_error


@pytest.mark.parametrize("name", ["hinge", "squared_error", "objective", "", "../brier"])
def test_a_loss_that_is_none_of_classes_is_refused(name):
    words = rf"--loss: expected one of brier, cross_entropy for classes, got '{name}'"
    with pytest.raises(ConfigError, match=words):
        find_loss(name, "classes")


def test_an_unknown_loss_ends_with_code_2_and_writes_nothing(train, tmp_path, capsys):
    assert train(tmp_path / "run", "--loss", "hinge") == 2
    assert "--loss: expected one of brier, cross_entropy" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_values_are_trained_by_their_squared_error_alone(train_regression, tmp_path, capsys):
    assert train_regression(tmp_path / "run", "--loss", "brier") == 2
    assert "--loss brier: values are trained by" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_a_run_with_another_loss(train, tiny_run, tmp_path):
    assert train(tmp_path / "run", "--loss", "brier") == 0
    results = [
        json.loads((run / "result.json").read_text()) for run in (tmp_path / "run", tiny_run)
    ]
    assert 0 < results[0]["test_loss"] < 2 and results[0]["test_loss"] != results[1]["test_loss"]
    assert "brier" in (tmp_path / "run" / "config.json").read_text()
