"""Event-driven convolutions beside NumPy in float64, and layers with them beside those of Flax."""

from __future__ import annotations

import ctypes
import functools
import itertools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from convolution_by_hand import NUMBERS, by_hand
from covering_rows import covered_by
from jax.sharding import AxisType, NamedSharding, PartitionSpec
from scarce_memory import scarce_memory

import flax_snn as snn
from flax_snn.metrics import workload
from flax_snn.products import conv_general_dilated, convolution_for
from flax_snn.products.native import library

pytest.importorskip("llvmlite")

EXACT = {"float32": 1e-4, "float64": 1e-11}


def arrays(sizes: tuple[int, ...], taps: tuple[int, ...], channels: int, features: int) -> Any:
    """Returns images that are mostly zero, and a kernel."""
    generator = np.random.default_rng(sum(sizes) + channels)
    shape = (*sizes, channels)
    values = generator.choice([1.0, 1.0, 2.0, -0.5], shape) * (generator.random(shape) < 0.2)
    return values, generator.normal(size=(*taps, channels, features))


ROWS = list(
    itertools.product(
        ("float32", "float64"),
        (0.0, 0.5, 1.0),
        ("SAME", "VALID", "wide", "cut"),
        ((3, 3), (2, 5), (1, 1), (4,)),
        ((3, 5), (11, 72), (9, 105)),
    )
)
DEFAULT = [
    ("float64", 1.0, "SAME", (3, 3), (9, 105)),
    ("float32", 0.5, "VALID", (2, 5), (11, 72)),
    ("float64", 1.0, "cut", (4,), (3, 5)),
    ("float32", 1.0, "wide", (1, 1), (11, 72)),
    ("float32", 0.0, "wide", (4,), (3, 5)),
]


@pytest.mark.parametrize(("dtype", "share", "padding", "taps", "widths"), covered_by(ROWS, DEFAULT))
def test_it_is_that_of_a_plain_loop(dtype, share, padding, taps, widths):
    rank = len(taps)
    sizes = (8, 7)[:rank]
    x, kernel = arrays((4, *sizes), taps, *widths)
    sides: Any = {"VALID": [(0, 0)] * rank, "wide": [(5, 2)] * rank, "cut": [(1, -2)] * rank}
    sides = sides.get(padding) or [((n - 1) // 2, n - 1 - (n - 1) // 2) for n in taps]
    event = snn.EventConvGeneralDilated(share, share)
    with jax.enable_x64(dtype == "float64"):

        def run(x: Any, kernel: Any) -> Any:
            asked = padding if padding in ("SAME", "VALID") else sides
            return event(x, kernel, (1,) * rank, asked, dimension_numbers=NUMBERS[rank])

        expected, cotangents = by_hand(x, kernel, 1, sides, 1)
        found, pullback = jax.vjp(run, jnp.asarray(x, dtype), jnp.asarray(kernel, dtype))
        assert found.dtype == dtype
        np.testing.assert_allclose(found, expected, atol=EXACT[dtype])
        d_y = np.random.default_rng(5).normal(size=expected.shape)
        for mine, other in zip(pullback(jnp.asarray(d_y, dtype)), cotangents(d_y), strict=True):
            np.testing.assert_allclose(mine, other, atol=EXACT[dtype])


def test_derivatives_of_both_orders_are_those_of_the_dense_convolution(x64) -> None:
    x, kernel = (jnp.asarray(a) for a in arrays((2, 6, 5), (3, 3), 4, 7))

    def loss(product: Any, x: Any, kernel: Any) -> Any:
        out = product(x, kernel, (1, 1), "SAME", dimension_numbers=NUMBERS[2])
        return jnp.sum(jnp.tanh(out))

    def steepness(product: Any, x: Any, kernel: Any) -> Any:
        slopes = jax.grad(loss, (1, 2))(product, x, kernel)
        return sum(jnp.sum(jnp.sin(slope)) for slope in slopes)

    both = (snn.EventConvGeneralDilated(1.0, 1.0), jax.lax.conv_general_dilated)
    for function in (loss, steepness):
        found, expected = (
            jax.jit(jax.grad(function, (1, 2)), static_argnums=0)(product, x, kernel)
            for product in both
        )
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-11), found, expected)
    found, expected = (
        jax.jvp(functools.partial(loss, product), (x, kernel), (x, kernel))[1] for product in both
    )
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_many_kernels_at_once_and_without_jit() -> None:
    x, kernel = (jnp.asarray(a, jnp.float32) for a in arrays((2, 6, 5), (3, 3), 4, 7))
    event = snn.EventConvGeneralDilated()

    def run(product: Any, kernel: Any) -> Any:
        return product(x, kernel, (1, 1), "SAME", dimension_numbers=NUMBERS[2])

    kernels = jnp.stack([kernel, 2 * kernel])
    expected = [run(jax.lax.conv_general_dilated, kernel) for kernel in kernels]
    np.testing.assert_allclose(
        jax.vmap(functools.partial(run, event))(kernels), expected, atol=1e-5
    )
    with jax.disable_jit():
        np.testing.assert_allclose(run(event, kernel), expected[0], atol=1e-5)


