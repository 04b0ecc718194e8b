"""Residual blocks and pooling against NumPy."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import flax_snn as snn


def spikes_of(*shape: int, dtype: Any = np.float32) -> np.ndarray:
    return (np.random.default_rng(0).random(shape) < 0.4).astype(dtype)


JOINED = {
    "add": lambda a, x: a + x,
    "and": lambda a, x: np.logical_and(a, x),
    "iand": lambda a, x: np.logical_and(np.logical_not(a), x),
}


@pytest.mark.parametrize("connect", list(JOINED))
def test_residual_block_is_the_table_of_its_connection(connect):
    body = nn.Sequential([nn.Dense(6, kernel_init=nn.initializers.normal(12.0)), snn.LIF()])
    x = spikes_of(2, 20, 6)
    block = snn.SpikingResidual(body, connect=connect)
    variables = jax.jit(block.init)(jax.random.key(0), x)
    a = np.asarray(jax.jit(body.apply)({"params": variables["params"]["body"]}, x))
    assert 0.02 < a.mean() < 0.9
    y = jax.jit(block.apply)(variables, x)
    np.testing.assert_array_equal(y, JOINED[connect](a, x).astype(np.float32))


@pytest.mark.parametrize(("connect", "a"), [("add", 0.0), ("and", 1.0), ("iand", 0.0)])
def test_each_connection_can_be_the_identity_for_values_and_gradients(connect, a):
    class Constant(nn.Module):
        def __call__(self, x: jax.Array) -> jax.Array:
            return jnp.full_like(x, a)

    block = snn.SpikingResidual(Constant(), connect=connect)
    x = spikes_of(2, 5, 3)
    np.testing.assert_array_equal(block.apply({}, x), x)
    gradient = jax.grad(lambda x: jnp.sum(block.apply({}, x)))(x)
    np.testing.assert_array_equal(gradient, np.ones_like(x))


@pytest.mark.slow
def test_shortcut_brings_the_input_to_the_shape_of_the_block():
    def layers() -> nn.Sequential:
        return nn.Sequential([nn.Conv(3, (3, 3), strides=(2, 2)), snn.LIF()])

    block = snn.SpikingResidual(layers(), shortcut=layers())
    x = spikes_of(1, 4, 6, 6, 2, dtype=np.uint8)
    y, variables = jax.jit(block.init_with_output)(jax.random.key(0), x)
    assert y.shape == (1, 4, 3, 3, 3)
    parts = [
        jax.jit(layers().apply)({"params": variables["params"][name]}, x.astype(np.float32))
        for name in ("body", "shortcut")
    ]
    np.testing.assert_array_equal(y, parts[0] + parts[1])
    with pytest.raises(ValueError, match=r"expected spikes of shape \(1, 4, 6, 6, 2\) from the bo"):
        snn.SpikingResidual(layers()).init(jax.random.key(0), x)


def test_bad_blocks(unchecked):
    with pytest.raises(ValueError, match="connect: expected one of 'add', 'and', 'iand'"):
        snn.SpikingResidual(nn.Dense(3), connect="or")
    with pytest.raises(TypeError, match="body: expected a Flax module"):
        snn.SpikingResidual(None)
    with pytest.raises(TypeError, match="expected layers over sequences, got LIFCell; wrap"):
        snn.SpikingResidual(snn.LIFCell(3))


def windows(x: np.ndarray, window: Any, strides: Any, padding: Any, fill: float) -> np.ndarray:
    """All windows of (B, T, H, W, C), (B, T, H', W', h, w, C), by a plain loop."""
    sides = [(0, 0), (0, 0), *((p, p) for p in padding), (0, 0)]
    x = np.pad(x.astype(np.float64), sides, constant_values=fill)
    (h, w), (dy, dx) = window, strides
    rows, columns = (
        (n - k) // d + 1 for n, k, d in zip(x.shape[2:4], window, strides, strict=True)
    )
    cut = [
        [x[:, :, r * dy : r * dy + h, c * dx : c * dx + w] for c in range(columns)]
        for r in range(rows)
    ]
    return np.stack([np.stack(row, 2) for row in cut], 2)


@pytest.mark.parametrize("kind", [snn.SumPool, snn.AvgPool, snn.MaxPool])
@pytest.mark.parametrize(
    ("window", "strides", "padding"),
    [((2, 2), None, (0, 0)), ((3, 2), (1, 2), (1, 0)), ((3, 3), (2, 2), (1, 1))],
)
def test_pooling_is_that_of_a_plain_loop(kind, window, strides, padding):
    x = spikes_of(2, 3, 6, 8, 4, dtype=np.uint8)
    layer = kind(window, strides, padding)
    reduced = {snn.SumPool: np.sum, snn.AvgPool: np.mean, snn.MaxPool: np.max}[kind]
    fill = -np.inf if kind is snn.MaxPool else 0.0
    expected = reduced(windows(x, window, strides or window, padding, fill), axis=(4, 5))
    found = jax.jit(lambda x: layer.apply({}, x))(x)
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    one = jax.vmap(lambda x: layer.apply({}, x))(x)
    np.testing.assert_array_equal(one, found)


def test_pooled_gradients_reach_the_spikes():
    x = jnp.asarray(spikes_of(1, 2, 4, 4, 1))
    for kind, each in ((snn.SumPool, 1.0), (snn.AvgPool, 0.25)):
        gradient = jax.grad(lambda x, kind=kind: jnp.sum(kind((2, 2)).apply({}, x)))(x)
        np.testing.assert_array_equal(gradient, np.full(x.shape, each))
    gradient = jax.grad(lambda x: jnp.sum(snn.MaxPool((2, 2)).apply({}, x)))(x)
    per_window = snn.SumPool((2, 2)).apply({}, gradient)
    np.testing.assert_array_equal(per_window, np.ones((1, 2, 2, 2, 1)))


def test_the_first_of_the_largest_gets_the_gradient_as_in_flax(x64):
    for height, width in ((6, 6), (7, 5)):
        x = jnp.asarray(np.random.default_rng(0).integers(0, 3, (3, height, width, 2)), float)
        d_y = jnp.asarray(np.random.default_rng(1).normal(size=(3, height // 3, width // 2, 2)))
        expected, other = jax.vjp(lambda x: nn.max_pool(x, (3, 2), (3, 2)), x)
        layer = snn.MaxPool((3, 2))
        found, mine = jax.vjp(lambda x, layer=layer: layer.apply({}, x[:, None])[:, 0], x)
        np.testing.assert_array_equal(found, expected)
        np.testing.assert_array_equal(mine(d_y)[0], other(d_y)[0])
        _, tangent = jax.jvp(lambda x, layer=layer: layer.apply({}, x[:, None])[:, 0], (x,), (x,))
        np.testing.assert_array_equal(tangent, expected)  # the maximum is linear where it stays


@pytest.mark.parametrize(
    ("make", "error", "match"),
    [
        (lambda: snn.SumPool((2,)), ValueError, "window: expected height and width"),
        (lambda: snn.SumPool(2), TypeError, "window: expected a pair"),
        (lambda: snn.AvgPool((2, 0)), ValueError, "window: expected a whole number >= 1"),
        (lambda: snn.AvgPool((2, 2), padding=(-1, 0)), ValueError, "padding: expected"),
        (lambda: snn.SumPool((9, 1)).apply({}, spikes_of(1, 2, 4, 4, 1)), ValueError, "at least"),
        (lambda: snn.SumPool((2, 2)).apply({}, spikes_of(4, 4, 1)), ValueError, "expected inputs"),
        (
            lambda: snn.MaxPool((2, 2), padding=(2, 0)).apply({}, spikes_of(1, 2, 4, 4, 1)),
            ValueError,
            "at most half of the window",
        ),
    ],
)
def test_bad_pooling(make, error, match, unchecked):
    with pytest.raises(error, match=match):
        make()
