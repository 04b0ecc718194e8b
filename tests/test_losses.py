"""Losses against float64 NumPy, their gradients against closed forms, and what they refuse."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import log_softmax

from flax_snn import losses

# Reductions over 30 steps and 5 classes in float32: a few roundings of 6e-8 relative.
RTOL = 1e-5


def spikes(shape=(4, 30, 5), share=0.2, seed=0):
    return (np.random.default_rng(seed).random(shape) < share).astype(np.float32)


def membranes(shape=(4, 30, 5), seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def labels(shape=(4,), classes=5, seed=1):
    return np.random.default_rng(seed).integers(classes, size=shape).astype(np.int32)


def reference(logits, y):
    log_p = log_softmax(np.asarray(logits, np.float64), axis=-1)
    return -np.take_along_axis(log_p, y[..., None], axis=-1).mean()


REDUCE = {
    "max": lambda v: v.max(axis=-2),
    "mean": lambda v: v.mean(axis=-2),
    "last": lambda v: v[..., -1, :],
}


@pytest.mark.parametrize("batch", [(), (4,), (2, 3)])
@pytest.mark.parametrize("scale", [1.0, 0.25])
def test_rate_coded_cross_entropy_is_that_of_numpy(batch, scale):
    s, y = spikes((*batch, 30, 5)), labels(batch)
    expected = reference(scale * s.astype(np.float64).sum(axis=-2), y)
    loss = losses.rate_coded_cross_entropy(jnp.asarray(s), jnp.asarray(y), scale=scale)
    np.testing.assert_allclose(loss, expected, rtol=RTOL)


@pytest.mark.parametrize("reduce", sorted(REDUCE))
@pytest.mark.parametrize("batch", [(), (4,), (2, 3)])
def test_membrane_cross_entropy_is_that_of_numpy(reduce, batch):
    v, y = membranes((*batch, 30, 5)), labels(batch)
    expected = reference(4.0 * REDUCE[reduce](v.astype(np.float64)), y)
    loss = losses.membrane_cross_entropy(jnp.asarray(v), jnp.asarray(y), reduce=reduce, scale=4.0)
    np.testing.assert_allclose(loss, expected, rtol=RTOL)


def test_gradient_of_spike_counts_is_softmax_minus_one_hot():
    s, y = spikes(), labels()
    counts = s.astype(np.float64).sum(axis=1)
    p = np.exp(log_softmax(0.5 * counts, axis=-1))
    expected = 0.5 * (p - np.eye(5)[y]) / len(y)  # the same for every step
    grads = jax.grad(losses.rate_coded_cross_entropy)(jnp.asarray(s), jnp.asarray(y), scale=0.5)
    np.testing.assert_allclose(grads, np.repeat(expected[:, None], 30, axis=1), atol=1e-7)


def test_gradient_of_the_maximum_reaches_one_step_only():
    v, y = membranes(), labels()
    grads = jax.grad(losses.membrane_cross_entropy)(jnp.asarray(v), jnp.asarray(y))
    at = v.argmax(axis=1)
    nonzero = np.asarray(grads) != 0
    assert (nonzero.sum(axis=1) == 1).all()
    assert np.take_along_axis(nonzero, at[:, None], axis=1).all()


def test_large_logits_stay_finite():
    v = jnp.asarray(1e4 * membranes())
    loss, grads = jax.value_and_grad(losses.membrane_cross_entropy)(v, jnp.asarray(labels()))
    assert jnp.isfinite(loss) and jnp.isfinite(grads).all()


@pytest.mark.parametrize("dtype", [jnp.bool_, jnp.uint8, jnp.int8])
def test_recorded_spikes_are_counted(dtype):
    s = spikes()
    logits = losses.spike_count_logits(jnp.asarray(s).astype(dtype), scale=2.0)
    np.testing.assert_array_equal(logits, 2.0 * s.sum(axis=1))


def test_bfloat16_spikes_are_counted_without_rounding():
    s = jnp.ones((1, 1001, 2), jnp.bfloat16)  # bfloat16 itself knows no 1001
    np.testing.assert_array_equal(losses.spike_count_logits(s), [[1001.0, 1001.0]])


def test_float64_stays_float64(x64):
    v, y = membranes().astype(np.float64), labels()
    loss = losses.membrane_cross_entropy(jnp.asarray(v), jnp.asarray(y), reduce="mean")
    assert loss.dtype == jnp.float64
    np.testing.assert_allclose(loss, reference(v.mean(axis=1), y), rtol=1e-13)


@pytest.mark.parametrize("label", [-1, 5])
def test_a_label_outside_is_refused_or_makes_the_loss_nan(label):
    s, y = jnp.asarray(spikes()), jnp.asarray([0, 1, 2, label], jnp.int32)
    with pytest.raises(ValueError, match="labels from 0 to 4"):
        losses.rate_coded_cross_entropy(s, y)
    assert jnp.isnan(jax.jit(losses.rate_coded_cross_entropy)(s, y))


def test_rate_regularizer_is_that_of_numpy():
    s, dt = spikes((3, 50, 8)), 2e-3
    rate = s.astype(np.float64).mean(axis=(0, 1)) / dt
    low, high = np.quantile(rate, [0.3, 0.6])
    outside = np.maximum(0, low - rate) + np.maximum(0, rate - high)
    penalty = losses.spike_rate_regularizer(jnp.asarray(s), dt, lower=float(low), upper=float(high))
    np.testing.assert_allclose(penalty, np.mean(outside**2), rtol=RTOL)
    assert outside.any()
    assert losses.spike_rate_regularizer(jnp.asarray(s), dt) == 0.0


S, Y = jnp.zeros((4, 30, 5)), jnp.zeros((4,), jnp.int32)


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ((S[0, 0], Y), ValueError, "no time axis"),
        ((S[:, :0], Y), ValueError, "T = 0"),
        ((S[..., :1], Y), ValueError, "at least 2 classes"),
        ((S[:0], Y[:0]), ValueError, "empty batch"),
        ((S, Y[:3]), ValueError, "one label per sample"),
        ((S, Y.astype(jnp.float32)), TypeError, "labels as integers"),
        ((S.astype(jnp.int32), Y), TypeError, "floating dtype"),
    ],
)
@pytest.mark.parametrize("loss", [losses.rate_coded_cross_entropy, losses.membrane_cross_entropy])
def test_bad_arrays_are_refused(unchecked, loss, arguments, error, words):
    with pytest.raises(error, match=words):
        loss(*arguments)


@pytest.mark.parametrize("scale", [0.0, -1.0, float("nan"), float("inf"), True])
def test_bad_scale_is_refused(unchecked, scale):
    with pytest.raises(ValueError, match="scale"):
        losses.rate_coded_cross_entropy(S, Y, scale=scale)


def test_unknown_reduction_is_refused(unchecked):
    with pytest.raises(ValueError, match=r"max.*mean.*last"):
        losses.membrane_cross_entropy(S, Y, reduce="sum")


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"dt": 0.0}, "dt"),
        ({"dt": 1e-3, "lower": 20.0, "upper": 10.0}, "lower <= upper"),
        ({"dt": 1e-3, "lower": -1.0}, "lower <= upper"),
    ],
)
def test_bad_rate_bounds_are_refused(unchecked, settings, words):
    with pytest.raises(ValueError, match=words):
        losses.spike_rate_regularizer(S, **settings)
    with pytest.raises(ValueError, match="no empty axis"):
        losses.spike_rate_regularizer(S[:, :0], 1e-3)
