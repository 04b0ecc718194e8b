"""Cross-entropies against float64 NumPy, their gradients against closed forms, and refusals."""

import functools

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


def reference(logits, y, smoothing=0.0):
    """Cross-entropy of each sample with the smoothed target, written out."""
    log_p = log_softmax(np.asarray(logits, np.float64), axis=-1)
    classes = log_p.shape[-1]
    target = (1.0 - smoothing) * np.eye(classes)[y] + smoothing / classes
    return -(target * log_p).sum(axis=-1)


REDUCE = {
    "max": lambda v: v.max(axis=-2),
    "mean": lambda v: v.mean(axis=-2),
    "last": lambda v: v[..., -1, :],
}


@pytest.mark.parametrize("batch", [(), (4,), (2, 3)])
@pytest.mark.parametrize("scale", [1.0, 0.25])
def test_rate_coded_cross_entropy_is_that_of_numpy(batch, scale):
    s, y = spikes((*batch, 30, 5)), labels(batch)
    expected = reference(scale * s.astype(np.float64).sum(axis=-2), y).mean()
    loss = losses.rate_coded_cross_entropy(jnp.asarray(s), jnp.asarray(y), scale=scale)
    np.testing.assert_allclose(loss, expected, rtol=RTOL)


@pytest.mark.parametrize("reduce", sorted(REDUCE))
@pytest.mark.parametrize("batch", [(), (4,), (2, 3)])
def test_membrane_cross_entropy_is_that_of_numpy(reduce, batch):
    v, y = membranes((*batch, 30, 5)), labels(batch)
    expected = reference(4.0 * REDUCE[reduce](v.astype(np.float64)), y).mean()
    loss = losses.membrane_cross_entropy(jnp.asarray(v), jnp.asarray(y), reduce=reduce, scale=4.0)
    np.testing.assert_allclose(loss, expected, rtol=RTOL)


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.9])
@pytest.mark.parametrize("batch", [(), (4,), (2, 3)])
def test_each_sample_has_the_smoothed_cross_entropy_of_numpy(smoothing, batch):
    z, y = 3.0 * membranes((*batch, 5)), labels(batch)
    loss = functools.partial(
        losses.softmax_cross_entropy, jnp.asarray(z), jnp.asarray(y), label_smoothing=smoothing
    )
    expected = reference(z, y, smoothing)
    np.testing.assert_allclose(loss(per_sample=True), expected, rtol=RTOL)
    np.testing.assert_allclose(loss(), expected.mean(), rtol=RTOL)


def test_smoothing_and_samples_reach_every_loss():
    s, v, y = jnp.asarray(spikes()), jnp.asarray(membranes()), jnp.asarray(labels())
    settings = {"label_smoothing": 0.2, "per_sample": True}
    np.testing.assert_allclose(
        losses.rate_coded_cross_entropy(s, y, **settings),
        reference(spikes().sum(axis=1), labels(), 0.2),
        rtol=RTOL,
    )
    np.testing.assert_allclose(
        losses.membrane_cross_entropy(v, y, **settings),
        reference(membranes().max(axis=1), labels(), 0.2),
        rtol=RTOL,
    )


def test_gradient_of_spike_counts_is_softmax_minus_target():
    s, y = spikes(), labels()
    counts = s.astype(np.float64).sum(axis=1)
    p = np.exp(log_softmax(0.5 * counts, axis=-1))
    for smoothing in (0.0, 0.3):
        target = (1.0 - smoothing) * np.eye(5)[y] + smoothing / 5
        expected = 0.5 * (p - target) / len(y)  # the same for every step
        loss = functools.partial(
            losses.rate_coded_cross_entropy, scale=0.5, label_smoothing=smoothing
        )
        grads = jax.grad(loss)(jnp.asarray(s), jnp.asarray(y))
        np.testing.assert_allclose(grads, np.repeat(expected[:, None], 30, axis=1), atol=1e-7)


def test_gradient_of_the_maximum_reaches_one_step_only():
    v, y = membranes(), labels()
    grads = jax.grad(losses.membrane_cross_entropy)(jnp.asarray(v), jnp.asarray(y))
    at = v.argmax(axis=1)
    nonzero = np.asarray(grads) != 0
    assert (nonzero.sum(axis=1) == 1).all()
    assert np.take_along_axis(nonzero, at[:, None], axis=1).all()


def test_smoothing_makes_sure_logits_costly():
    y = jnp.zeros((1,), jnp.int32)
    sure, very_sure = jnp.array([[6.0, 0.0, 0.0]]), jnp.array([[12.0, 0.0, 0.0]])
    plain, smooth = (
        functools.partial(losses.softmax_cross_entropy, labels=y, label_smoothing=eps)
        for eps in (0.0, 0.1)
    )
    assert plain(very_sure) < plain(sure)
    assert smooth(very_sure) > smooth(sure)


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


