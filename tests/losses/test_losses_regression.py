"""Squared errors of coordinates against float64 NumPy, finite differences, and refusals."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from flax_snn import losses

RTOL = 1e-5  # float32 means of 30 steps and 3 coordinates

REDUCE = {
    "max": lambda v: v.max(axis=-2),
    "mean": lambda v: v.mean(axis=-2),
    "last": lambda v: v[..., -1, :],
}


def membranes(shape=(4, 30, 3), seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def targets(shape=(4, 3), seed=1):
    return np.random.default_rng(seed).random(shape).astype(np.float32)


@pytest.mark.parametrize("reduce", sorted(REDUCE))
@pytest.mark.parametrize("batch", [(), (4,), (2, 3)])
def test_error_is_that_of_numpy(reduce, batch):
    v, y = membranes((*batch, 30, 3)), targets((*batch, 3))
    readout = REDUCE[reduce](v.astype(np.float64))
    square = (readout - y.astype(np.float64)) ** 2
    v, y = jnp.asarray(v), jnp.asarray(y)
    settings = {"reduce": reduce, "time_axis": len(batch)}
    np.testing.assert_allclose(losses.membrane_readout(v, **settings), readout, rtol=RTOL)
    error = losses.membrane_mean_squared_error(v, y, **settings)
    np.testing.assert_allclose(error, square.mean(), rtol=RTOL)
    each = losses.membrane_mean_squared_error(v, y, per_sample=True, **settings)
    np.testing.assert_allclose(each, square.mean(axis=-1), rtol=RTOL)


def test_the_last_step_is_the_default():
    v, y = jnp.asarray(membranes()), jnp.asarray(targets())
    np.testing.assert_array_equal(losses.membrane_readout(v), v[:, -1])
    expected = losses.mean_squared_error(v[:, -1], y)
    np.testing.assert_array_equal(losses.membrane_mean_squared_error(v, y), expected)


def test_nothing_is_rescaled():
    """A constant error of 0.5 costs 0.25, whatever the steps, samples and coordinates."""
    for shape in [(1, 1, 1), (7, 3, 2)]:
        v = jnp.full(shape, 1.5)
        y = jnp.ones((shape[0], shape[2]))
        for reduce in REDUCE:
            assert losses.membrane_mean_squared_error(v, y, reduce=reduce) == 0.25


@pytest.mark.parametrize("reduce", sorted(REDUCE))
def test_gradients_are_finite_differences(x64, reduce):
    rng = np.random.default_rng(2)
    v, y, direction = rng.normal(size=(2, 6, 3)), rng.random((2, 3)), rng.normal(size=(2, 6, 3))

    def loss(v):
        return losses.membrane_mean_squared_error(jnp.asarray(v), jnp.asarray(y), reduce=reduce)

    h = 1e-6
    expected = (loss(v + h * direction) - loss(v - h * direction)) / (2 * h)
    along = np.sum(np.asarray(jax.jit(jax.grad(loss))(v)) * direction)
    np.testing.assert_allclose(along, expected, rtol=1e-7)


def test_one_floating_dtype_meets_another_in_the_wider():
    predictions, y = jnp.full((1, 1), 1.0, jnp.bfloat16), jnp.full((1, 1), 0.001)
    error = losses.mean_squared_error(predictions, y)
    assert error.dtype == jnp.float32
    np.testing.assert_allclose(error, 0.999**2, rtol=RTOL)  # 0.999 is 1 in bfloat16


def test_float64_stays_float64(x64):
    predictions, y = targets((4, 3), 2).astype(np.float64), targets((4, 3), 3)
    error = losses.mean_squared_error(jnp.asarray(predictions), jnp.asarray(y))
    assert error.dtype == jnp.float64
    np.testing.assert_allclose(error, np.mean((predictions - y) ** 2), rtol=1e-13)


V, Y = jnp.zeros((4, 30, 3)), jnp.zeros((4, 3))


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ((V[0, 0], Y), ValueError, "is to be the axis of time"),
        ((V[:, :0], Y), ValueError, "T = 0"),
        ((V[:0], Y[:0]), ValueError, "no empty axis"),
        ((V[..., :0], Y[..., :0]), ValueError, "no empty axis"),
        ((V, Y[:, :1]), ValueError, r"targets: expected shape \(4, 3\)"),
        ((V[..., :1], Y[:, 0]), ValueError, r"targets: expected shape \(4, 1\)"),
        ((V, Y.astype(jnp.int32)), TypeError, "targets: expected a floating dtype"),
        ((V.astype(jnp.int32), Y), TypeError, "membranes: expected a floating dtype"),
    ],
)
def test_bad_arrays_are_refused(unchecked, arguments, error, words):
    with pytest.raises(error, match=words):
        losses.membrane_mean_squared_error(*arguments)


def test_bad_settings_are_refused(unchecked):
    with pytest.raises(ValueError, match=r"max.*mean.*last"):
        losses.membrane_mean_squared_error(V, Y, reduce="first")
    with pytest.raises(ValueError, match="no empty axis"):
        losses.mean_squared_error(Y[0, 0], Y[0, 0])
    with pytest.raises(TypeError, match="predictions: expected a floating dtype"):
        losses.mean_squared_error(Y.astype(jnp.int32), Y)
