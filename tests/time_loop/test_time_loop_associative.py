"""Parallel in time: neurons without a reset, against the loop step by step."""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from covering_rows import covered_by

import flax_snn as snn

X = jax.random.normal(jax.random.key(0), (3, 50, 5))
NO_RESET = {"reset": "none", "tau_mem": 8e-3}
CELLS: dict[str, nn.RNNCellBase] = {
    "integrator": snn.LeakyIntegratorReadout(4, learn=("tau_mem",)),
    "synapse": snn.LeakyIntegratorReadout(4, dynamics=snn.LIDynamics(tau_syn=3e-3), use_bias=True),
    "neurons": snn.LIFCell(4, dynamics=snn.LIFDynamics(**NO_RESET), learn=("threshold",)),
    "channels": snn.LIFCell(4, dynamics=snn.LIFDynamics(tau_syn=(2e-3, 5e-3), **NO_RESET)),
    "old": snn.LIFCell(4, dynamics=snn.LIFDynamics(emit="old", reset_time="next", **NO_RESET)),
    "chain": snn.Chain(
        [snn.LIFCell(6, dynamics=snn.LIFDynamics(**NO_RESET)), snn.LeakyIntegratorReadout(2)]
    ),
}


ROWS = [(name, time_major) for name in CELLS for time_major in (False, True)]


@pytest.mark.parametrize(
    ("name", "time_major"),
    covered_by(ROWS, [("chain", True)]),
)
def test_equal_to_the_loop(name: str, time_major: bool, x64: None) -> None:
    cell = jax.tree.map(lambda leaf: leaf, CELLS[name])
    x = (jnp.swapaxes(X, 0, 1) if time_major else X).astype(jnp.float32)
    arguments = {"time_major": time_major, "return_carry": True}
    stock = nn.RNN(cell, variable_axes={"intermediates": 0 if time_major else 1}, **arguments)
    ours = snn.RNN(cell, implementation="associative", **arguments)
    variables = {"params": stock.init(jax.random.key(1), x)["params"]}
    carry = jax.tree.map(lambda leaf: leaf + 0.2, cell.initialize_carry(jax.random.key(2), (3, 5)))

    def run(variables: Any, x: Any, carry: Any, net: Any) -> Any:
        (last, out), traces = net.apply(
            variables, x, initial_carry=carry, mutable=["intermediates"]
        )
        steps = jnp.arange(50.0, dtype=out.dtype)
        summed = jnp.sum(steps * out.sum(0 if not time_major else 1).sum(-1))
        return summed + sum(jnp.sum(leaf) for leaf in jax.tree.leaves(last)), (last, out, traces)

    results = [
        jax.jit(jax.value_and_grad(lambda *a, net=net: run(*a, net), (0, 1, 2), has_aux=True))(
            variables, x, carry
        )
        for net in (ours, stock)
    ]
    for a, b in zip(*map(jax.tree.leaves, results), strict=True):
        scale = 1.0 + float(jnp.abs(b).max())
        # As in the table of cells: gradients to 1e-4 of the largest entry.
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-4 * scale)


def test_forward_mode_works() -> None:
    net = snn.RNN(CELLS["neurons"], implementation="associative")
    variables = jax.jit(net.init)(jax.random.key(0), X)

    @jax.jit
    def both(v: Any) -> Any:
        def f(v: Any) -> Any:
            return net.apply(v, X).sum()

        ones = jax.tree.map(jnp.ones_like, v)
        return jax.jvp(f, (v,), (ones,))[1], jax.grad(f)(v)

    forward, gradient = both(variables)
    backward = sum(g.sum() for g in jax.tree.leaves(gradient))
    np.testing.assert_allclose(forward, backward, rtol=1e-4)


@pytest.mark.parametrize(
    ("cell", "reason"),
    [
        (snn.LIFCell(3), "a hard reset makes each step wait"),
        (snn.RecurrentLIFCell(3, dynamics=snn.LIFDynamics(reset="none")), "recurrent weights"),
        (snn.LeakyIntegratorReadout(3, dynamics=snn.LIDynamics(v_min=0.0)), "bound v_min"),
        (snn.Chain([CELLS["neurons"], snn.LIFCell(3)]), "LIFDynamics: a hard reset"),
        (nn.GRUCell(3), "not GRUCell"),
    ],
)
def test_what_is_not_parallel_is_refused(cell: Any, reason: str) -> None:
    with pytest.raises(ValueError, match=rf"implementation='associative'.*{reason}"):
        snn.RNN(cell, implementation="associative").init(jax.random.key(0), X)
