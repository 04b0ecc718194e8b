"""Delayed weights as a layer: kinds, widths, learning, dtypes, and what bad input gets."""

import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from covering_rows import covered_by

import flax_snn as snn
from flax_snn.layers import annealed_sigma, clip_delays, delay_taps, with_sigma

B, T, F, N, LAST = 2, 9, 3, 4, 3

KINDS = ["synapse", "axon", "dendrite"]
SIZES = [(9, 3), (2, 5), (1, 9), (4, 0)]
"""Time steps and largest delay; sequences shorter than the delays are legal."""


def inputs(*shape: int, dtype: Any = np.float32) -> np.ndarray:
    return np.random.default_rng(0).normal(size=shape).astype(dtype)


def by_hand(params: Any, x: np.ndarray, kind: str, last: int, sigma: float | None) -> np.ndarray:
    """The equation of the layer as four plain loops, in float64."""
    w, d, bias = (np.asarray(params[name], np.float64) for name in ("kernel", "delay", "bias"))
    y = np.zeros((*x.shape[:2], w.shape[1])) + bias
    for i in range(w.shape[0]):
        for j in range(w.shape[1]):
            where = d[{"synapse": (i, j), "axon": i, "dendrite": j}[kind]]
            g = np.eye(last + 1)[int(np.round(where))]
            if sigma is not None:
                g = np.exp(-((np.arange(last + 1) - where) ** 2) / (2 * sigma**2))
            for k in range(last + 1):
                for t in range(k, x.shape[1]):
                    y[:, t, j] += w[i, j] * g[k] / g.sum() * x[:, t - k, i]
    return y


@pytest.mark.parametrize(
    ("kind", "sigma", "steps", "last"),
    covered_by(
        [(k, s, *size) for k in KINDS for s in (1.3, None) for size in SIZES],
        [
            ("synapse", 1.3, 9, 3),
            ("axon", 1.3, 2, 5),
            ("dendrite", 1.3, 1, 9),
            ("dendrite", None, 2, 5),
            ("synapse", None, 4, 0),
        ],
    ),
)
def test_each_kind_is_the_equation(kind, sigma, steps, last, x64):
    x = inputs(B, steps, F, dtype=np.float64)
    for implementation in ("convolution", "frequency"):
        layer = snn.DelayedDense(
            N,
            last,
            kind=kind,
            rounded=sigma is None,
            implementation=implementation,
            param_dtype=jnp.float64,
            bias_init=nn.initializers.normal(),
        )
        variables = jax.jit(layer.init)(jax.random.key(0), x)
        found = jax.jit(lambda v, layer=layer: layer.apply(v, x, sigma=sigma))(variables)
        expected = by_hand(variables["params"], x, kind, last, sigma)
        np.testing.assert_allclose(found, expected, atol=1e-13)


def test_long_sequences_are_cut_into_blocks(x64):
    """More than one block of the frequency domain, the last of them not full."""
    layer = snn.DelayedDense(N, 20, implementation="frequency", param_dtype=jnp.float64)
    x = inputs(B, 307, F, dtype=np.float64)
    variables = jax.jit(layer.init)(jax.random.key(0), x)
    expected = jax.jit(layer.clone(implementation="convolution").apply)(variables, x)
    np.testing.assert_allclose(jax.jit(layer.apply)(variables, x), expected, atol=1e-13)


def test_width_is_annealed_from_outside_without_compiling_again():
    layer = snn.DelayedDense(N, LAST)
    x = inputs(B, T, F)
    variables = jax.jit(layer.init)(jax.random.key(0), x)
    assert float(variables["delays"]["sigma"]) == LAST / 2
    traces = []

    @jax.jit
    def run(variables: Any) -> jax.Array:
        traces.append(1)
        return layer.apply(variables, x)

    for epoch, expected in enumerate([2.0, 1.0, 0.5, 0.5]):
        sigma = annealed_sigma(epoch, steps=2, start=2.0, end=0.5)
        np.testing.assert_allclose(sigma, expected, rtol=1e-6)
        y = run(with_sigma(variables, sigma))
        np.testing.assert_allclose(
            y, by_hand(variables["params"], x, "synapse", LAST, expected), atol=1e-5
        )
    assert len(traces) == 1
    traced = jax.jit(lambda s: layer.apply(with_sigma(variables, s), x))(0.5)
    np.testing.assert_allclose(traced, y, atol=1e-6)


def test_with_sigma_sets_the_widths_of_all_layers_and_nothing_else():
    chain = snn.Chain(
        (
            snn.DelayedDenseCell(3, 2),
            snn.DelayedRecurrentCell(2, dynamics=snn.LIFDynamics(), max_delay=4),
        )
    )
    variables = jax.jit(snn.RNN(chain).init)(jax.random.key(0), inputs(B, T, F))
    changed = with_sigma(variables, 0.7)
    assert [float(s) for s in jax.tree.leaves(variables["delays"])] == [1.0, 2.0]
    assert [round(float(s), 6) for s in jax.tree.leaves(changed["delays"])] == [0.7, 0.7]
    assert changed["params"] is variables["params"]


