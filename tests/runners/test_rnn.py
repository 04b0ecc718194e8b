"""The runner: foreign cells, subclasses, noise, lifted collections, bridges, errors at the door."""

from __future__ import annotations

import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from covering_rows import covered_by
from flax import nnx
from jax import lax

import flax_snn as snn

X = (jax.random.uniform(jax.random.key(0), (3, 12, 5)) < 0.3).astype(jnp.float32)


class GainCell(snn.LIFCell):
    """A user's subclass that overrides ``__call__`` and brings a parameter of its own."""

    @nn.compact
    def __call__(self, carry: Any, inputs: jax.Array) -> Any:
        gain = self.param("gain", nn.initializers.constant(3.0), (5,))
        return super().__call__(carry, inputs * gain[None])


class CountingDot(nn.Module):
    """A ``dot_general_cls``: counts its calls in a collection, and scales the product."""

    scale: float = 1.0

    @nn.compact
    def __call__(self, lhs: Any, rhs: Any, dims: Any, precision: Any = None) -> jax.Array:
        calls = self.variable("crossbar", "calls", lambda: jnp.zeros((), jnp.int32))
        if self.is_mutable_collection("crossbar") and not self.is_initializing():
            calls.value = calls.value + 1
        return self.scale * lax.dot_general(lhs, rhs, dims, precision)


def test_a_subclass_with_its_own_call_is_respected() -> None:
    cell = GainCell(7)
    variables = nn.RNN(cell).init(jax.random.key(1), X)
    assert variables["params"]["cell"]["gain"].shape == (5,)
    expected = nn.RNN(cell).apply(variables, X)
    ours = snn.RNN(cell).apply(variables, X)
    np.testing.assert_array_equal(ours, expected)
    plain = {"params": {"cell": {"kernel": variables["params"]["cell"]["kernel"]}}}
    np.testing.assert_array_equal(ours, snn.RNN(snn.LIFCell(7)).apply(plain, 3.0 * X))
    assert (ours != snn.RNN(snn.LIFCell(7)).apply(plain, X)).any()


def test_fused_refuses_a_cell_it_does_not_know() -> None:
    with pytest.raises(ValueError, match=r"fused.*GainCell.*auto"):
        snn.RNN(GainCell(7), implementation="fused").init(jax.random.key(0), X)


@pytest.mark.parametrize(
    "cell",
    [
        nn.LSTMCell(6),
        *(pytest.param(c, marks=pytest.mark.slow) for c in (nn.GRUCell(6), nn.SimpleCell(6))),
    ],
)
def test_cells_of_flax(cell: nn.RNNCellBase) -> None:
    variables = nn.RNN(cell).init(jax.random.key(1), X)
    jax.tree.map(np.testing.assert_array_equal, snn.RNN(cell).init(jax.random.key(1), X), variables)
    stock = nn.RNN(cell, return_carry=True).apply(variables, X)
    ours = snn.RNN(cell, return_carry=True).apply(variables, X)
    jax.tree.map(np.testing.assert_array_equal, ours, stock)


def test_a_chain_may_hold_foreign_and_nested_cells() -> None:
    chain = snn.Chain([snn.LIFCell(6), snn.Chain([nn.LSTMCell(4), GainCellOf(3)])])
    variables = nn.RNN(chain).init(jax.random.key(1), X)
    stock = nn.RNN(chain, return_carry=True).apply(variables, X)
    ours = snn.RNN(chain, return_carry=True).apply(variables, X)
    assert ours[1].shape == (3, 12, 3)
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(stock), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=2e-5)


class GainCellOf(snn.LIFCell):
    """A subclass without changes: still run as it stands, step by step."""


