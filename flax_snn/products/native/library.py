"""Whether native kernels can be used here, and how they are called."""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import threading
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from flax_snn.typing import Array

INSTALL = "install it with pip install 'flax-snn[cpu]'"
DTYPES = ("float32", "float64")


def why_unavailable(dtype: str = "float32") -> str | None:
    """Return why the native kernels cannot be used, or None if they can.

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
    """Compile the kernels for a dtype, and make them known to XLA once."""
    from flax_snn.products.native import xla_call

    xla_call.register(dtype)


def call(name: str, x: Array, matrix: Array, limit: int, shape: tuple[int, int]) -> Any:
    """Call a native loop inside a JAX program.

    Args:
      name: ``product`` or ``kernel_gradient``.
      x: matrix with few entries that are not zero, ``(rows, features)``.
      matrix: kernel ``(features, width)`` or cotangents ``(rows, width)``, of the dtype of ``x``.
      limit: most entries that are worth it.
      shape: shape of the result.

    Returns:
      The result, and an int32 ``(1,)`` that is 1 where ``x`` has more entries than ``limit``; the
      result is not written then.

    Raises:
      RuntimeError: the native kernels cannot be used.
    """
    reason = why_unavailable(x.dtype.name)
    if reason is not None:
        raise RuntimeError(f"event-driven product: expected its native kernel, but {reason}")
    return _call(name, x, matrix, limit, shape)


def _call(name: str, x: Array, matrix: Array, limit: int, shape: tuple[int, int]) -> Any:
    kinds = jax.ShapeDtypeStruct(shape, x.dtype), jax.ShapeDtypeStruct((1,), jnp.int32)
    function = jax.ffi.ffi_call(_name(name, x.dtype.name), kinds, vmap_method="sequential")
    return function(x, matrix, jnp.full((1,), min(limit, 2**31 - 1), jnp.int32))


def _name(loop: str, dtype: str) -> str:
    return f"flax_snn_{loop}_{dtype}"


def _disagreement(dtype: str) -> str | None:
    """Return how the kernels differ from dense products in NumPy, or None if they do not."""
    generator = np.random.default_rng(0)
    x = (generator.random((37, 83)) < 0.2) * generator.choice([1.0, 2.0, -0.5], (37, 83))
    kernel, gradient = generator.normal(size=(83, 77)), generator.normal(size=(37, 77))
    wide = jax.enable_x64(True) if dtype == "float64" else contextlib.nullcontext()
    with wide, jax.ensure_compile_time_eval(), jax.default_device(jax.devices("cpu")[0]):
        for name, matrix, expected in (
            ("product", kernel, x @ kernel),
            ("kernel_gradient", gradient, x.T @ gradient),
        ):
            given = jnp.asarray(x, dtype), jnp.asarray(matrix, dtype)
            found, gave_up = _call(name, *given, x.size, expected.shape)
            if gave_up[0] or not np.allclose(found, expected, rtol=1e-4, atol=1e-4):
                return f"its {name} differs from the dense one on this machine; please report it"
            if not _call(name, *given, 10, expected.shape)[1][0]:
                return f"its {name} does not keep to its limit on this machine; please report it"
    return None
