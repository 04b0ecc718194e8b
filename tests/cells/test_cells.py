"""One contract for all cells: whatever runs a cell, the numbers are the same."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cell_table import (
    CELLS,
    B,
    Case,
    F,
    T,
    assert_same,
    assert_same_carry,
    assert_same_gradients,
    case,
)
from covering_rows import covered_by

import flax_snn as snn

every_cell = pytest.mark.parametrize(
    "name",
    covered_by(
        CELLS,
        ["refractory", "learned", "old_spikes_lag", "chain"],
    ),
)
# Contracts that rest on those of `every_cell`. The chain has cells with and without recurrent
# weights, and membranes that never spike.
most_cells = pytest.mark.parametrize("name", covered_by(CELLS, ["chain"]))
learning_cells = pytest.mark.parametrize("name", covered_by(CELLS, ["learned"]))
recurrent_cells = pytest.mark.parametrize("name", covered_by(CELLS, ["two_currents"]))


def reference(c: Case, x: jax.Array, carry: Any = None) -> tuple[Any, jax.Array]:
    """Carry and outputs of stock ``nn.RNN``."""
    return jax.jit(nn.RNN(c.cell, return_carry=True).apply)(c.variables, x, initial_carry=carry)


@functools.cache
def whole(name: str) -> tuple[Any, jax.Array]:
    """Carry and outputs of stock ``nn.RNN`` for all of the input."""
    return reference(case(name), case(name).x)


def fields_of(cell: nn.RNNCellBase) -> dict[str, Any]:
    """Arguments that make the cell again."""
    names = {field.name for field in dataclasses.fields(cell)} - {"name", "parent"}
    return {name: getattr(cell, name) for name in names}


def loss_gradients(runner: nn.Module, c: Case, x: jax.Array) -> Any:
    """Gradients of a loss on outputs and final state, for parameters and inputs."""

    def loss(variables: Any, x: jax.Array) -> jax.Array:
        carry, out = runner.apply(variables, x, return_carry=True)
        weights = jnp.cos(jnp.arange(out.size, dtype=out.dtype)).reshape(out.shape)
        floats = [leaf for leaf in jax.tree.leaves(carry) if leaf.dtype == jnp.float32]
        return jnp.sum(out * weights) + sum(jnp.sum(jnp.sin(leaf)) for leaf in floats)

    return jax.jit(jax.grad(loss, argnums=(0, 1)))(c.variables, x)


@pytest.mark.parametrize("name", covered_by(CELLS, ["old_spikes_lag", "chain"]))
def test_same_as_a_loop_by_hand(name: str) -> None:
    c = case(name)
    carry = c.cell.initialize_carry(jax.random.key(0), (B, F))
    step = jax.jit(c.cell.apply)
    outputs = []
    for t in range(T):
        carry, out = step(c.inner, carry, c.x[:, t])
        outputs.append(out)
    expected_carry, expected = whole(name)
    assert_same(c, jnp.stack(outputs, axis=1), expected)
    assert_same_carry(carry, expected_carry)


@every_cell
def test_both_runners_agree(name: str) -> None:
    c = case(name)
    runner = snn.RNN(c.cell, return_carry=True)
    carry, out = jax.jit(runner.apply)(c.variables, c.x)
    expected_carry, expected = whole(name)
    assert_same(c, out, expected)
    assert_same_carry(carry, expected_carry)
    assert_same_gradients(loss_gradients(runner, c, c.x), loss_gradients(nn.RNN(c.cell), c, c.x))


@learning_cells
def test_both_runners_make_the_very_same_parameters(name: str) -> None:
    c = case(name)
    ours, stock = (
        jax.jit(runner(c.cell).init)(jax.random.key(3), c.x) for runner in (snn.RNN, nn.RNN)
    )
    assert jax.tree.structure(ours) == jax.tree.structure(stock)
    jax.tree.map(np.testing.assert_array_equal, ours, stock)


@pytest.mark.slow
@most_cells
def test_without_jit(name: str) -> None:
    c = case(name)
    x = c.x[:, :6]
    expected_carry, expected = jax.jit(lambda x: reference(c, x))(x)
    with jax.disable_jit():
        carry, out = snn.RNN(c.cell, return_carry=True).apply(c.variables, x)
    assert_same(c, out, expected)
    assert_same_carry(carry, expected_carry)


@most_cells
@pytest.mark.parametrize("runner", [nn.RNN, snn.RNN])
def test_time_major_and_reverse(name: str, runner: Any) -> None:
    c = case(name)
    carry, out = runner(c.cell, time_major=True, return_carry=True).apply(
        c.variables, jnp.swapaxes(c.x, 0, 1)
    )
    expected_carry, expected = whole(name)
    assert_same(c, jnp.swapaxes(out, 0, 1), expected)
    assert_same_carry(carry, expected_carry)

    flipped = jnp.flip(c.x, axis=1)
    kept = runner(c.cell, reverse=True, keep_order=True).apply(c.variables, flipped)
    assert_same(c, jnp.flip(kept, axis=1), expected)
    turned = runner(c.cell).apply(c.variables, flipped, reverse=True)
    assert_same(c, turned, expected)


@recurrent_cells
def test_chunks_with_carried_state_equal_the_whole(name: str) -> None:
    c = case(name)
    for implementation, tolerance in (("scan", 0.0), ("auto", 2e-5)):
        run = jax.jit(snn.RNN(c.cell, implementation=implementation, return_carry=True).apply)
        whole_carry, whole = run(c.variables, c.x)
        carry, outputs = None, []
        for start, stop in ((0, 5), (5, 6), (6, T)):
            carry, out = run(c.variables, c.x[:, start:stop], initial_carry=carry)
            outputs.append(out)
        chunked = jnp.concatenate(outputs, axis=1)
        np.testing.assert_allclose(chunked, whole, rtol=0, atol=0.0 if c.fires else tolerance)
        for a, b in zip(jax.tree.leaves(carry), jax.tree.leaves(whole_carry), strict=True):
            np.testing.assert_allclose(a, b, rtol=0, atol=tolerance)


@most_cells
@pytest.mark.parametrize("reverse", covered_by([False, True], [True]))
def test_sequence_lengths(name: str, reverse: bool) -> None:
    c = case(name)
    lengths = jnp.array([T, 5, 11])
    for runner in (nn.RNN, snn.RNN):
        carry, out = runner(c.cell, return_carry=True, reverse=reverse).apply(
            c.variables, c.x, seq_lengths=lengths
        )
        for b, length in enumerate(lengths.tolist()):
            x = c.x[b : b + 1, :length]
            x = jnp.flip(x, axis=1) if reverse else x
            alone_carry, alone = reference(c, x)
            assert_same(c, out[b : b + 1, :length], alone)
            assert_same_carry(jax.tree.map(lambda leaf, b=b: leaf[b : b + 1], carry), alone_carry)


@most_cells
def test_odd_lengths_return_the_carry_that_nn_rnn_returns(name: str) -> None:
    c = case(name)
    # Lengths that only jit lets pass select what nn.RNN selects, never the state at the start.
    for lengths in (jnp.array([0, 3, T]), jnp.array([T + 5, -1, 1])):
        stock = jax.jit(nn.RNN(c.cell, return_carry=True).apply)(
            c.variables, c.x, seq_lengths=lengths
        )
        ours = jax.jit(snn.RNN(c.cell, return_carry=True).apply)(
            c.variables, c.x, seq_lengths=lengths
        )
        assert_same_carry(ours[0], stock[0])


@recurrent_cells
def test_bidirectional(name: str) -> None:
    c = case(name)
    net = nn.Bidirectional(snn.RNN(CELLS[name](1.0)), snn.RNN(CELLS[name](1.0)))
    variables = net.init(jax.random.key(0), c.x)
    out = net.apply(variables, c.x)
    params = variables.get("params", {})
    halves = []
    for which, turn in (("forward_rnn", False), ("backward_rnn", True)):
        inner = {"params": params.get(which, {})}
        halves.append(nn.RNN(c.cell, reverse=turn, keep_order=turn).apply(inner, c.x))
    np.testing.assert_allclose(out, jnp.concatenate(halves, axis=-1), rtol=0, atol=2e-5)


@recurrent_cells
def test_nn_scan_over_the_cell(name: str) -> None:
    c = case(name)

    class Loop(nn.Module):
        cell: nn.RNNCellBase

        @nn.compact
        def __call__(self, carry: Any, x: jax.Array) -> Any:
            loop = nn.scan(
                lambda cell, carry, x: cell(carry, x),
                variable_broadcast="params",
                split_rngs={"params": False},
                in_axes=1,
                out_axes=1,
            )
            return loop(self.cell, carry, x)

    carry = c.cell.initialize_carry(jax.random.key(0), (B, F))
    carry, out = Loop(c.cell).apply(c.variables, carry, c.x)
    expected_carry, expected = whole(name)
    assert_same(c, out, expected)
    assert_same_carry(carry, expected_carry)


@pytest.mark.slow
@learning_cells
def test_remat(name: str) -> None:
    c = case(name)
    arguments = fields_of(c.cell)
    cell = nn.remat(type(c.cell))(**arguments)
    for runner in (nn.RNN(cell), snn.RNN(cell)):
        assert_same(c, runner.apply(c.variables, c.x), whole(name)[1])
        stock = loss_gradients(nn.RNN(c.cell), c, c.x)
        assert_same_gradients(loss_gradients(runner, c, c.x), stock)


@learning_cells
def test_vmap_over_members_of_an_ensemble(name: str) -> None:
    c = case(name)
    members = 2
    make = nn.vmap(
        nn.RNN, variable_axes={"params": 0}, split_rngs={"params": True}, in_axes=0, out_axes=0
    )
    ours = nn.vmap(
        snn.RNN, variable_axes={"params": 0}, split_rngs={"params": True}, in_axes=0, out_axes=0
    )
    x = jnp.stack([c.x, jnp.flip(c.x, axis=1)])
    variables = jax.tree.map(lambda leaf: jnp.stack([leaf, 0.9 * leaf]), c.variables)
    expected = [
        reference(Case(name, c.cell, jax.tree.map(lambda w, m=m: w[m], variables), c.x), x[m])[1]
        for m in range(members)
    ]
    for runner in (make(c.cell), ours(c.cell)):
        out = jax.jit(runner.apply)(variables, x)
        np.testing.assert_allclose(out, jnp.stack(expected), rtol=0, atol=2e-5)


@learning_cells
def test_vmap_over_the_cell_class(name: str) -> None:
    c = case(name)
    arguments = fields_of(c.cell)
    lifted = nn.vmap(
        type(c.cell), variable_axes={"params": None}, split_rngs={"params": False}, in_axes=0
    )
    out = snn.RNN(lifted(**arguments)).apply(c.variables, c.x)
    assert_same(c, out, whole(name)[1])


@most_cells
def test_sequential(name: str) -> None:
    c = case(name)
    net = nn.Sequential([snn.RNN(c.cell), jnp.square])
    variables = net.init(jax.random.key(3), c.x)
    inner = {"params": variables.get("params", {}).get("layers_0", {})}
    expected = nn.RNN(c.cell).apply(inner, c.x)
    np.testing.assert_allclose(
        net.apply(variables, c.x), jnp.square(expected), rtol=1e-5, atol=2e-5
    )


@recurrent_cells
@pytest.mark.parametrize("runner", [nn.RNN, snn.RNN])
def test_no_and_several_batch_axes(name: str, runner: Any) -> None:
    c = case(name)
    _, expected = whole(name)
    assert_same(c, runner(c.cell).apply(c.variables, c.x[0]), expected[0])
    x = jnp.stack([c.x, c.x])
    carry, out = runner(c.cell, return_carry=True).apply(c.variables, x)
    assert_same(c, out, jnp.stack([expected, expected]))
    assert jax.tree.leaves(carry)[0].shape[:2] == (2, B)


@most_cells
def test_a_batch_equals_its_members(name: str) -> None:
    c = case(name)
    _, expected = whole(name)
    for b in range(B):
        _, alone = jax.jit(lambda x: reference(c, x))(c.x[b : b + 1])
        assert_same(c, alone, expected[b : b + 1])


@learning_cells
def test_bfloat16_products_keep_a_float32_state(name: str) -> None:
    c = case(name)
    if name == "chain":
        cells = [cell.clone(dtype=jnp.bfloat16) for cell in c.cell.cells]
        cell: nn.RNNCellBase = snn.Chain(cells)
    else:
        cell = c.cell.clone(dtype=jnp.bfloat16)
    carry, out = jax.jit(snn.RNN(cell, return_carry=True).apply)(c.variables, c.x)
    assert {leaf.dtype.name for leaf in jax.tree.leaves(carry)} <= {"float32", "int32"}
    _, expected = whole(name)
    if c.fires:
        assert out.dtype == jnp.bfloat16
        # bfloat16 keeps 8 bits: a few decisions near threshold may differ, and shift later ones.
        assert np.mean(np.asarray(out, np.float32) != expected) < 0.08
    else:
        assert out.dtype == jnp.float32
        assert float(jnp.abs(out - expected).max()) < 0.25 * float(jnp.abs(expected).max())
    gradients = jax.jit(
        jax.grad(lambda v: snn.RNN(cell).apply(v, c.x).astype(jnp.float32).sum(), allow_int=True)
    )(c.variables)
    assert all(bool(jnp.isfinite(leaf).all()) for leaf in jax.tree.leaves(gradients))


@recurrent_cells
def test_spikes_as_bytes_equal_spikes_as_floats(name: str) -> None:
    c = case(name)
    spikes = (c.x > 0).astype(jnp.float32)
    _, expected = reference(c, spikes)
    for dtype in (jnp.uint8, jnp.bool_):
        assert_same(c, snn.RNN(c.cell).apply(c.variables, spikes.astype(dtype)), expected)


@recurrent_cells
def test_neurons_may_be_permuted(name: str) -> None:
    c = case(name)
    if name in ("weightless", "chain") or "channels" in name:
        return  # the order of their neurons is that of the input, or of blocks
    n = 7
    order = np.random.default_rng(0).permutation(n)

    def permute(path: Any, leaf: jax.Array) -> jax.Array:
        leaf = leaf[..., order]
        return leaf[order] if "recurrent_kernel" in jax.tree_util.keystr(path) else leaf

    variables = jax.tree_util.tree_map_with_path(permute, c.variables)
    out = snn.RNN(c.cell).apply(variables, c.x)
    assert_same(c, out, whole(name)[1][..., order])


@learning_cells
def test_traces_are_sown_and_cost_nothing_unasked(name: str) -> None:
    c = case(name)
    out, state = snn.RNN(c.cell).apply(c.variables, c.x, mutable=["intermediates"])
    traces = state["intermediates"]["cell"]
    if name == "chain":
        traces = traces["cells_2"]
    (v,) = traces["v"]
    assert v.shape[:2] == (B, T)
    if c.fires:
        np.testing.assert_array_equal(traces["spikes"][0], out)
    else:
        np.testing.assert_allclose(v, out, rtol=0, atol=1e-6)
    lowered = jax.jit(snn.RNN(c.cell).apply).lower(c.variables, c.x).compile()
    asked = jax.jit(lambda v, x: snn.RNN(c.cell).apply(v, x, mutable=["intermediates"]))
    bytes_asked = asked.lower(c.variables, c.x).compile().memory_analysis().output_size_in_bytes
    assert lowered.memory_analysis().output_size_in_bytes < bytes_asked
