"""Losses on target times and on margins against float64 NumPy and finite differences; silence."""

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from flax_snn import losses

INF = math.inf
TAU, MARGIN = 5e-3, 1e-3
RTOL = 1e-5  # float32, of squared differences

LABELS = np.array([2, 0, 1, 1], np.int32)
TIMES = np.random.default_rng(0).uniform(0.0, 0.02, size=(4, 3)).astype(np.float32)
TARGETS = np.where(np.eye(3, dtype=bool)[LABELS], 4.5e-3, 5.5e-3).astype(np.float32)

EARLY_LATE = jax.jit(functools.partial(losses.target_times, classes=3, early=4.5e-3, late=5.5e-3))

squared = functools.partial(losses.mean_squared_spike_time, tau=TAU)
margin = functools.partial(losses.spike_time_margin, margin=MARGIN, tau=TAU)


def squared_by_hand(times: np.ndarray) -> np.ndarray:
    return np.array(
        [
            sum(((t - g) / TAU) ** 2 for t, g in zip(row, goal, strict=True)) / len(row)
            for row, goal in zip(times.astype(np.float64), TARGETS.astype(np.float64), strict=True)
        ]
    )


def margin_by_hand(times: np.ndarray) -> np.ndarray:
    total = np.zeros(len(times))
    for b, (row, label) in enumerate(zip(times.astype(np.float64), LABELS, strict=True)):
        for n, t in enumerate(row):
            if n != label:
                total[b] += 0.5 * ((t - row[label] - MARGIN) / TAU) ** 2
    return total


LOSSES = [
    pytest.param(squared, TARGETS, squared_by_hand, id="squared"),
    pytest.param(margin, LABELS, margin_by_hand, id="margin"),
]


@pytest.mark.parametrize("shape", [(4,), (2, 2), ()])
def test_targets_are_early_for_the_label_and_late_for_others(shape: tuple[int, ...]):
    expected = TARGETS.reshape(*shape, 3) if shape else TARGETS[0]
    labels = jnp.asarray(LABELS.reshape(shape) if shape else LABELS[0])
    targets = EARLY_LATE(labels)
    assert targets.dtype == jnp.float32
    np.testing.assert_array_equal(targets, expected)
    np.testing.assert_array_equal(EARLY_LATE(labels.astype(jnp.int8)), expected)


def test_targets_are_float64_where_that_is_the_default(x64: None):
    targets = losses.target_times(jnp.asarray(LABELS), 3, early=0.1, late=0.3)
    assert targets.dtype == jnp.float64
    np.testing.assert_array_equal(np.unique(targets), [0.1, 0.3])


def test_a_label_outside_is_refused_or_has_no_targets():
    make = functools.partial(losses.target_times, classes=3, early=0.1, late=0.3)
    labels = jnp.array([0, 3, -1], jnp.int32)
    with pytest.raises(ValueError, match="labels: expected classes from 0 to 2, got -1 to 3"):
        make(labels)
    targets = jax.jit(make)(labels)
    np.testing.assert_allclose(targets[0], [0.1, 0.3, 0.3], rtol=1e-6)
    assert np.isnan(targets[1:]).all()


@pytest.mark.parametrize(("loss", "against", "by_hand"), LOSSES)
def test_losses_are_those_of_numpy(loss: Any, against: np.ndarray, by_hand: Any):
    t, a = jnp.asarray(TIMES), jnp.asarray(against)

    @jax.jit
    def all_forms(t: jax.Array, a: jax.Array) -> tuple[jax.Array, ...]:
        pairs = (t.reshape(2, 2, 3), a.reshape(2, 2, *a.shape[1:]))
        return loss(t, a), loss(t, a, per_sample=True), loss(*pairs, per_sample=True)

    mean, each, of_pairs = all_forms(t, a)
    np.testing.assert_allclose(mean, by_hand(TIMES).mean(), rtol=RTOL)
    np.testing.assert_allclose(each, by_hand(TIMES), rtol=RTOL)
    np.testing.assert_allclose(of_pairs, by_hand(TIMES).reshape(2, 2), rtol=RTOL)
    np.testing.assert_allclose(loss(t, a), mean, rtol=RTOL)


