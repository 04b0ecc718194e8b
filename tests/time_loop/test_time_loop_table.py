"""Every time loop of the table: the numbers of stock ``nn.RNN``, or in words why not."""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from covering_rows import covered_by

import flax_snn as snn
from flax_snn.time_loop import LOOPS, TimeLoop

T = 9
WIDE = {"param_dtype": jnp.float64}
LIF = {"learn": ("tau_mem",), **WIDE}
FREE = snn.LIFDynamics(reset="none", tau_syn=3e-3)

CELLS: dict[str, nn.RNNCellBase] = {
    "integrator": snn.LeakyIntegratorReadout(3, **WIDE),
    "without reset": snn.LIFCell(4, dynamics=FREE, use_bias=True, **LIF),
    "recurrent chain": snn.Chain(
        [
            snn.RecurrentLIFCell(4, **LIF),
            snn.LIFCell(5, **LIF),
            snn.LeakyIntegratorReadout(2, **WIDE),
        ]
    ),
    "adaptive": snn.ALIFCell(4, **WIDE),
}
ROWS = [
    (name, cell, time_major) for name in LOOPS for cell in CELLS for time_major in (False, True)
]
# By default each loop on two networks, of which each can run at least one, in both layouts.
DEFAULT = [
    (name, cell, time_major)
    for name in LOOPS
    for cell, time_major in (("without reset", False), ("recurrent chain", True))
]


@pytest.mark.parametrize(("name", "cell", "time_major"), covered_by(ROWS, DEFAULT))
def test_a_time_loop_gives_the_numbers_of_nn_rnn_or_says_why_not(
    name: str, cell: str, time_major: bool, x64: None
) -> None:
    shape = (T, 3, 6) if time_major else (3, T, 6)
    x = jnp.asarray(np.random.default_rng(0).normal(0.5, 2.0, shape))
    traced = {"variable_axes": {"intermediates": 0 if time_major else 1}}
    stock = nn.RNN(CELLS[cell], time_major=time_major, return_carry=True, **traced)
    ours = snn.RNN(CELLS[cell], implementation=name, time_major=time_major, return_carry=True)
    variables = {"params": jax.jit(stock.init)(jax.random.key(1), x)["params"]}

    def results(net: Any) -> Any:
        def loss(variables: Any, x: Any) -> Any:
            (carry, out), traces = net.apply(variables, x, mutable=["intermediates"])
            weights = jnp.cos(jnp.arange(out.size, dtype=out.dtype)).reshape(out.shape)
            ends = [jnp.sum(jnp.sin(leaf)) for leaf in jax.tree.leaves(carry)]
            return jnp.sum(weights * out) + sum(ends), (carry, out, traces)

        return jax.jit(jax.value_and_grad(loss, (0, 1), has_aux=True))(variables, x)

    try:
        found = results(ours)
    except ValueError as error:
        assert f"implementation='{name}' cannot run this: " in str(error)
        assert cell != "without reset", "each loop runs neurons that are never reset"
        return
    expected = results(stock)
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    assert any(np.any(g != 0.0) for g in jax.tree.leaves(expected[1]))
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        # Sums in another order, in float64.
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-10 * (1.0 + float(jnp.abs(b).max())))


@pytest.mark.parametrize("name", LOOPS)
def test_the_rows_of_the_table_are_time_loops(name: str) -> None:
    assert isinstance(LOOPS[name], TimeLoop)
    assert snn.RNN(snn.LIFCell(3), implementation=name).implementation == name
