"""Delays in cells and in streams: chains, runners, carries, recurrent connections."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from covering_rows import covered_by

import flax_snn as snn

KINDS = ["synapse", "axon", "dendrite"]
RUNNERS = [nn.RNN, snn.RNN]

T, B, F, N, LAST = 12, 3, 4, 5, 3


def spikes_of(seed: int, *shape: int) -> np.ndarray:
    return (np.random.default_rng(seed).random(shape) < 0.4).astype(np.float32)


def applied(module: nn.Module, variables: Any, x: Any, **arguments: Any) -> Any:
    """``module.apply``, compiled as one program, which takes less time than many small ones."""
    return jax.jit(lambda v, x, carry: module.apply(v, x, **carry, **arguments))(
        variables, x, {"initial_carry": arguments.pop("carry")} if "carry" in arguments else {}
    )


def taps_by_hand(d: np.ndarray, sigma: float | None, last: int) -> np.ndarray:
    """Taps (K, pre, post) of delays (pre, post), in float64; rounded without a width."""
    lags = np.arange(last + 1.0).reshape(-1, 1, 1)
    if sigma is None:
        return (lags == np.round(d)).astype(np.float64)
    g = np.exp(-((lags - d) ** 2) / (2 * sigma**2))
    return g / g.sum(0)


def for_each_pair(d: np.ndarray, kind: str, pre: int, post: int) -> np.ndarray:
    d = np.asarray(d, np.float64)
    if kind == "synapse":
        return d
    return np.tile(d[:, None], (1, post)) if kind == "axon" else np.tile(d[None], (pre, 1))


@pytest.mark.parametrize(
    ("kind", "rounded", "cell_runner"),
    covered_by(
        [(k, r, c) for k in KINDS for r in (False, True) for c in ("nn", "snn", "stateful")],
        [
            ("synapse", False, "nn"),
            ("dendrite", False, "snn"),
            ("synapse", False, "stateful"),
        ],
    ),
)
def test_cell_runner_and_layer_give_the_same_numbers(kind, rounded, cell_runner):
    """In float32, so up to a few roundings of sums of F * K terms."""
    layer = snn.DelayedDense(N, LAST, kind=kind, rounded=rounded)
    x = spikes_of(0, B, T, F)
    variables = jax.jit(layer.init)(jax.random.key(0), x)
    expected = layer.apply(variables, x)
    cell = snn.DelayedDenseCell(N, LAST, kind=kind, rounded=rounded)
    below = {name: {"cell": tree} for name, tree in variables.items()}
    if cell_runner == "nn":
        runner = nn.RNN(cell, variable_broadcast=("params", "delays"))
        found = jax.jit(runner.apply)(below, x)
    elif cell_runner == "snn":
        found = jax.jit(snn.RNN(cell).apply)(below, x)
    else:
        stream = snn.Stateful(cell)
        state = stream.init(jax.random.key(0), x[:, 0])["membrane"]
        parts = []
        for step in range(2):
            out, changed = stream.apply(
                {**below, "membrane": state}, x[:, step], mutable=["membrane"]
            )
            state = changed["membrane"]
            parts.append(out[:, None])
        rest, _ = stream.apply(
            {**below, "membrane": state}, x[:, 2:], method="sequence", mutable=["membrane"]
        )
        found = jnp.concatenate([*parts, rest], axis=1)
    np.testing.assert_allclose(found, expected, atol=3e-6)


@pytest.mark.parametrize(
    ("kind", "cut"),
    covered_by(
        [(kind, cut) for kind in KINDS for cut in (1, 3, 7, 11)],
        [("axon", 7), ("synapse", 1)],
    ),
)
def test_chunks_give_what_the_whole_gives(kind, cut, x64):
    layer = snn.DelayedDense(N, LAST, kind=kind, param_dtype=jnp.float64)
    x = spikes_of(1, B, T, F).astype(np.float64)
    variables = jax.jit(layer.init)(jax.random.key(0), x)
    last, whole = applied(layer, variables, x, return_carry=True)
    carry, first = applied(layer, variables, x[:, :cut], return_carry=True)
    carry, second = applied(layer, variables, x[:, cut:], carry=carry, return_carry=True)
    np.testing.assert_allclose(jnp.concatenate([first, second], 1), whole, atol=1e-13)
    np.testing.assert_array_equal(carry, last)
    np.testing.assert_array_equal(last, x[:, -LAST:])


def test_carry_with_lengths_is_that_of_each_sequence():
    layer = snn.DelayedDense(N, LAST, time_major=True)
    x = spikes_of(2, T, B, F)
    lengths = np.array([T, 2, 0], np.int32)
    variables = jax.jit(layer.init)(jax.random.key(0), x)
    carry, y = jax.jit(lambda n: layer.apply(variables, x, seq_lengths=n, return_carry=True))(
        lengths
    )
    for b, length in enumerate(lengths):
        before = np.zeros((LAST, F), np.float32)
        np.testing.assert_array_equal(carry[b], np.concatenate([before, x[:length, b]])[-LAST:])
        if length:
            alone = applied(layer, variables, x[:length, b : b + 1])
            np.testing.assert_allclose(y[:length, b], alone[:, 0], atol=1e-6)


@pytest.mark.parametrize("kind", covered_by(KINDS, ["synapse"]))
def test_padding_never_counts_whatever_it_holds(kind):
    layer = snn.DelayedDense(N, LAST, kind=kind, implementation="frequency")
    x = spikes_of(3, B, T, F)
    lengths = np.array([5, 12, 8], np.int32)
    padded = np.where(np.arange(T)[None, :, None] < lengths[:, None, None], x, np.nan)
    variables = jax.jit(layer.init)(jax.random.key(0), x)

    def loss(params: Any, x: Any) -> jax.Array:
        y = layer.apply({**variables, "params": params}, x, seq_lengths=lengths)
        mask = np.arange(T)[None, :, None] < lengths[:, None, None]
        return jnp.sum(jnp.where(mask, y, 0.0) ** 2)

    gradient = jax.jit(jax.grad(loss, (0, 1)))
    of_params, of_x = gradient(variables["params"], padded.astype(np.float32))
    zeros, _ = gradient(variables["params"], np.nan_to_num(padded, nan=7.0).astype(np.float32))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-4), of_params, zeros)
    assert not np.any(np.asarray(of_x)[np.isnan(padded)])
    assert np.all(np.isfinite(of_x))


@pytest.mark.parametrize("kind", covered_by(KINDS, ["dendrite"]))
def test_no_batch_axis_and_vmap_and_several_batch_axes(kind):
    layer = snn.DelayedDense(N, LAST, kind=kind)
    x = spikes_of(4, 2, B, T, F)
    variables = jax.jit(layer.init)(jax.random.key(0), x)
    whole = applied(layer, variables, x)
    each = jax.jit(jax.vmap(jax.vmap(lambda one: layer.apply(variables, one))))(x)
    np.testing.assert_allclose(each, whole, atol=1e-6)
    np.testing.assert_allclose(applied(layer, variables, x[1, 2]), whole[1, 2], atol=1e-6)


def recurrent_by_hand(params: Any, x: np.ndarray, kind: str, sigma: float | None) -> tuple:
    """A LIF layer with hard reset and delayed recurrent weights, in float64."""
    w, r = (np.asarray(params[k], np.float64) for k in ("kernel", "recurrent_kernel"))
    d = for_each_pair(params["recurrent_delay"], kind, N, N)
    taps = taps_by_hand(d, sigma, LAST) * r
    alpha = np.exp(-1e-3 / 5e-3)
    v = np.zeros((len(x), N))
    past: list[np.ndarray] = []
    spikes, membranes = [], []
    for t in range(x.shape[1]):
        current = x[:, t] @ w
        for k, s in enumerate(reversed(past[-(LAST + 1) :])):
            current = current + s @ taps[k]
        v = alpha * v + (1 - alpha) * current
        fired = v > 1.0
        v = np.where(fired, 0.0, v)
        past.append(fired.astype(np.float64))
        spikes.append(past[-1])
        membranes.append(v)
    return np.stack(spikes, 1), np.stack(membranes, 1)


NEURONS = {
    "lif": snn.LIFDynamics(tau_mem=5e-3),
    "two synapses": snn.LIFDynamics(tau_mem=5e-3, tau_syn=4e-3, tau_syn_rec=3e-3),
    "alif": snn.ALIFDynamics(),
    "adlif": snn.AdLIFDynamics(),
}


def recurrent(kind: str, dynamics: Any = None, **more: Any) -> snn.DelayedRecurrentCell:
    return snn.DelayedRecurrentCell(
        N,
        dynamics=dynamics or NEURONS["lif"],
        max_delay=LAST,
        kind=kind,
        kernel_init=nn.initializers.normal(8.0),
        recurrent_kernel_init=nn.initializers.normal(8.0),
        **more,
    )


@pytest.mark.parametrize(
    ("kind", "sigma", "runner"),
    covered_by(
        [(k, sigma, runner) for k in KINDS for sigma in (0.7, None) for runner in RUNNERS],
        [
            ("synapse", 0.7, nn.RNN),
            ("axon", 0.7, snn.RNN),
            ("dendrite", None, snn.RNN),
        ],
    ),
)
def test_recurrent_delays_are_those_of_the_equation(kind, sigma, runner, x64):
    more = {"rounded": True} if sigma is None else {"sigma": sigma}
    cell = recurrent(kind, param_dtype=jnp.float64, **more)
    lifted = {"variable_axes": {"intermediates": 1}} if runner is nn.RNN else {}
    layer = runner(cell, variable_broadcast=("params", "delays"), **lifted)
    x = spikes_of(5, B, 40, F).astype(np.float64)
    variables = jax.jit(layer.init)(jax.random.key(1), x)
    if sigma is not None:  # the variable is float32
        variables = snn.layers.with_sigma(variables, jnp.asarray(sigma, jnp.float64))
        sigma = float(np.float32(sigma))
    found, more = jax.jit(lambda v: layer.apply(v, x, mutable=["intermediates"]))(variables)
    expected, v = recurrent_by_hand(variables["params"]["cell"], x, kind, sigma)
    assert 0.05 < expected.mean() < 0.8
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_allclose(more["intermediates"]["cell"]["v"][0], v, atol=1e-12)


@pytest.mark.parametrize(
    ("kind", "neuron"),
    covered_by(
        [(kind, neuron) for kind in KINDS for neuron in NEURONS],
        [("synapse", "two synapses")],
    ),
)
def test_recurrent_delays_of_zero_are_the_plain_recurrent_cell(kind, neuron):
    dynamics = NEURONS[neuron]
    x = spikes_of(6, B, 30, F)
    delayed = snn.RNN(recurrent(kind, dynamics, delay_init=nn.initializers.zeros, rounded=True))
    variables = jax.jit(delayed.init)(jax.random.key(1), x)
    params = dict(variables["params"]["cell"])
    del params["recurrent_delay"]
    plain = snn.RNN(snn.RecurrentNeuronCell(N, dynamics=dynamics))
    expected = applied(plain, {"params": {"cell": params}}, x)
    assert 0.02 < expected.mean() < 0.8
    np.testing.assert_array_equal(applied(delayed, variables, x), expected)


@pytest.mark.parametrize("kind", covered_by(KINDS, ["synapse"]))
def test_recurrent_gradients_at_once_are_those_step_by_step(kind, x64):
    """The loop that keeps waiting currents against the scan over the cell, in float64."""
    cell = recurrent(kind, param_dtype=jnp.float64)
    x = spikes_of(7, B, 20, F).astype(np.float64)
    fast, slow = snn.RNN(cell), snn.RNN(cell, implementation="scan")
    variables = jax.jit(fast.init)(jax.random.key(1), x)

    def loss(params: Any, runner: nn.Module) -> jax.Array:
        y = runner.apply({**variables, "params": params}, x)
        return jnp.sum(y * jnp.cos(jnp.arange(y.size, dtype=y.dtype)).reshape(y.shape))

    found = jax.jit(jax.grad(loss), static_argnums=1)(variables["params"], fast)["cell"]
    expected = jax.jit(jax.grad(loss), static_argnums=1)(variables["params"], slow)["cell"]
    assert np.abs(found["recurrent_delay"]).max() > 1e-3
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9), found, expected
    )


def test_recurrent_cell_streams():
    cell = recurrent("synapse")
    x = spikes_of(8, B, T, F)
    stream = snn.Stateful(cell)
    variables = jax.jit(stream.init)(jax.random.key(1), x[:, 0])
    fixed = {k: v for k, v in variables.items() if k != "membrane"}
    whole = applied(snn.RNN(cell), fixed, x)
    assert 0.02 < whole.mean() < 0.8
    state = {"membrane": variables["membrane"]}
    first, state = applied(
        stream, {**fixed, **state}, x[:, :5], method="sequence", mutable=["membrane"]
    )
    step = jax.jit(lambda v, x: stream.apply(v, x, mutable=["membrane"]))
    outputs = [first]
    for t in range(5, T):
        s, state = step({**fixed, **state}, x[:, t])
        outputs.append(s[:, None])
    np.testing.assert_array_equal(jnp.concatenate(outputs, 1), whole)


def test_chain_of_delays_and_neurons_is_the_layers_in_a_row():
    x = spikes_of(9, B, T, F)
    dynamics = snn.LIFDynamics(tau_mem=5e-3)
    settings: Any = {"sigma": 1.0, "kernel_init": nn.initializers.normal(200.0)}
    delays, neurons = snn.DelayedDenseCell(N, LAST, **settings), snn.LIFCell(dynamics=dynamics)
    chain = snn.RNN(snn.Chain((delays, neurons)))
    variables = jax.jit(chain.init)(jax.random.key(1), x)
    parts = {name: tree["cell"]["cells_0"] for name, tree in variables.items()}
    currents = applied(snn.DelayedDense(N, LAST, **settings), parts, x)
    lengths = jnp.array([4, 12, 7])
    carry, found = applied(chain, variables, x, return_carry=True, seq_lengths=lengths)
    spikes = applied(snn.LIF(dynamics=dynamics), {}, currents)
    assert 0.02 < spikes.mean() < 0.8
    np.testing.assert_array_equal(found, spikes)
    np.testing.assert_array_equal(carry[0][0], x[0, 4 - LAST : 4])


def test_bad_cells_and_carries_are_refused(unchecked):
    x = spikes_of(10, B, T, F)
    with pytest.raises(ValueError, match="dot_general_cls: expected none"):
        recurrent("axon", dot_general_cls=snn.EventDotGeneral)
    with pytest.raises(TypeError, match="got one argument"):
        snn.DelayedDenseCell(N, LAST).init(jax.random.key(0), x)
    cell = recurrent("axon")
    plain = snn.RecurrentLIFCell(N).initialize_carry(None, (B, F))
    with pytest.raises(TypeError, match="expected a DelayedState"):
        cell.init(jax.random.key(0), plain, x[:, 0])
    carry = cell.initialize_carry(None, (B, F))
    with pytest.raises(ValueError, match=r"waiting: expected shape \(3, 3, 5\), got shape"):
        cell.init(jax.random.key(0), carry.replace(waiting=carry.waiting[:, :2]), x[:, 0])
    layer = snn.DelayedDense(N, LAST)
    variables = jax.jit(layer.init)(jax.random.key(0), x)
    with pytest.raises(ValueError, match="carry: expected shape"):
        layer.apply(variables, x, initial_carry=jnp.zeros((B, LAST - 1, F)))
    with pytest.raises(TypeError, match="no wider than the float32 carry"), jax.enable_x64(True):
        cell = snn.DelayedDenseCell(N, LAST)
        cell.apply(variables, jnp.zeros((B, LAST, F), jnp.float32), jnp.ones((B, F), jnp.float64))


@pytest.mark.parametrize("learn", covered_by([False, True], [True]))
def test_lsuv_scales_weights_and_leaves_times_alone(learn):
    """A delay is a time, and its width too: neither grows with the current that is wanted."""
    cells = [
        snn.DelayedDenseCell(8, max_delay=6, sigma=2.0, learn_sigma=learn),
        snn.DelayedRecurrentCell(
            8, dynamics=snn.LIFDynamics(), max_delay=4, sigma=2.0, learn_sigma=learn
        ),
        snn.LIFCell(3),
    ]
    net = snn.RNN(snn.Chain(cells))
    x = (jax.random.uniform(jax.random.key(0), (4, 40, 6)) < 0.2).astype(jnp.float32)
    variables = jax.jit(net.init)(jax.random.key(1), x)
    scaled, report = snn.initializers.lsuv(net, variables, x)
    assert all(layer.reached for layer in report.layers)
    before = jax.tree_util.tree_leaves_with_path(variables["params"])
    after = jax.tree.leaves(scaled["params"])
    for (path, old), new in zip(before, after, strict=True):
        name = path[-1].key
        if name == "kernel":
            assert not np.array_equal(old, new), path
        elif name != "recurrent_kernel":
            np.testing.assert_array_equal(old, new, err_msg=name)
