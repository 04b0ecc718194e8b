"""What ties e-prop to backpropagation through time, on random networks of all kinds of neurons.

1. e-prop with symmetric feedback is the gradient with the recurrent spikes held fixed.
2. SUM_t dE/dz_j[t] e_ij[t] is the full gradient; dE/dz is the total derivative by the spike as
   other neurons and the readout see it.

The references are loops over `Neuron.step`, differentiated by JAX in reverse mode.
"""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from learn_cases import case, close

import flax_snn as snn
from examples.own_neuron import ExponentialDynamics
from flax_snn.dynamics import aligned

B, T, F, N, C = 2, 11, 3, 4, 2

NEURONS: dict[str, tuple[Any, tuple[str, ...]]] = {
    "lif": (snn.LIFDynamics(tau_mem=5e-3), ()),
    "lif, soft": (snn.LIFDynamics(tau_mem=5e-3, reset="soft"), ()),
    "lif, learned": (snn.LIFDynamics(tau_mem=5e-3, reset="soft"), ("tau_mem", "threshold")),
    "lif, refractory": (snn.LIFDynamics(tau_mem=5e-3, refractory=2e-3), ()),
    "lif, reset flows": (snn.LIFDynamics(tau_mem=5e-3, reset_gradient="flow"), ()),
    "synapse": (snn.LIFDynamics(tau_mem=5e-3, tau_syn=3e-3, reset="soft"), ()),
    "synapses": (snn.LIFDynamics(tau_mem=5e-3, tau_syn=(3e-3, 8e-3)), ()),
    "recurrent synapse": (snn.LIFDynamics(tau_mem=5e-3, tau_syn=3e-3, tau_syn_rec=6e-3), ()),
    "alif": (snn.ALIFDynamics(tau_mem=5e-3, tau_adapt=20e-3, beta=0.4), ("beta",)),
    "alif, refractory": (snn.ALIFDynamics(tau_mem=5e-3, beta=0.4, refractory=3e-3), ()),
    "adlif": (snn.AdLIFDynamics(tau_mem=5e-3, tau_adapt=30e-3, q=5.0), ("a",)),
    "adlif, euler": (snn.AdLIFDynamics(tau_mem=5e-3, scheme="euler", q=5.0), ()),
    "lsnn": (snn.LSNNDynamics(reset_gradient="flow"), ()),
    "silif": (snn.SiLIFDynamics(), ()),
    "own": (ExponentialDynamics(tau_mem=5e-3), ("tau_mem",)),
}


def model_of(name: str) -> Any:
    dynamics, learn = NEURONS[name]
    wide = {"param_dtype": jnp.float64}
    surrogate = snn.surrogate.superspike(slope=2.0)
    hidden = snn.RecurrentNeuronCell(
        N, dynamics=dynamics, learn=learn, use_bias=True, surrogate=surrogate, **wide
    )
    last = snn.LeakyIntegratorReadout(C, dynamics=snn.LIDynamics(tau_mem=4e-3), **wide)
    return snn.RNN(snn.Chain([hidden, last]))


def drawn(name: str, seed: int) -> tuple[Any, Any]:
    """Returns variables with which neurons spike now and then, and a batch."""
    keys = jax.random.split(jax.random.key(seed), 6)
    x = (jax.random.uniform(keys[0], (B, T, F)) < 0.5).astype(jnp.float64)
    targets = jax.random.normal(keys[1], (B, T, C), jnp.float64)
    variables: Any = _init(name)(keys[2], x)
    hidden = dict(variables["params"]["cell"]["cells_0"])
    hidden["kernel"] = hidden["kernel"] * 0.4 + jnp.abs(hidden["kernel"]) * 0.4
    hidden["bias"] = 0.1 * jax.random.normal(keys[3], hidden["bias"].shape, jnp.float64)
    cells = {**variables["params"]["cell"], "cells_0": hidden}
    return {"params": {"cell": cells}}, (x, targets)


@functools.cache
def _init(name: str) -> Any:
    return jax.jit(model_of(name).init)