def test_learned_widths_stay_positive_and_have_the_gradient_of_the_taps(x64):
    layer = snn.DelayedDense(N, LAST, learn_sigma=True, sigma=0.8, param_dtype=jnp.float64)
    x = inputs(B, T, F, dtype=np.float64)
    variables = jax.jit(layer.init)(jax.random.key(0), x)
    assert "delays" not in variables
    params = variables["params"]
    np.testing.assert_allclose(np.exp(params["log_sigma"]), 0.8)
    gradient = jax.jit(jax.grad(lambda p: jnp.sum(layer.apply({"params": p}, x) ** 2)))(params)
    fixed = layer.clone(learn_sigma=False)

    def of_width(sigma: jax.Array) -> jax.Array:
        return jnp.sum(fixed.apply({"params": params}, x, sigma=sigma) ** 2)

    expected = jax.jit(jax.grad(of_width))(jnp.full((F, N), 0.8)) * 0.8
    np.testing.assert_allclose(gradient["log_sigma"], expected, rtol=1e-10)


def test_gradient_descent_finds_the_delays_of_another_layer(x64):
    """A teacher with other delays, the same weights: the width is annealed as it learns."""
    x = (np.random.default_rng(1).random((8, 40, 2)) < 0.3).astype(np.float64)
    layer = snn.DelayedDense(2, 8, use_bias=False, param_dtype=jnp.float64)
    weights, target = jnp.ones((2, 2)), jnp.array([[1.0, 6.0], [5.0, 2.0]])
    y = layer.apply({"params": {"kernel": weights, "delay": target}}, x, rounded=True)

    @jax.jit
    def step(delay: jax.Array, sigma: jax.Array) -> jax.Array:
        def loss(delay: jax.Array) -> jax.Array:
            out = layer.apply({"params": {"kernel": weights, "delay": delay}}, x, sigma=sigma)
            return jnp.mean((out - y) ** 2)

        moved = delay - 0.3 * jnp.sign(jax.grad(loss)(delay)) * jnp.minimum(1.0, sigma).astype(
            delay.dtype
        )
        return clip_delays({"delay": moved}, 8)["delay"]

    delay = jnp.array([[3.0, 3.0], [3.0, 4.0]])
    for k in range(60):
        delay = step(delay, annealed_sigma(k, steps=60, start=4.0, end=0.3))
    np.testing.assert_array_equal(np.round(delay), target)


@pytest.mark.parametrize("dtype", covered_by([np.bool_, np.int8, np.uint8], [np.bool_]))
def test_spikes_of_any_dtype_are_numbers(dtype):
    layer = snn.DelayedDense(N, LAST)
    x = inputs(B, T, F) > 0
    variables = jax.jit(layer.init)(jax.random.key(0), x)
    run = jax.jit(layer.apply)
    expected = run(variables, x.astype(np.float32))
    np.testing.assert_array_equal(run(variables, x.astype(dtype)), expected)


@pytest.mark.parametrize("kind", covered_by(KINDS, ["synapse"]))
def test_narrow_products_keep_wide_delays(kind):
    """bfloat16 has 8 bits: products are right to 2^-8 of their sum of magnitudes."""
    layer = snn.DelayedDense(N, 24, kind=kind, dtype=jnp.bfloat16, param_dtype=jnp.bfloat16)
    x = inputs(B, T, F)
    variables = jax.jit(layer.init)(jax.random.key(0), x)
    assert variables["params"]["delay"].dtype == jnp.float32
    assert variables["params"]["kernel"].dtype == jnp.bfloat16
    y = jax.jit(layer.apply)(variables, x)
    assert y.dtype == jnp.bfloat16
    expected = by_hand(variables["params"], x, kind, 24, 12.0)
    np.testing.assert_allclose(np.asarray(y, np.float64), expected, atol=0.03)


def test_out_of_range_counts_as_the_end_and_clip_brings_it_back():
    delay = jnp.array([-2.0, 1.5, 7.0])
    inside = clip_delays({"a": {"delay": delay, "kernel": delay}, "recurrent_delay": delay}, 4)
    np.testing.assert_array_equal(inside["a"]["delay"], [0.0, 1.5, 4.0])
    np.testing.assert_array_equal(inside["recurrent_delay"], [0.0, 1.5, 4.0])
    np.testing.assert_array_equal(inside["a"]["kernel"], delay)
    taps = delay_taps(delay, 0.8, 4)
    np.testing.assert_array_equal(taps, delay_taps(inside["a"]["delay"], 0.8, 4))

    @jax.jit
    @jax.grad
    def gradient(delay: jax.Array) -> jax.Array:
        return jnp.sum(delay_taps(delay, 0.8, 4) * jnp.arange(5.0)[:, None])

    np.testing.assert_allclose(gradient(delay), gradient(inside["a"]["delay"]), rtol=1e-6)


