"""Metrics against the definitions, written as loops over samples in Python."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from flax_snn import metrics

RNG = np.random.default_rng(0)
LABELS = RNG.integers(0, 5, 200)
GUESSES = np.where(RNG.random(200) < 0.6, LABELS, RNG.integers(0, 5, 200))
TARGETS = RNG.normal(2.0, 3.0, (50, 2))
VALUES = TARGETS + RNG.normal(0.5, [0.3, 4.0], (50, 2))


def counted(classes: int) -> list[list[int]]:
    pairs = list(zip(LABELS.tolist(), GUESSES.tolist(), strict=True))
    return [[pairs.count((t, p)) for p in range(classes)] for t in range(classes)]


@pytest.mark.parametrize("classes", [5, 7])
def test_confusion_matrix_counts_pairs_of_true_and_predicted_class(classes):
    found = metrics.confusion_matrix(GUESSES, LABELS, classes)
    assert found.dtype == np.int64 and found.tolist() == counted(classes)


def test_accuracy_is_the_diagonal_of_the_confusion_matrix():
    expected = sum(counted(5)[c][c] for c in range(5)) / 200
    assert metrics.accuracy(GUESSES, LABELS) == pytest.approx(expected)
    assert metrics.accuracy(LABELS, LABELS) == 1.0
    assert metrics.accuracy([1, 2], [0, 0]) == 0.0


def test_mean_squared_error_is_the_mean_over_samples_and_coordinates():
    errors = [(t - p) ** 2 for t, p in zip(TARGETS.ravel(), VALUES.ravel(), strict=True)]
    assert metrics.mean_squared_error(VALUES, TARGETS) == pytest.approx(sum(errors) / 100)


def test_r2_of_a_line_fitted_by_least_squares_is_the_squared_correlation():
    x, y = VALUES[:, 0], TARGETS[:, 0]
    fitted = np.polyval(np.polyfit(x, y, 1), x)
    assert metrics.r2(fitted, y) == pytest.approx(np.corrcoef(x, y)[0, 1] ** 2)


def test_r2_compares_with_the_mean_of_the_targets():
    mean = np.broadcast_to(TARGETS.mean(axis=0), TARGETS.shape)
    assert metrics.r2(mean, TARGETS) == pytest.approx(0.0)
    assert metrics.r2(TARGETS, TARGETS) == 1.0
    # Twice as far from the mean, on the other side: 1 - 2^2.
    assert metrics.r2(2.0 * mean - TARGETS, TARGETS) == pytest.approx(-3.0)


def test_r2_of_coordinates_is_the_mean_of_theirs():
    each = [metrics.r2(VALUES[:, d], TARGETS[:, d]) for d in range(2)]
    assert each[0] != pytest.approx(each[1])
    assert metrics.r2(VALUES, TARGETS) == pytest.approx(np.mean(each))


def test_many_samples_are_summed_in_float64():
    targets = np.full(3_000_000, 0.1, np.float32)
    found = metrics.mean_squared_error(np.zeros_like(targets), targets)
    assert found == pytest.approx(float(np.float32(0.1)) ** 2, rel=1e-12)


@pytest.mark.parametrize("dtype", [jnp.int32, jnp.uint8])
def test_classes_may_be_of_jax(dtype):
    labels, guesses = jnp.asarray(LABELS, dtype), jnp.asarray(GUESSES, dtype)
    assert metrics.confusion_matrix(guesses, labels, 5).tolist() == counted(5)
    assert metrics.accuracy(guesses, labels) == metrics.accuracy(GUESSES, LABELS)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_values_may_be_of_jax(dtype):
    targets, values = jnp.asarray(TARGETS, dtype), jnp.asarray(VALUES, dtype)
    exact = np.asarray(values, np.float64), np.asarray(targets, np.float64)
    assert metrics.mean_squared_error(values, targets) == metrics.mean_squared_error(*exact)
    assert metrics.r2(values, targets) == metrics.r2(*exact)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: metrics.accuracy([], []), r"labels: .* at least one sample, got shape \(0,\)"),
        (lambda: metrics.accuracy([[0]], [[0]]), r"labels: expected shape \(S,\) .* \(1, 1\)"),
        (lambda: metrics.accuracy([0], [0, 1]), r"shape \(2,\) of labels, got \(1,\)"),
        (lambda: metrics.confusion_matrix([0, 1], [0, 3], 3), "labels: .* 0 to 2, got 0 to 3"),
        (lambda: metrics.confusion_matrix([-1], [0], 3), "predictions: .* 0 to 2, got -1 to -1"),
        (lambda: metrics.mean_squared_error([], []), "at least one sample"),
        (lambda: metrics.mean_squared_error([[1.0]], [1.0]), r"the shape \(1,\) of targets"),
        (lambda: metrics.mean_squared_error(1.0, np.ones((1, 1, 1))), r"\(S,\) or \(S, D\)"),
        (lambda: metrics.mean_squared_error([np.nan], [1.0]), "predictions: .* got 1 entries"),
        (lambda: metrics.r2([1.0, 1.0], [1.0, np.inf]), "targets: expected finite"),
        (lambda: metrics.r2([1.0, 2.0], [1.0, 1.0]), r"only one of \[0\]; R2 is not defined"),
        (lambda: metrics.r2([[1, 1], [1, 1]], [[1, 1], [2, 1]]), r"only one of \[1\]"),
    ],
)
def test_what_cannot_be_scored_is_refused(call, match):
    with pytest.raises(ValueError, match=match):
        call()


@pytest.mark.usefixtures("unchecked")
def test_what_is_of_another_kind_is_refused():
    with pytest.raises(TypeError, match="labels: expected integers, got float64"):
        metrics.accuracy([0], [0.0])
    with pytest.raises(TypeError, match="predictions: expected integers, got bool"):
        metrics.confusion_matrix([True], [0], 2)
    with pytest.raises(TypeError, match="targets: expected real numbers"):
        metrics.r2([1.0], ["a"])


@pytest.mark.parametrize("metric", [metrics.accuracy, metrics.mean_squared_error, metrics.r2])
def test_values_that_jit_hides_are_refused(metric: Any, unchecked: None):
    classes = np.array([0, 1, 1])
    for function in (jax.jit(metric), jax.jit(lambda p, t: metric(list(p), t))):
        with pytest.raises(
            TypeError, match="predictions: expected known values, got a traced arra"
        ):
            function(classes, classes)