def test_nan_and_infinity_are_not_skipped() -> None:
    x = jnp.zeros((2, 6, 6, 3)).at[0, 2, 2, 1].set(jnp.nan).at[1, 0, 0, 0].set(jnp.inf)
    layer = nn.Conv(5, (3, 3), conv_general_dilated=snn.EventConvGeneralDilated(1.0))
    params = {"kernel": jnp.ones((3, 3, 3, 5)), "bias": jnp.zeros(5)}
    found = np.asarray(layer.apply({"params": params}, x))
    assert np.isnan(found[0, 1:4, 1:4]).all() and np.isinf(found[1, :2, :2]).all()
    assert np.isfinite(found).sum() == found.size - 5 * (9 + 4)


def test_exported_programs_are_dense() -> None:
    layer = nn.Conv(8, (3, 3), conv_general_dilated_cls=snn.EventConvGeneralDilated)
    x = jnp.asarray(arrays((2, 6, 5), (3, 3), 4, 8)[0], jnp.float32)
    variables = layer.init(jax.random.key(0), x)

    def run(variables: Any, x: Any) -> Any:
        return layer.apply(variables, x)

    exported = jax.export.export(jax.jit(run))(variables, x)
    assert "flax_snn_convolution" not in exported.mlir_module()
    assert "flax_snn_convolution" in jax.jit(run).lower(variables, x).as_text()
    np.testing.assert_allclose(exported.call(variables, x), run(variables, x), atol=1e-5)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"strides": (2, 2)}, r"window_strides=\(2, 2\).*leave it out of this layer"),
        ({"kernel_dilation": 2}, r"rhs_dilation=\(2, 2\)"),
        ({"input_dilation": 2, "padding": 1}, r"lhs_dilation=\(2, 2\)"),
        ({"feature_group_count": 3}, "feature_group_count=3"),
        ({"kernel_size": (3, 3, 3)}, r"for shapes \(2, 6, 5, 4, 3\)"),
    ],
)
def test_other_convolutions_are_refused(options: Any, words: str) -> None:
    options = {"features": 6, "kernel_size": (3, 3)} | options
    x = jnp.ones((2, 6, 5, 4)[: len(options["kernel_size"]) + 1] + (3,))
    layer = nn.Conv(**options, conv_general_dilated_cls=snn.EventConvGeneralDilated)
    with pytest.raises(ValueError, match=f"EventConvGeneralDilated: expected .*{words}"):
        layer.init(jax.random.key(0), x)


def test_wrong_arguments_are_named(unchecked: None) -> None:
    event, x = snn.EventConvGeneralDilated(), jnp.ones((2, 6, 5, 3))
    kernel = jnp.ones((3, 3, 3, 4))
    with pytest.raises(TypeError, match="EventConvGeneralDilated: share: expected a finite number"):
        snn.EventConvGeneralDilated(share="a")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"gradient_share: .* in \[0, 1\], got 1.5"):
        snn.EventConvGeneralDilated(gradient_share=1.5)
    with pytest.raises(RuntimeError, match="float32 and float64, and the product is in bfloat16"):
        event(x.astype(jnp.bfloat16), kernel, (1, 1), "SAME", dimension_numbers=NUMBERS[2])
    with pytest.raises(ValueError, match="feature"):
        event(x, kernel[:, :, :2], (1, 1), "SAME", dimension_numbers=NUMBERS[2])
    with pytest.raises(TypeError, match="explicit pads"):
        event(x, kernel, (1, 1), [(0, 0)], dimension_numbers=NUMBERS[2])
    assert event(x[:0], kernel, (1, 1), "SAME", dimension_numbers=NUMBERS[2]).shape == (0, 6, 5, 4)
    none = event(x[:, :2], kernel, (1, 1), "VALID", dimension_numbers=NUMBERS[2])
    assert none.shape == (2, 0, 3, 4)


