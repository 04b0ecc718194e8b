"""The runner: parameters shared with the runners in discrete time, learned ones, nesting."""

from __future__ import annotations

import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from event_layer import QUICK

import flax_snn as snn
from flax_snn.dynamics import LIFParameters

LIF = snn.LIFDynamics(tau_mem=20e-3, tau_syn=5e-3, dt=1e-4, refractory=1e-3, v_reset=-0.2)
LI = snn.LIDynamics(tau_mem=10e-3, tau_syn=5e-3, dt=1e-4)
INIT = nn.initializers.uniform(20.0)
TIMES = jnp.array([[1e-3, 4e-3, 2e-3], [3e-3, jnp.inf, 0.5e-3]])
INPUTS = snn.event.from_times(TIMES)

CELLS = {
    "feed-forward": snn.LIFCell(4, dynamics=LIF, kernel_init=INIT),
    "learned": snn.LIFCell(4, dynamics=LIF, kernel_init=INIT, learn=("tau_mem", "threshold")),
    "recurrent": snn.RecurrentLIFCell(4, dynamics=LIF, kernel_init=INIT),
    "readout": snn.LeakyIntegratorReadout(4, dynamics=LI, kernel_init=INIT, learn=("tau_syn",)),
}


def jitted(layer: Any, **options: Any) -> Any:
    return jax.jit(functools.partial(layer.apply, **options), compiler_options=QUICK)


@functools.cache
def variables_of(name: str) -> Any:
    init = jax.jit(snn.event.RNN(CELLS[name]).init, compiler_options=QUICK)
    return init(jax.random.key(0), INPUTS)


@pytest.mark.slow
@pytest.mark.parametrize("name", CELLS)
def test_one_tree_of_parameters(name: str) -> None:
    """The same names, shapes and first values as with `nn.RNN` and `snn.RNN`."""
    raster = snn.event.to_raster(INPUTS, dt=1e-4, steps=60)
    for runner in (nn.RNN, snn.RNN):
        expected = runner(CELLS[name]).init(jax.random.key(0), raster)
        close = functools.partial(np.testing.assert_allclose, rtol=1e-6)
        jax.tree.map(close, variables_of(name), expected)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["learned", "recurrent"])
def test_one_checkpoint_serves_three_runners(name: str) -> None:
    """As many spikes as on a time grid; the first ones at most two steps apart."""
    variables, dt = variables_of(name), 1e-4
    spikes = jitted(snn.event.RNN(CELLS[name], duration=20e-3))(variables, INPUTS)
    counts = np.asarray(spikes.counts())
    assert counts.sum() >= 4 and counts.max() >= 2
    raster = snn.event.to_raster(INPUTS, dt=dt, steps=200)
    for runner in (nn.RNN, snn.RNN):
        steps = np.asarray(jitted(runner(CELLS[name]))(variables, raster))
        np.testing.assert_array_equal(steps.sum(axis=1), counts)
        first = np.where(counts > 0, np.argmax(steps > 0, axis=1) * dt, np.inf)
        np.testing.assert_allclose(first, spikes.first_times(), rtol=0, atol=2 * dt)


def test_readout_of_the_three_runners() -> None:
    """The membrane of an exact step is that of continuous time at the grid points."""
    variables, dt = variables_of("readout"), 1e-4
    membrane = jitted(snn.event.RNN(CELLS["readout"], duration=20e-3))(variables, INPUTS)
    raster = snn.event.to_raster(INPUTS, dt=dt, steps=200)
    v = jitted(snn.RNN(CELLS["readout"]))(variables, raster)
    at = membrane.at(jnp.arange(200, dtype=jnp.float32) * dt)
    np.testing.assert_allclose(at, v, rtol=0, atol=2e-5)