def test_noise_needs_its_stream_and_is_the_same_in_both_runners() -> None:
    cell = snn.LIFCell(7, dynamics=snn.LIFDynamics(noise_std=0.5))
    variables = snn.RNN(cell).init(jax.random.key(1), X)
    rngs = {"noise": jax.random.key(5)}
    ours = snn.RNN(cell).apply(variables, X, rngs=rngs)
    stock = nn.RNN(cell, split_rngs={"params": False, "noise": True})
    np.testing.assert_array_equal(ours, stock.apply(variables, X, rngs=rngs))
    quiet = snn.RNN(cell.clone(deterministic=True)).apply(variables, X)
    assert (ours != quiet).mean() > 0.02
    assert (ours != snn.RNN(cell).apply(variables, X, rngs={"noise": jax.random.key(6)})).any()
    with pytest.raises(ValueError, match=r"RNG stream 'noise'.*deterministic=True"):
        snn.RNN(cell).apply(variables, X)
    with pytest.raises(ValueError, match="split_rngs"):
        nn.RNN(cell).apply(variables, X, rngs=rngs)


CELLS = (snn.LIFCell, snn.RecurrentLIFCell, snn.LeakyIntegratorReadout)
ROWS = [(make, runner) for make in CELLS for runner in (nn.RNN, snn.RNN)]


@pytest.mark.parametrize(
    ("make", "runner"),
    covered_by(ROWS, [(snn.RecurrentLIFCell, snn.RNN), (snn.LeakyIntegratorReadout, nn.RNN)]),
)
def test_dot_general_cls_enters_every_product(make: Any, runner: Any) -> None:
    plain = make(7)
    variables = runner(plain).init(jax.random.key(1), X)
    cell = make(7, dot_general_cls=functools.partial(CountingDot, scale=2.0))
    net = runner(cell, variable_broadcast=["params", "crossbar"])
    made = net.init(jax.random.key(1), X)
    jax.tree.map(np.testing.assert_array_equal, made["params"], variables["params"])
    names = {"input_dot_general"} | ({"recurrent_dot_general"} if plain.recurrent else set())
    assert set(made["crossbar"]["cell"]) == names
    doubled = {"params": jax.tree.map(lambda w: 2.0 * w, variables["params"])}
    out = net.apply({**variables, "crossbar": made["crossbar"]}, X)
    np.testing.assert_allclose(out, runner(plain).apply(doubled, X), rtol=0, atol=1e-5)


def test_crossbar_is_lifted_without_being_asked_for() -> None:
    cell = snn.RecurrentLIFCell(7, dot_general_cls=CountingDot)
    made = snn.RNN(cell).init(jax.random.key(1), X)
    assert set(made) == {"params", "crossbar"}
    assert snn.RNN(cell).apply(made, X).shape == (3, 12, 7)


def test_nnx_bridge() -> None:
    net = snn.RNN(snn.RecurrentLIFCell(7, learn=("tau_mem",)))
    model = nnx.bridge.ToNNX(net, rngs=nnx.Rngs(0)).lazy_init(X)
    params = nnx.to_pure_dict(nnx.state(model, nnx.Param))
    assert set(params["cell"]) == {"kernel", "recurrent_kernel", "log_tau_mem"}
    np.testing.assert_array_equal(model(X), net.apply({"params": params}, X))


@pytest.mark.slow
def test_a_convolutional_network_in_sequential() -> None:
    lif = snn.LIFDynamics(tau_mem=10e-3, dt=2e-3, threshold=0.2)
    net = nn.Sequential(
        [
            nn.Conv(4, (3, 3), use_bias=False),
            snn.LIF(dynamics=lif, learn=("tau_mem",)),
            lambda s: nn.max_pool(s, (2, 2), strides=(2, 2)),
            lambda s: s.reshape((*s.shape[:2], -1)),
            snn.RNN(snn.LIFCell(6, dynamics=lif)),
            nn.Dense(5),
            snn.LeakyIntegrator(),
        ]
    )
    x = jax.random.uniform(jax.random.key(0), (2, 9, 8, 6, 1))
    v, variables = net.init_with_output(jax.random.key(1), x)
    assert v.shape == (2, 9, 5)
    assert variables["params"]["layers_1"]["cell"]["log_tau_mem"].shape == (4,)
    # By hand: the same convolution step by step, one LIF state per pixel and channel.
    conv = nn.Conv(4, (3, 3), use_bias=False)
    alpha, v_pixel = np.exp(-0.2), np.zeros((2, 8, 6, 4), np.float32)
    state = {"params": variables["params"]["layers_0"]}
    spikes = nn.Sequential(net.layers[:2]).apply(variables, x)
    assert 0.02 < spikes.mean() < 0.5
    for t in range(9):
        v_pixel = alpha * v_pixel + (1 - alpha) * np.asarray(conv.apply(state, x[:, t]))
        fired = v_pixel > 0.2
        assert np.mean(fired != np.asarray(spikes[:, t])) < 0.002
        v_pixel[fired] = 0.0
    gradients = jax.grad(lambda p: net.apply(p, x).sum())(variables)
    assert all(float(jnp.abs(g).max()) > 0 for g in jax.tree.leaves(gradients))