@pytest.mark.parametrize(("loss", "against", "by_hand"), LOSSES)
def test_gradients_are_central_differences(loss: Any, against: np.ndarray, by_hand: Any, x64: None):
    times = TIMES.astype(np.float64)
    a = against.astype(np.float64) if against.dtype == np.float32 else against
    value, grads = jax.jit(jax.value_and_grad(loss))(jnp.asarray(times), jnp.asarray(a))
    assert value.dtype == jnp.float64
    h = 1e-4  # of a quadratic: exact but for rounding
    for index in np.ndindex(times.shape):
        bump = np.zeros_like(times)
        bump[index] = h
        expected = (by_hand(times + bump).mean() - by_hand(times - bump).mean()) / (2 * h)
        np.testing.assert_allclose(grads[index], expected, rtol=1e-9, atol=1e-9)


MARGIN_STEP = jax.jit(jax.value_and_grad(margin))


def test_losses_are_least_where_asked():
    np.testing.assert_array_equal(jax.jit(squared)(TARGETS, TARGETS), 0.0)
    kept = np.where(np.eye(3, dtype=bool)[LABELS], 0.0, MARGIN) + np.arange(4)[:, None] * 1e-3
    value, grads = MARGIN_STEP(kept.astype(np.float32), LABELS)
    np.testing.assert_allclose(value, 0.0, atol=1e-12)
    np.testing.assert_allclose(grads, 0.0, atol=1e-4)  # against about 1 / tau = 200 elsewhere


def test_margin_does_not_depend_on_when_all_fire():
    early, late = (MARGIN_STEP(TIMES + np.float32(shift), LABELS) for shift in (0.0, 0.01))
    np.testing.assert_allclose(early[0], late[0], rtol=RTOL)
    np.testing.assert_allclose(np.sum(early[1], axis=-1), 0.0, atol=1e-4)


def test_bfloat16_is_reduced_in_float32():
    times = jnp.asarray(TIMES, jnp.bfloat16)
    for loss, against in ((squared, TARGETS), (margin, LABELS)):
        assert jax.eval_shape(loss, times, jnp.asarray(against)).dtype == jnp.float32


SILENT = np.array([[4e-3, INF, 9e-3], [INF, 4e-3, 9e-3], [INF, INF, INF], [6e-3, 7e-3, 9e-3]])
"""Of LABELS: another is silent, the label is, all are, none is."""
FILLED = np.where(np.isinf(SILENT), 0.03, SILENT)


@pytest.mark.parametrize(("loss", "against", "by_hand"), LOSSES)
def test_silence_is_an_infinite_loss_with_finite_gradients(
    loss: Any, against: np.ndarray, by_hand: Any
):
    def each(times: jax.Array) -> jax.Array:
        return loss(times, jnp.asarray(against), per_sample=True)

    @jax.jit
    def both(times: jax.Array) -> tuple[jax.Array, jax.Array]:
        values, pull_back = jax.vjp(each, times)
        return values, *pull_back(jnp.ones(4))

    values, grads = both(jnp.asarray(SILENT, jnp.float32))
    np.testing.assert_allclose(values, [INF, INF, INF, by_hand(FILLED)[3]], rtol=RTOL)
    assert np.isfinite(grads).all()
    assert (np.asarray(grads)[np.isinf(SILENT)] == 0).all()
    assert (np.asarray(grads)[3] != 0).all()