BAD: dict[str, tuple[Any, type, str]] = {
    "max_delay": (lambda: snn.DelayedDense(2, -1), ValueError, "max_delay: expected a whole num"),
    "fractional": (lambda: snn.DelayedDense(2, 2.5), ValueError, "max_delay: expected a whole"),
    "features": (lambda: snn.DelayedDense(0, 2), ValueError, "features: expected a whole number"),
    "kind": (lambda: snn.DelayedDense(2, 2, kind="both"), ValueError, "kind: expected one of"),
    "sigma": (
        lambda: snn.DelayedDense(2, 2, sigma=0.0),
        ValueError,
        "sigma: expected .*> 0, got 0",
    ),
    "no sigma": (lambda: snn.DelayedDense(2, 2, sigma=float("nan")), ValueError, "sigma: expected"),
    "epsilon": (lambda: snn.DelayedDense(2, 2, epsilon=-1.0), ValueError, "epsilon: expected"),
    "shape": (lambda: snn.DelayedDense(2, 2, tap_shape="box"), ValueError, "tap_shape: expected"),
    "switch": (lambda: snn.DelayedDense(2, 2, rounded=1), TypeError, "rounded: expected True or"),
    "implementation": (
        lambda: snn.DelayedDense(2, 2, implementation="fft"),
        ValueError,
        "implementation: expected one of",
    ),
    "delay_init": (
        lambda: snn.DelayedDense(2, 2, delay_init=np.zeros((3, 2))),
        TypeError,
        "delay_init: expected an initialiser.*nn.initializers.constant",
    ),
    "dtype": (lambda: snn.DelayedDense(2, 2, dtype=np.int32), TypeError, "dtype: expected a floa"),
    "range": (
        lambda: run(delay_init=nn.initializers.constant(9.0)),
        ValueError,
        "delay: expected delays from 0 to 2 steps, which is max_delay, got 9.0 to 9.0",
    ),
    "no width": (
        lambda: snn.DelayedDense(2, 2).apply({"params": made()["params"]}, inputs(B, T, F)),
        ValueError,
        "expected the width of the delays in the collection 'delays', got none",
    ),
    "call with 0": (lambda: call(sigma=0.0), ValueError, "sigma: expected .*> 0, got 0"),
    "stored 0": (
        lambda: snn.DelayedDense(2, 2).apply(
            {**made(), "delays": {"sigma": -1.0}}, inputs(B, T, F)
        ),
        ValueError,
        "sigma: expected .*> 0, got -1",
    ),
    "widths": (lambda: call(sigma=np.ones(3)), ValueError, r"sigma: expected shape \(3, 2\)"),
    "learned": (
        lambda: run(learn_sigma=True, call={"sigma": 1.0}),
        ValueError,
        "sigma: expected no value, since it is learned",
    ),
    "integers": (lambda: call(inputs(B, T, F).astype(np.int32)), TypeError, "floating dtype"),
    "no time": (lambda: call(inputs(F)), ValueError, r"inputs: expected shape \(\*B, T, F\)"),
    "no steps": (lambda: call(inputs(B, 0, F)), ValueError, "at least one time step, got T = 0"),
    "no features": (lambda: run(inputs(B, T, 0)), ValueError, "at least one input feature"),
    "other features": (lambda: call(inputs(B, T, 5)), ValueError, "expected 3 features on the"),
    "lengths": (
        lambda: call(seq_lengths=np.array([1, T + 1])),
        ValueError,
        "seq_lengths: expected 0 to 9",
    ),
    "with_sigma": (lambda: with_sigma(made(), 0.0), ValueError, "sigma: expected .*> 0, got 0"),
    "nothing to set": (
        lambda: with_sigma({"params": {}}, 1.0),
        ValueError,
        "variables: expected the collection 'delays'.*got params",
    ),
    "taps of integers": (
        lambda: delay_taps(np.array([1, 2]), 1.0, 3),
        TypeError,
        "delay: expected a floating dtype, got int64; integer delays have rounded_taps",
    ),
    "steps": (lambda: annealed_sigma(0, steps=0, start=1.0), ValueError, "steps: expected"),
    "start": (lambda: annealed_sigma(0, steps=5, start=0.0), ValueError, "start: expected"),
}


def run(x: Any = None, call: Any = None, **settings: Any) -> Any:
    x = inputs(B, T, F) if x is None else x
    return snn.DelayedDense(2, 2, **settings).init(jax.random.key(0), x, **(call or {}))


@functools.cache
def made() -> Any:
    return jax.jit(snn.DelayedDense(2, 2).init)(jax.random.key(0), inputs(B, T, F))


def call(x: Any = None, **arguments: Any) -> Any:
    x = inputs(B, T, F) if x is None else x
    return snn.DelayedDense(2, 2).apply(made(), x, **arguments)


@pytest.mark.parametrize("name", list(BAD))
def test_bad_input_is_refused_with_the_remedy(name, unchecked):
    make, error, match = BAD[name]
    with pytest.raises(error, match=match):
        make()
