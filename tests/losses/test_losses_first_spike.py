"""First-spike times against a Python loop, losses on them against float64 NumPy, and silence."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import log_softmax

from flax_snn import losses

DT, TAU = 1e-3, 5e-3
RTOL = 1e-5  # float32

SPIKES = np.array(
    [  # steps x neurons: fires twice, in step 0, in the last step, never
        [0, 1, 0, 0],
        [0, 0, 0, 0],
        [1, 1, 0, 0],
        [0, 0, 0, 0],
        [1, 0, 1, 0],
    ],
    np.float32,
)


def first_step(column):
    for t, s in enumerate(column):
        if s:
            return t
    return len(column)


def loop_times(spikes):
    """Step of the first spike of each neuron, T where there is none."""
    columns = np.moveaxis(np.asarray(spikes), -2, -1)
    flat = columns.reshape(-1, columns.shape[-1])
    return np.array([first_step(c) for c in flat], np.float64).reshape(columns.shape[:-1])


def polynomial(spikes_TxN):
    """The formula of the docstring, one step after the other."""
    total, quiet = 0.0, 1.0
    for t in range(spikes_TxN.shape[0]):
        total = total + t * spikes_TxN[t] * quiet
        quiet = quiet * (1.0 - spikes_TxN[t])
    return total + spikes_TxN.shape[0] * quiet


def raster(shape=(6, 40, 3), share=0.05, seed=0):
    return (np.random.default_rng(seed).random(shape) < share).astype(np.float32)


@pytest.mark.parametrize("shape", [(40, 3), (6, 40, 3), (2, 3, 40, 3), (5, 1, 2)])
def test_times_are_those_of_a_loop(shape):
    s = raster(shape)
    expected = loop_times(s) * DT
    times = losses.first_spike_times(jnp.asarray(s), dt=DT, time_axis=-2)
    np.testing.assert_allclose(times, expected, rtol=1e-6)


def test_times_of_the_example_by_hand():
    times = losses.first_spike_times(jnp.asarray(SPIKES), dt=1.0)
    np.testing.assert_array_equal(times, [2.0, 0.0, 4.0, 5.0])


@pytest.mark.parametrize("dtype", [jnp.bool_, jnp.uint8, jnp.int8, jnp.bfloat16])
def test_recorded_and_short_spikes_have_exact_times(dtype):
    s = np.zeros((303, 2))  # bfloat16 itself knows no 303
    s[301, 0] = 1
    times = losses.first_spike_times(jnp.asarray(s).astype(dtype), dt=1.0)
    assert times.dtype == jnp.float32
    np.testing.assert_array_equal(times, [301.0, 303.0])


def test_gradient_is_what_one_spike_more_or_less_would_change():
    """Times are linear in each spike, so that flipping it gives the derivative exactly."""
    s = raster((12, 3), share=0.15)
    expected = np.empty_like(s, np.float64)
    for k in range(12):
        on, off = s.copy(), s.copy()
        on[k], off[k] = 1.0, 0.0
        expected[k] = loop_times(on) - loop_times(off)
    grads = jax.jit(jax.grad(lambda s: losses.first_spike_times(s, dt=1.0).sum()))(jnp.asarray(s))
    np.testing.assert_array_equal(grads, expected)


def test_gradient_of_the_example_by_hand():
    grads = jax.jit(jax.grad(lambda s: losses.first_spike_times(s, dt=1.0).sum()))(
        jnp.asarray(SPIKES)
    )
    np.testing.assert_array_equal(
        grads,
        [
            [-2, -2, -4, -5],  # a spike in step 0 would come 2, 4, 5 steps earlier; without the
            [-1, 0, -3, -4],  #   one of neuron 1 its first would be 2 later
            [-2, 0, -2, -3],
            [0, 0, -1, -2],
            [0, 0, -1, -1],  # without its only spike a neuron is silent: 1 step later
        ],
    )


def test_gradient_is_that_of_the_loop_between_zero_and_one(x64):
    s = np.random.default_rng(3).random((9, 4))
    s[4, 0], s[5, 0], s[2, 1] = 1.0, 1.0, 0.0
    weights = jnp.asarray(np.random.default_rng(4).normal(size=4))

    def of(times, s):
        return jnp.sum(weights * times(s))

    parallel = functools.partial(losses.first_spike_times, dt=1.0)
    for one, other in [
        (of(parallel, jnp.asarray(s)), of(polynomial, jnp.asarray(s))),
        tuple(
            jax.jit(jax.grad(functools.partial(of, f)))(jnp.asarray(s))
            for f in (parallel, polynomial)
        ),
    ]:
        np.testing.assert_allclose(one, other, rtol=1e-12, atol=1e-14)


def reference(times, y, *, tau=TAU, smoothing=0.0, late_penalty=0.0, late_tau=1.0):
    """Loss of each sample from its formula."""
    log_p = log_softmax(-np.asarray(times, np.float64) / tau, axis=-1)
    target = (1.0 - smoothing) * np.eye(log_p.shape[-1])[y] + smoothing / log_p.shape[-1]
    label = np.take_along_axis(np.asarray(times, np.float64), y[..., None], axis=-1)[..., 0]
    return -(target * log_p).sum(axis=-1) + late_penalty * (np.exp(label / late_tau) - 1.0)


def exact_times(shape=(4, 3), seed=0):
    return np.random.default_rng(seed).uniform(0.0, 0.02, size=shape).astype(np.float32)


LABELS = np.array([2, 0, 1, 1], np.int32)

SETTINGS = [
    {},
    {"smoothing": 0.2},
    {"late_penalty": 0.3, "late_tau": 0.01},
    {"smoothing": 0.1, "late_penalty": 1e-2, "late_tau": 0.02, "tau": 1e-3},
]


def loss_of(*, smoothing=0.0, tau=TAU, **settings):
    return functools.partial(
        losses.first_spike_cross_entropy, tau=tau, label_smoothing=smoothing, **settings
    )


@pytest.mark.parametrize("settings", SETTINGS)
def test_loss_is_that_of_numpy(settings):
    times, loss = exact_times(), loss_of(**settings)
    expected = reference(times, LABELS, **settings)
    t, y = jnp.asarray(times), jnp.asarray(LABELS)
    np.testing.assert_allclose(loss(t, y, per_sample=True), expected, rtol=RTOL)
    np.testing.assert_allclose(loss(t, y), expected.mean(), rtol=RTOL)


@pytest.mark.parametrize("settings", SETTINGS)
def test_gradients_are_finite_differences(x64, settings):
    times, loss = exact_times().astype(np.float64), loss_of(**settings)
    y = jnp.asarray(LABELS)
    grads = np.asarray(jax.jit(jax.grad(loss))(jnp.asarray(times), y))
    h = 1e-8
    for index in np.ndindex(times.shape):
        step = np.zeros_like(times)
        step[index] = h
        ahead, behind = (reference(times + sign * step, LABELS, **settings) for sign in (1, -1))
        expected = (ahead.mean() - behind.mean()) / (2 * h)
        np.testing.assert_allclose(grads[index], expected, rtol=1e-5, atol=1e-6)


def test_an_earlier_label_and_later_others_are_better():
    grads = jax.jit(jax.grad(loss_of()))(jnp.asarray(exact_times()), jnp.asarray(LABELS))
    is_label = np.eye(3)[LABELS].astype(bool)
    assert (np.asarray(grads)[is_label] > 0).all() and (np.asarray(grads)[~is_label] < 0).all()


RASTER_LOSS = jax.jit(
    jax.value_and_grad(lambda s, y: loss_of()(losses.first_spike_times(s, dt=DT), y))
)


def test_rasters_and_exact_times_share_the_loss():
    s, y = raster((4, 12, 3), share=0.1), jnp.asarray(LABELS)
    loss, grads = RASTER_LOSS(jnp.asarray(s), y)
    np.testing.assert_allclose(loss, reference(loop_times(s) * DT, LABELS).mean(), rtol=RTOL)
    assert jnp.isfinite(grads).all()


def test_a_silent_label_of_a_raster_is_woken():
    s = np.zeros((1, 6, 3), np.float32)
    s[0, 4, 0] = 1.0
    y = jnp.asarray([2], jnp.int32)
    _, grads = RASTER_LOSS(jnp.asarray(s), y)
    assert (grads[0, :, 2] < 0).all()  # a spike in any step would help
    assert (grads[0, :5, 0] > 0).all()  # a later spike of the wrong class, too


INF = math.inf
SILENT = np.array(
    [
        [0.010, INF, 0.020],  # a wrong class is silent
        [0.010, INF, 0.020],  # the label is silent
        [INF, INF, INF],  # all are
    ],
    np.float32,
)
SILENT_LABELS = np.array([0, 1, 2], np.int32)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("late_penalty", [0.0, 0.3])
def test_silent_neurons_have_probability_and_gradient_zero(smoothing, late_penalty):
    loss = loss_of(smoothing=smoothing, late_penalty=late_penalty, late_tau=0.01)

    @jax.jit
    def both(times):
        each = functools.partial(loss, labels=jnp.asarray(SILENT_LABELS), per_sample=True)
        values, pull_back = jax.vjp(each, times)
        return values, *pull_back(jnp.ones(3))

    values, grads = both(jnp.asarray(SILENT))
    two = reference(SILENT[:1, ::2], np.zeros(1, int), late_penalty=late_penalty, late_tau=0.01)
    np.testing.assert_allclose(values, [two[0] if not smoothing else INF, INF, INF], rtol=RTOL)
    assert jnp.isfinite(grads).all()
    assert (np.asarray(grads)[np.isinf(SILENT)] == 0).all()
    assert (np.asarray(grads)[0, [0, 2]] != 0).all()


@pytest.mark.parametrize("settings", SETTINGS)
def test_silent_time_stands_in_for_silence(settings):
    loss = loss_of(**settings, silent_time=0.03)
    filled = np.where(np.isinf(SILENT), np.float32(0.03), SILENT)
    t, y = jnp.asarray(SILENT), jnp.asarray(SILENT_LABELS)
    step = jax.jit(jax.value_and_grad(loss))
    values, grads = step(t, y)
    np.testing.assert_allclose(
        values, reference(filled, SILENT_LABELS, **settings).mean(), rtol=RTOL
    )
    _, there = step(jnp.asarray(filled), y)
    np.testing.assert_allclose(grads, np.where(np.isinf(SILENT), 0.0, there), rtol=RTOL)


def test_a_spike_at_the_end_of_the_window_is_no_later_than_it():
    times = jnp.array([[0.1, jnp.inf]])  # 0.1 in float32 lies above 0.1
    logits = losses.first_spike_logits(times, tau=0.1, silent_time=0.1)
    np.testing.assert_array_equal(logits, [[-1.0, -1.0]])


def test_logits_name_the_first_to_fire():
    logits = losses.first_spike_logits(jnp.asarray(SILENT), tau=0.01)
    np.testing.assert_allclose(logits, -SILENT / 0.01, rtol=RTOL)
    logits = losses.first_spike_logits(jnp.asarray(SILENT), tau=0.01, silent_time=0.03)
    np.testing.assert_allclose(logits, [[-1, -3, -2], [-1, -3, -2], [-3, -3, -3]], rtol=RTOL)


def test_float64_stays_float64(x64):
    times = exact_times().astype(np.float64)
    loss = loss_of(late_penalty=0.1, late_tau=0.01)(jnp.asarray(times), jnp.asarray(LABELS))
    assert loss.dtype == jnp.float64
    expected = reference(times, LABELS, late_penalty=0.1, late_tau=0.01).mean()
    np.testing.assert_allclose(loss, expected, rtol=1e-12)
    spikes = jnp.asarray(SPIKES, jnp.float64)
    assert losses.first_spike_times(spikes, dt=DT).dtype == jnp.float64


@pytest.mark.parametrize("value", [2.0, -1.0, 1.5])
def test_more_than_a_spike_per_step_is_refused_or_makes_the_time_nan(value):
    s = jnp.asarray(SPIKES).at[3, 1].set(value)
    with pytest.raises(ValueError, match="at most once per step"):
        losses.first_spike_times(s, dt=DT)
    times = jax.jit(functools.partial(losses.first_spike_times, dt=DT))(s)
    np.testing.assert_array_equal(jnp.isnan(times), [False, True, False, False])


T3, Y3 = jnp.asarray(exact_times()), jnp.asarray(LABELS)


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ((T3[:, :1], Y3), ValueError, "at least 2 classes"),
        ((T3[0, 0], Y3[0]), ValueError, "last axis"),
        ((T3[:0], Y3[:0]), ValueError, "empty batch"),
        ((T3, Y3[:3]), ValueError, "one label per sample"),
        ((T3, Y3 + 1), ValueError, "labels: expected classes from 0 to 2"),
        ((T3, T3[:, 0]), TypeError, "labels: expected integers"),
        ((T3.astype(jnp.int32), Y3), TypeError, "times: expected a floating dtype"),
    ],
)
def test_bad_arrays_are_refused(unchecked, arguments, error, words):
    with pytest.raises(error, match=words):
        losses.first_spike_cross_entropy(*arguments, tau=TAU)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"tau": 0.0}, "tau: expected a finite number of seconds > 0"),
        ({"tau": True}, "tau"),
        ({"silent_time": INF}, "silent_time"),
        ({"silent_time": 0.001}, "no later than silent_time=0.001"),
        ({"late_penalty": -1.0, "late_tau": 1.0}, "late_penalty"),
        ({"late_penalty": 1.0}, "late_tau: expected a number with late_penalty=1.0"),
        ({"late_tau": 0.0}, "late_tau"),
        ({"label_smoothing": 1.0}, "label_smoothing"),
    ],
)
def test_bad_settings_are_refused(unchecked, settings, words):
    error = TypeError if settings.get("tau") is True else ValueError
    with pytest.raises(error, match=words):
        losses.first_spike_cross_entropy(T3, Y3, **{"tau": TAU, **settings})


@pytest.mark.parametrize(
    ("spikes", "dt", "error", "words"),
    [
        (SPIKES[0], DT, ValueError, "is to be the axis of time"),
        (SPIKES[:0], DT, ValueError, "T = 0"),
        (SPIKES, 0.0, ValueError, "dt"),
        (SPIKES.astype(np.int32), DT, TypeError, "floating dtype"),
    ],
)
def test_bad_rasters_are_refused(unchecked, spikes, dt, error, words):
    with pytest.raises(error, match=words):
        losses.first_spike_times(jnp.asarray(spikes), dt=dt)
