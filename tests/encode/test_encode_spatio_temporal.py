"""Values as spike times, against the published encodings of Yin-Yang and NumPy."""

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from flax_snn.datasets import yin_yang
from flax_snn.encode import spatio_temporal

TAU_SYN = 5e-3
X = np.random.default_rng(0).random((6, 3)).astype(np.float32)
RTOL = 1e-6  # float32


def encode(x: Any, **settings: Any) -> jax.Array:
    return spatio_temporal(jnp.asarray(x), **{"t_early": 1e-3, "t_late": 11e-3, **settings})


def test_published_encodings_of_yin_yang():
    data = yin_yang(50, seed=42)
    x = data.x.astype(np.float32)
    early, late = 0.15 * TAU_SYN, 2.0 * TAU_SYN
    goeltz = encode(x, t_early=early, t_late=late, mirror=False, bias_time=None)
    np.testing.assert_allclose(goeltz, TAU_SYN * (0.15 + 1.85 * data.x), rtol=RTOL)
    # From the plane, the mirrored inputs are made here: 1 - x in float32 is off by 6e-8.
    eventprop = encode(x[:, :2], t_early=0.0, t_late=30e-3)
    expected = np.concatenate([0.03 * data.x, np.zeros((50, 1))], axis=1)
    np.testing.assert_allclose(eventprop, expected, rtol=RTOL, atol=0.03 * 1e-7)


@pytest.mark.parametrize("mirror", [True, False])
@pytest.mark.parametrize("bias_time", [None, 0.0, 4e-3])
@pytest.mark.parametrize("shape", [(3,), (6, 3), (2, 3, 5), (4, 1), (0, 2)])
def test_features_come_then_their_mirrors_then_the_bias(
    shape: tuple[int, ...], mirror: bool, bias_time: float | None
):
    x = np.random.default_rng(1).random(shape).astype(np.float32)
    values = [1e-3 + 10e-3 * x.astype(np.float64)]
    if mirror:
        values.append(11e-3 - 10e-3 * x.astype(np.float64))
    if bias_time is not None:
        values.append(np.full((*shape[:-1], 1), bias_time))
    times = encode(x, mirror=mirror, bias_time=bias_time)
    assert times.dtype == jnp.float32
    np.testing.assert_allclose(times, np.concatenate(values, axis=-1), rtol=RTOL)


def test_mirrors_and_a_bias_at_0_by_default():
    np.testing.assert_array_equal(encode(X), encode(X, mirror=True, bias_time=0.0))


def test_limits_are_the_early_and_the_late_time():
    times = encode(np.array([0.0, 1.0], np.float32), bias_time=None)
    np.testing.assert_allclose(times, [1e-3, 11e-3, 11e-3, 1e-3], rtol=RTOL)


def test_float64_stays_float64(x64: None):
    x = np.random.default_rng(2).random((4, 2))
    times = encode(x)
    assert times.dtype == jnp.float64
    np.testing.assert_allclose(times[:, :2], 1e-3 + 10e-3 * x, rtol=1e-14)


def test_gradient_is_the_slope():
    """Of SUM w t: (w_i - w_mirror) (t_late - t_early)."""
    weights = np.random.default_rng(3).normal(size=(6, 7)).astype(np.float32)
    grads = jax.jit(jax.grad(lambda x: jnp.sum(weights * encode(x))))(jnp.asarray(X))
    np.testing.assert_allclose(grads, 10e-3 * (weights[:, :3] - weights[:, 3:6]), rtol=1e-5)


@pytest.mark.parametrize("bad", [-1e-6, 1.0 + 1e-6, math.nan, math.inf])
def test_values_outside_are_refused_or_have_no_time(bad: float):
    x = jnp.array([[0.5, bad], [0.0, 1.0]], jnp.float32)
    with pytest.raises(ValueError, match=r"x: expected values in \[0, 1\]"):
        encode(x)
    times = jax.jit(encode)(x)
    np.testing.assert_array_equal(np.isnan(times), [[0, 1, 0, 1, 0], [0, 0, 0, 0, 0]])


@pytest.mark.usefixtures("unchecked")
def test_bad_arrays_are_refused():
    with pytest.raises(TypeError, match="x: expected a floating dtype, got uint8"):
        encode(jnp.ones((2, 3), jnp.uint8))
    with pytest.raises(ValueError, match="feature axis"):
        encode(jnp.asarray(0.5))


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"t_early": -1e-3}, ValueError, "t_early: expected a finite number of seconds >= 0"),
        ({"t_early": True}, TypeError, "t_early: expected a finite number"),
        ({"t_late": math.inf}, ValueError, "t_late: expected a finite number"),
        ({"t_late": 1e-3}, ValueError, "t_late: expected seconds later than t_early=0.001, got"),
        ({"bias_time": math.nan}, ValueError, "bias_time: expected a finite number"),
        ({"bias_time": -1.0}, ValueError, "bias_time: expected a finite number"),
        ({"mirror": 2}, TypeError, "mirror: expected True or False"),
    ],
)
def test_bad_settings_are_refused(settings: dict[str, Any], error: type[Exception], message: str):
    with pytest.raises(error, match=message):
        functools.partial(encode, X)(**settings)
