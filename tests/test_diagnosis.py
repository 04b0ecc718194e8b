"""Diagnosis against spikes counted by NumPy, and its words for layers in trouble."""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import flax_snn as snn
from flax_snn.diagnosis import Diagnosis, LayerDiagnosis, compare, diagnose

DT = 2e-3
LIF = snn.LIFDynamics(tau_mem=20e-3, dt=DT, v_rest=0.25, threshold=1.25, v_reset=0.1)
PLAIN = snn.LIFDynamics(tau_mem=20e-3, dt=DT)
F, N = 6, 10


def batch(*shape: int, p: float = 0.1) -> jax.Array:
    return jnp.asarray(np.random.default_rng(3).random(shape) < p, jnp.float32)


def kernel(rows: int, columns: int, scale: float = 1.0, center: float = 0.0) -> np.ndarray:
    return np.random.default_rng(4).normal(center, scale, (rows, columns)).astype(np.float32)


def single(dynamics: snn.LIFDynamics = PLAIN, neurons: int = N) -> nn.Module:
    return snn.RNN(snn.LIFCell(neurons, dynamics=dynamics))


def weights(w: Any) -> dict[str, Any]:
    return {"params": {"cell": {"kernel": jnp.asarray(w)}}}


def layer_of(net: nn.Module, variables: Any, x: jax.Array, **arguments: Any) -> LayerDiagnosis:
    (layer,) = diagnose(net, variables, x, **arguments).layers
    return layer


def test_figures_are_those_of_numpy() -> None:
    x, w = batch(8, 40, F), kernel(F, N, 8.0)
    cell = snn.LIFCell(N, dynamics=LIF)
    layer = layer_of(snn.RNN(cell), weights(w), x)

    a, v = np.exp(-0.1), np.full((8, N), 0.25)
    free, trace, spikes = np.zeros((8, N)), [], []
    for current in np.moveaxis(np.asarray(x, np.float64) @ np.asarray(w, np.float64), 1, 0):
        v = a * v + (1 - a) * (0.25 + current)
        free = a * free + (1 - a) * current
        spikes.append(v > 1.25)
        v = np.where(v > 1.25, 0.1, v)
        trace.append(free)
    fired, membrane = np.stack(spikes), np.stack(trace)  # rest 0, distance 1
    rates = fired.mean(axis=(0, 1))
    np.testing.assert_allclose(layer.activity, fired.mean(), rtol=1e-6)
    np.testing.assert_allclose(layer.rate, fired.mean() / DT, rtol=1e-6)
    np.testing.assert_allclose(layer.silent, (rates == 0).mean(), rtol=1e-6)
    np.testing.assert_allclose(layer.saturated, (rates >= 0.25).mean(), rtol=1e-6)
    np.testing.assert_allclose([layer.mean, layer.spread], [membrane.mean(), membrane.std()], 1e-4)
    assert (layer.name, layer.neurons, layer.spiking) == ("cell", N, True)
    assert 0.02 < layer.activity < 0.2


CASES: dict[str, tuple[Any, str, str]] = {
    "healthy": (kernel(F, N, 3.0), "healthy", ""),
    "silent": (kernel(F, N, 0.01), "silent", "initializers.lsuv"),
    "held down": (kernel(F, N, 0.5, center=-6.0), "silent", "weights of zero mean"),
    "few": (kernel(F, N, 9.0) * (np.arange(N) < 4), "nearly silent", "larger target"),
    "weak": (kernel(F, N, 1.6), "nearly silent", "longer tau_mem"),
    "saturated": (kernel(F, N, 400.0), "saturated", "refractory period"),
    "runs away": (kernel(F, N, 80.0), "runs away", "shorter tau_mem"),
    "no input": (kernel(F, N, 0.0), "no input", "layers below are silent"),
    "nan": (np.full((F, N), np.nan), "not finite", "last good checkpoint"),
    "infinite": (kernel(F, N, 1e38), "not finite", "NaN or infinite"),
}


@pytest.mark.parametrize("name", CASES)
def test_words_for_a_layer(name: str) -> None:
    w, verdict, words = CASES[name]
    net, x = single(), batch(8, 40, F, p=0.5 if name == "saturated" else 0.1)
    result = diagnose(net, weights(w), x)
    (layer,) = result.layers
    assert layer.verdict == verdict, layer
    assert words in layer.advice and result.healthy == (verdict == "healthy")
    assert (f"{verdict} (cell): " in str(result)) != result.healthy
    # Never reset, the membrane of a saturated layer does not look small.
    assert verdict not in ("saturated", "runs away") or layer.spread > 5.0


def test_a_refractory_period_lowers_the_line_of_saturation() -> None:
    x, w = jnp.ones((2, 60, F)), kernel(F, N, 0.1, center=1.0)
    free, held = (
        layer_of(single(snn.LIFDynamics(tau_mem=20e-3, dt=DT, refractory=hold)), weights(w), x)
        for hold in (0.0, 8e-3)
    )
    # Constant input: a spike in every second step at most; held for 4 steps, in every sixth.
    assert free.activity > 0.25 and free.verdict == "saturated"
    assert held.activity < 0.25 and held.verdict == "saturated"


