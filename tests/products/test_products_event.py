"""Event-driven products beside NumPy in float64, and layers with them beside layers without."""

from __future__ import annotations

import concurrent.futures
import functools
import importlib.util
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from covering_rows import covered_by

import flax_snn as snn
from flax_snn.products import choice, event_kernel_gradient, event_product, product_for
from flax_snn.products.native import library

pytest.importorskip("llvmlite")

SIZES = [
    (1, 1, 1),
    (7, 13, 5),
    (130, 8, 8),
    (33, 130, 77),
    (300, 64, 200),
    (5, 3000, 130),
    (257, 2100, 2050),
]
EXACT = {"float32": 2e-5, "float64": 1e-12}


def matrices(rows: int, features: int, width: int, density: float, dtype: str) -> Any:
    generator = np.random.default_rng(rows + features)
    values = generator.choice([1.0, 1.0, 2.0, -0.5], (rows, features))
    x = values * (generator.random((rows, features)) < density)
    kernel, d_out = generator.normal(size=(features, width)), generator.normal(size=(rows, width))
    return tuple(jnp.asarray(a, dtype) for a in (x, kernel, d_out))


ROWS = [(dtype, share) for dtype in ("float32", "float64") for share in (0.0, 0.1, 1.0)]


@pytest.mark.parametrize(("dtype", "share"), covered_by(ROWS, [("float64", 0.1)]))
def test_products_are_those_of_numpy(dtype: str, share: float) -> None:
    with jax.enable_x64(dtype == "float64"):
        for sizes in SIZES:
            for density in (0.0, 0.05, 0.5, 1.0):
                x, kernel, d_out = matrices(*sizes, density, dtype)
                wide = [np.asarray(a, np.float64) for a in (x, kernel, d_out)]
                tolerance = EXACT[dtype] * sizes[1]
                found = event_product(x, kernel, share)
                assert found.dtype == dtype
                np.testing.assert_allclose(found, wide[0] @ wide[1], atol=tolerance)
                found = event_kernel_gradient(x, d_out, share)
                np.testing.assert_allclose(found, wide[0].T @ wide[2], atol=tolerance)


def test_any_axes_in_front_and_empty_arrays() -> None:
    x, kernel, _ = matrices(24, 10, 6, 0.3, "float32")
    found = event_product(x.reshape(2, 3, 4, 10), kernel, 1.0)
    np.testing.assert_allclose(found.reshape(24, 6), x @ kernel, atol=1e-5)
    assert event_product(x[:0], kernel, 1.0).shape == (0, 6)
    np.testing.assert_array_equal(event_product(x[:, :0], kernel[:0], 1.0), np.zeros((24, 6)))
    np.testing.assert_array_equal(event_kernel_gradient(x[:0], x[:0, :6], 1.0), np.zeros((10, 6)))


@pytest.mark.parametrize("share", [0.05, 1.0])
def test_nan_and_infinity_are_not_skipped(share: float) -> None:
    x = jnp.zeros((20, 9)).at[3, 4].set(jnp.nan).at[5, 8].set(jnp.inf)
    found = event_product(x, jnp.ones((9, 5)), share)
    assert np.isnan(found[3]).all() and np.isinf(found[5]).all()
    np.testing.assert_array_equal(found[:3], 0.0)


@pytest.mark.parametrize("share", [0.0, 0.2, 1.0])
def test_derivatives_of_both_orders_are_those_of_the_dense_product(share: float) -> None:
    with jax.enable_x64(True):
        x, kernel, d_out = matrices(30, 40, 50, 0.1, "float64")

        def loss(product: Any, x: Any, kernel: Any) -> Any:
            return jnp.sum(jnp.tanh(product(x, kernel)) * d_out)

        def steepness(product: Any, x: Any, kernel: Any) -> Any:
            slopes = jax.grad(loss, (1, 2))(product, x, kernel)
            return sum(jnp.sum(jnp.sin(slope)) for slope in slopes)

        def ours(x: Any, kernel: Any) -> Any:
            return event_product(x, kernel, share)

        for function in (loss, steepness):
            found, expected = (
                jax.jit(jax.grad(function, (1, 2)), static_argnums=0)(product, x, kernel)
                for product in (ours, jnp.matmul)
            )
            jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-11), found, expected)


def test_forward_mode_and_hessians() -> None:
    with jax.enable_x64(True):
        x, kernel, d_out = matrices(6, 4, 5, 0.4, "float64")

        def loss(product: Any, kernel: Any) -> Any:
            return jnp.sum(jnp.tanh(product(x, kernel)) * d_out)

        def ours(x: Any, kernel: Any) -> Any:
            return event_product(x, kernel, 0.5)

        for derivative in (jax.jacfwd, jax.hessian):
            found, expected = (
                jax.jit(derivative(functools.partial(loss, product)))(kernel)
                for product in (ours, jnp.matmul)
            )
            np.testing.assert_allclose(found, expected, atol=1e-12)