def test_lif_says_what_it_cannot_guess() -> None:
    layer = snn.LIF(feature_axes=1)
    np.testing.assert_array_equal(layer.apply({}, 30.0 * X[0]), snn.LIF().apply({}, 30.0 * X)[0])
    four = jnp.stack([30.0 * X, 30.0 * X])
    np.testing.assert_array_equal(layer.apply({}, four)[1], snn.LIF().apply({}, 30.0 * X))
    with pytest.raises(ValueError, match=r"\(B, T, \*features\).*feature_axes=1"):
        snn.LIF().apply({}, X[0])


def test_forward_mode_is_that_of_the_scan() -> None:
    cell = snn.LIFCell(7)
    variables = snn.RNN(cell).init(jax.random.key(1), X)
    tangent = jax.tree.map(jnp.ones_like, variables)

    def total(params: Any, runner: Any = snn.RNN) -> jax.Array:
        return runner(cell).apply(params, X).sum()

    plain = functools.partial(total, runner=functools.partial(snn.RNN, implementation="scan"))
    _, forward = jax.jit(lambda v: jax.jvp(plain, (v,), (tangent,)))(variables)
    backward = sum(g.sum() for g in jax.tree.leaves(jax.jit(jax.grad(total))(variables)))
    np.testing.assert_allclose(forward, backward, rtol=1e-4)
    curved = jax.jit(lambda v: jax.jvp(jax.grad(total), (v,), (tangent,))[1])(variables)
    expected = jax.jit(lambda v: jax.jvp(jax.grad(plain), (v,), (tangent,))[1])(variables)
    jax.tree.map(
        functools.partial(np.testing.assert_allclose, rtol=1e-3, atol=1e-3), curved, expected
    )
    for call in (
        lambda: jax.jvp(total, (variables,), (tangent,)),
        lambda: jax.jit(lambda: jax.jvp(total, (variables,), (tangent,)))(),
        lambda: jax.jacfwd(total)(variables),
    ):
        with pytest.raises(TypeError, match="reverse mode only.*implementation='scan'"):
            call()


def test_gradients_flow_to_the_initial_carry() -> None:
    cell = snn.RecurrentLIFCell(7, dynamics=snn.LIFDynamics(tau_syn=5e-3))
    variables = snn.RNN(cell).init(jax.random.key(1), X)
    carry = cell.initialize_carry(None, (3, 5))

    def loss(carry: Any, runner: Any) -> jax.Array:
        final, out = runner(cell, return_carry=True).apply(variables, X, initial_carry=carry)
        return jnp.sum(out) + jnp.sum(final.v)

    ours, stock = (jax.grad(loss)(carry, runner) for runner in (snn.RNN, nn.RNN))
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(stock), strict=True):
        assert float(jnp.abs(b).max()) > 0
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-4 * float(jnp.abs(b).max()))


@functools.cache
def seven() -> tuple[Any, Any]:
    """A layer of seven neurons, and its variables."""
    lif = snn.RNN(snn.LIFCell(7))
    return lif, lif.init(jax.random.key(0), X)


def run(*arguments: Any, **named: Any) -> Any:
    lif, variables = seven()
    return lif.apply(variables, *arguments, **named)


KEY = jax.random.key(0)

