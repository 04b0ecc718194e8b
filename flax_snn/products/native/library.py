"""Whether native kernels can be used here, and how they are called."""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import os
import threading
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from flax_snn.typing import Array

INSTALL = "install it with pip install 'flax-snn[cpu]'"
DTYPES = ("float32", "float64")


def why_unavailable(dtype: str = "float32") -> str | None:
    """Returns why the native kernels cannot be used, or None if they can.

    When a dtype is first needed, this compiles the kernels, which takes a fraction of a second, and
    compares them with dense products.
    """
    with _LOCK:
        return _why_unavailable(dtype)


_LOCK = threading.RLock()


@functools.cache
def _why_unavailable(dtype: str) -> str | None:
    if importlib.util.find_spec("llvmlite") is None:
        return f"llvmlite, which compiles it, is not installed: {INSTALL}"
    if jax.default_backend() != "cpu":
        return f"it runs on CPUs only, and the default device is {jax.default_backend()!r}"
    if dtype not in DTYPES:
        return f"it has {' and '.join(DTYPES)}, and the product is in {dtype}"
    from flax_snn.products.native import xla_call

    version = xla_call.version()
    if version not in xla_call.KNOWN_VERSIONS:
        known = ", ".join(f"{major}.{minor}" for major, minor in xla_call.KNOWN_VERSIONS)
        return f"the interface of this XLA has version {version}, and those known are {known}"
    _register(dtype)
    return _disagreement(dtype)


@functools.cache
def _register(dtype: str) -> None:
    """Compiles the kernels for a dtype, and makes them known to XLA once."""
    from flax_snn.products.native import xla_call

    xla_call.register(dtype, threads())


def call(name: str, x: Array, matrix: Array, shape: tuple[int, int]) -> Array:
    """Calls a native loop inside a JAX program.

    Args:
      name: ``product`` or ``kernel_gradient``.
      x: matrix with few entries that are not zero, ``(rows, features)``.
      matrix: kernel ``(features, width)`` or cotangents ``(rows, width)``, of the dtype of ``x``.
      shape: shape of the result.

    Raises:
      RuntimeError: the native kernels cannot be used.
    """
    _check(x.dtype.name)
    return _call(name, x, matrix, jax.ShapeDtypeStruct(shape, x.dtype))


def denser(x: Array, limit: int) -> Array:
    """Returns an int32 ``(1,)``: 1 if more than ``limit`` entries of ``x`` are not zero, else 0.

    Raises:
      RuntimeError: the native kernels cannot be used.
    """
    _check(x.dtype.name)
    return _denser(x, limit)


@functools.cache
def threads() -> int:
    """Returns how many threads this process may use at once."""
    available = getattr(os, "sched_getaffinity", None)
    return len(available(0)) if available is not None else os.cpu_count() or 1


def _check(dtype: str) -> None:
    reason = why_unavailable(dtype)
    if reason is not None:
        raise RuntimeError(f"event-driven product: expected its native kernel, but {reason}")


def _denser(x: Array, limit: int) -> Array:
    most = jnp.full((1,), min(limit, 2**31 - 1), jnp.int32)
    return _call("denser", x, most, jax.ShapeDtypeStruct((1,), jnp.int32))


def _call(name: str, x: Array, other: Array, kind: Any) -> Array:
    function = jax.ffi.ffi_call(_name(name, x.dtype.name), kind, vmap_method="sequential")
    return function(x, other)


def _name(loop: str, dtype: str) -> str:
    return f"flax_snn_{loop}_{dtype}"


def _disagreement(dtype: str) -> str | None:
    """Returns how the kernels differ from dense products in NumPy, or None if they do not."""
    generator = np.random.default_rng(0)
    x = (generator.random((37, 83)) < 0.2) * generator.choice([1.0, 2.0, -0.5], (37, 83))
    kernel, gradient = generator.normal(size=(83, 77)), generator.normal(size=(37, 77))
    wide = jax.enable_x64(True) if dtype == "float64" else contextlib.nullcontext()
    expected = {"product": x @ kernel, "kernel_gradient": x.T @ gradient}
    count = int(np.count_nonzero(x))

    @jax.jit  # One program, since most of the time is compiling.
    def run(x: Array, matrices: dict[str, Array]) -> tuple[dict[str, Array], list[Array]]:
        products = {
            name: _call(name, x, matrix, jax.ShapeDtypeStruct(expected[name].shape, x.dtype))
            for name, matrix in matrices.items()
        }
        return products, [_denser(x, count - 1), _denser(x, count)]

    with wide, jax.ensure_compile_time_eval(), jax.default_device(jax.devices("cpu")[0]):
        matrices = {"product": kernel.astype(dtype), "kernel_gradient": gradient.astype(dtype)}
        products, counted = jax.device_get(run(x.astype(dtype), matrices))
    for name, found in products.items():
        if not np.allclose(found, expected[name], rtol=1e-4, atol=1e-4):
            return f"its {name} differs from the dense one on this machine; please report it"
    if not counted[0][0] or counted[1][0]:
        return "it counts wrongly on this machine; please report it"
    return None
