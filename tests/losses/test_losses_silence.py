"""Spike times continued into silence: the formula, its gradients, and losses that wake neurons."""

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import log_softmax

from flax_snn import losses

INF = math.inf
CAP, SLOPE = 20e-3, 8e-3
RTOL = 1e-6  # float32

TIMES = np.array([[3e-3, INF, 12e-3], [INF, INF, INF], [INF, 25e-3, CAP]])
V_MAX = np.array([[1.2, 0.4, 1.1], [0.99, -2.0, 0.0], [0.7, 1.3, 1.0]])
LABELS = np.array([1, 0, 2], np.int32)

wake = functools.partial(losses.wake_silent, threshold=1.0, cap=CAP, slope=SLOPE)


def reference(times: np.ndarray, v_max: np.ndarray, threshold: Any = 1.0) -> np.ndarray:
    continued = CAP + SLOPE * (threshold - v_max)
    return np.where(np.isinf(times), continued, np.minimum(times, CAP))


def f32(*arrays: np.ndarray) -> list[jax.Array]:
    return [jnp.asarray(array, jnp.float32) for array in arrays]


@pytest.mark.parametrize("threshold", [1, 1.5, np.array([1.0, 1.5, 3.0], np.float32)])
def test_times_are_those_of_the_formula(threshold: Any):
    given = jnp.asarray(threshold) if isinstance(threshold, np.ndarray) else threshold
    times = wake(*f32(TIMES, V_MAX), threshold=given)
    assert times.dtype == jnp.float32
    np.testing.assert_allclose(times, reference(TIMES, V_MAX, threshold), rtol=RTOL)
    assert np.isfinite(times).all()


@pytest.mark.parametrize("shape", [(3,), (2, 3), (2, 4, 3)])
def test_any_batch_axes(shape: tuple[int, ...]):
    rng = np.random.default_rng(0)
    times = np.where(rng.random(shape) < 0.5, rng.uniform(0, 0.03, shape), INF)
    v_max = rng.uniform(-1, 1, shape)
    woken = jax.jit(wake)(*f32(times, v_max))
    np.testing.assert_allclose(woken, reference(times, v_max), rtol=RTOL)


def test_float64_stays_float64_and_short_floats_widen(x64: None):
    times = wake(jnp.asarray(TIMES), jnp.asarray(V_MAX))
    assert times.dtype == jnp.float64
    np.testing.assert_allclose(times, reference(TIMES, V_MAX), rtol=1e-14)
    short = jax.eval_shape(wake, *(jnp.asarray(a, jnp.bfloat16) for a in (TIMES, V_MAX)))
    assert short.dtype == jnp.float32


def test_gradients_are_those_of_the_pieces():
    def total(times: jax.Array, v_max: jax.Array, threshold: jax.Array) -> jax.Array:
        return jnp.sum(wake(times, v_max, threshold=threshold))

    by_time, by_v, by_threshold = jax.jit(jax.grad(total, argnums=(0, 1, 2)))(
        *f32(TIMES, V_MAX, np.ones(3))
    )
    silent = np.isinf(TIMES)
    np.testing.assert_array_equal(by_time, (TIMES < CAP).astype(np.float32))  # 0 from the cap on
    np.testing.assert_allclose(by_v, np.where(silent, -SLOPE, 0.0), rtol=RTOL)
    np.testing.assert_allclose(by_threshold, SLOPE * silent.sum(0), rtol=RTOL)


def test_silence_begins_where_spikes_end():
    """A neuron whose peak nears threshold comes to the cap, from either side."""
    below = np.nextafter(np.float32(1.0), np.float32(0.0))
    silent = wake(*f32(np.array([[INF, INF]]), np.array([[below, 1.0]])))
    np.testing.assert_allclose(silent, CAP, rtol=RTOL)
    order = wake(*f32(np.array([[19e-3, INF, INF]]), np.array([[1.0, 0.9, 0.2]])))[0]
    assert order[0] < CAP < order[1] < order[2]


def test_membranes_of_neurons_that_fire_are_not_read():
    times, v_max = f32(TIMES, V_MAX)
    odd = jnp.where(jnp.isposinf(times), v_max, jnp.array([[jnp.nan, jnp.inf, -jnp.inf]] * 3))
    np.testing.assert_array_equal(wake(times, odd), wake(times, v_max))
    grads = jax.jit(jax.grad(lambda t, v: jnp.sum(jnp.square(wake(t, v))), argnums=(0, 1)))
    for odd_grad, grad in zip(grads(times, odd), grads(times, v_max), strict=True):
        np.testing.assert_array_equal(odd_grad, grad)


def cross_entropy(times: Any, v_max: Any) -> jax.Array:
    woken = wake(times, v_max)
    return losses.first_spike_cross_entropy(
        woken, jnp.asarray(LABELS), tau=5e-3, late_penalty=0.1, late_tau=30e-3
    )