def test_layers_of_any_model_in_order_and_step_by_step() -> None:
    class Steps(nn.Module):
        @nn.compact
        def __call__(self, x: jax.Array) -> jax.Array:
            cell = snn.LIFCell(N, dynamics=LIF, name="cell")
            carry, outputs = cell.initialize_carry(None, x[:, 0].shape), []
            for t in range(x.shape[1]):
                carry, s = cell(carry, x[:, t])
                outputs.append(s)
            return jnp.stack(outputs, axis=1)

    x, w = batch(8, 6, F), kernel(F, N, 8.0)
    by_hand, by_runner = layer_of(Steps(), weights(w), x), layer_of(single(LIF), weights(w), x)
    for name in ("rate", "silent", "mean", "spread", "neurons"):
        np.testing.assert_allclose(getattr(by_hand, name), getattr(by_runner, name), rtol=1e-5)
    assert by_hand.rate > 0.0

    conv = nn.Sequential([nn.Conv(3, (3, 3)), snn.LIF(), nn.Dense(2), snn.LeakyIntegrator()])
    images = batch(2, 10, 4, 4, 1)
    shapes = jax.eval_shape(conv.init, jax.random.key(0), images)
    variables = jax.tree.map(lambda leaf: jnp.full(leaf.shape, 0.5, leaf.dtype), shapes)
    hidden, readout = diagnose(conv, variables, images, dt=1.0).layers
    assert [hidden.name, readout.name] == ["layers_1/cell", "layers_3/cell"]
    assert [hidden.neurons, readout.neurons] == [48, 32]
    assert hidden.rate == hidden.activity and np.isnan(readout.rate) and not readout.spiking


def test_before_and_after_side_by_side() -> None:
    net, x = single(), batch(8, 40, F)
    before = diagnose(net, weights(kernel(F, N, 0.01)), x)
    after = diagnose(net, weights(kernel(F, N, 3.0)), x)
    old, new = before.layers[0], after.layers[0]
    header, row = compare(before, after).split("\n")
    assert header.split()[:3] == ["layer", "rate", "(Hz)"]
    assert f"0.0 -> {new.rate:.1f} " in row and row.endswith(" silent -> healthy")
    assert f"{old.spread:.2f} -> {new.spread:.2f}" in row
    assert "silent (cell): no neuron spikes" in compare(after, before)
    with pytest.raises(ValueError, match=r"diagnoses of one model, got layers \['cell'\], \[\]"):
        compare(before, Diagnosis(()))


def test_results_are_repeatable_and_variables_untouched() -> None:
    noisy = snn.LIFDynamics(tau_mem=20e-3, dt=DT, noise_std=0.3)
    net, x, variables = single(noisy), batch(8, 40, F), weights(kernel(F, N, 3.0))
    copy = jax.tree.map(np.array, variables)
    first, second = (
        diagnose(net, variables, x, rngs={"noise": jax.random.key(1)}) for _ in range(2)
    )
    assert first == second
    jax.tree.map(np.testing.assert_array_equal, variables, copy)
    with pytest.raises(ValueError, match="RNG stream 'noise'"):
        diagnose(net, variables, x)


def test_diagnose_says_what_it_needs(unchecked: None) -> None:
    net, x, variables = single(), batch(8, 40, F), weights(kernel(F, N))
    with pytest.raises(ValueError, match=r"cell: its traces are lost .* use snn.RNN"):
        diagnose(nn.RNN(snn.LIFCell(N)), variables, x)
    with pytest.raises(ValueError, match="expected a model with layers of neurons"):
        diagnose(nn.Dense(N), {"params": {"kernel": kernel(F, N), "bias": kernel(1, N)[0]}}, x)
    with pytest.raises(ValueError, match="expected a batch of sequences"):
        diagnose(net, variables, x[0, 0])
    with pytest.raises(ValueError, match="no empty axis"):
        diagnose(net, variables, x[:0])
    with pytest.raises(TypeError, match="array of numbers"):
        diagnose(net, variables, np.array(["a", "b"]))
    with pytest.raises(ValueError, match="expected finite inputs"):
        diagnose(net, variables, jnp.full((2, 5, F), jnp.nan))
    with pytest.raises(ValueError, match="dt: expected a finite number > 0 in seconds"):
        diagnose(net, variables, x, dt=0.0)

    class Stacked(nn.Module):
        @nn.compact
        def __call__(self, x: jax.Array) -> jax.Array:
            loop = nn.scan(
                lambda cell, carry, x: cell(carry, x),
                variable_broadcast="params",
                variable_axes={"intermediates": 0},
                split_rngs={"params": False},
                in_axes=1,
            )
            cell = snn.LIFCell(N, name="cell")
            return loop(cell, cell.initialize_carry(None, x[:, 0].shape), x)[1]

    with pytest.raises(ValueError, match="not in a loop of your own"):
        diagnose(Stacked(), variables, x)
