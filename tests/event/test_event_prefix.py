"""Prefix sums over arrivals against the loop that they stand for."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import flax_snn as snn
from flax_snn.event.prefix import first_row, summed_in_parallel, summed_in_turn


@pytest.mark.parametrize("sums", [summed_in_turn, summed_in_parallel])
@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("arrivals", [1, 2, 13])
def test_sums_are_those_of_a_loop(sums: Any, shared: bool, arrivals: int, x64: None) -> None:
    rng = np.random.default_rng(arrivals)
    shape = (2, arrivals, 4)
    wait = rng.exponential(size=(2, arrivals, 1) if shared else shape)
    wait[:, 1:3] *= [0.0] if arrivals > 2 else 1.0
    ratio = 3.0
    e, f = np.exp(-wait / ratio), np.exp(-wait)
    k = (e - f) / (ratio - 1.0)
    jumps = rng.normal(size=shape)
    v, i = jax.jit(sums)(tuple(map(jnp.asarray, (e, k, f))), jnp.asarray(jumps))
    true_v, true_i = np.zeros((2, 4)), np.zeros((2, 4))
    for m in range(arrivals):
        true_v = e[:, m] * true_v + k[:, m] * true_i
        true_i = f[:, m] * true_i + jumps[:, m]
        np.testing.assert_allclose(v[:, m], true_v, rtol=1e-13, atol=1e-13)
        np.testing.assert_allclose(i[:, m], true_i, rtol=1e-13, atol=1e-13)


def test_first_row() -> None:
    found = np.random.default_rng(0).random((3, 6, 5)) < 0.2
    expected = np.where(found.any(axis=1), found.argmax(axis=1), 6)
    np.testing.assert_array_equal(first_row(jnp.asarray(found)), expected)
    np.testing.assert_array_equal(first_row(jnp.zeros((2, 0, 3), bool)), 0)


def test_layers_without_any_slot_of_input_are_silent() -> None:
    spikes = snn.event.Spikes(jnp.zeros((2, 0)), jnp.zeros((2, 0), jnp.int32), size=3)
    lif = snn.LIFDynamics(tau_mem=20e-3, tau_syn=5e-3).parameters

    def late(kernel: Any) -> tuple[Any, Any]:
        times = snn.event.first_spikes(spikes, kernel, lif)
        return jnp.sum(jnp.where(jnp.isfinite(times), times, 0.0)), times

    grad, times = jax.grad(late, has_aux=True)(jnp.ones((3, 4)))
    np.testing.assert_array_equal(times, np.full((2, 4), np.inf))
    np.testing.assert_array_equal(grad, 0.0)
