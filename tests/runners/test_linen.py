"""What Flax Linen does with any module, done with spiking layers: the numbers are those without it.

`nn.scan`, `nn.vmap`, `nn.Sequential` and `nn.Bidirectional` are in the contract of the cells
(`tests/cells/test_cells.py`), for every cell.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import orbax.checkpoint as ocp
import pytest
from flax.training.train_state import TrainState
from jax.sharding import PartitionSpec

import flax_snn as snn

B, T, F = 3, 12, 5
X = jax.random.bernoulli(jax.random.key(0), 0.4, (B, T, F)).astype(jnp.float32)
KEY = jax.random.key(1)
LIF = snn.LIFDynamics(tau_mem=10e-3, dt=2e-3, threshold=0.3)
CELL = snn.RecurrentLIFCell(6, dynamics=LIF)
SAME_WIDTH = snn.RecurrentLIFCell(F, dynamics=LIF)
READOUT = snn.LeakyIntegratorReadout(4)


def assert_trees_close(ours: Any, expected: Any, tolerance: float = 1e-5) -> None:
    def close(a: Any, b: Any) -> None:
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)

    jax.tree.map(close, ours, expected)


def gradients(net: nn.Module, variables: Any) -> Any:
    return jax.jit(jax.grad(lambda v: jnp.square(net.apply(v, X)).sum()))(variables)


@pytest.fixture(scope="module")
def variables() -> Any:
    made = snn.RNN(CELL).init(KEY, X)
    # Neither silent nor saturated, or the comparisons below would say little.
    assert 0.1 < float(snn.RNN(CELL).apply(made, X).mean()) < 0.7
    return made


@pytest.mark.parametrize("lift", [nn.jit, nn.remat])
def test_lifted_jit_and_remat(variables: Any, lift: Any) -> None:
    plain, lifted = snn.RNN(CELL), lift(snn.RNN)(CELL)
    # Lifted modules have keys of their own: the same ones as those of the stock runner.
    made, stock = lifted.init(KEY, X), lift(nn.RNN)(CELL).init(KEY, X)
    jax.tree.map(np.testing.assert_array_equal, made, stock)
    np.testing.assert_array_equal(lifted.apply(variables, X), plain.apply(variables, X))
    assert_trees_close(gradients(lifted, variables), gradients(plain, variables))
    outer = [step.primitive.name for step in jax.make_jaxpr(lifted.apply)(variables, X).eqns]
    assert outer in (["jit"] if lift is nn.jit else ["remat2"], ["pjit"], ["checkpoint"])


def test_map_variables(variables: Any) -> None:
    """Weights of one sign, by a function of the parameters."""

    def magnitude(params: Any) -> Any:
        return jax.tree.map(jnp.abs, params)

    net = nn.map_variables(snn.RNN, "params", magnitude, init=True)(CELL)
    positive = jax.tree.map(jnp.abs, variables)
    expected = snn.RNN(CELL).apply(positive, X)
    np.testing.assert_array_equal(net.apply(variables, X), expected)
    assert (expected != snn.RNN(CELL).apply(variables, X)).any()


class Either(nn.Module):
    """One of two layers, chosen when the program runs."""

    def setup(self) -> None:
        self.layers = [snn.RNN(CELL), snn.RNN(snn.LIFCell(6, dynamics=LIF))]

    def __call__(self, x: jax.Array, which: Any) -> jax.Array:
        branches = [lambda m, x: m.layers[0](x), lambda m, x: m.layers[1](x)]
        if self.is_initializing():
            for branch in branches:
                branch(self, x)
        return nn.switch(which, branches, self, x)


@pytest.mark.slow
def test_switch() -> None:
    made = Either().init(KEY, X, 0)
    run = jax.jit(lambda which: Either().apply(made, X, which))
    cells = (CELL, snn.LIFCell(6, dynamics=LIF))
    for which, cell in enumerate(cells):
        alone = {"params": made["params"][f"layers_{which}"]}
        expected = snn.RNN(cell).apply(alone, X)
        assert expected.any()
        np.testing.assert_array_equal(run(which), expected)


class Mixed(nn.Module):
    """Stock normalisation and dropout between spiking layers."""

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        x = nn.Dense(6, use_bias=False, name="dense")(x)
        x = nn.BatchNorm(use_running_average=not train, momentum=0.0, name="norm")(x)
        x = snn.LIF(dynamics=LIF)(x)
        x = nn.Dropout(0.5, broadcast_dims=(1,), deterministic=not train, name="dropout")(x)
        self.sow("intermediates", "dropped", x)
        return snn.RNN(READOUT, name="readout")(x)


def test_batch_norm_and_dropout_between_layers() -> None:
    net = Mixed()
    made = jax.jit(net.init, static_argnames="train")(KEY, X, train=False)
    _, seen = net.apply(
        made,
        X,
        train=True,
        rngs={"dropout": jax.random.key(2)},
        mutable=["batch_stats", "intermediates"],
    )
    current = np.asarray(X, np.float64) @ np.asarray(made["params"]["dense"]["kernel"], np.float64)
    statistics = seen["batch_stats"]["norm"]
    np.testing.assert_allclose(statistics["mean"], current.mean(axis=(0, 1)), atol=1e-6)
    np.testing.assert_allclose(statistics["var"], current.var(axis=(0, 1)), atol=1e-6)
    # Normalised by hand in float64, and the neurons' own step.
    scaled = (current - current.mean(axis=(0, 1))) / np.sqrt(current.var(axis=(0, 1)) + 1e-5)
    spikes = np.asarray(snn.LIF(dynamics=LIF).apply({}, jnp.asarray(scaled, jnp.float32)))
    (dropped,) = seen["intermediates"]["dropped"]
    assert 0.03 < spikes.mean() < 0.7
    # A unit is silent in all steps of a sample, or twice as strong in all of them.
    lost = ~np.asarray(dropped).any(axis=1, keepdims=True)
    np.testing.assert_array_equal(dropped, np.where(lost, 0.0, 2.0 * spikes))
    assert 0 < (lost & spikes.any(axis=1, keepdims=True)).sum() < lost.size
    evaluated = {**made, "batch_stats": seen["batch_stats"]}
    expected = snn.RNN(READOUT).apply({"params": made["params"]["readout"]}, jnp.asarray(spikes))
    np.testing.assert_allclose(net.apply(evaluated, X, train=False), expected, atol=1e-5)


class Tied(nn.Module):
    """One layer, used twice."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        layer = snn.RNN(SAME_WIDTH, name="layer")
        return layer(layer(x))