BAD_CALLS: list[tuple[Any, type[Exception], str]] = [
    (lambda: run(X[0, 0]), ValueError, r"\(\*B, T, F\).*no time axis"),
    (lambda: run(jnp.zeros(())), ValueError, "no time axis"),
    (lambda: run(X[:, :0]), ValueError, "at least one time step, got T = 0"),
    (lambda: run(X[..., :4]), ValueError, "expected 5 features.*kernel.*got 4"),
    (lambda: run(X.astype(jnp.int32)), TypeError, "floating.*uint8, got int32"),
    (lambda: run(X.astype(jnp.complex64)), TypeError, "got complex64"),
    (lambda: run(X, seq_lengths=jnp.ones(2, jnp.int32)), ValueError, r"shape \(3,\)"),
    (
        lambda: run(X, seq_lengths=jnp.array([13, 2, -1])),
        ValueError,
        r"expected 0 to 12.*got \[13, -1\]",
    ),
    (lambda: seven()[0].init(KEY, X[..., :0]), ValueError, "at least one input feature"),
    (lambda: run(X, seq_lengths=jnp.ones(3)), ValueError, "integers"),
    (
        lambda: run(X, initial_carry=seven()[0].cell.initialize_carry(KEY, (2, 5))),
        ValueError,
        "carry for this batch",
    ),
    (lambda: snn.RNN(snn.LIFCell(7), implementation="fast"), ValueError, "'auto', .*'scan'"),
    (lambda: snn.RNN(snn.LIFCell(7), chunk=0), ValueError, "chunk: expected a whole .*, got 0"),
    (lambda: snn.RNN(snn.LIFCell(7), chunk=2.5), ValueError, "whole number.*got 2.5"),
    (lambda: snn.LIFCell(0), ValueError, "features: expected a whole number >= 1"),
    (lambda: snn.LIFCell(2.5), ValueError, "features: expected a whole number >= 1"),
    (lambda: snn.LIFCell(7, dynamics=snn.LIDynamics()), TypeError, "expected an LIFDynamics"),
    (
        lambda: snn.LeakyIntegratorReadout(7, dynamics=snn.LIFDynamics(tau_syn=5e-3)),
        TypeError,
        "LIDynamics",
    ),
    (lambda: snn.LIFCell(7, learn=("tau",)), ValueError, "tau_mem.*got 'tau'"),
    (lambda: snn.LIFCell(7, learn="tau_mem"), ValueError, "tuple of distinct names"),
    (lambda: snn.LIFCell(7, learn=("tau_syn",)), ValueError, "no tau_syn"),
    (
        lambda: snn.LIFCell(7, dynamics=snn.conventions.tutorial(), learn=("tau_mem",)),
        ValueError,
        "no set of time",
    ),
    (lambda: snn.LIFCell(use_bias=True), ValueError, "the bias of input weights"),
    (lambda: snn.LIFCell(7, feature_axes=2), ValueError, "feature_axes: expected 1"),
    (lambda: snn.Chain([]), ValueError, "at least one cell"),
    (lambda: snn.Chain([nn.Dense(3)]), TypeError, "number 0: .*got Dense"),
    (lambda: snn.Chain([snn.LIFCell(3)])((), X), ValueError, "tuple of 1 carries"),
    (
        lambda: snn.LIFCell(dynamics=snn.LIFDynamics(tau_syn=(1e-3, 2e-3))).initialize_carry(
            KEY, (2, 5)
        ),
        ValueError,
        "2 equal blocks",
    ),
    (
        lambda: snn.RNN(
            snn.RecurrentLIFCell(dynamics=snn.conventions.network(v_init=[0.0, 1.0]))
        ).init(KEY, X),
        ValueError,
        "one value per neuron, 5, got 2",
    ),
]


@pytest.mark.parametrize(("call", "error", "message"), BAD_CALLS)
def test_bad_input_is_refused_with_a_remedy(
    call: Any, error: type[Exception], message: str, unchecked: None
) -> None:
    """Each call fails, and its message says what it has to."""
    with pytest.raises(error, match=message):
        call()


def test_wider_input_than_state_is_refused(x64: None) -> None:
    with pytest.raises(TypeError, match="state_dtype=float64"):
        snn.RNN(snn.LIFCell()).init(jax.random.key(0), X.astype(jnp.float64))
    out = snn.RNN(snn.LIFCell(param_dtype=jnp.float64)).apply({}, X.astype(jnp.float64))
    assert out.dtype == jnp.float64
