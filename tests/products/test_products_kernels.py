"""The native loops themselves, called without XLA: their memory, threads, panels and blocks."""

from __future__ import annotations

import ctypes
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from covering_rows import covered_by
from scarce_memory import scarce_memory

pytest.importorskip("llvmlite")

NUMBER = ctypes.c_int64
DTYPES = ("float32", "float64")

Product = Callable[[str, np.ndarray, np.ndarray], np.ndarray]


def product_of(dtype: str, threads: int = 1) -> Product:
    """Compiles the loops as they are set now; returns the call of a product by its name."""
    from llvmlite import ir

    from flax_snn.products.native import kernels, xla_call

    module = ir.Module("test")
    names = {n: f.name for n, f in kernels.add_loops(module, dtype, threads).items()}
    engine = xla_call._compiled(module)

    def product(name: str, x: np.ndarray, matrix: np.ndarray) -> np.ndarray:
        rows, width = len(x) if name == "product" else x.shape[1], matrix.shape[1]
        out = np.full((rows, width), np.nan, dtype)
        loop = ctypes.CFUNCTYPE(None, *[NUMBER] * 6)(engine.get_function_address(names[name]))
        loop(x.ctypes.data, *x.shape, matrix.ctypes.data, width, out.ctypes.data)
        return out

    return product


def check(
    product: Product, rows: int, features: int, width: int, density: float, dtype: str
) -> None:
    """Compares both products with those of NumPy in float64."""
    rng = np.random.default_rng(rows)
    x = ((rng.random((rows, features)) < density) * rng.normal(size=(rows, features))).astype(dtype)
    kernel, d_out = (rng.normal(size=(n, width)).astype(dtype) for n in (features, rows))
    wide = [each.astype(np.float64) for each in (x, kernel, d_out)]
    # Sums of up to `rows` or `features` numbers of order 1, in another order.
    tolerance = 20 * np.finfo(dtype).eps * max(1, rows, features) ** 0.5
    for name, matrix, expected in (
        ("product", kernel, wide[0] @ wide[1]),
        ("kernel_gradient", d_out, wide[0].T @ wide[2]),
    ):
        np.testing.assert_allclose(product(name, x, matrix), expected, atol=tolerance)


@pytest.mark.parametrize("dtype", DTYPES)
def test_without_memory_entries_are_worked_on_one_by_one(
    dtype: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever piece of memory is missing, and for whichever block of rows."""
    from flax_snn.products.native import kernels

    pieces = scarce_memory(monkeypatch, "scarce")
    monkeypatch.setattr(kernels, "ROWS", 4)
    product = product_of(dtype)
    for count in range(14):  # two blocks of rows take six each

        def scarce(*given: Any, count: int = count) -> np.ndarray:
            pieces(count)
            return product(*given)

        check(scarce, 7, 9, 70, 0.4, dtype)


@pytest.mark.parametrize("dtype", DTYPES)
def test_threads_share_a_product(dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of rows or of features for three threads, one of which cannot be started."""
    from llvmlite import binding

    from flax_snn.products.native import threads

    place = ctypes.c_void_p
    system = ctypes.CDLL(None)
    calls: list[int] = []

    def create(name: int, options: int, entry: int, packed: int) -> int:
        calls.append(packed)
        return 11 if len(calls) % 2 else system.pthread_create(*map(place, arguments(locals())))

    def arguments(given: dict[str, Any]) -> list[Any]:
        return [given[key] for key in ("name", "options", "entry", "packed")]

    callback = ctypes.CFUNCTYPE(ctypes.c_int32, *[place] * 4)(create)
    binding.add_symbol("some_threads", ctypes.cast(callback, place).value)
    monkeypatch.setattr(threads, "CREATE", "some_threads")
    monkeypatch.setattr(threads, "WORK", 1000)
    check(product_of(dtype, threads=3), 50, 41, 70, 0.2, dtype)
    assert len(calls) == 4  # two threads besides the caller, twice


FRESH = """
from flax_snn.products import native
from flax_snn.products.native import library, xla_call
library.threads = lambda: 2
compiled, texts = xla_call._compiled, []
xla_call._compiled = lambda module: (texts.append(str(module)), compiled(module))[1]
reason = native.why_unavailable()
assert reason is None, reason
print(texts[0].count("call i32 @\\"pthread_create\\""))
"""


def test_the_first_kernels_of_a_process_have_threads() -> None:
    """LLVM finds functions of the C library only after it has compiled something."""
    ran = subprocess.run([sys.executable, "-c", FRESH], capture_output=True, text=True, check=False)
    assert ran.stdout.split() == ["2"], ran.stdout + ran.stderr


def test_without_threads_the_caller_does_all(monkeypatch: pytest.MonkeyPatch) -> None:
    from flax_snn.products.native import threads

    monkeypatch.setattr(threads, "CREATE", "there_is_no_such_function")
    monkeypatch.setattr(threads, "WORK", 1)
    assert not threads.available()
    check(product_of("float64", threads=3), 50, 41, 70, 0.2, "float64")


PANELS = [
    (dtype, panel, rows) for dtype in DTYPES for panel in (1, 2**16, 2**30) for rows in (1, 16, 999)
]


@pytest.mark.parametrize(
    ("dtype", "panel", "rows"), covered_by(PANELS, [("float32", 1, 16), ("float64", 2**16, 999)])
)
def test_any_panels_and_blocks_of_rows(
    dtype: str, panel: int, rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Panels of a few columns, copied or not, and gradients that add up blocks of rows."""
    from flax_snn.products.native import kernels, memory

    monkeypatch.setattr(memory, "PANEL_BYTES", panel)
    monkeypatch.setattr(kernels, "ROWS", rows)
    monkeypatch.setattr(kernels, "PACKED_LISTS", 30)
    for packed in (0, 2**60):
        monkeypatch.setattr(kernels, "PACKED_BYTES", packed)
        product = product_of(dtype)
        for sizes in ((50, 41, 330), (29, 31, 128), (1, 40, 65), (40, 1, 7), (0, 3, 5), (3, 0, 5)):
            for density in (0.0, 0.1, 1.0):
                check(product, *sizes, density, dtype)