def test_a_silent_neuron_leaves_the_margin_of_the_others():
    """Neuron 1 of the first sample is silent: what is left is a network of two neurons."""
    silent = SILENT.astype(np.float32)
    _, grads = MARGIN_STEP(silent, LABELS)
    _, two = jax.jit(jax.value_and_grad(margin))(silent[:1, ::2], LABELS[:1] // 2)
    np.testing.assert_allclose(len(SILENT) * grads[:1, ::2], two, rtol=RTOL)
    np.testing.assert_array_equal(grads[1:3], 0.0)


@pytest.mark.parametrize(("loss", "against", "by_hand"), LOSSES)
def test_silent_time_stands_in_for_silence(loss: Any, against: np.ndarray, by_hand: Any):
    step = jax.jit(jax.value_and_grad(functools.partial(loss, silent_time=0.03)))
    value, grads = step(jnp.asarray(SILENT, jnp.float32), jnp.asarray(against))
    np.testing.assert_allclose(value, by_hand(FILLED).mean(), rtol=RTOL)
    _, there = step(jnp.asarray(FILLED, jnp.float32), jnp.asarray(against))
    np.testing.assert_allclose(grads, np.where(np.isinf(SILENT), 0.0, there), rtol=RTOL)


def test_a_spike_at_the_end_of_the_window_is_no_later_than_it():
    for dtype in (jnp.float32, jnp.bfloat16):  # 0.1 lies below its value in either
        times = jnp.full((1, 2), 0.1, dtype)
        assert losses.spike_time_margin(
            times, jnp.array([0]), margin=0.1, tau=0.1, silent_time=0.1
        ) == pytest.approx(0.5)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"early": 0.0}, ValueError, "early: expected a finite number of seconds > 0"),
        ({"late": INF}, ValueError, "late: expected a finite number"),
        ({"late": 0.1}, ValueError, "late: expected a time after early=0.1 s"),
        ({"classes": 1}, ValueError, "at least 2 classes"),
        ({"classes": 3.0}, TypeError, "classes: expected an integer"),
        ({"labels": jnp.ones(3)}, TypeError, "labels: expected integers"),
        ({"labels": jnp.zeros((0,), jnp.int32)}, ValueError, "empty batch"),
    ],
)
def test_bad_targets_are_refused(arguments: Any, error: type[Exception], words: str):
    good = {"labels": jnp.asarray(LABELS), "classes": 3, "early": 0.1, "late": 0.2}
    with pytest.raises(error, match=words):
        losses.target_times(**{**good, **arguments})


T, G, Y = jnp.asarray(TIMES), jnp.asarray(TARGETS), jnp.asarray(LABELS)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("loss", "arrays", "error", "words"),
    [
        (squared, (T.astype(jnp.int32), G), TypeError, "times: expected a floating dtype"),
        (squared, (T, G.astype(jnp.int32)), TypeError, "targets: expected a floating dtype"),
        (squared, (T[:0], G[:0]), ValueError, "no empty axis"),
        (squared, (T, G[:, :2]), ValueError, r"targets: expected shape \(4, 3\)"),
        (squared, (T, G.at[0, 0].set(INF)), ValueError, "targets: expected finite times"),
        (squared, (T.at[0, 0].set(math.nan), G), ValueError, "times from 0 s on"),
        (margin, (-T, Y), ValueError, "times from 0 s on"),
        (margin, (T[:, :1], Y), ValueError, "at least 2 classes"),
        (margin, (T, Y[:3]), ValueError, "one label per sample"),
        (margin, (T, Y + 1), ValueError, "labels: expected classes from 0 to 2"),
        (margin, (T, G[:, 0]), TypeError, "labels: expected integers"),
    ],
)
def test_bad_arrays_are_refused(loss: Any, arrays: Any, error: type[Exception], words: str):
    with pytest.raises(error, match=words):
        loss(*arrays)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"tau": 0.0}, "tau: expected a finite number of seconds > 0"),
        ({"silent_time": INF}, "silent_time: expected a finite number"),
        ({"silent_time": 1e-3}, "every spike no later than silent_time=0.001 s"),
    ],
)
def test_bad_settings_are_refused(settings: dict[str, Any], words: str):
    for loss, against in ((squared, G), (margin, Y)):
        with pytest.raises(ValueError, match=words):
            loss(T, against, **settings)
    with pytest.raises(ValueError, match="margin: expected a finite number of seconds > 0"):
        margin(T, Y, margin=0.0)
