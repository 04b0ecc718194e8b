"""The convolution for `nn.Conv` beside a plain loop in NumPy, and what XLA makes of it."""

from __future__ import annotations

import functools
import itertools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from convolution_by_hand import NUMBERS, SIZES, arrays, by_hand
from covering_rows import covered_by
from jax import lax
from jax.sharding import AxisType, NamedSharding, PartitionSpec
from jax.test_util import check_grads

import flax_snn as snn
from flax_snn.metrics import workload
from flax_snn.products import conv_general_dilated

ROWS = list(itertools.product((1, 2, 3), (1, 2, 3), (1, 2, 3), (1, 2), ("SAME", "VALID", 1, "cut")))
DEFAULT = [
    (1, 3, 1, 2, "cut"),
    (1, 2, 3, 1, "SAME"),
    (2, 3, 1, 1, "SAME"),
    (2, 3, 2, 1, 1),
    (2, 2, 1, 2, "VALID"),
    (2, 1, 2, 1, "cut"),
    (3, 2, 2, 1, "SAME"),
]


@pytest.mark.parametrize(
    ("rank", "taps", "stride", "dilation", "padding"), covered_by(ROWS, DEFAULT)
)
def test_it_is_that_of_a_plain_loop(rank, taps, stride, dilation, padding, x64):
    x, kernel = arrays(rank, taps)
    reach = dilation * (taps - 1)
    sides: Any = {"VALID": [(0, 0)] * rank, 1: [(1, 1)] * rank, "cut": [(1, -1)] * rank}.get(
        padding
    )
    if padding == "SAME":
        missing = [max((-(-n // stride) - 1) * stride + reach + 1 - n, 0) for n in SIZES[:rank]]
        sides = [(n // 2, n - n // 2) for n in missing]
    if min(n + sum(side) - reach for n, side in zip(SIZES, sides, strict=False)) < 1:
        pytest.skip("no window fits")

    def run(x: Any, kernel: Any) -> Any:
        asked = sides if padding == "cut" or padding == 1 else padding
        return conv_general_dilated(
            x,
            kernel,
            (stride,) * rank,
            asked,
            rhs_dilation=(dilation,) * rank,
            dimension_numbers=NUMBERS[rank],
        )

    expected, cotangents = by_hand(x, kernel, stride, sides, dilation)
    found, pullback = jax.vjp(run, x, kernel)
    np.testing.assert_allclose(found, expected, atol=1e-12)
    d_y = np.random.default_rng(5).normal(size=expected.shape)
    for mine, other in zip(pullback(jnp.asarray(d_y)), cotangents(d_y), strict=True):
        np.testing.assert_allclose(mine, other, atol=1e-11)


def convolve(x: Any, kernel: Any) -> Any:
    return conv_general_dilated(x, kernel, (2, 1), "SAME", dimension_numbers=NUMBERS[2])


def test_derivatives_of_any_order_in_both_modes(x64):
    x, kernel = arrays(2, 3)
    # Finite differences of finite differences are no more exact than that.
    exact = {"order": 2, "rtol": 1e-4, "atol": 1e-4}
    check_grads(lambda x, kernel: jnp.tanh(convolve(x, kernel)), (x, kernel), **exact)
    check_grads(jax.grad(lambda k: jnp.sum(convolve(x, k) ** 2)), (kernel,), **exact)


def test_many_kernels_at_once(x64):
    x, kernel = arrays(2, 3)
    kernels = np.stack([kernel, 2 * kernel])

    def loss(kernel: Any) -> Any:
        return jnp.sum(jnp.sin(convolve(x, kernel)))

    each = [jax.grad(loss)(kernel) for kernel in kernels]
    np.testing.assert_allclose(jax.vmap(jax.grad(loss))(kernels), each, atol=1e-12)


def step(product: Any, x: Any) -> Any:
    """A compiled scan over derivatives of a layer, and what it takes."""
    layer = nn.Conv(8, (3, 3), conv_general_dilated=product)
    variables = layer.init(jax.random.key(0), x)

    def loss(variables: Any, x: Any) -> Any:
        return jnp.mean(layer.apply(variables, x) ** 2)

    def run(variables: Any, x: Any) -> Any:
        def update(kept: Any, _: Any) -> Any:
            value, d_variables = jax.value_and_grad(loss)(kept, x)
            return jax.tree.map(lambda a, b: a - 0.1 * b, kept, d_variables), value

        return lax.scan(update, variables, length=3)

    return jax.jit(run), variables


def test_no_window_as_large_as_an_image_is_left_in_a_loop():
    x = np.random.default_rng(0).normal(size=(4, 14, 12, 3)).astype(np.float32)
    found, texts = [], []
    for product in (conv_general_dilated, None):
        run, variables = step(product, x)
        texts.append(run.lower(variables, x).compile().as_text())
        found.append(run(variables, x))
    assert "window={size=14x12" in texts[1]  # how XLA has the derivative of the kernel
    assert "window={size=3x3" in texts[0]
    assert "window={size=14x12" not in texts[0]
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), *found)


def test_programs_for_other_machines_have_batches_of_any_size():
    x = np.random.default_rng(0).normal(size=(4, 6, 5, 3)).astype(np.float32)
    run, variables = step(conv_general_dilated, x)
    (rows,) = jax.export.symbolic_shape("b")
    exported = jax.export.export(run)(
        variables, jax.ShapeDtypeStruct((rows, *x.shape[1:]), x.dtype)
    )
    alike = zip(
        *map(jax.tree.leaves, (exported.call(variables, x), run(variables, x))), strict=True
    )
    for there, here in alike:
        np.testing.assert_allclose(there, here, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    "options",
    [
        {"feature_group_count": 3},
        {"input_dilation": 2, "padding": 1},
        {"dtype": jnp.float16},
        {"padding": "CAUSAL", "kernel_size": (3,)},
        {"padding": "CIRCULAR"},
    ],
)
def test_all_that_conv_of_flax_can_do(options):
    options = {"features": 6, "kernel_size": (3, 3)} | options
    x = jnp.ones((2, 6, 5, 3)[: len(options["kernel_size"]) + 1] + (3,), jnp.float32)
    layer, stock = (
        nn.Conv(**options, conv_general_dilated=p) for p in (conv_general_dilated, None)
    )
    variables = stock.init(jax.random.key(0), x)
    np.testing.assert_array_equal(layer.apply(variables, x), stock.apply(variables, x))


def test_what_fits_not_is_refused_as_by_jax():
    x, kernel = (jnp.asarray(a, jnp.float32) for a in arrays(2, 3))
    with pytest.raises(ValueError, match="feature"):
        conv_general_dilated(x, kernel[:, :, :2], (1, 1), "SAME", dimension_numbers=NUMBERS[2])
    with pytest.raises(TypeError, match="explicit pads"):
        conv_general_dilated(x, kernel, (1, 1), [(0, 0)], dimension_numbers=NUMBERS[2])
    with pytest.raises(TypeError, match="dtype"):
        mixed = kernel.astype(jnp.float16)
        conv_general_dilated(x, mixed, (1, 1), "SAME", dimension_numbers=NUMBERS[2])
    none = conv_general_dilated(x[:0], kernel, (1, 1), "SAME", dimension_numbers=NUMBERS[2])
    assert none.shape == (0, 7, 6, 4)


def test_what_is_spread_by_its_type_stays_so():
    """As by the products of JAX, and with their values."""
    mesh = jax.make_mesh((1,), ("data",), axis_types=(AxisType.Explicit,))
    spread = NamedSharding(mesh, PartitionSpec("data"))
    images = np.random.default_rng(0).normal(size=(4, 6, 6, 3)).astype(np.float32)
    pairs = {
        "convolution": [nn.Conv(2, (3, 3), conv_general_dilated=p) for p in OWN_AND_STOCK],
        "matrix": [nn.Dense(2, dot_general_cls=p) for p in (snn.EventDotGeneral, None)],
        "maximum": [snn.MaxPool((2, 2)), nn.Sequential([lambda x: nn.max_pool(x, (2, 2), (2, 2))])],
    }
    for name, layers in pairs.items():
        variables = layers[1].init(jax.random.key(0), images)
        with jax.set_mesh(mesh):
            x = jax.device_put(images, spread)
            found, expected = (
                jax.jit(lambda v, x, layer=layer: layer.apply(v, x))(variables, x)
                for layer in layers
            )
        assert found.sharding.spec == expected.sharding.spec, name
        assert found.sharding.spec[0] == "data"
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


OWN_AND_STOCK = (conv_general_dilated, None)
PLAIN = {
    "convolution": ((6, 6, 2), lambda own: nn.Conv(4, (3, 3), conv_general_dilated=own)),
    "matrix": ((5,), lambda own: nn.Dense(4, dot_general_cls=own)),
    "cell": ((5,), lambda own: snn.RNN(snn.LIFCell(4, dot_general_cls=own))),
}
OWN = {"convolution": conv_general_dilated, "matrix": snn.EventDotGeneral}
OWN["cell"] = functools.partial(snn.EventDotGeneral, share=0.5)


@pytest.mark.parametrize("name", PLAIN)
def test_other_parts_take_it_for_the_product_that_it_is(name):
    features, layer = PLAIN[name]
    x = (np.random.default_rng(0).random((2, 5, *features)) < 0.3).astype(np.float32)
    ours, stock = (nn.Sequential([layer(own), snn.LIF()]) for own in (OWN[name], None))
    variables = stock.init(jax.random.key(0), x)
    counts = [workload(each, variables, x) for each in (ours, stock)]
    assert counts[0] == counts[1]
    graphs = [snn.nir.to_nir(each, variables, features, dt=1e-3) for each in (ours, stock)]
    assert list(graphs[0].nodes) == list(graphs[1].nodes)
    weights = [next(n.weight for n in g.nodes.values() if hasattr(n, "weight")) for g in graphs]
    np.testing.assert_array_equal(*weights)