def reference(name: str, params: Any, batch: Any, probes: jax.Array, *, cut: bool) -> jax.Array:
    """The loss, step by step; ``probes (T, B, N)`` are added to the spikes that others see."""
    x, targets = batch
    hidden, last = model_of(name).cell.cells
    dynamics, learn = NEURONS[name]
    mine = params["cell"]["cells_0"]
    values = hidden.values_of(mine) if learn else None
    numbers = aligned(dynamics.coefficients(values), 2, jnp.float64)
    of_readout = aligned(last.dynamics.coefficients(), 2, jnp.float64)
    zeros = jnp.zeros((B, N), jnp.float64)
    state = dynamics.initial_state(zeros, recurrent=True)
    membrane = last.dynamics.initial_state(jnp.zeros((B, C), jnp.float64))
    total, blocks = jnp.zeros((), jnp.float64), dynamics.blocks
    for t in range(T):
        before = probes[t - 1] if t else zeros

        def recurrent(spikes: jax.Array, before: jax.Array = before) -> Any:
            seen = spikes + before
            seen = jax.lax.stop_gradient(seen) if cut else seen
            caused = seen @ mine["recurrent_kernel"]
            count = dynamics.recurrent_blocks
            return caused if count == 1 else tuple(jnp.split(caused, count, -1))

        current = x[:, t] @ mine["kernel"] + mine["bias"][None]
        given = current if blocks == 1 else tuple(jnp.split(current, blocks, -1))
        surrogate = hidden.surrogate
        state, spikes = dynamics.step(numbers, state, given, surrogate, recurrent=recurrent)
        kernel = params["cell"]["cells_1"]["kernel"]
        driven = (spikes + probes[t]) @ kernel
        membrane, y = last.dynamics.step(of_readout, membrane, driven)
        total = total + 0.5 * jnp.sum((y - targets[:, t]) ** 2)
    return total


@functools.cache
def compiled(name: str) -> tuple[Any, ...]:
    model = model_of(name)

    def rule(variables: Any, batch: Any) -> Any:
        return snn.learn.eprop(model, variables, batch, snn.learn.squared_error, chunk=4)

    def both(variables: Any, batch: Any) -> Any:
        zeros = jnp.zeros((T, B, N), jnp.float64)
        cut = functools.partial(reference, name, batch=batch, cut=True)
        full = functools.partial(reference, name, batch=batch, cut=False)
        of_cut = jax.value_and_grad(lambda p: cut(p, probes=zeros))(variables["params"])
        of_full = jax.grad(lambda p, z: full(p, probes=z), (0, 1))(variables["params"], zeros)
        return of_cut, of_full

    def traces(variables: Any, batch: Any) -> Any:
        return snn.learn.eligibility_traces(model, variables, batch[0])

    return jax.jit(rule), jax.jit(both), jax.jit(traces)


@pytest.mark.slow
@pytest.mark.parametrize("name", list(NEURONS))
def test_identities_hold(name: str) -> None:
    with jax.enable_x64(True):
        rule, both, traces = compiled(name)

        @settings(max_examples=12)
        @given(st.integers(0, 2**31 - 1))
        def holds(seed: int) -> None:
            variables, batch = drawn(name, seed)
            loss, gradient = rule(variables, batch)
            (expected, of_cut), (of_full, of_spikes) = both(variables, batch)
            close(loss, expected, 1e-10)
            jax.tree.map(lambda a, b: close(a, b, 1e-10), gradient, of_cut)
            eligible = traces(variables, batch)
            for kernel, trace in eligible.items():
                repeats = trace.shape[-1] // N
                signal = np.tile(np.asarray(of_spikes), (1, 1, repeats))
                whole = np.einsum("tbj,btij->ij", signal, np.asarray(trace))
                close(whole, of_full["cell"]["cells_0"][kernel], 1e-10)

        holds()


@pytest.mark.slow
def test_some_of_the_random_networks_spike_and_are_far_from_bptt() -> None:
    """Else the identities would hold for any rule."""
    with jax.enable_x64(True):
        _, both, _ = compiled("alif")
        (_, of_cut), (of_full, _) = both(*drawn("alif", 0))
    kernels = [g["cell"]["cells_0"]["recurrent_kernel"] for g in (of_cut, of_full)]
    cut, full = (np.asarray(kernel) for kernel in kernels)
    assert np.linalg.norm(full) > 0
    assert np.linalg.norm(cut - full) > 0.1 * np.linalg.norm(full)


@pytest.mark.slow
@pytest.mark.parametrize("k", [1, 3])
def test_eligibility_traces_are_those_of_the_files(k: int, x64: None) -> None:
    from test_learn_eprop import network

    c = case("eprop", k)
    model, variables = network(c, "float64")
    found = jax.jit(functools.partial(snn.learn.eligibility_traces, model))(
        variables, inputs=jnp.asarray(c["x"])
    )
    e = np.concatenate([found["kernel"], found["recurrent_kernel"]], axis=2)
    close(e.sum(axis=(0, 1)), c["elig_sum"], 1e-12)
    close(e[:, -1], c["elig_last"], 1e-12)
    # Identity 2 with the derivatives of the file: the full gradient, reset stopped.
    whole = np.einsum("tbj,btij->ij", c["dEdz"], e)
    expected = np.concatenate([c["bptt_w_in"], c["bptt_w_rec"]])
    for array in (whole, expected):
        np.fill_diagonal(array[c["x"].shape[2] :], 0.0)
    close(whole, expected, 1e-10)