@pytest.mark.slow
def test_exported_programs_are_dense_and_run_anywhere() -> None:
    model = snn.RNN(snn.Chain((snn.LIFCell(64), snn.LeakyIntegratorReadout(3))), products="event")
    x = jnp.asarray(np.random.default_rng(0).random((8, 40, 48)) < 0.1, jnp.float32)
    variables = model.init(jax.random.key(0), x)

    def run(variables: Any, x: Any) -> Any:
        return model.apply(variables, x)

    exported = jax.export.export(jax.jit(run))(variables, x)
    assert "flax_snn_product" not in exported.mlir_module()
    assert "flax_snn_product" in jax.jit(run).lower(variables, x).as_text()
    np.testing.assert_allclose(exported.call(variables, x), run(variables, x), atol=1e-5)


def test_vmap_over_inputs_and_over_kernels() -> None:
    x, kernel, _ = matrices(60, 40, 50, 0.1, "float32")
    stacked, kernels = x.reshape(3, 20, 40), jnp.stack([kernel, 2 * kernel, -kernel])
    for share in (0.05, 1.0):
        product = functools.partial(event_product, share=share)
        found = jax.vmap(product, (0, None))(stacked, kernel)
        np.testing.assert_allclose(found, stacked @ kernel, atol=1e-5)
        found = jax.vmap(product)(stacked, kernels)
        np.testing.assert_allclose(found, stacked @ kernels, atol=1e-5)


def test_without_jit() -> None:
    x, kernel, _ = matrices(30, 40, 50, 0.1, "float32")
    with jax.disable_jit():
        np.testing.assert_allclose(event_product(x, kernel, 0.2), x @ kernel, atol=1e-5)


def test_symbolic_sizes_have_dense_products() -> None:
    (rows,) = jax.export.symbolic_shape("b")
    chosen = product_for.__wrapped__ if hasattr(product_for, "__wrapped__") else product_for
    assert chosen("auto", 128, 128, rows, "float32") is jax.lax.dot_general


def test_many_calls_at_once() -> None:
    x, kernel, _ = matrices(400, 64, 96, 0.1, "float32")
    run = jax.jit(lambda x: event_product(x, kernel, 1.0))
    expected = run(x)
    with concurrent.futures.ThreadPoolExecutor(8) as threads:
        for found in threads.map(lambda _: run(x), range(64)):
            np.testing.assert_array_equal(found, expected)


def test_flax_door() -> None:
    x, _, _ = matrices(30, 40, 50, 0.1, "float32")
    plain = nn.Dense(12)
    variables = plain.init(jax.random.key(0), x)
    found = nn.Dense(12, dot_general_cls=snn.EventDotGeneral).apply(variables, x)
    np.testing.assert_allclose(found, plain.apply(variables, x), atol=1e-5)
    with pytest.raises(ValueError, match="last axis of the inputs with the first of a kernel"):
        snn.EventDotGeneral()(x, x, (((1,), (1,)), ((), ())))
    with pytest.raises(ValueError, match=r"share: expected a finite number in \[0, 1\], got 1.5"):
        snn.EventDotGeneral(share=1.5)
    with pytest.raises(RuntimeError, match="float32 and float64, and the product is in bfloat16"):
        snn.EventDotGeneral()(x.astype(jnp.bfloat16), x.T.astype(jnp.bfloat16), DIMENSIONS)


DIMENSIONS = (((1,), (0,)), ((), ()))


def test_wrong_arguments_of_the_product_are_named(unchecked: None) -> None:
    for share in ("a", None, True):
        with pytest.raises(TypeError, match="EventDotGeneral: share: expected a finite number in"):
            snn.EventDotGeneral(share=share)
    with pytest.raises(ValueError, match="gradient_share: expected a finite number in .* got nan"):
        snn.EventDotGeneral(gradient_share=np.nan)
    x, kernel, _ = matrices(30, 40, 50, 0.1, "float32")
    with pytest.raises(
        ValueError, match=r"kernel: expected shape \(40, any\), got shape \(39, 50\)"
    ):
        snn.EventDotGeneral()(x, kernel[:39], DIMENSIONS)
    with pytest.raises(TypeError, match="in the dtype of the inputs, float32, got bfloat16"):
        snn.EventDotGeneral()(x, kernel.astype(jnp.bfloat16), DIMENSIONS)


def test_entries_are_counted_up_to_a_limit() -> None:
    from flax_snn.products.native import denser

    x = np.zeros((13, 11), np.float32)
    x.flat[::7] = 1.0  # 21 entries, the last one behind the last whole vector
    x[0, 0] = np.nan
    for limit in (0, 1, 20, 21, 22, 2**40):
        assert int(jax.jit(lambda x, limit=limit: denser(x, limit))(x)[0]) == (21 > limit)


def gradient(x: Any, kernel: Any, d_out: Any) -> Any:
    return event_kernel_gradient(x, d_out, 1.0)


