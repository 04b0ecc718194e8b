"""Whether native kernels can be used here, and how they are called."""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import os
import threading
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from flax_snn.typing import Array, Shape

INSTALL = "install it with pip install 'flax-snn[cpu]'"
DTYPES = ("float32", "float64")


PART_OF = {
    "product": "matrices",
    "kernel_gradient": "matrices",
    "denser": "matrices",
    "convolution": "images",
    "convolution_gradient": "images",
}
"""What a loop works on; the loops of a part are compiled together."""


def why_unavailable(dtype: str = "float32", part: str = "matrices") -> str | None:
    """Returns why the native kernels of a part cannot be used, or None if they can.

    When a dtype is first needed, this compiles the kernels, which takes a fraction of a second, and
    compares them with NumPy.
    """
    with _LOCK:
        reason = _why_unavailable(dtype)
        if reason is not None or part == "matrices":
            return reason
        _register(part, dtype)
        return _disagreement_of_images(dtype)


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
    _register("matrices", dtype)
    return _disagreement_of_matrices(dtype)


@functools.cache
def _register(part: str, dtype: str) -> None:
    """Compiles the kernels of a part for a dtype, and makes them known to XLA once."""
    from flax_snn.products.native import xla_call

    xla_call.register(part, dtype, threads())


def call(name: str, x: Array, other: Array, shape: Shape) -> Array:
    """Calls a native loop inside a JAX program.

    Args:
      name: ``product`` or ``kernel_gradient`` of matrices, ``convolution`` or
        ``convolution_gradient`` of images.
      x: what has few entries that are not zero, ``(rows, features)`` or images with their padding
        ``(B, H, W, C)``.
      other: kernel ``(features, width)`` or cotangents ``(rows, width)``, of images ``(P, Q, C,
        N)`` or ``(B, H - P + 1, W - Q + 1, N)``, of the dtype of ``x``.
      shape: shape of the result.

    Raises:
      RuntimeError: the native kernels cannot be used.
    """
    _check(x.dtype.name, PART_OF[name])
    return _call(name, x, other, jax.ShapeDtypeStruct(shape, x.dtype))


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


def _check(dtype: str, part: str = "matrices") -> None:
    reason = why_unavailable(dtype, part)
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


@functools.cache
def _disagreement_of_matrices(dtype: str) -> str | None:
    """Returns how the kernels differ from dense products in NumPy, or None if they do not."""
    generator = np.random.default_rng(0)
    x = _sparse(generator, (37, 83))
    kernel, gradient = generator.normal(size=(83, 77)), generator.normal(size=(37, 77))
    expected = {"product": x @ kernel, "kernel_gradient": x.T @ gradient}
    others = {"product": kernel, "kernel_gradient": gradient}
    count = int(np.count_nonzero(x))
    found, counted = _run(dtype, x, others, expected, (count - 1, count))
    differs = _differing(found, expected)
    if differs is None and (not counted[0][0] or counted[1][0]):
        return "it counts wrongly on this machine; please report it"
    return differs


@functools.cache
def _disagreement_of_images(dtype: str) -> str | None:
    """Returns how the kernels differ from sums over taps in NumPy, or None if they do not."""
    generator = np.random.default_rng(0)
    x = _sparse(generator, (3, 7, 6, 11))
    kernel, gradient = generator.normal(size=(3, 2, 11, 75)), generator.normal(size=(3, 5, 5, 75))
    taps = [(p, q, x[:, p : p + 5, q : q + 5]) for p in range(3) for q in range(2)]
    expected = {
        "convolution": np.sum([part @ kernel[p, q] for p, q, part in taps], axis=0),
        "convolution_gradient": np.stack(
            [np.tensordot(part, gradient, axes=((0, 1, 2), (0, 1, 2))) for _, _, part in taps]
        ).reshape(kernel.shape),
    }
    others = {"convolution": kernel, "convolution_gradient": gradient}
    return _differing(_run(dtype, x, others, expected)[0], expected)


def _sparse(generator: np.random.Generator, shape: Shape) -> np.ndarray:
    """Returns numbers that are mostly zero."""
    return (generator.random(shape) < 0.2) * generator.choice([1.0, 2.0, -0.5], shape)


def _run(
    dtype: str,
    x: np.ndarray,
    others: dict[str, np.ndarray],
    expected: dict[str, np.ndarray],
    limits: Sequence[int] = (),
) -> tuple[dict[str, np.ndarray], list[np.ndarray]]:
    """Returns what loops make of arrays, and whether ``x`` is denser than some limits."""

    @jax.jit  # One program, since most of the time is compiling.
    def run(x: Array, others: dict[str, Array]) -> tuple[dict[str, Array], list[Array]]:
        results = {
            name: _call(name, x, other, jax.ShapeDtypeStruct(expected[name].shape, x.dtype))
            for name, other in others.items()
        }
        return results, [_denser(x, limit) for limit in limits]

    wide = jax.enable_x64(True) if dtype == "float64" else contextlib.nullcontext()
    with wide, jax.ensure_compile_time_eval(), jax.default_device(jax.devices("cpu")[0]):
        arrays = {name: other.astype(dtype) for name, other in others.items()}
        found: Any = jax.device_get(run(x.astype(dtype), arrays))
    results, counted = found
    return results, counted


def _differing(found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> str | None:
    """Returns which result differs from the one expected, or None if none does."""
    for name, result in found.items():
        if not np.allclose(result, expected[name], rtol=1e-4, atol=1e-4):
            return f"its {name} differs from the dense one on this machine; please report it"
    return None
