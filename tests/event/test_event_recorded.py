"""Spikes that were measured: they go forward, the model goes back."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from event_layer import QUICK

import flax_snn as snn

LIF = snn.LIFDynamics(tau_mem=20e-3, tau_syn=5e-3)
CELL = snn.LIFCell(3, dynamics=LIF)
KERNEL = jnp.array([[9.0, 6.0, 1.0], [4.0, 7.0, 0.5], [3.0, 0.0, 0.5]])
PARAMS = {"cell": {"kernel": KERNEL}}
INPUTS = snn.event.from_times(jnp.array([[1e-3, 2e-3, 4e-3], [0.5e-3, jnp.inf, 3e-3]]))


def run(layer: Any) -> Any:
    """Output and gradients of the sum of all spike times."""

    def loss(params: Any, recorded: Any, time: Any) -> Any:
        variables = {"params": params}
        if recorded is not None:
            variables["recorded"] = recorded
        out = layer.apply(variables, dataclasses.replace(INPUTS, time=time))
        return jnp.sum(jnp.where(jnp.isfinite(out.time), out.time, 0.0)), out

    both = jax.value_and_grad(loss, argnums=(0, 2), has_aux=True)
    compiled = jax.jit(both, compiler_options=QUICK)
    return lambda params, recorded=None: compiled(params, recorded, INPUTS.time)


@functools.cache
def eventprop() -> Any:
    return run(snn.event.RNN(CELL, duration=60e-3))


@functools.cache
def model() -> Any:
    return eventprop()(PARAMS)


@pytest.mark.slow
def test_own_spikes_change_nothing() -> None:
    (_, out), grads = model()
    assert np.isfinite(out.time).sum() >= 4
    (_, again), same = eventprop()(PARAMS, {"spikes": out})
    np.testing.assert_array_equal(again.time, out.time)
    np.testing.assert_array_equal(again.index, out.index)
    close = functools.partial(np.testing.assert_allclose, rtol=1e-6, atol=1e-9)
    jax.tree.map(close, same, grads)


@pytest.mark.slow
def test_measured_spikes_go_forward() -> None:
    """With jitter, and spikes dropped; the gradient is near that of the model."""
    (_, out), (grads, _) = model()
    rng = np.random.default_rng(0)
    jitter = rng.normal(0.0, 1e-5, out.time.shape).astype(np.float32)
    time = np.sort(np.asarray(out.time) + np.where(np.isfinite(out.time), jitter, 0), axis=1)
    measured = out.replace(time=jnp.asarray(time))
    (_, forward), (other, _) = eventprop()(PARAMS, {"spikes": measured})
    np.testing.assert_array_equal(forward.time, time)
    kernel, moved = grads["cell"]["kernel"], other["cell"]["kernel"]
    size = np.abs(kernel).max()
    assert 0 < np.abs(np.asarray(kernel) - moved).max() < 0.2 * size
    one = out.replace(
        time=jnp.full_like(out.time, jnp.inf).at[:, 0].set(out.time[:, 0]),
        index=jnp.full_like(out.index, -1).at[:, 0].set(out.index[:, 0]),
    )
    (_, forward), (dropped, _) = eventprop()(PARAMS, {"spikes": one})
    np.testing.assert_array_equal(forward.counts(), one.counts())
    silent = np.asarray(one.counts()).sum(axis=0) == 0
    assert silent.any()
    assert (np.asarray(dropped["cell"]["kernel"])[:, silent] == 0).all()


def test_spikes_where_the_model_has_none() -> None:
    """Before any input, on the way down, of a neuron that is not driven: finite gradients."""
    (_, out), _ = model()
    time = np.full(out.time.shape, np.inf, np.float32)
    index = np.full(out.time.shape, -1, np.int32)
    time[:, :4] = [0.1e-3, 30e-3, 30e-3, 45e-3]
    index[:, :4] = [0, 2, 1, 2]
    measured = out.replace(time=jnp.asarray(time), index=jnp.asarray(index))
    (value, forward), grads = eventprop()(PARAMS, {"spikes": measured})
    np.testing.assert_array_equal(forward.index, index)
    np.testing.assert_allclose(value, 2 * time[0, :4].sum(), rtol=1e-6)
    assert all(np.isfinite(g).all() for g in jax.tree.leaves(grads))


@pytest.mark.slow
def test_methods_and_layers_take_them() -> None:
    """`first_spike` too; in a Chain each cell has its own; slots may be as many as measured."""
    first = snn.event.RNN(CELL, method="first_spike")
    (_, own), grads = run(first)(PARAMS)
    (_, out), same = run(first)(PARAMS, {"spikes": own})
    np.testing.assert_array_equal(out.time, own.time)
    close = functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-9)
    jax.tree.map(close, same, grads)
    chain = snn.event.RNN(snn.Chain([CELL, snn.LIFCell(2, dynamics=LIF)]))
    params = {"cell": {"cells_0": PARAMS["cell"], "cells_1": {"kernel": 5.0 * jnp.ones((3, 2))}}}
    last = snn.event.from_times(jnp.array([[7e-3, 5e-3], [jnp.inf, 6e-3]]))
    apply = jax.jit(chain.apply, compiler_options=QUICK)
    out = apply({"params": params, "recorded": {"spikes_1": last}}, INPUTS)
    np.testing.assert_array_equal(out.time, last.time)
    row = nn.Sequential([snn.event.RNN(c) for c in (CELL, snn.LIFCell(2, dynamics=LIF))])
    params = {f"layers_{k}": {"cell": params["cell"][f"cells_{k}"]} for k in range(2)}
    apply = jax.jit(row.apply, compiler_options=QUICK)
    spikes = {"layers_1": {"spikes": last}}
    out = apply({"params": params, "recorded": spikes}, INPUTS)
    np.testing.assert_array_equal(out.time, last.time)


def test_measurements_that_do_not_fit() -> None:
    layer = snn.event.RNN(CELL)
    good = snn.event.from_times(jnp.array([[2e-3, 3e-3, jnp.inf]] * 2))

    def apply(spikes: Any) -> None:
        layer.apply({"params": PARAMS, "recorded": {"spikes": spikes}}, INPUTS)

    with pytest.raises(ValueError, match="recorded: expected spikes of 3 sources.*got 2"):
        apply(snn.event.from_times(jnp.ones((2, 2))))
    with pytest.raises(ValueError, match="recorded: expected spikes of 2 samples, got 1"):
        apply(jax.tree.map(lambda x: x[:1], good))
    with pytest.raises(ValueError, match="recorded: expected times in ascending order"):
        apply(good.replace(time=good.time[:, ::-1], index=good.index[:, ::-1]))
    with pytest.raises(OverflowError, match="recorded: 2 of 2 samples"):
        apply(good.replace(overflow=jnp.ones(2, jnp.int32)))
