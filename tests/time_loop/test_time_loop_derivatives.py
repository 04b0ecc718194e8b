"""The fused loop beyond LIF and first derivatives, against nn.RNN in float64."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import flax_snn as snn
from flax_snn.dynamics import Neuron
from flax_snn.dynamics.spike import spike

WIDE = {"param_dtype": jnp.float64}
X = np.random.default_rng(0).random((3, 9, 6)) < 0.4


def cells() -> dict[str, nn.RNNCellBase]:
    held = snn.LIFDynamics(tau_syn=3e-3, refractory=2e-3)
    readout = snn.LeakyIntegratorReadout(3, learn=("tau_mem",), **WIDE)
    return {
        "held": snn.LIFCell(4, dynamics=held, learn=("threshold",), **WIDE),
        "recurrent": snn.RecurrentLIFCell(4, learn=("tau_mem",), **WIDE),
        "chain": snn.Chain((snn.LIFCell(5, use_bias=True, **WIDE), readout)),
    }


def spread_sum(tree: Any) -> jax.Array:
    """Sum of functions of all floating entries, each another one, none of them linear."""
    parts = [
        jnp.sum(jnp.sin(jnp.arange(1.0, leaf.size + 1) / leaf.size * leaf.ravel()))
        for leaf in jax.tree.leaves(tree)
        if jnp.issubdtype(leaf.dtype, jnp.floating)
    ]
    return functools.reduce(jnp.add, parts)


def check_equal(ours: Any, right: Any) -> None:
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(right), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-9 * (1 + float(jnp.abs(b).max())))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "inputs"),
    [("held", "bytes"), ("recurrent", "floating"), ("chain", "floating")],
)
def test_second_derivatives_are_those_of_the_stock_loop(name: str, inputs: str, x64: None) -> None:
    cell = cells()[name]
    x = jnp.asarray(X, jnp.float64 if inputs == "floating" else jnp.uint8)
    variables = {"params": nn.RNN(cell).init(jax.random.key(1), x)["params"]}
    begin = cell.initialize_carry(jax.random.key(2), (3, 6))

    def moved(leaf: jax.Array, by: jax.Array) -> jax.Array:
        return leaf + by if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf

    def found(runner: Any) -> Any:
        def loss(variables: Any, by: jax.Array, x: Any) -> jax.Array:
            carry = jax.tree.map(lambda leaf: moved(leaf, by), begin)
            arguments = {"initial_carry": carry, "return_carry": True}
            return spread_sum(runner.apply(variables, x, mutable=["intermediates"], **arguments))

        which = (0, 1, 2) if inputs == "floating" else (0, 1)
        arguments = (variables, jnp.asarray(0.1), x)
        gradient = jax.grad(loss, which)
        ones = jax.tree.map(jnp.ones_like, arguments[:2])
        return (
            jax.grad(lambda *a: spread_sum(gradient(*a)), which)(*arguments),
            jax.jvp(lambda *a: gradient(*a, x), arguments[:2], ones)[1],
        )

    stock = nn.RNN(cell, variable_axes={"intermediates": 1})
    # A chunk longer than the sequence pads it; one that does not divide it overlaps.
    expected = jax.jit(lambda: found(stock))()
    for chunk in (12, 4):
        fused = snn.RNN(cell, implementation="fused", chunk=chunk)
        check_equal(jax.jit(functools.partial(found, fused))(), expected)


@dataclasses.dataclass(frozen=True)
class Tired(Neuron):
    """A neuron that the loops have never seen: a dictionary, a count, a membrane that is computed.

    Its threshold grows with its last spikes, and a spike counts down a pause of three steps.
    """

    keep: float = 0.9

    def initial_state(self, v_init: Any, *, recurrent: bool = False) -> Any:
        return {
            "u": v_init,
            "tired": jnp.zeros_like(v_init),
            "pause": jnp.zeros(v_init.shape, jnp.int32),
        }

    def membrane(self, state: Any) -> Any:
        return state["u"] - 0.1 * state["tired"] ** 2

    def coefficients(self, values: Any = None, *, dtype: Any = None) -> Any:
        return {"keep": self.keep}

    def step(
        self,
        coefficients: Any,
        state: Any,
        current: Any,
        surrogate: Any = None,
        *,
        recurrent: Any = None,
        noise: Any = None,
    ) -> Any:
        before = spike(self.membrane(state), surrogate, False, jnp.ones((), current.dtype))
        fed = 0.0 if recurrent is None else jnp.tanh(recurrent(before))
        u = coefficients["keep"] * state["u"] + current + fed - before
        awake = state["pause"] == 0
        u = jnp.where(awake, u, 0.5 * u)
        tired = 0.5 * state["tired"] + before
        after = {"u": u, "tired": tired, "pause": jnp.maximum(state["pause"] - 1, 0)}
        out = spike(self.membrane(after), surrogate, False, jnp.ones((), current.dtype))
        after["pause"] = jnp.where(out > 0, 3, after["pause"])
        return after, out


@pytest.mark.slow
@pytest.mark.parametrize("kind", [snn.NeuronCell, snn.RecurrentNeuronCell])
def test_a_neuron_that_loops_have_never_seen(kind: Any, x64: None) -> None:
    cell = kind(4, dynamics=Tired(), **WIDE)
    x = 2.0 * jnp.asarray(X, jnp.float64)
    runners = {
        "stock": nn.RNN(cell, variable_axes={"intermediates": 1}),
        "fused": snn.RNN(cell, implementation="fused", chunk=4),
    }
    variables = {"params": runners["stock"].init(jax.random.key(1), x)["params"]}

    def run(variables: Any, x: Any, runner: Any) -> Any:
        results = runner.apply(variables, x, return_carry=True, mutable=["intermediates"])
        return spread_sum(results), results

    both = [
        jax.jit(jax.value_and_grad(functools.partial(run, runner=r), (0, 1), has_aux=True))(
            variables, x
        )
        for r in (runners["fused"], runners["stock"])
    ]
    check_equal(*both)
    assert float(both[0][0][1][0][1].mean()) > 0.02  # it spikes
