"""Schedules, clipping and the two optimisers against their formulas."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from train.run.optimizer import learning_rate, optimizer
from train.settings.training import TrainingConfig

PLAIN = TrainingConfig(
    learning_rate=0.1, warm_up=0.2, weight_decay=0.0, clip_norm=0.0, schedule="constant"
)


def rates(updates=50, layers=1, **changes):
    schedule = learning_rate(dataclasses.replace(PLAIN, **changes), updates, layers)
    return np.array([float(schedule(k)) for k in range(updates)])


@pytest.mark.parametrize(
    ("schedule", "fall"),
    [
        ("cosine", lambda x: 0.5 * (1 + np.cos(np.pi * x))),
        ("linear", lambda x: 1 - x),
        ("constant", lambda x: 1 + 0 * x),
    ],
)
@pytest.mark.parametrize("warm_up", [0.0, 0.2])
def test_schedules(schedule, fall, warm_up):
    found = rates(schedule=schedule, warm_up=warm_up)
    rising = round(50 * warm_up)
    rise = 0.1 * np.linspace(0.1, 1.0, rising, endpoint=False)
    after = 0.1 * fall(np.arange(50 - rising) / (50 - rising))
    np.testing.assert_allclose(found, np.concatenate([rise, after]), rtol=1e-4, atol=1e-8)


def test_deep_networks_learn_more_slowly():
    np.testing.assert_allclose(rates(layers=6), rates() / np.sqrt(6), rtol=1e-6)


def updates_of(config, gradients, start, name="kernel"):
    tx = optimizer(config, len(gradients), layers=1)
    params = {name: jnp.asarray(start)}
    state, path = tx.init(params), []
    with jax.numpy_dtype_promotion("standard"):
        for gradient in gradients:
            update, state = tx.update({name: jnp.asarray(gradient)}, state, params)
            params = {name: params[name] + update[name]}
            path.append(np.asarray(params[name]))
    return np.array(path)


GRADIENTS = np.random.default_rng(0).normal(size=(6, 3)).astype(np.float32)
START = np.array([1.0, -2.0, 0.5], np.float32)


def test_sgd_with_momentum():
    config = dataclasses.replace(PLAIN, optimizer="sgd", momentum=0.9, warm_up=0.0)
    params, velocity, path = START.astype(np.float64), np.zeros(3), []
    for gradient in GRADIENTS:
        velocity = 0.9 * velocity + gradient
        params = params - 0.1 * velocity
        path.append(params)
    np.testing.assert_allclose(updates_of(config, GRADIENTS, START), path, rtol=1e-5)


def test_sgd_without_momentum():
    config = dataclasses.replace(PLAIN, optimizer="sgd", momentum=0.0, warm_up=0.0)
    path = START - 0.1 * np.cumsum(GRADIENTS, axis=0)
    np.testing.assert_allclose(updates_of(config, GRADIENTS, START), path, rtol=1e-4, atol=1e-6)


def test_adamw():
    config = dataclasses.replace(PLAIN, warm_up=0.0, weight_decay=0.01)
    params, m, v, path = START.astype(np.float64), 0.0, 0.0, []
    for k, gradient in enumerate(GRADIENTS, 1):
        m, v = 0.9 * m + 0.1 * gradient, 0.999 * v + 0.001 * gradient**2
        step = (m / (1 - 0.9**k)) / (np.sqrt(v / (1 - 0.999**k)) + 1e-8)
        params = params - 0.1 * (step + 0.01 * params)
        path.append(params)
    np.testing.assert_allclose(updates_of(config, GRADIENTS, START), path, rtol=1e-4)


def test_time_constants_do_not_decay():
    config = dataclasses.replace(PLAIN, warm_up=0.0, weight_decay=0.5)
    without = dataclasses.replace(config, weight_decay=0.0)
    found = updates_of(config, GRADIENTS, START, "log_tau_mem")
    np.testing.assert_array_equal(found, updates_of(without, GRADIENTS, START, "log_tau_mem"))


def test_clipping_bounds_the_global_norm_and_keeps_the_direction():
    config = dataclasses.replace(PLAIN, optimizer="sgd", momentum=0.0, warm_up=0.0, clip_norm=0.5)
    gradients = np.array([[3.0, 4.0, 0.0], [0.03, 0.04, 0.0]], np.float32)
    path = updates_of(config, gradients, np.zeros(3, np.float32))
    np.testing.assert_allclose(path[0], -0.1 * np.array([0.3, 0.4, 0.0]), rtol=1e-5)
    np.testing.assert_allclose(path[1] - path[0], -0.1 * gradients[1], rtol=1e-4)
