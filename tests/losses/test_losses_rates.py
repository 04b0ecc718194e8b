"""Firing-rate regularisers against float64 NumPy, each other, and finite differences."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from flax_snn import losses

RTOL = 1e-5  # float32 sums of 50 steps
DT = 2e-3

AVERAGE = {
    "batch": lambda z: z.mean(axis=tuple(range(z.ndim - 1))),
    "population": lambda z: z.mean(axis=-1),
    "none": lambda z: z,
}


def spikes(shape=(3, 50, 8), share=0.1, seed=0):
    return (np.random.default_rng(seed).random(shape) < share).astype(np.float32)


def band(a, lower, upper, power):
    """Mean penalty of activities, written out for each of them."""
    distance = [max(0.0, lower - x) + max(0.0, x - upper) for x in np.ravel(a)]
    return np.mean([d**power for d in distance])


@pytest.mark.parametrize("batch", [(), (2, 3)])
@pytest.mark.parametrize("average", sorted(AVERAGE))
@pytest.mark.parametrize("power", [1, 2])
def test_regularizers_are_those_of_numpy(batch, average, power):
    s = spikes((*batch, 50, 8))
    z = AVERAGE[average](s.astype(np.float64).sum(axis=-2))
    low, high = (float(q) for q in np.quantile(z, [0.4, 0.6]))
    x = jnp.asarray(s)
    settings = {"average": average, "power": power, "time_axis": len(batch)}
    for found, expected in [
        (losses.lower_count_regularizer(x, low, **settings), band(z, low, math.inf, power)),
        (losses.upper_count_regularizer(x, high, **settings), band(z, 0.0, high, power)),
        (
            losses.spike_rate_regularizer(
                x, DT, lower=low / (50 * DT), upper=high / (50 * DT), **settings
            ),
            band(z / (50 * DT), low / (50 * DT), high / (50 * DT), power),
        ),
    ]:
        np.testing.assert_allclose(found, expected, rtol=RTOL, atol=1e-6)


def test_defaults_are_the_published_bounds():
    """Lower: each neuron in each trial. Upper: the mean of the layer in each trial. Squared."""
    s = spikes()
    z = s.astype(np.float64).sum(axis=1)
    lower = np.mean(np.maximum(0.0, 5.0 - z) ** 2)
    upper = np.mean(np.maximum(0.0, z.mean(axis=1) - 3.0) ** 2)
    np.testing.assert_allclose(
        losses.lower_count_regularizer(jnp.asarray(s), 5.0), lower, rtol=RTOL
    )
    np.testing.assert_allclose(
        losses.upper_count_regularizer(jnp.asarray(s), 3.0), upper, rtol=RTOL
    )
    assert lower > 0 and upper > 0


def test_rate_regularizer_holds_for_the_mean_rate_of_each_neuron():
    s = spikes()
    rate = s.astype(np.float64).mean(axis=(0, 1)) / DT
    low, high = (float(q) for q in np.quantile(rate, [0.3, 0.6]))
    penalty = losses.spike_rate_regularizer(jnp.asarray(s), DT, lower=low, upper=high)
    np.testing.assert_allclose(penalty, band(rate, low, high, 2), rtol=RTOL)
    assert penalty > 0
    assert losses.spike_rate_regularizer(jnp.asarray(s), DT) == 0.0


@pytest.mark.parametrize("average", sorted(AVERAGE))
@pytest.mark.parametrize("power", [1, 2])
def test_a_band_is_its_two_bounds(average, power):
    s, settings = jnp.asarray(spikes()), {"average": average, "power": power}
    duration = 50 * DT
    both = losses.spike_rate_regularizer(s, DT, lower=40.0, upper=55.0, **settings)
    lower = losses.lower_count_regularizer(s, 40.0 * duration, **settings)
    upper = losses.upper_count_regularizer(s, 55.0 * duration, **settings)
    np.testing.assert_allclose(both * duration**power, lower + upper, rtol=RTOL)


@pytest.mark.parametrize("average", sorted(AVERAGE))
def test_gradients_point_into_the_band(average):
    """A spike more lowers the penalty of what is too quiet, raises that of what is too loud."""
    s = np.zeros((2, 50, 2), np.float32)
    s[:, :2] = 1.0  # two spikes of each neuron in each trial

    def grads(regularizer, bound):
        return jax.jit(jax.grad(lambda s: regularizer(s, bound, average=average)))(jnp.asarray(s))

    lower, upper = losses.lower_count_regularizer, losses.upper_count_regularizer
    assert (grads(lower, 3.0) < 0).all()
    assert (grads(upper, 1.0) > 0).all()
    assert (grads(lower, 2.0) == 0).all()
    assert (grads(upper, 2.0) == 0).all()


def test_the_lower_bound_reaches_a_neuron_that_is_silent_in_one_trial_only():
    s = np.ones((2, 10, 1), np.float32)
    s[1] = 0.0
    each = jax.jit(jax.grad(lambda s: losses.lower_count_regularizer(s, 1e-3)))(jnp.asarray(s))
    assert (each[0] == 0).all() and (each[1] < 0).all()
    mean = losses.lower_count_regularizer(jnp.asarray(s), 1e-3, average="batch")
    assert mean == 0.0


def test_the_upper_bound_holds_for_the_layer():
    s = np.zeros((1, 10, 4), np.float32)
    s[0, :, 0] = 1.0  # ten spikes of one neuron are 2.5 on average
    assert losses.upper_count_regularizer(jnp.asarray(s), 2.5) == 0.0
    assert losses.upper_count_regularizer(jnp.asarray(s), 2.5, average="none") == 7.5**2 / 4


@pytest.mark.parametrize("average", sorted(AVERAGE))
def test_gradients_are_finite_differences(x64, average):
    rng = np.random.default_rng(0)
    s, direction = rng.random((2, 5, 3)), rng.normal(size=(2, 5, 3))
    for loss in (
        functools.partial(losses.lower_count_regularizer, lower=3.0, average=average),
        functools.partial(losses.upper_count_regularizer, upper=1.0, average=average),
        functools.partial(
            losses.spike_rate_regularizer, dt=0.1, lower=5.0, upper=5.1, average=average
        ),
    ):
        along = np.sum(np.asarray(jax.jit(jax.grad(loss))(jnp.asarray(s))) * direction)
        h = 1e-6
        ahead, behind = (loss(jnp.asarray(s + sign * h * direction)) for sign in (1, -1))
        np.testing.assert_allclose(along, (ahead - behind) / (2 * h), rtol=1e-6)


def test_bfloat16_spikes_are_counted_without_rounding():
    s = jnp.ones((1, 1001, 1), jnp.bfloat16)  # bfloat16 itself knows no 1001
    assert losses.upper_count_regularizer(s, 1000.0, power=1) == 1.0


S = jnp.zeros((4, 30, 5))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"dt": 0.0}, "dt"),
        ({"dt": math.inf}, "dt"),
        ({"dt": 1e-3, "lower": 20.0, "upper": 10.0}, "upper: expected at least lower=20.0 Hz"),
        ({"dt": 1e-3, "lower": -1.0}, "lower: expected a finite number of Hz >= 0"),
        ({"dt": 1e-3, "lower": math.inf}, "lower: expected a finite number"),
        ({"dt": 1e-3, "average": "time"}, "average"),
        ({"dt": 1e-3, "power": 3}, "power"),
    ],
)
def test_bad_settings_of_the_band_are_refused(unchecked, settings, words):
    with pytest.raises(ValueError, match=words):
        losses.spike_rate_regularizer(S, **settings)


@pytest.mark.parametrize(
    "regularizer", [losses.lower_count_regularizer, losses.upper_count_regularizer]
)
def test_bad_bounds_and_arrays_are_refused(unchecked, regularizer):
    for bound in (-1.0, math.inf, math.nan, True):
        error = TypeError if bound is True else ValueError
        with pytest.raises(error, match=r"er: expected a finite number of spikes >= 0"):
            regularizer(S, bound)
    for empty in (S[:, :0], S[:0], S[..., :0]):
        with pytest.raises(ValueError, match="no empty axis"):
            regularizer(empty, 1.0)
    with pytest.raises(TypeError, match="floating dtype"):
        regularizer(S.astype(jnp.uint8), 1.0)
    with pytest.raises(ValueError, match="average"):
        regularizer(S, 1.0, average="neuron")
    with pytest.raises(ValueError, match="power"):
        regularizer(S, 1.0, power=0)
