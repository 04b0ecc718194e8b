"""Carries that do not fit their cell, given to runners and cells."""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import flax_snn as snn

B, T, F, N = 4, 6, 5, 3
X = jnp.ones((B, T, F))
KEY = jax.random.key(0)
CELL = snn.ALIFCell(N)
STATE = CELL.initialize_carry(KEY, (B, F))


def changed(**entries: Any) -> Any:
    return STATE.replace(**entries)


WRONG: dict[str, tuple[Any, type[Exception], str]] = {
    "another kind": (
        snn.LIFCell(N).initialize_carry(KEY, (B, F)),
        TypeError,
        r"expected a state such as .*initialize_carry.* returns, \w+ \(.*\.a of shape \(4, 3\).*"
        r"got LIFState \(\.v of shape \(4, 3\)\)",
    ),
    "a dict": ({"v": jnp.zeros((B, N))}, TypeError, r"got dict \(\['v'\] of shape \(4, 3\)\)"),
    "nothing": ((), TypeError, r"got tuple \(\)"),
    "lists": (
        changed(v=[[0.0] * N] * B),
        TypeError,
        r"expected a state such as .* got \w+ \(\.v\[0\]\[0\] of shape \(\), .*\.\.\.\)",
    ),
    "one more neuron": (
        changed(v=jnp.zeros((B, N + 1))),
        ValueError,
        r"\.v: expected shape \(4, 3\), as the input has it, got shape \(4, 4\)",
    ),
    "one sample": (
        CELL.initialize_carry(KEY, (1, F)),
        ValueError,
        r"\.v: expected shape \(4, 3\), .* got shape \(1, 3\); initialise the carry for this batch",
    ),
    "whole numbers": (
        changed(v=jnp.zeros((B, N), int)),
        TypeError,
        r"\.v: expected dtype float32, that of the state, got int32; convert it",
    ),
    "half precision": (
        changed(v=jnp.zeros((B, N), jnp.bfloat16)),
        TypeError,
        r"\.v: expected dtype float32, that of the state, got bfloat16",
    ),
}


@pytest.mark.parametrize("fault", WRONG)
def test_a_wrong_carry_is_named(fault: str, unchecked: None) -> None:
    carry, error, words = WRONG[fault]
    variables = nn.RNN(CELL).init(KEY, X)
    with pytest.raises(error, match="ALIFCell: state.*" + words):
        CELL.apply({"params": variables["params"]["cell"]}, carry, X[:, 0])
    for implementation in ("auto", "scan"):
        with pytest.raises(error, match="RNN: initial_carry.*" + words):
            net = snn.RNN(CELL, implementation=implementation)
            net.apply(variables, X, initial_carry=carry)
    chain = snn.Chain([snn.LIFCell(F), CELL])
    whole = nn.RNN(chain).init(KEY, X)
    carries = (snn.LIFCell(F).initialize_carry(KEY, (B, F)), carry)
    with pytest.raises(error, match=r"RNN: initial_carry\[1\].*" + words):
        snn.RNN(chain).apply(whole, X, initial_carry=carries)
    with pytest.raises(error, match="ALIFCell: state.*" + words):
        nn.RNN(chain).apply(whole, X, initial_carry=carries)
    layer = snn.Stateful(CELL)
    state = {"params": variables["params"], "membrane": {"carry": carry}}
    with pytest.raises(error, match="state.*" + words):
        layer.apply(state, X[:, 0], mutable=["membrane"])


def test_carries_that_fit_are_taken() -> None:
    """Those of NumPy in float64, which JAX takes in float32, and of other cells of Flax, too."""
    variables = nn.RNN(CELL).init(KEY, X)
    given = jax.tree.map(lambda a: np.full(a.shape, 0.1), STATE)
    found = snn.RNN(CELL).apply(variables, X, initial_carry=given)
    expected = nn.RNN(CELL).apply(
        variables, X, initial_carry=jax.tree.map(lambda a: jnp.full(a.shape, 0.1), STATE)
    )
    np.testing.assert_allclose(found, expected, atol=1e-6)

    class Taught(nn.GRUCell):
        """A cell that does not make its carry."""

        def initialize_carry(self, rng: Any, input_shape: Any) -> Any:
            raise RuntimeError("give the carry")

    for cell in (nn.GRUCell(N), Taught(N)):
        start = jnp.full((B, N), 0.1)
        variables = nn.RNN(cell).init(KEY, X, initial_carry=start)
        found, expected = (
            net.apply(variables, X, initial_carry=start) for net in (snn.RNN(cell), nn.RNN(cell))
        )
        np.testing.assert_array_equal(found, expected)
    with pytest.raises(TypeError, match=r"RNN: initial_carry: expected a state .* got list"):
        snn.RNN(nn.GRUCell(N)).init(KEY, X, initial_carry=[start])