def test_bfloat16_logits_are_reduced_in_float32():
    z, y = jnp.asarray(membranes((4, 5))).astype(jnp.bfloat16), labels()
    loss = losses.softmax_cross_entropy(z, jnp.asarray(y))
    assert loss.dtype == jnp.float32
    expected = reference(np.asarray(z, np.float64), y).mean()
    np.testing.assert_allclose(loss, expected, rtol=RTOL)


def test_float64_stays_float64(x64):
    v, y = membranes().astype(np.float64), labels()
    loss = losses.membrane_cross_entropy(jnp.asarray(v), jnp.asarray(y), reduce="mean")
    assert loss.dtype == jnp.float64
    np.testing.assert_allclose(loss, reference(v.mean(axis=1), y).mean(), rtol=1e-13)


@pytest.mark.parametrize("label", [-1, 5])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_a_label_outside_is_refused_or_makes_the_loss_nan(label, smoothing):
    loss = functools.partial(losses.softmax_cross_entropy, label_smoothing=smoothing)
    z, y = jnp.zeros((4, 5)), jnp.asarray([0, 1, 2, label], jnp.int32)
    with pytest.raises(ValueError, match="labels: expected classes from 0 to 4"):
        loss(z, y)
    assert jnp.isnan(jax.jit(loss)(z, y))
    each = jax.jit(functools.partial(loss, per_sample=True))(z, y)
    np.testing.assert_array_equal(jnp.isnan(each), [False, False, False, True])


def test_known_labels_are_checked_inside_jit():
    z, y = jnp.asarray(membranes((4, 5))), labels()
    loss = jax.jit(lambda z: losses.softmax_cross_entropy(z, jnp.asarray(y)))(z)
    np.testing.assert_allclose(loss, reference(z, y).mean(), rtol=RTOL)
    wrong = jnp.asarray([0, 1, 2, 5], jnp.int32)
    with pytest.raises(ValueError, match="labels: expected classes from 0 to 4"):
        jax.jit(lambda z: losses.softmax_cross_entropy(z, wrong))(z)


S, Y = jnp.zeros((4, 30, 5)), jnp.zeros((4,), jnp.int32)


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ((S[0, 0], Y), ValueError, "is to be the axis of time"),
        ((S[:, :0], Y), ValueError, "T = 0"),
        ((S[..., :1], Y), ValueError, "at least 2 classes"),
        ((S[:0], Y[:0]), ValueError, "empty batch"),
        ((S, Y[:3]), ValueError, "one label per sample"),
        ((S, Y.astype(jnp.float32)), TypeError, "labels: expected integers"),
        ((S.astype(jnp.int32), Y), TypeError, "floating dtype"),
    ],
)
@pytest.mark.parametrize("loss", [losses.rate_coded_cross_entropy, losses.membrane_cross_entropy])
def test_bad_arrays_are_refused(unchecked, loss, arguments, error, words):
    with pytest.raises(error, match=words):
        loss(*arguments)


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ((S[0, 0, :1], Y[0]), ValueError, "at least 2 classes"),
        ((S[0, 0, 0], Y[0]), ValueError, "at least 2 classes"),
        ((S[:, 0], Y[:3]), ValueError, "one label per sample"),
        ((S[:, 0].astype(jnp.int32), Y), TypeError, "floating dtype"),
    ],
)
def test_bad_logits_are_refused(unchecked, arguments, error, words):
    with pytest.raises(error, match=words):
        losses.softmax_cross_entropy(*arguments)


@pytest.mark.parametrize("scale", [0.0, -1.0, float("nan"), float("inf"), True])
def test_bad_scale_is_refused(unchecked, scale):
    with pytest.raises(TypeError if scale is True else ValueError, match="scale: expected"):
        losses.rate_coded_cross_entropy(S, Y, scale=scale)


@pytest.mark.parametrize("smoothing", [-0.1, 1.0, float("nan"), True, "0.1"])
def test_bad_smoothing_is_refused(unchecked, smoothing):
    number = isinstance(smoothing, float)
    words = r"label_smoothing.*\[0, 1\)"
    with pytest.raises(ValueError if number else TypeError, match=words):
        losses.rate_coded_cross_entropy(S, Y, label_smoothing=smoothing)


def test_unknown_reduction_is_refused(unchecked):
    with pytest.raises(ValueError, match=r"max.*mean.*last"):
        losses.membrane_cross_entropy(S, Y, reduce="sum")