def test_a_layer_used_twice_shares_its_parameters() -> None:
    made = jax.jit(Tied().init)(KEY, X)
    assert set(made["params"]) == {"layer"}
    layer = snn.RNN(SAME_WIDTH)

    def untied(first: Any, second: Any) -> jax.Array:
        return layer.apply({"params": second}, layer.apply({"params": first}, X))

    one = made["params"]["layer"]
    twice = jax.jit(untied)(one, one)
    assert twice.any()
    np.testing.assert_array_equal(jax.jit(Tied().apply)(made, X), twice)
    both = jax.jit(jax.grad(lambda a, b: jnp.square(untied(a, b)).sum(), argnums=(0, 1)))(one, one)
    assert all(float(jnp.abs(leaf).max()) > 0 for leaf in jax.tree.leaves(both))
    total = jax.tree.map(jnp.add, *both)
    assert_trees_close(gradients(Tied(), made)["params"]["layer"], total)


class Two(nn.Module):
    """Two spiking layers, the first one with a place to add to its output."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        x = snn.RNN(CELL, name="hidden")(x)
        x = self.perturb("spikes", x)
        return snn.RNN(READOUT, name="readout")(x)


def test_capture_intermediates_and_perturb(variables: Any) -> None:
    made = jax.jit(Two().init)(KEY, X)
    out, seen = jax.jit(lambda v: Two().apply(v, X, capture_intermediates=True))(made)
    hidden = {"params": made["params"]["hidden"]}
    (captured,) = seen["intermediates"]["hidden"]["__call__"]
    np.testing.assert_array_equal(captured, snn.RNN(CELL).apply(hidden, X))
    np.testing.assert_array_equal(seen["intermediates"]["readout"]["__call__"][0], out)
    # The gradient of an intermediate value, which the loss does not name.
    gradient = gradients(Two(), made)
    readout = snn.RNN(READOUT)
    weights = {"params": made["params"]["readout"]}
    squares = jax.grad(lambda s: jnp.square(readout.apply(weights, s)).sum())
    expected = jax.jit(squares)(captured)
    assert_trees_close(gradient["perturbations"]["spikes"], expected)


def test_tabulate_counts_the_parameters() -> None:
    net = snn.RNN(snn.Chain([CELL, snn.LeakyIntegratorReadout(4)]))
    table = net.tabulate(KEY, X, console_kwargs={"width": 200, "force_terminal": False})
    # Input and recurrent kernel of the first layer, the kernel of the second one.
    total = F * 6 + 6 * 6 + 6 * 4
    assert f"Total Parameters: {total}" in table
    assert "cell/cells_0" in table and "cell/cells_1" in table


def test_bind_eval_shape_and_jitted_init(variables: Any) -> None:
    net = snn.RNN(CELL)
    np.testing.assert_array_equal(net.bind(variables)(X), net.apply(variables, X))
    shapes = jax.eval_shape(net.init, KEY, X)
    found = jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), shapes)
    assert found == jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), variables)
    lazy = net.lazy_init(KEY, jax.ShapeDtypeStruct(X.shape, X.dtype))
    assert_trees_close(lazy, variables)
    assert_trees_close(jax.jit(net.init)(KEY, X), variables)


def test_partitioning_metadata_of_kernels(variables: Any) -> None:
    def named(*axes: str | None) -> Any:
        return nn.with_partitioning(nn.initializers.lecun_normal(), axes)

    cell = snn.RecurrentLIFCell(
        6,
        dynamics=LIF,
        kernel_init=named(None, "model"),
        recurrent_kernel_init=named("model", None),
    )
    net = snn.RNN(cell)
    boxed = net.init(KEY, X)
    specs = nn.get_partition_spec(boxed)["params"]["cell"]
    assert specs["kernel"] == PartitionSpec(None, "model")
    assert specs["recurrent_kernel"] == PartitionSpec("model", None)
    plain = nn.meta.unbox(boxed)
    out = net.apply(boxed, X)
    assert out.any()
    np.testing.assert_array_equal(out, net.apply(plain, X))
    assert_trees_close(nn.meta.unbox(gradients(net, boxed)), gradients(net, plain))


@pytest.mark.optimizer
def test_train_state() -> None:
    net = snn.RNN(snn.Chain([CELL, READOUT]))
    params = jax.jit(net.init)(KEY, X)["params"]
    state = TrainState.create(apply_fn=net.apply, params=params, tx=optax.sgd(0.2))

    @jax.jit
    def update(state: TrainState) -> tuple[TrainState, jax.Array, Any]:
        def loss(params: Any) -> jax.Array:
            return jnp.square(state.apply_fn({"params": params}, X) - 0.5).mean()

        value, gradient = jax.value_and_grad(loss)(state.params)
        return state.apply_gradients(grads=gradient), value, gradient

    after, _, gradient = update(state)
    by_hand = jax.tree.map(lambda p, g: p - 0.2 * g, params, gradient)
    assert_trees_close(after.params, by_hand, 1e-6)
    losses = []
    for _ in range(30):
        state, value, _ = update(state)
        losses.append(float(value))
    assert int(state.step) == 30
    assert losses[-1] < 0.7 * losses[0]


@pytest.mark.optimizer
def test_a_mask_freezes_parameters() -> None:
    net = snn.RNN(snn.RecurrentLIFCell(6, dynamics=LIF, learn=("tau_mem",)))
    params = jax.jit(net.init)(KEY, X)["params"]
    labels = jax.tree_util.tree_map_with_path(
        lambda path, _: "frozen" if path[-1].key == "recurrent_kernel" else "learns", params
    )
    optimizer = optax.multi_transform(
        {"learns": optax.sgd(0.1), "frozen": optax.set_to_zero()}, labels
    )
    gradient = gradients(net, {"params": params})["params"]
    assert all(float(jnp.abs(leaf).max()) > 0 for leaf in jax.tree.leaves(gradient))
    updates, _ = optimizer.update(gradient, optimizer.init(params))
    after = optax.apply_updates(params, updates)["cell"]
    np.testing.assert_array_equal(after["recurrent_kernel"], params["cell"]["recurrent_kernel"])
    for name in ("kernel", "log_tau_mem"):
        by_hand = params["cell"][name] - 0.1 * gradient["cell"][name]
        np.testing.assert_allclose(after[name], by_hand, rtol=1e-6, atol=1e-7)


def test_orbax_restores_parameters_and_a_stream(tmp_path: Path) -> None:
    layer = snn.Stateful(snn.RecurrentLIFCell(6, dynamics=LIF, learn=("tau_mem",)))
    made = layer.init(KEY, X[:, 0])

    @jax.jit
    def run(variables: Any, x: jax.Array) -> Any:
        return layer.apply(variables, x, method="sequence", mutable=["membrane"])

    _, state = run(made, X[:, :5])
    stored = {"params": made["params"], **state}
    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(tmp_path / "run", stored)
    like = jax.eval_shape(lambda: layer.init(KEY, X[:, 0]))
    with ocp.StandardCheckpointer() as checkpointer:
        restored = checkpointer.restore(tmp_path / "run", like)
    jax.tree.map(np.testing.assert_array_equal, restored, stored)
    rest, _ = run(restored, X[:, 5:])
    whole, _ = run(made, X)
    assert rest.any()
    np.testing.assert_array_equal(rest, whole[:, 5:])


@pytest.mark.slow
def test_param_dtype_and_dtype() -> None:
    cell = snn.RecurrentLIFCell(6, dynamics=LIF, dtype=jnp.bfloat16, param_dtype=jnp.float16)
    net = snn.RNN(cell, return_carry=True)
    made = jax.jit(net.init)(KEY, X)
    assert {leaf.dtype.name for leaf in jax.tree.leaves(made)} == {"float16"}
    carry, out = jax.jit(net.apply)(made, X)
    assert out.dtype == jnp.bfloat16 and carry.v.dtype == jnp.float32
    wide = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), made)
    exact = snn.RNN(CELL).apply(wide, X)
    # 8 bits of a product: few decisions fall on the other side of the threshold.
    assert 0.1 < float(exact.mean()) < 0.7
    assert np.mean(np.asarray(out, np.float32) != exact) < 0.05
