"""Loops over the entries of a matrix that are not zero, as vector code.

The rows of a matrix of spikes are compressed into lists of the columns where they are not zero. A
product then adds up the rows of the kernel that a list names, in registers; the gradient of a
kernel adds a row of cotangents to the rows that a list names. Wide kernels are worked on in panels
of columns that stay in cache.

The three inner loops are written in the intermediate language of LLVM, because Numba does not
vectorise them: it cannot know that their arrays do not overlap.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, no_type_check

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

LANES = 8
"""Values of a vector."""

PANEL_BYTES = 2**19
"""Most bytes of a kernel that a panel of its columns should have."""

I8, I32, I64 = ir.IntType(8), ir.IntType(32), ir.IntType(64)


class Loops(NamedTuple):
    """Compiled functions of addresses and sizes for one dtype.

    Attributes:
      product: ``(x, rows, features, kernel, width, limit, out) -> whether it gave up``.
      kernel_gradient: ``(x, rows, features, d_out, width, limit, d_kernel) -> whether it gave up``.
    """

    product: Callable[..., int]
    kernel_gradient: Callable[..., int]


@no_type_check  # Numba compiles what is inside
def loops(dtype: Any) -> Loops:
    """Return the loops for float32 or float64."""
    dtype = np.dtype(dtype)
    compress, sum_rows, add_to_rows = _inner_loops(dtype)
    size = dtype.itemsize

    @numba.njit(nogil=True)
    def compress_rows(
        x: int, rows: int, features: int, limit: int, starts: int, columns: int
    ) -> int:
        """Fill the lists of all rows; return 1 if they have more than ``limit`` entries."""
        count = 0
        store(starts, 0)
        for row in range(rows):
            count += compress(x + size * row * features, features, columns + 4 * count)
            if count > limit:
                return 1
            store(starts + 8 * (row + 1), count)
        return 0

    @numba.njit(nogil=True)
    def panel_of(features: int, width: int) -> int:
        columns = max(PANEL_BYTES // (size * max(features, 1)) // 64 * 64, 64)
        return min(columns, max(width, 1))

    @numba.njit(nogil=True)
    def product(
        x: int, rows: int, features: int, kernel: int, width: int, limit: int, out: int
    ) -> int:
        starts = np.empty(rows + 1, np.int64)
        columns = np.empty(min(limit, rows * features) + features + LANES, np.int32)
        if compress_rows(x, rows, features, limit, starts.ctypes.data, columns.ctypes.data):
            return 1
        panel = panel_of(features, width)
        for first in range(0, width, panel):
            here = min(panel, width - first)
            for row in range(rows):
                sum_rows(
                    kernel + size * first,
                    width,
                    here,
                    columns.ctypes.data + 4 * starts[row],
                    starts[row + 1] - starts[row],
                    x + size * row * features,
                    out + size * (row * width + first),
                )
        return 0

    @numba.njit(nogil=True)
    def kernel_gradient(
        x: int, rows: int, features: int, d_out: int, width: int, limit: int, d_kernel: int
    ) -> int:
        starts = np.empty(rows + 1, np.int64)
        columns = np.empty(min(limit, rows * features) + features + LANES, np.int32)
        if compress_rows(x, rows, features, limit, starts.ctypes.data, columns.ctypes.data):
            return 1
        clear(d_kernel, size * features * width)
        panel = panel_of(features, width)
        for first in range(0, width, panel):
            here = min(panel, width - first)
            for row in range(rows):
                add_to_rows(
                    d_out + size * (row * width + first),
                    width,
                    here,
                    columns.ctypes.data + 4 * starts[row],
                    starts[row + 1] - starts[row],
                    x + size * row * features,
                    d_kernel + size * first,
                )
        return 0

    return Loops(product, kernel_gradient)


@no_type_check
@intrinsic
def store(typing: Any, address: Any, value: Any) -> Any:
    """Write a 64-bit integer to an address."""

    def code(context: Any, b: Any, signature: Any, arguments: Any) -> Any:
        b.store(arguments[1], b.inttoptr(arguments[0], I64.as_pointer()))
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), code


@no_type_check
@intrinsic
def clear(typing: Any, address: Any, size: Any) -> Any:
    """Write zeros to some bytes from an address on."""

    def code(context: Any, b: Any, signature: Any, arguments: Any) -> Any:
        cgutils.memset(b, b.inttoptr(arguments[0], I8.as_pointer()), arguments[1], 0)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), code


@no_type_check  # Numba compiles what is inside
def _inner_loops(dtype: Any) -> tuple[Any, Any, Any]:
    """Return the three inner loops as functions that Numba compiles into others."""
    scalar: Any = {4: ir.FloatType(), 8: ir.DoubleType()}[dtype.itemsize]
    vector = ir.VectorType(scalar, LANES)
    zero = ir.Constant(vector, [0.0] * LANES)

    def load(b: Any, pointer: Any) -> Any:
        value = b.load(b.bitcast(pointer, vector.as_pointer()))
        value.align = dtype.itemsize
        return value

    def put(b: Any, value: Any, pointer: Any) -> None:
        b.store(value, b.bitcast(pointer, vector.as_pointer())).align = dtype.itemsize

    def times_plus(b: Any, a: Any, x: Any, y: Any) -> Any:
        return b.fadd(b.fmul(a, x, flags=("contract",)), y, flags=("contract",))

    @intrinsic
    def compress(typing: Any, row: Any, features: Any, columns: Any) -> Any:
        """Write the columns of a row that are not zero; return how many there are.

        Without a branch: eight values make a byte, which names eight numbers in a table. Up to
        eight numbers more are written behind the last one.
        """

        def code(context: Any, b: Any, signature: Any, arguments: Any) -> Any:
            row, features, columns = arguments
            row, columns = _pointer(b, row, scalar), _pointer(b, columns, I32)
            count = cgutils.alloca_once_value(b, _number(0))
            whole = b.and_(features, _number(-LANES))
            table = cgutils.global_constant(b, "flax_snn_positions", _positions())
            wide = ir.VectorType(I32, LANES)
            with _counter(b, _number(0), whole, LANES) as first:
                byte = b.bitcast(b.fcmp_unordered("!=", load(b, b.gep(row, [first])), zero), I8)
                word = b.load(b.gep(table, [_number(0), b.zext(byte, I64)]))
                offsets = b.zext(b.bitcast(word, ir.VectorType(I8, LANES)), wide)
                found = b.add(offsets, _splat(b, b.trunc(first, I32), wide))
                at = b.load(count)
                target = b.bitcast(b.gep(columns, [at]), wide.as_pointer())
                b.store(found, target).align = 4
                b.store(b.add(at, b.zext(b.ctpop(byte), I64)), count)
            with _counter(b, whole, features, 1) as column:
                value = b.load(b.gep(row, [column]))
                fires = b.fcmp_unordered("!=", value, ir.Constant(scalar, 0.0))
                at = b.load(count)
                b.store(b.trunc(column, I32), b.gep(columns, [at]))
                b.store(b.add(at, b.zext(fires, I64)), count)
            return b.load(count)

        return types.int64(*[types.int64] * 3), code

    @intrinsic
    def sum_rows(
        typing: Any,
        kernel: Any,
        stride: Any,
        width: Any,
        columns: Any,
        count: Any,
        row: Any,
        out: Any,
    ) -> Any:
        """Write the sum of ``row[c] * kernel[c]`` over the listed columns c, ``width`` values."""

        def code(context: Any, b: Any, signature: Any, arguments: Any) -> Any:
            kernel, stride, width, columns, count, row, out = arguments
            kernel, row, out = (_pointer(b, p, scalar) for p in (kernel, row, out))
            columns = _pointer(b, columns, I32)

            def panel(first: Any, vectors: int) -> None:
                kind = vector if vectors else scalar
                nothing = zero if vectors else ir.Constant(scalar, 0.0)
                entry = b.block
                test, body, end = (b.append_basic_block(n) for n in ("test", "body", "end"))
                b.branch(test)
                b.position_at_end(test)
                k = b.phi(I64)
                k.add_incoming(_number(0), entry)
                sums = [b.phi(kind) for _ in range(max(vectors, 1))]
                for part in sums:
                    part.add_incoming(nothing, entry)
                b.cbranch(b.icmp_signed("<", k, count), body, end)
                b.position_at_end(body)
                column = b.zext(b.load(b.gep(columns, [k])), I64)
                source = b.gep(kernel, [b.add(b.mul(column, stride), first)])
                value = b.load(b.gep(row, [column]))
                factor = _splat(b, value, vector) if vectors else value
                for i, part in enumerate(sums):
                    at = b.gep(source, [_number(i * LANES)])
                    term = load(b, at) if vectors else b.load(at)
                    part.add_incoming(times_plus(b, factor, term, part), body)
                k.add_incoming(b.add(k, _number(1)), body)
                b.branch(test)
                b.position_at_end(end)
                for i, part in enumerate(sums):
                    at = b.gep(out, [b.add(first, _number(i * LANES))])
                    put(b, part, at) if vectors else b.store(part, at)

            _panels(b, width, panel)
            return context.get_dummy_value()

        return types.void(*[types.int64] * 7), code

    @intrinsic
    def add_to_rows(
        typing: Any,
        source: Any,
        stride: Any,
        width: Any,
        columns: Any,
        count: Any,
        row: Any,
        out: Any,
    ) -> Any:
        """Add ``row[c] * source`` to ``out[c]`` for the listed columns c, ``width`` values."""

        def code(context: Any, b: Any, signature: Any, arguments: Any) -> Any:
            source, stride, width, columns, count, row, out = arguments
            source, row, out = (_pointer(b, p, scalar) for p in (source, row, out))
            columns = _pointer(b, columns, I32)

            def panel(first: Any, vectors: int) -> None:
                start = b.gep(source, [first])
                at = [b.gep(start, [_number(i * LANES)]) for i in range(max(vectors, 1))]
                terms = [load(b, p) if vectors else b.load(p) for p in at]
                with _counter(b, _number(0), count, 1) as k:
                    column = b.zext(b.load(b.gep(columns, [k])), I64)
                    target = b.gep(out, [b.add(b.mul(column, stride), first)])
                    value = b.load(b.gep(row, [column]))
                    factor = _splat(b, value, vector) if vectors else value
                    for i, term in enumerate(terms):
                        p = b.gep(target, [_number(i * LANES)])
                        if vectors:
                            put(b, times_plus(b, factor, term, load(b, p)), p)
                        else:
                            b.store(times_plus(b, factor, term, b.load(p)), p)

            _panels(b, width, panel)
            return context.get_dummy_value()

        return types.void(*[types.int64] * 7), code

    return compress, sum_rows, add_to_rows


def _panels(b: Any, width: Any, emit: Callable[[Any, int], None]) -> None:
    """Cover columns by panels of eight vectors, then of one vector, then by single columns."""
    wide = b.and_(width, _number(-8 * LANES))
    whole = b.and_(width, _number(-LANES))
    for low, high, vectors in ((_number(0), wide, 8), (wide, whole, 1), (whole, width, 0)):
        with _counter(b, low, high, max(vectors * LANES, 1)) as first:
            emit(first, vectors)


def _counter(b: Any, low: Any, high: Any, step: int) -> Any:
    """Return the context of a loop whose body gets the counter."""
    return _First(cgutils.for_range_slice(b, low, high, _number(step), intp=I64))


class _First:
    """A context that hands on the first of two values."""

    def __init__(self, context: Any) -> None:
        self.context = context

    def __enter__(self) -> Any:
        return self.context.__enter__()[0]

    def __exit__(self, *error: Any) -> Any:
        return self.context.__exit__(*error)


def _pointer(b: Any, address: Any, kind: Any) -> Any:
    return b.inttoptr(address, kind.as_pointer())


def _number(value: int) -> Any:
    return ir.Constant(I64, value)


def _splat(b: Any, value: Any, vector: Any) -> Any:
    nothing = ir.Constant(vector, ir.Undefined)
    first = b.insert_element(nothing, value, ir.Constant(I32, 0))
    mask = ir.Constant(ir.VectorType(I32, LANES), [0] * LANES)
    return b.shuffle_vector(first, nothing, mask)


def _positions() -> Any:
    """Return for each byte the places of its bits that are one, as eight bytes in a number."""
    words = []
    for byte in range(256):
        places = [bit for bit in range(LANES) if byte >> bit & 1]
        words.append(int.from_bytes(bytes(places).ljust(LANES, b"\0"), "little"))
    return ir.Constant(ir.ArrayType(I64, 256), words)
