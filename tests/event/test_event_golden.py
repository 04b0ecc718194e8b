"""Spike times, states and gradients against the golden files (34-digit arithmetic)."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from covering_rows import covered_by
from event_layer import QUICK

import flax_snn as snn
from flax_snn.dynamics import LIFParameters
from flax_snn.event.simulation import checked_layer

GOLDEN = Path(__file__).parents[1] / "golden" / "event"
RATIOS = ["0p5", "1", "2", "3", "4p7"]
SLOTS = 16  # spikes of one neuron in the tables of the files, at most

# Of times; of gradients, relative to the largest of their kind: the README of the golden files.
TOLERANCE = {"float64": (1e-10, 1e-8), "float32": (1e-5, 1e-4)}


def load(name: str) -> dict[str, np.ndarray]:
    with np.load(GOLDEN / f"{name}.npz") as file:
        return dict(file)


def in_slots(spikes: snn.event.Spikes, table: jax.Array) -> jax.Array:
    """Entries of a table (B, N, SLOTS) in the slots of the spikes, 0 in empty ones."""
    same = spikes.index[:, :, None] == spikes.index[:, None, :]
    number = jnp.sum(jnp.tril(same, -1), axis=2)
    row = jnp.arange(len(spikes.index))[:, None]
    return jnp.where(spikes.index < 0, 0.0, table[row, spikes.index, number])


def in_table(spikes: snn.event.Spikes) -> np.ndarray:
    """Times (B, N, SLOTS) of spikes, padded with infinity."""
    table = np.full((*spikes.counts().shape, SLOTS), np.inf)
    for b, (times, index) in enumerate(zip(spikes.time, spikes.index, strict=True)):
        for n in range(table.shape[1]):
            own = np.asarray(times)[np.asarray(index) == n]
            table[b, n, : len(own)] = own
    return table


def weighted(spikes: snn.event.Spikes, table: jax.Array) -> jax.Array:
    c = in_slots(spikes, table)
    return jnp.sum(jnp.where(c != 0, c * jnp.where(c != 0, spikes.time, 0.0), 0.0))


def padded(table: np.ndarray, empty: float) -> np.ndarray:
    width = [(0, 0)] * (table.ndim - 1) + [(0, SLOTS - table.shape[-1])]
    return np.pad(table, width, constant_values=empty)


def end_state(inputs: Any, kernel: Any, parameters: Any, out: Any, end: float, **more: Any) -> Any:
    layer, _ = checked_layer("test", inputs, kernel, parameters, more.pop("delay", None), end)
    layer = layer._replace(**more)
    membrane = snn.event.Membrane(layer, inputs.index, out.time, out.index, end)
    at = jnp.full((1,), end, kernel.dtype)
    return membrane.at(at)[:, 0], membrane.current(at)[:, 0]


@functools.cache
def feedforward(method: str, end: float) -> Any:
    """Loss, spikes and end state of two layers, and gradients; compiled once for all ratios."""
    single = method != "multi"

    def run(p: Any, channel: Any, table: Any) -> Any:
        spikes = snn.event.Spikes(p["t_in"], channel, None, p["W1"].shape[0])
        spikes_of, states = [], []
        for k in range(2):
            parameters = LIFParameters(
                tau_mem=p["tau_m"][k],
                tau_syn=p["tau_s"][k],
                threshold=p[f"theta{k + 1}"],
                v_rest=p["V_L"][k],
                v_reset=p["V_r"][k],
                refractory=0.0 if single else p["t_ref"][k],
            )
            kernel, delay = p[f"W{k + 1}"], p.get(f"D{k + 1}")
            if method == "first_spikes":
                times = snn.event.first_spikes(spikes, kernel, parameters, duration=end)
                out = snn.event.from_times(times)
            else:
                out = snn.event.simulate(
                    spikes,
                    kernel,
                    parameters,
                    budget=kernel.shape[1] if single else 60,
                    max_spikes=1 if single else None,
                    duration=end,
                    delay=delay,
                )
            states.append(end_state(spikes, kernel, parameters, out, end, delay=delay))
            spikes_of.append(out)
            spikes = out
        states = [jnp.concatenate(x, axis=1) for x in zip(*states, strict=True)]
        return weighted(spikes, table), (spikes_of, states)

    return jax.jit(jax.value_and_grad(run, has_aux=True), compiler_options=QUICK)


@functools.cache
def recurrent(end: float) -> Any:
    def run(p: Any, channel: Any, table: Any) -> Any:
        inputs = snn.event.Spikes(p["t_in"], channel, None, p["W_in"].shape[0])
        parameters = LIFParameters(
            tau_mem=p["tau_m"],
            tau_syn=p["tau_s"],
            threshold=p["theta"],
            v_rest=p["V_L"],
            v_reset=p["V_r"],
            refractory=p["t_ref"],
        )
        parts = {"delay": p.get("D_in")}
        if "W" in p:
            parts |= {"recurrent_kernel": p["W"], "recurrent_delay": p.get("D")}
        out = snn.event.simulate(inputs, p["W_in"], parameters, budget=60, duration=end, **parts)
        state = end_state(inputs, p["W_in"], parameters, out, end, **parts)
        return weighted(out, table), (out, state)

    return jax.jit(jax.value_and_grad(run, has_aux=True), compiler_options=QUICK)


def check(dtype: str, d: Any, out: Any, state: Any, grads: Any, golden: Any) -> None:
    time_error, gradient_error = TOLERANCE[dtype]
    for spikes, times in out:
        assert not spikes.overflow.any()
        assert spikes.time.dtype == dtype
        np.testing.assert_allclose(in_table(spikes), times, rtol=0, atol=time_error)
    for x, expected in zip(state, (d["V_T"], d["I_T"]), strict=True):
        np.testing.assert_allclose(x, expected.reshape(x.shape), rtol=0, atol=10 * time_error)
    assert golden
    for name, expected in golden.items():
        got = np.asarray(grads[name]).reshape(expected.shape)
        atol = gradient_error * max(np.abs(expected).max(), 1e-30)
        np.testing.assert_allclose(got, expected, rtol=0, atol=atol, err_msg=name)


def given(d: Any, names: tuple[str, ...], dtype: str) -> dict[str, jax.Array]:
    return {name: jnp.asarray(d[name], dtype) for name in names if name in d}


LAYERS = ("W1", "W2", "D1", "D2", "theta1", "theta2", "tau_m", "tau_s", "V_L", "V_r", "t_ref")


@pytest.mark.parametrize("dtype", ["float64", pytest.param("float32", marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    "method",
    [*(pytest.param(m, marks=pytest.mark.slow) for m in ("first_spikes", "single")), "multi"],
)
@pytest.mark.parametrize("ratio", covered_by(RATIOS, RATIOS[1:4]))
def test_feedforward(ratio: str, method: str, dtype: str) -> None:
    d = load(f"ff_{'multi' if method == 'multi' else 'first'}_r{ratio}")
    with jax.enable_x64(dtype == "float64"):
        p = given(d, (*LAYERS, "t_in"), dtype)
        table = jnp.asarray(padded(d["C"], 0.0), dtype)
        run = feedforward(method, float(d["T"]))
        (loss, (out, state)), grads = run(p, jnp.asarray(d["ch_in"], jnp.int32), table)
    np.testing.assert_allclose(loss, d["loss"], rtol=TOLERANCE[dtype][1])
    times = [padded(d[f"spikes_{name}"], np.inf) for name in ("hidden", "out")]
    golden = {name[2:]: value for name, value in d.items() if name.startswith("g_")}
    assert {"W1", "W2", "t_in", "theta1", "theta2", "tau_m", "tau_s"} <= set(golden)
    check(dtype, d, zip(out, times, strict=True), state, grads, golden)


@pytest.mark.parametrize("dtype", ["float64", pytest.param("float32", marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    "name", covered_by(["nodelay_r2", "delay_r1", "delay_r2", "delay_r3"], ["delay_r2", "delay_r3"])
)
def test_recurrent(name: str, dtype: str) -> None:
    d = load(f"rec_{name}")
    fields = ("W_in", "W", "theta", "tau_m", "tau_s", "V_L", "V_r", "t_ref")
    with jax.enable_x64(dtype == "float64"):
        p = given(d, fields + (() if "nodelay" in name else ("D_in", "D")), dtype)
        p["t_in"] = jnp.asarray(d["t_in"][None], dtype)
        table = jnp.asarray(padded(d["C"], 0.0)[None], dtype)
        run = recurrent(float(d["T"]))
        (loss, (out, state)), grads = run(p, jnp.asarray(d["ch_in"][None], jnp.int32), table)
    np.testing.assert_allclose(loss, d["loss"], rtol=TOLERANCE[dtype][1])
    golden = {name[2:]: value for name, value in d.items() if name.startswith("g_")}
    check(dtype, d, [(out, padded(d["spikes"], np.inf)[None])], state, grads, golden)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("ratio", RATIOS)
def test_single_neurons(ratio: str, dtype: str) -> None:
    """The three variants of a file as three neurons of one layer, each with sources of its own."""
    d = load(f"neuron_r{ratio}")
    variants, channels = d["w"].shape
    order = np.argsort(d["t_in"].reshape(-1), kind="stable")
    own = np.repeat(np.eye(variants, dtype=bool), channels, axis=0)
    d["W_in"] = np.where(own, d["w"].reshape(-1, 1), 0.0)
    with jax.enable_x64(dtype == "float64"):
        p = given(d, ("W_in", "theta", "tau_m", "tau_s", "V_L", "V_r", "t_ref"), dtype)
        p["t_in"] = jnp.asarray(d["t_in"].reshape(-1)[order][None], dtype)
        table = jnp.asarray(padded(d["C"], 0.0)[None], dtype)
        run = recurrent(float(d["T"][0]))
        (loss, (out, state)), grads = run(p, jnp.asarray(order[None], jnp.int32), table)
    np.testing.assert_allclose(loss, d["loss"].sum(), rtol=TOLERANCE[dtype][1])
    golden = {name[2:]: value for name, value in d.items() if name.startswith("g_")}
    grads["w"] = np.asarray(grads["W_in"])[own]
    back = np.empty_like(order)
    back[order] = np.arange(len(order))
    grads["t_in"] = np.asarray(grads["t_in"])[0, back]
    known = np.isfinite(golden["t_ref"])
    golden["t_ref"] = golden["t_ref"][known]
    grads["t_ref"] = np.asarray(grads["t_ref"])[known]
    assert len(golden) == 8
    check(dtype, d, [(out, padded(d["spikes"], np.inf)[None])], state, grads, golden)


@pytest.mark.slow
def test_the_runner_over_learned_parameters_and_delays(x64: None) -> None:
    """Two cells that learn, in `nn.Sequential`: logarithms have the gradient times the value."""
    d = load("ff_multi_r3")
    learn = ("tau_mem", "tau_syn", "threshold", "v_reset")
    layers = []
    for k, features in enumerate((5, 3)):
        # All that is learned is set below; the refractory period is not, nor is the resting
        # potential: golden neurons start there, cells at v_init, which is not learned with it.
        dynamics = snn.LIFDynamics(
            tau_mem=9.0,
            tau_syn=9.0,
            dt=0.1,
            refractory=float(d["t_ref"][k]),
            threshold=9.0,
            v_rest=float(d["V_L"][k]),
        )
        cell = snn.LIFCell(features, dynamics=dynamics, learn=learn, param_dtype=jnp.float64)
        layers.append(snn.event.RNN(cell, delays="synaptic", budget=40, duration=float(d["T"])))
    net = nn.Sequential(layers)
    params: dict[str, Any] = {}
    for k, features in enumerate((5, 3)):
        full = functools.partial(np.full, (features,))
        params[f"layers_{k}"] = {
            "log_delay": np.log(d[f"D{k + 1}"]),
            "cell": {
                "kernel": d[f"W{k + 1}"],
                "log_tau_mem": full(np.log(d["tau_m"][k])),
                "log_tau_syn": full(np.log(d["tau_s"][k])),
                "log_threshold": np.log(d[f"theta{k + 1}"]),
                "learned_v_reset": full(d["V_r"][k]),
            },
        }
    params = jax.tree.map(jnp.asarray, params)
    inputs = snn.event.Spikes(jnp.asarray(d["t_in"]), jnp.asarray(d["ch_in"], jnp.int32), None, 4)
    table = jnp.asarray(padded(d["C"], 0.0))

    def loss(params: Any) -> jax.Array:
        return weighted(net.apply({"params": params}, inputs), table)

    value, grads = jax.jit(jax.value_and_grad(loss), compiler_options=QUICK)(params)
    np.testing.assert_allclose(value, d["loss"], rtol=1e-10)
    for k in range(2):
        cell, n = grads[f"layers_{k}"]["cell"], k + 1
        pairs = [
            (cell["kernel"], d[f"g_W{n}"]),
            (grads[f"layers_{k}"]["log_delay"], d[f"g_D{n}"] * d[f"D{n}"]),
            (cell["log_threshold"], d[f"g_theta{n}"] * d[f"theta{n}"]),
            (cell["log_tau_mem"].sum(), d["g_tau_m"][k] * d["tau_m"][k]),
            (cell["log_tau_syn"].sum(), d["g_tau_s"][k] * d["tau_s"][k]),
            (cell["learned_v_reset"].sum(), d["g_V_r"][k]),
        ]
        for got, expected in pairs:
            np.testing.assert_allclose(got, expected, rtol=0, atol=1e-8 * np.abs(expected).max())