@pytest.mark.slow
def test_layers_nest_and_a_chain_is_its_layers() -> None:
    cells = [
        CELLS["feed-forward"],
        snn.LIFCell(2, dynamics=LIF, kernel_init=INIT),
        CELLS["readout"],
    ]
    row = nn.Sequential([snn.event.RNN(cell, method="first_spike") for cell in cells])
    nested = nn.Sequential([nn.Sequential(row.layers[:2]), row.layers[2]])
    chain = snn.event.RNN(snn.Chain(cells), method="first_spike")
    rows = jax.jit(row.init, compiler_options=QUICK)(jax.random.key(3), INPUTS)["params"]
    parts = [rows[f"layers_{k}"] for k in range(3)]
    assert [p["cell"]["kernel"].shape for p in parts] == [(3, 4), (4, 2), (2, 4)]
    inner = {"layers_0": {"layers_0": parts[0], "layers_1": parts[1]}, "layers_1": parts[2]}
    linked = {"cell": {f"cells_{k}": p["cell"] for k, p in enumerate(parts)}}
    assert jax.tree.structure(
        nn.RNN(snn.Chain(cells)).init(jax.random.key(0), jnp.zeros((1, 2, 3)))["params"]
    ) == jax.tree.structure(linked)
    expected = jitted(row)({"params": rows}, INPUTS).maximum()
    assert expected.any()
    for net, params in ((nested, inner), (chain, linked)):
        got = jitted(net)({"params": params}, INPUTS).maximum()
        np.testing.assert_allclose(got, expected, rtol=1e-6)


LEARN = ("tau_mem", "tau_syn", "threshold", "resistance", "v_rest", "bias")


@pytest.mark.slow
@pytest.mark.parametrize("delays", ["synaptic", "axonal", "dendritic"])
def test_learned_parameters_and_delays(delays: Any, x64: None) -> None:
    """Logarithms are learned: the gradient is that of `first_spikes` times the value."""
    dynamics = snn.LIFDynamics(tau_mem=20e-3, tau_syn=5e-3, v_rest=0.1, bias=0.05)
    cell = snn.LIFCell(4, dynamics=dynamics, learn=LEARN, param_dtype=jnp.float64, kernel_init=INIT)
    net = snn.event.RNN(cell, method="first_spike", delays=delays)
    inputs = INPUTS.replace(time=INPUTS.time.astype(jnp.float64))
    params = jax.jit(net.init)(jax.random.key(0), inputs)["params"]
    shape = {"synaptic": (3, 4), "axonal": (3, 1), "dendritic": (1, 4)}[delays]
    assert params["log_delay"].shape == shape
    seconds = np.exp(params["log_delay"])
    assert (0 < seconds).all() and (seconds <= 5e-3).all()

    def late(times: Any) -> Any:
        return jnp.sum(jnp.where(jnp.isfinite(times), times, 0.0))

    def direct(kernel: Any, delay: Any, parameters: LIFParameters) -> Any:
        # The cell starts at v_init; bias and learned v_rest move where it rests.
        options = {"delay": delay, "v_init": dynamics.v_init}
        return late(snn.event.first_spikes(inputs, kernel, parameters, **options))

    raw = params["cell"]
    known = {k: jnp.exp(raw[f"log_{k}"]) for k in ("tau_mem", "tau_syn", "threshold", "resistance")}
    rest = {k: raw[f"learned_{k}"] for k in ("v_rest", "bias")}
    numbers = LIFParameters(**known, **rest)
    by_value = jax.jit(jax.grad(direct, argnums=(0, 1, 2)), compiler_options=QUICK)
    kernel, delay, parameters = by_value(raw["kernel"], jnp.asarray(seconds), numbers)

    def through(params: Any) -> Any:
        return late(net.apply({"params": params}, inputs).first_times())

    grads = jax.jit(jax.grad(through), compiler_options=QUICK)(params)
    close = functools.partial(np.testing.assert_allclose, rtol=1e-10, atol=1e-12)
    assert np.asarray(grads["log_delay"]).any()
    close(grads["cell"]["kernel"], kernel)
    close(grads["log_delay"], delay * seconds)
    for name, value in known.items():
        close(grads["cell"][f"log_{name}"], getattr(parameters, name) * value)
    for name in rest:
        close(grads["cell"][f"learned_{name}"], getattr(parameters, name))


