"""Noise of the membrane against the statistics of its process."""

from __future__ import annotations

import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import flax_snn as snn

NOISY = snn.LIDynamics(tau_mem=5e-3, noise_std=0.3)


def noisy_trace(key: int, runner: Any = None, shape: Any = (4, 60, 500), **arguments: Any) -> Any:
    cell = snn.LeakyIntegratorReadout(dynamics=NOISY, **arguments)
    rnn = snn.RNN(cell) if runner is None else runner(cell)
    return rnn.apply({}, jnp.zeros(shape), rngs={"noise": jax.random.key(key)})


def test_noise_has_the_mean_and_the_variances_of_its_process() -> None:
    v = np.asarray(noisy_trace(0), np.float64)
    alpha = math.exp(-1 / 5)
    noise = v[:, 1:] - alpha * v[:, :-1]
    n = noise.size
    assert abs(noise.mean()) < 5 * 0.3 / math.sqrt(n)
    assert abs(noise.std() - 0.3) < 5 * 0.3 / math.sqrt(2 * n)
    np.testing.assert_allclose(v[:, 0].std(), 0.3, rtol=0.08)
    np.testing.assert_allclose(v[:, -20:].std(), 0.3 / math.sqrt(1 - alpha**2), rtol=0.03)
    # White: neither steps nor neurons nor members of the batch share their numbers.
    for a, b in (
        (noise[:, 1:], noise[:, :-1]),
        (noise[..., 1:], noise[..., :-1]),
        (noise[1:], noise[:-1]),
    ):
        assert abs(np.mean(a * b)) < 5 * 0.09 / math.sqrt(a.size)
    # Gaussian: the share beyond two standard deviations.
    assert abs(np.mean(np.abs(noise) > 0.6) - 0.0455) < 5 * math.sqrt(0.0455 / n)


def test_noise_comes_before_the_fire_test() -> None:
    cell = snn.LIFCell(dynamics=snn.LIFDynamics(noise_std=0.3, threshold=0.3))
    rngs = {"noise": jax.random.key(1)}
    carry, s = cell.apply({}, cell.initialize_carry(None, (40_000,)), jnp.zeros(40_000), rngs=rngs)
    share = 0.5 * math.erfc(1 / math.sqrt(2))
    assert abs(float(s.mean()) - share) < 5 * math.sqrt(share / 40_000)
    assert float(jnp.where(s > 0, carry.v, 0.0).max()) == 0.0


def test_noise_is_reproducible_per_key_and_the_same_in_both_runners() -> None:
    shape = (2, 9, 3)
    first = noisy_trace(5, shape=shape)
    np.testing.assert_array_equal(noisy_trace(5, shape=shape), first)
    assert float(jnp.abs(noisy_trace(6, shape=shape) - first).min()) > 0.0
    stock = noisy_trace(
        5,
        lambda cell: nn.RNN(cell, split_rngs={"params": False, "noise": True}),
        shape=shape,
    )
    np.testing.assert_allclose(stock, first, rtol=0, atol=1e-6)
    stepwise = noisy_trace(5, lambda cell: snn.RNN(cell, implementation="scan"), shape=shape)
    np.testing.assert_allclose(stepwise, first, rtol=0, atol=1e-6)


def test_noise_is_off_when_deterministic() -> None:
    x = jax.random.normal(jax.random.key(0), (2, 30, 4)) * 3
    noisy = snn.LIFDynamics(tau_mem=5e-3, noise_std=0.3)
    quiet = snn.RNN(snn.LIFCell(dynamics=snn.LIFDynamics(tau_mem=5e-3))).apply({}, x)
    off = snn.RNN(snn.LIFCell(dynamics=noisy, deterministic=True)).apply({}, x)
    on = snn.RNN(snn.LIFCell(dynamics=noisy)).apply({}, x, rngs={"noise": jax.random.key(0)})
    np.testing.assert_array_equal(off, quiet)
    assert 0 < float(quiet.sum()) and float(jnp.abs(on - quiet).sum()) > 0


@pytest.mark.parametrize("runner", [nn.RNN, snn.RNN])
def test_noise_without_its_stream_names_the_remedy(runner: Any) -> None:
    rnn = runner(snn.LIFCell(3, dynamics=snn.LIFDynamics(noise_std=0.3)))
    variables = rnn.init(jax.random.key(0), jnp.zeros((1, 4, 2)))  # initialising needs no noise
    with pytest.raises(ValueError, match="rngs={'noise': key}.*split_rngs.*deterministic=True"):
        rnn.apply(variables, jnp.zeros((1, 4, 2)))
