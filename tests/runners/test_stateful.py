"""Streaming: single steps and chunks go on where the last call stopped."""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cell_table import assert_same, case
from covering_rows import covered_by

import flax_snn as snn

ROWS = ("default", "refractory", "two_currents", "readout_synapse", "chain")


@pytest.mark.parametrize("name", covered_by(ROWS, ["chain"]))
def test_steps_and_chunks_equal_the_whole(name: str) -> None:
    c = case(name)
    layer = snn.Stateful(c.cell)
    expected = nn.RNN(c.cell).apply(c.variables, c.x)
    fresh = layer.init(jax.random.key(0), c.x[:, 0])["membrane"]
    step = jax.jit(lambda state, x: layer.apply({**c.variables, **state}, x, mutable=["membrane"]))
    chunk = jax.jit(
        lambda state, x: layer.apply(
            {**c.variables, **state}, x, method="sequence", mutable=["membrane"]
        )
    )
    state: Any = {"membrane": fresh}
    outputs = []
    for t in range(4):
        out, state = step(state, c.x[:, t])
        outputs.append(out[:, None])
    for start, stop in ((4, 9), (9, 24)):
        out, state = chunk(state, c.x[:, start:stop])
        outputs.append(out)
    assert_same(c, jnp.concatenate(outputs, axis=1), expected)
    # A reset goes back to the state of init.
    out, _ = step({"membrane": fresh}, c.x[:, 0])
    assert_same(c, out, expected[:, 0])


def test_init_makes_the_state_and_does_not_advance_it() -> None:
    layer = snn.Stateful(snn.LIFCell(6, dynamics=snn.LIFDynamics(v_rest=0.25)))
    x = 10.0 * jnp.ones((2, 5))
    for method in (None, "sequence"):
        inputs = x if method is None else jnp.broadcast_to(x[:, None], (2, 4, 5))
        variables = layer.init(jax.random.key(0), inputs, method=method)
        np.testing.assert_array_equal(variables["membrane"]["carry"].v, jnp.full((2, 6), 0.25))
        assert set(variables) == {"params", "membrane"}
        assert set(variables["params"]["cell"]) == {"kernel"}


def test_time_major_chunks() -> None:
    c = case("default")
    layer = snn.Stateful(c.cell, time_major=True)
    state = {"membrane": layer.init(jax.random.key(0), c.x[:, 0])["membrane"]}
    x = jnp.swapaxes(c.x, 0, 1)
    out, _ = layer.apply({**c.variables, **state}, x, method="sequence", mutable=["membrane"])
    assert_same(c, jnp.swapaxes(out, 0, 1), nn.RNN(c.cell).apply(c.variables, c.x))


class Step(nn.Module):
    """One time step of a network of several layers."""

    @nn.compact
    def __call__(self, carry: None, x: jax.Array) -> tuple[None, jax.Array]:
        x = snn.Stateful(snn.RecurrentLIFCell(8))(x)
        x = nn.Dense(6)(x)
        x = snn.Stateful(snn.LIFCell(dynamics=snn.LIFDynamics(threshold=0.1)))(x)
        return carry, snn.Stateful(snn.LeakyIntegratorReadout(3))(x)


def test_a_network_step_under_nn_scan() -> None:
    x = (jax.random.uniform(jax.random.key(0), (4, 20, 5)) < 0.3).astype(jnp.float32)
    variables = jax.jit(Step().init)(jax.random.key(1), None, x[:, 0])
    loop = nn.scan(
        Step,
        variable_carry="membrane",
        variable_broadcast="params",
        split_rngs={"params": False},
        in_axes=1,
        out_axes=1,
    )()

    @jax.jit
    def run(variables: Any, x: jax.Array) -> tuple[jax.Array, Any]:
        (_, y), state = loop.apply(variables, None, x, mutable=["membrane"])
        return y, state

    out, state = run(variables, x)
    # The same network, layer by layer over the whole sequence.
    p = variables["params"]

    def rnn(cell: nn.RNNCellBase, name: str, x: jax.Array) -> jax.Array:
        return jax.jit(nn.RNN(cell).apply)({"params": {"cell": p.get(name, {})}}, x)

    y = rnn(snn.RecurrentLIFCell(8), "RecurrentLIFCell_0", x)
    assert 0.02 < float(y.mean()) < 0.5
    y = nn.Dense(6).apply({"params": p["Dense_0"]}, y)
    y = rnn(snn.LIFCell(dynamics=snn.LIFDynamics(threshold=0.1)), "LIFCell_0", y)
    assert 0.02 < float(y.mean()) < 0.5
    y = rnn(snn.LeakyIntegratorReadout(3), "LeakyIntegratorReadout_0", y)
    np.testing.assert_allclose(out, y, rtol=0, atol=2e-5)
    # Two halves with the carried collection equal the whole.
    first, half = run(variables, x[:, :7])
    second, last = run({**variables, **half}, x[:, 7:])
    np.testing.assert_array_equal(jnp.concatenate([first, second], axis=1), out)
    jax.tree.map(np.testing.assert_array_equal, last, state)
    gradient = jax.jit(jax.grad(lambda p: run({**variables, "params": p}, x)[0].sum()))(
        variables["params"]
    )
    assert all(float(jnp.abs(g).max()) > 0 for g in jax.tree.leaves(gradient))