def test_first_spike_cross_entropy_takes_them(x64: None):
    """Also where the label, or every neuron, is silent: by NumPy, and by finite differences."""

    def by_hand(v_max: np.ndarray) -> float:
        times = reference(TIMES, v_max)
        log_p = log_softmax(-times / 5e-3, axis=-1)
        rows = np.arange(3)
        late = 0.1 * np.expm1(times[rows, LABELS] / 30e-3)
        return float(np.mean(late - log_p[rows, LABELS]))

    step = jax.jit(jax.value_and_grad(cross_entropy, argnums=1))
    loss, grads = step(jnp.asarray(TIMES), jnp.asarray(V_MAX))
    np.testing.assert_allclose(loss, by_hand(V_MAX), rtol=1e-12)
    h = 1e-6
    for index in np.ndindex(V_MAX.shape):
        bump = np.zeros_like(V_MAX)
        bump[index] = h
        expected = (by_hand(V_MAX + bump) - by_hand(V_MAX - bump)) / (2 * h)
        np.testing.assert_allclose(grads[index], expected, rtol=1e-6, atol=1e-9)


def test_a_silent_label_is_drawn_up_and_other_silent_ones_down():
    grads = np.asarray(jax.jit(jax.grad(cross_entropy, argnums=1))(*f32(TIMES, V_MAX)))
    is_label, silent = np.eye(3, dtype=bool)[LABELS], np.isinf(TIMES)
    assert (grads[silent & is_label] < 0).all()
    assert (grads[silent & ~is_label] > 0).all()
    assert (grads[~silent] == 0).all()


@pytest.mark.parametrize("loss", ["mean_squared_spike_time", "spike_time_margin"])
def test_other_losses_take_them(loss: str):
    targets = losses.target_times(jnp.asarray(LABELS), 3, early=5e-3, late=15e-3)
    against = {
        "mean_squared_spike_time": lambda t: losses.mean_squared_spike_time(t, targets, tau=5e-3),
        "spike_time_margin": lambda t: losses.spike_time_margin(
            t, jnp.asarray(LABELS), margin=2e-3, tau=5e-3
        ),
    }[loss]
    step = jax.jit(jax.value_and_grad(lambda t, v: against(wake(t, v)), argnums=(0, 1)))
    value, grads = step(*f32(TIMES, V_MAX))
    assert np.isfinite(value) and all(np.isfinite(g).all() for g in grads)
    assert (np.asarray(grads[1])[np.isinf(TIMES)] != 0).all()


def test_nan_is_not_swallowed():
    times, v_max = f32(TIMES, V_MAX)
    with pytest.raises(ValueError, match="times from 0 s on.*NaN"):
        wake(times.at[0, 0].set(jnp.nan), v_max)
    assert np.isnan(jax.jit(wake)(times.at[0, 0].set(jnp.nan), v_max)[0, 0])
    assert np.isnan(jax.jit(wake)(times, v_max.at[0, 1].set(jnp.nan))[0, 1])


T, V = f32(TIMES, V_MAX)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"times": T.astype(jnp.int32)}, TypeError, "times: expected a floating dtype"),
        ({"times": T[:0], "v_max": V[:0]}, ValueError, "no empty axis"),
        ({"times": T[0, 0], "v_max": V[0, 0]}, ValueError, r"times: expected shape \(\*B, N\)"),
        ({"times": -T}, ValueError, "times from 0 s on, infinity where silent, got -inf"),
        ({"v_max": V.astype(jnp.int32)}, TypeError, "v_max: expected a floating dtype"),
        ({"v_max": V[:2]}, ValueError, r"v_max: expected shape \(3, 3\)"),
        ({"v_max": V.at[1, 1].set(-INF)}, ValueError, "v_max: .* neurons to be finite"),
        ({"v_max": V.at[1, 1].set(1.01)}, ValueError, "no higher than their threshold"),
        ({"threshold": 0.9}, ValueError, "no higher than their threshold"),
        ({"threshold": jnp.ones(2)}, ValueError, r"number or shape \(3,\), got shape \(2,\)"),
        ({"threshold": jnp.ones(3, jnp.int32)}, TypeError, "threshold: expected a floating dtype"),
        ({"cap": 0.0}, ValueError, "cap: expected a finite number of seconds > 0"),
        ({"cap": INF}, ValueError, "cap"),
        ({"slope": -1.0}, ValueError, "slope: expected a finite number of seconds per unit"),
    ],
)
def test_bad_input_is_refused(arguments: dict[str, Any], error: type[Exception], words: str):
    good = {"times": T, "v_max": V, "threshold": 1.0, "cap": CAP, "slope": SLOPE}
    with pytest.raises(error, match=words):
        losses.wake_silent(**{**good, **arguments})