def test_what_is_spread_by_its_type_stays_so() -> None:
    mesh = jax.make_mesh((1,), ("data",), axis_types=(AxisType.Explicit,))
    images = np.random.default_rng(0).normal(size=(4, 6, 6, 3)).astype(np.float32)
    ours, stock = (
        nn.Conv(2, (3, 3), conv_general_dilated_cls=p) for p in (snn.EventConvGeneralDilated, None)
    )
    variables = stock.init(jax.random.key(0), images)
    with jax.set_mesh(mesh):
        x = jax.device_put(images, NamedSharding(mesh, PartitionSpec("data")))
        found, expected = (jax.jit(layer.apply)(variables, x) for layer in (ours, stock))
    assert found.sharding.spec == expected.sharding.spec
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_other_parts_take_it_for_the_product_that_it_is() -> None:
    x = (np.random.default_rng(0).random((2, 5, 6, 6, 2)) < 0.3).astype(np.float32)
    ours, stock = (
        nn.Sequential([nn.Conv(4, (3, 3), conv_general_dilated_cls=own), snn.LIF()])
        for own in (snn.EventConvGeneralDilated, None)
    )
    variables = stock.init(jax.random.key(0), x)
    assert workload(ours, variables, x) == workload(stock, variables, x)
    graphs = [snn.nir.to_nir(each, variables, (6, 6, 2), dt=1e-3) for each in (ours, stock)]
    assert list(graphs[0].nodes) == list(graphs[1].nodes)


def test_it_is_taken_where_there_can_be_one(monkeypatch: pytest.MonkeyPatch) -> None:
    assert convolution_for("float32") == snn.EventConvGeneralDilated()
    assert convolution_for("bfloat16") is conv_general_dilated
    monkeypatch.setattr(jax, "device_count", lambda: 2)
    assert convolution_for("float32") is conv_general_dilated


def test_kernels_that_err_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine on which a loop gives another number has dense convolutions."""
    library._disagreement_of_images.cache_clear()
    whole = library._call

    def wrong(name: str, x: Any, other: Any, kind: Any) -> Any:
        return whole(name, x, other, kind) + float(name == "convolution_gradient")

    monkeypatch.setattr(library, "_call", wrong)
    try:
        assert "its convolution_gradient differs" in str(library.why_unavailable(part="images"))
        assert convolution_for("float32") is conv_general_dilated
    finally:
        monkeypatch.undo()
        library._disagreement_of_images.cache_clear()
    assert library.why_unavailable(part="images") is None


def loops_of(dtype: str, threads: int = 1) -> Any:
    """Compiles the loops as they are set now; returns the call of one by its name."""
    from llvmlite import ir

    from flax_snn.products.native import images, xla_call

    module = ir.Module("test")
    names = {n: f.name for n, f in images.add_loops(module, dtype, threads).items()}
    engine = xla_call._compiled(module)

    def loop(name: str, x: np.ndarray, other: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        out = np.full(shape, np.nan, dtype)
        high, wide, _, features = other.shape if name == "convolution" else shape
        run = ctypes.CFUNCTYPE(None, *[ctypes.c_int64] * 10)(
            engine.get_function_address(names[name])
        )
        run(x.ctypes.data, *x.shape, other.ctypes.data, high, wide, features, out.ctypes.data)
        return out

    return loop


def check(loop: Any, dtype: str, images: int = 5, channels: int = 9, features: int = 70) -> None:
    """Compares both loops with sums over taps in float64."""
    x, kernel = arrays((images, 6, 7), (3, 2), channels, features)
    expected, cotangents = by_hand(x, kernel, 1, [(0, 0), (0, 0)], 1)
    d_y = np.random.default_rng(1).normal(size=expected.shape)
    x, kernel, narrow = (a.astype(dtype) for a in (x, kernel, d_y))
    found = loop("convolution", x, kernel, expected.shape)
    np.testing.assert_allclose(found, expected, atol=EXACT[dtype])
    found = loop("convolution_gradient", x, narrow, kernel.shape)
    np.testing.assert_allclose(found, cotangents(d_y)[1], atol=EXACT[dtype])


@pytest.mark.parametrize("dtype", EXACT)
def test_without_memory_entries_are_worked_on_one_by_one(
    dtype: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pieces = scarce_memory(monkeypatch, "scarce_images")
    loop = loops_of(dtype)
    for count in range(7):  # the gradient takes six pieces

        def scarce(*given: Any, count: int = count) -> np.ndarray:
            pieces(count)
            return loop(*given)

        check(scarce, dtype)


@pytest.mark.parametrize(("dtype", "size"), [("float32", 1), ("float64", 2**15)])
def test_any_panels_groups_and_blocks(
    dtype: str, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    from flax_snn.products.native import images, memory, threads

    monkeypatch.setattr(memory, "PANEL_BYTES", size)
    monkeypatch.setattr(images, "GROUP_BYTES", size)
    monkeypatch.setattr(threads, "WORK", 1000)
    loop = loops_of(dtype, threads=3)
    for sizes in ((5, 9, 70), (1, 1, 200), (7, 2, 8), (2, 40, 3)):
        check(loop, dtype, *sizes)