@pytest.mark.slow
def test_delays_within_a_layer_and_their_initialiser() -> None:
    cell = CELLS["recurrent"]
    init = nn.initializers.constant(2e-3)
    net = snn.event.RNN(
        cell, delays="axonal", recurrent_delays="synaptic", delay_init=init, duration=20e-3
    )
    params = net.init(jax.random.key(0), INPUTS)["params"]
    assert params["log_recurrent_delay"].shape == (4, 4)
    np.testing.assert_allclose(jnp.exp(params["log_delay"]), 2e-3, rtol=1e-6)
    spikes = jitted(net)({"params": params}, INPUTS)
    later = INPUTS.replace(time=INPUTS.time + 2e-3)
    direct = snn.event.RNN(cell, recurrent_delays="synaptic", duration=20e-3)
    rest = {k: v for k, v in params.items() if k != "log_delay"}
    expected = jitted(direct)({"params": rest}, later)
    np.testing.assert_array_equal(spikes.index, expected.index)
    np.testing.assert_allclose(spikes.time, expected.time, rtol=1e-5)


def test_the_membrane_of_a_spiking_layer() -> None:
    """The potential at its own spikes is the threshold."""
    net = snn.event.RNN(CELLS["recurrent"], duration=20e-3)
    variables = variables_of("recurrent")
    spikes, membrane = jitted(net, return_membrane=True)(variables, INPUTS)
    when = jnp.where(jnp.isfinite(spikes.time), spikes.time, 0.0)
    v = np.asarray(membrane.at(when))
    for b, k in zip(*np.nonzero(np.isfinite(spikes.time)), strict=True):
        np.testing.assert_allclose(v[b, k, spikes.index[b, k]], 1.0, atol=2e-5)
    fired = np.asarray(spikes.counts()) > 0
    np.testing.assert_allclose(np.asarray(membrane.maximum())[fired], 1.0, atol=1e-6)


def test_first_spike_is_eventprop_with_one_spike() -> None:
    cell, variables = CELLS["learned"], variables_of("learned")
    first = jitted(snn.event.RNN(cell, method="first_spike"))(variables, INPUTS)
    loop = jitted(snn.event.RNN(cell, max_spikes=1))(variables, INPUTS)
    assert loop.time.shape == first.time.shape == (2, 4)
    np.testing.assert_array_equal(first.index, loop.index)
    np.testing.assert_allclose(first.time, loop.time, rtol=1e-5)


@pytest.mark.slow
def test_a_soft_reset_has_a_twin() -> None:
    """At the threshold, to subtract it is to reset to 0."""
    soft = snn.LIFCell(4, dynamics=snn.LIFDynamics(tau_syn=5e-3, reset="soft", threshold=0.5))
    hard = snn.LIFCell(4, dynamics=snn.LIFDynamics(tau_syn=5e-3, threshold=0.5))
    params = {"params": {"cell": {"kernel": 3.0 * jnp.ones((3, 4))}}}
    a, b = (jitted(snn.event.RNN(cell))(params, INPUTS) for cell in (soft, hard))
    assert np.isfinite(a.time).any()
    np.testing.assert_array_equal(a.time, b.time)


def test_slots_for_spikes() -> None:
    """4 per neuron on average, or as many as a neuron may have, or as asked."""
    for options, slots in (({}, 16), ({"max_spikes": 2}, 8), ({"budget": 5}, 5)):
        net = snn.event.RNN(CELLS["feed-forward"], **options)
        spikes = jax.eval_shape(net.apply, variables_of("feed-forward"), INPUTS)
        assert spikes.time.shape == (2, slots) and spikes.size == 4