WIDE: dict[str, Any] = {"param_dtype": jnp.float64}
CUBA = snn.LIFDynamics(tau_syn=5e-3)
CHAINS: dict[str, Any] = {
    "feed-forward": lambda n: [snn.LIFCell(n, **WIDE), snn.LIFCell(n, **WIDE)],
    "recurrent": lambda n: [
        snn.RecurrentLIFCell(n, dynamics=CUBA, learn=("tau_mem",), **WIDE),
    ],
    "adaptive": lambda n: [snn.ALIFCell(n, **WIDE), snn.LIFCell(n, learn=("tau_mem",), **WIDE)],
}


def network(kind: str, width: int = 40, **fields: Any) -> snn.RNN:
    readout = snn.LeakyIntegratorReadout(3, **WIDE)
    return snn.RNN(snn.Chain((*CHAINS[kind](width), readout)), **fields)


@pytest.mark.parametrize("kind", covered_by(CHAINS, [next(iter(CHAINS))]))
def test_layers_with_event_driven_products_have_the_same_numbers(kind: str) -> None:
    """In float64, outputs and gradients; the shares take each of the two ways within one run."""
    with jax.enable_x64(True):
        generator = np.random.default_rng(0)
        x = jnp.asarray((generator.random((4, 30, 50)) < 0.1).astype(float))
        given = jax.jit(network(kind).init)(jax.random.key(0), x)
        variables = jax.tree.map(lambda a: a * (3.0 if a.ndim == 2 else 1.0), given)

        def loss(model: Any, variables: Any, x: Any) -> Any:
            return jnp.sum(jnp.sin(model.apply(variables, x)))

        results = []
        for products in ("dense", "event"):
            model = network(kind, products=products, implementation="fused")
            results.append(
                jax.jit(jax.value_and_grad(loss, (1, 2)), static_argnums=0)(model, variables, x)
            )
        assert float(jnp.abs(results[0][1][0]["params"]["cell"]["cells_0"]["kernel"]).max()) > 1e-3
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-9), *results)


@pytest.mark.slow
def test_second_derivatives_of_event_driven_layers() -> None:
    with jax.enable_x64(True):
        generator = np.random.default_rng(1)
        x = jnp.asarray((generator.random((2, 12, 20)) < 0.2).astype(float))
        start = network("feed-forward", 8).init(jax.random.key(0), x)
        variables = jax.tree.map(lambda a: a * 3.0, start)

        def steepness(variables: Any, products: str) -> Any:
            model = network("feed-forward", 8, products=products, implementation="fused")
            slope = jax.grad(lambda v: jnp.sum(model.apply(v, x) ** 2))(variables)
            return sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(slope))

        found, expected = (jax.grad(steepness)(variables, p) for p in ("event", "dense"))
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-8), found, expected)


def test_auto_takes_events_for_wide_layers_only() -> None:
    for wide in (64, 128, 1024):
        assert product_for("auto", wide, wide, 10_000, "float32") == snn.EventDotGeneral()
    for features, width, rows, dtype in (
        (16, 128, 10_000, "float32"),
        (128, 16, 10_000, "float32"),
        (128, 128, 100, "float32"),
        (128, 128, 10_000, "bfloat16"),
    ):
        assert product_for("auto", features, width, rows, dtype) is jax.lax.dot_general
    assert product_for("dense", 128, 128, 10_000, "float32") is jax.lax.dot_general
    assert product_for("event", 3, 3, 1, "float32") == snn.EventDotGeneral(1.0, 1.0)


def test_several_devices_have_dense_products(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choice.jax, "device_count", lambda: 8)
    assert product_for("auto", 128, 128, 10_000, "float32") is jax.lax.dot_general
    with pytest.raises(ValueError, match="products='event' cannot be had: samples may be spread"):
        product_for("event", 128, 128, 10_000, "float32")


def test_without_llvm_products_are_dense(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    library._why_unavailable.cache_clear()
    try:
        assert product_for("auto", 128, 128, 10_000, "float32") is jax.lax.dot_general
        with pytest.raises(ValueError, match=r"pip install 'flax-snn\[cpu\]'"):
            product_for("event", 128, 128, 10_000, "float32")
    finally:
        library._why_unavailable.cache_clear()


def test_an_unknown_interface_of_xla_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    from flax_snn.products.native import xla_call

    monkeypatch.setattr(xla_call, "version", lambda: (1, 0))
    library._why_unavailable.cache_clear()
    try:
        reason = library.why_unavailable("float32")
    finally:
        library._why_unavailable.cache_clear()
    assert reason is not None and "has version (1, 0), and those known are 0.3" in reason


def test_wrong_choices_are_refused() -> None:
    with pytest.raises(ValueError, match="products"):
        snn.RNN(snn.LIFCell(3), products="sparse")
    x = jnp.zeros((2, 4, 5))
    with pytest.raises(ValueError, match="products='event' is for the fused loop"):
        snn.RNN(snn.LIFCell(3), products="event", implementation="scan").init(jax.random.key(0), x)
    noisy = snn.LIFCell(3, dynamics=snn.LIFDynamics(noise_std=0.1))
    streams = {"params": jax.random.key(0), "noise": jax.random.key(1)}
    with pytest.raises(ValueError, match="products='event' needs the fused loop, which cannot run"):
        snn.RNN(noisy, products="event").init(streams, x)
