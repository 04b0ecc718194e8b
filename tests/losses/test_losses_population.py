"""Population coding: pooling written out neuron by neuron, and what it does to losses."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from flax_snn import losses

RTOL = 1e-5  # float32 sums of 30 steps and 3 neurons

LABELS = np.array([3, 0, 1, 1], np.int32)


def spikes(shape=(4, 30, 12), share=0.2):
    return (np.random.default_rng(0).random(shape) < share).astype(np.float32)


def membranes(shape=(4, 30, 12)):
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize("pool", ["sum", "mean", "min"])
@pytest.mark.parametrize("shape", [(12,), (4, 12), (2, 4, 30, 12)])
def test_neurons_of_a_class_lie_together(pool, shape):
    x = membranes(shape)
    expected = np.empty((*shape[:-1], 4))
    for c in range(4):
        group = [x[..., 3 * c + p].astype(np.float64) for p in range(3)]
        least = np.minimum(np.minimum(group[0], group[1]), group[2])
        expected[..., c] = {"sum": sum(group), "mean": sum(group) / 3, "min": least}[pool]
    pooled = losses.pool_population(jnp.asarray(x), 3, pool=pool)
    np.testing.assert_allclose(pooled, expected, rtol=RTOL, atol=1e-6)


@pytest.mark.parametrize("dtype", [jnp.bool_, jnp.uint8, jnp.int8, jnp.bfloat16])
def test_recorded_spikes_add_up_in_float32(dtype):
    pooled = losses.pool_population(jnp.ones((1, 600), dtype), 300, pool="sum")
    assert pooled.dtype == jnp.float32
    np.testing.assert_array_equal(pooled, [[300.0, 300.0]])


def test_spike_counts_of_a_class_add_up():
    s = spikes()
    expected = 0.5 * s.reshape(4, 30, 4, 3).sum(axis=(1, 3))
    logits = losses.spike_count_logits(jnp.asarray(s), scale=0.5, population=3)
    np.testing.assert_allclose(logits, expected, rtol=RTOL)


@pytest.mark.parametrize("reduce", ["max", "mean", "last"])
def test_membranes_of_a_class_are_averaged_before_time_is_reduced(reduce):
    v = membranes()
    mean = np.stack([v[..., 3 * c : 3 * c + 3].mean(axis=-1) for c in range(4)], axis=-1)
    expected = {"max": mean.max(axis=1), "mean": mean.mean(axis=1), "last": mean[:, -1]}[reduce]
    logits = losses.membrane_logits(jnp.asarray(v), reduce=reduce, population=3)
    np.testing.assert_allclose(logits, expected, rtol=RTOL, atol=1e-6)


def test_the_earliest_neuron_of_a_class_counts():
    times = jnp.array([[3.0, 1.0, jnp.inf, jnp.inf], [2.0, 5.0, 4.0, jnp.inf]])
    logits = losses.first_spike_logits(times, tau=2.0, population=2)
    np.testing.assert_array_equal(logits, [[-0.5, -np.inf], [-1.0, -2.0]])


SPIKE_LOSS = functools.partial(losses.rate_coded_cross_entropy, label_smoothing=0.1)
MEMBRANE_LOSS = functools.partial(losses.membrane_cross_entropy, scale=2.0)


@pytest.mark.parametrize("loss", [SPIKE_LOSS, MEMBRANE_LOSS])
def test_a_population_of_copies_is_one_neuron(loss):
    """Three equal neurons a class: one membrane, and spike counts at a third of the scale."""
    one = spikes((4, 30, 4))
    three, y = jnp.asarray(np.repeat(one, 3, axis=-1)), jnp.asarray(LABELS)
    scaled = {"scale": 1.0 / 3.0} if loss is SPIKE_LOSS else {}
    np.testing.assert_allclose(
        loss(three, y, population=3, **scaled), loss(jnp.asarray(one), y), rtol=RTOL
    )


@pytest.mark.parametrize("loss", [SPIKE_LOSS, MEMBRANE_LOSS])
def test_order_within_a_population_does_not_matter_between_populations_it_does(loss):
    s, y = jnp.asarray(spikes()), jnp.asarray(LABELS)
    within = np.concatenate([3 * c + np.array([2, 0, 1]) for c in range(4)])
    across = np.roll(np.arange(12), 1)
    here = loss(s, y, population=3)
    np.testing.assert_allclose(loss(s[..., within], y, population=3), here, rtol=RTOL)
    assert abs(loss(s[..., across], y, population=3) - here) > 1e-3


@pytest.mark.parametrize("loss", [SPIKE_LOSS, MEMBRANE_LOSS])
def test_a_population_of_one_changes_nothing(loss):
    s, y = jnp.asarray(spikes()), jnp.asarray(LABELS)
    np.testing.assert_array_equal(loss(s, y, population=1), loss(s, y))


def test_neurons_of_a_class_share_its_gradient():
    grads = jax.jit(jax.grad(functools.partial(SPIKE_LOSS, population=3)))(
        jnp.asarray(spikes()), jnp.asarray(LABELS)
    )
    grouped = np.asarray(grads).reshape(4, 30, 4, 3)
    np.testing.assert_array_equal(grouped, np.repeat(grouped[..., :1], 3, axis=-1))
    assert (grouped[1, :, 0] < 0).all()  # towards more spikes of the label


S, Y = jnp.zeros((4, 30, 12)), jnp.zeros((4,), jnp.int32)


@pytest.mark.parametrize("population", [5, 24])
def test_a_population_that_does_not_divide_is_refused(unchecked, population):
    words = f"multiple of population={population} .*shape"
    with pytest.raises(ValueError, match=words):
        losses.pool_population(S, population, pool="sum")
    with pytest.raises(ValueError, match=words):
        losses.rate_coded_cross_entropy(S, Y, population=population)
    with pytest.raises(ValueError, match=words):
        losses.membrane_cross_entropy(S, Y, population=population)
    with pytest.raises(ValueError, match=words):
        losses.first_spike_logits(S, tau=1.0, population=population)


def test_one_class_of_many_neurons_is_refused(unchecked):
    with pytest.raises(ValueError, match="at least 2 classes of 12 neurons"):
        losses.spike_count_logits(S, population=12)


@pytest.mark.parametrize(
    ("population", "error"),
    [(0, ValueError), (-3, ValueError), (1.0, TypeError), (True, TypeError)],
)
def test_a_population_that_is_no_number_of_neurons_is_refused(unchecked, population, error):
    with pytest.raises(error, match="population"):
        losses.pool_population(S, population, pool="sum")


def test_bad_pooling_and_dtypes_are_refused(unchecked):
    with pytest.raises(ValueError, match=r"pool.*sum.*mean.*min"):
        losses.pool_population(S, 3, pool="max")
    with pytest.raises(TypeError, match="floating dtype"):
        losses.pool_population(S.astype(jnp.uint8), 3, pool="mean")
    with pytest.raises(TypeError, match="floating dtype"):
        losses.pool_population(S.astype(jnp.int32), 3, pool="sum")
    with pytest.raises(ValueError, match="multiple of population"):
        losses.pool_population(S[0, 0, 0], 3, pool="sum")