@pytest.mark.slow
def test_a_convolutional_network_streams() -> None:
    lif = snn.LIFDynamics(tau_mem=10e-3, dt=2e-3, threshold=0.2)

    class ConvStep(nn.Module):
        @nn.compact
        def __call__(self, x: jax.Array) -> jax.Array:
            x = nn.Conv(4, (3, 3))(x)
            x = snn.Stateful(snn.LIFCell(dynamics=lif, feature_axes=3))(x)
            x = nn.max_pool(x, (2, 2), strides=(2, 2)).reshape((x.shape[0], -1))
            return snn.Stateful(snn.LIFCell(5, dynamics=lif))(x)

    x = jax.random.uniform(jax.random.key(0), (2, 9, 8, 6, 1))
    variables = ConvStep().init(jax.random.key(1), x[:, 0])
    assert variables["membrane"]["Stateful_0"]["carry"].v.shape == (2, 8, 6, 4)
    p = variables["params"]
    y = nn.Conv(4, (3, 3)).apply({"params": p["Conv_0"]}, x)
    y = snn.LIF(dynamics=lif).apply({}, y)
    assert 0.02 < float(y.mean()) < 0.5
    y = nn.max_pool(y, (2, 2), strides=(2, 2)).reshape((2, 9, -1))
    expected = snn.RNN(snn.LIFCell(5, dynamics=lif)).apply({"params": {"cell": p["LIFCell_1"]}}, y)
    assert 0.02 < float(expected.mean()) < 0.5
    step = jax.jit(lambda v, x: ConvStep().apply(v, x, mutable=["membrane"]))
    state: Any = {"membrane": variables["membrane"]}
    for t in range(9):
        out, state = step({"params": p, **state}, x[:, t])
        np.testing.assert_array_equal(out, expected[:, t])


def test_an_lstm_streams() -> None:
    layer = snn.Stateful(nn.LSTMCell(6))
    x = jax.random.normal(jax.random.key(0), (2, 7, 5))
    variables = layer.init(jax.random.key(1), x[:, 0])
    params = {"params": variables["params"]}
    out, state = layer.apply(variables, x[:, :3], method="sequence", mutable=["membrane"])
    more, _ = layer.apply({**params, **state}, x[:, 3:], method="sequence", mutable=["membrane"])
    expected = nn.RNN(nn.LSTMCell(6)).apply({"params": params["params"]}, x)
    np.testing.assert_allclose(jnp.concatenate([out, more], axis=1), expected, rtol=0, atol=1e-6)


def test_a_missing_wrong_or_frozen_state_is_named() -> None:
    net = nn.Sequential([snn.Stateful(snn.LIFCell(6)), snn.Stateful(snn.LIFCell(4))])
    x = jnp.ones((2, 5))
    variables = net.init(jax.random.key(0), x)
    params, state = {"params": variables["params"]}, {"membrane": variables["membrane"]}
    for keep in ({}, {"membrane": {"layers_0": state["membrane"]["layers_0"]}}):
        name = "layers_1" if keep else "layers_0"
        with pytest.raises(ValueError, match=f"{name}: expected its state.*'membrane', got none"):
            net.apply({**params, **keep}, x, mutable=["membrane"])
    with pytest.raises(ValueError, match=r"layers_0.*mutable=\['membrane'\]"):
        net.apply(variables, x)
    with pytest.raises(ValueError, match=r"state.v: expected shape \(1, 6\).*got shape \(2, 6\)"):
        net.apply(variables, x[:1], mutable=["membrane"])
    with pytest.raises(TypeError, match=r"expected a state such as .*\.i of .*, got LIFState"):
        other = snn.Stateful(snn.LIFCell(6, dynamics=snn.LIFDynamics(tau_syn=5e-3)))
        other.apply(
            {"params": params["params"]["layers_0"], "membrane": state["membrane"]["layers_0"]},
            x,
            mutable=["membrane"],
        )
