"""Loops over the entries of a matrix that are not zero, as vector code for LLVM.

The rows of a matrix of spikes are compressed into lists of the columns where they are not zero, and
of the values there, so that the matrix is read once, and not for each panel. A product then adds up
the rows of the kernel that a list names, in registers; the gradient of a kernel adds a row of
cotangents to the rows that a list names. Wide kernels are worked on in panels of columns that stay
in cache. Products are cut into blocks of rows, gradients into blocks of features, each for a thread
(`flax_snn.products.native.threads`).

Functions are built with `flax_snn.products.native.builder`; a function for one dtype takes
addresses and sizes as 64-bit integers:

    product(x, rows, features, kernel, width, out)
    kernel_gradient(x, rows, features, d_out, width, d_kernel)
    denser(x, size, limit) -> 1 if more than ``limit`` of the values are not zero, else 0

Where there is no memory for the lists, entries are worked on one by one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir

from flax_snn.products.native.builder import (
    I8,
    I32,
    I64,
    Loop,
    minimum,
    number,
    pointer,
)
from flax_snn.products.native.threads import in_blocks
from flax_snn.products.native.vectors import LANES, PANEL_COLUMNS, Kind

PANEL_BYTES = 2**21
"""Most bytes of a kernel that a panel of its columns should have, so that it stays in a near
cache. Products with 4096 rows took as long with half and with twice as many."""

PACKED_BYTES = {"product": 2**24, "kernel_gradient": 2**22}
"""Bytes of a kernel from which on a panel is copied into one piece while it is worked on: rows that
are far apart by a power of two share places of a cache."""

PACKED_ROWS = 256
"""Rows from which on that is worth it."""

NAMES = ("product", "kernel_gradient", "denser")


def add_loops(module: ir.Module, dtype: str, threads: int = 1) -> dict[str, ir.Function]:
    """Adds the functions for a dtype to a module, and returns them by name."""
    kind = Kind(module, dtype)
    product = _over_lists(kind, "product", kind.sum_rows, clears=False)
    gradient = _over_lists(kind, "kernel_gradient", kind.add_to_rows, clears=True)
    return {
        "product": _product(kind, product, threads),
        "kernel_gradient": _gradient(kind, gradient, threads),
        "denser": _denser(kind),
    }


def _product(kind: Kind, block: ir.Function, threads: int) -> ir.Function:
    """Returns the product, in blocks of rows."""
    function, b = _function(kind, "product", ir.VoidType(), 6)
    x, rows, features, kernel, width, out = function.args

    def arguments(b: ir.IRBuilder, low: Any, high: Any) -> list[Any]:
        first = b.add(x, b.mul(number(kind.bytes), b.mul(low, features)))
        to = b.add(out, b.mul(number(kind.bytes), b.mul(low, width)))
        return [first, features, b.sub(high, low), features, kernel, width, to]

    in_blocks(b, block, arguments, rows, b.mul(rows, b.mul(features, width)), threads)
    b.ret_void()
    return function


def _gradient(kind: Kind, block: ir.Function, threads: int) -> ir.Function:
    """Returns the gradient of the kernel, in blocks of features."""
    function, b = _function(kind, "kernel_gradient", ir.VoidType(), 6)
    x, rows, features, d_out, width, out = function.args

    def arguments(b: ir.IRBuilder, low: Any, high: Any) -> list[Any]:
        first = b.add(x, b.mul(number(kind.bytes), low))
        to = b.add(out, b.mul(number(kind.bytes), b.mul(low, width)))
        return [first, features, rows, b.sub(high, low), d_out, width, to]

    in_blocks(b, block, arguments, features, b.mul(rows, b.mul(features, width)), threads)
    b.ret_void()
    return function


def _denser(kind: Kind) -> ir.Function:
    """Returns the function that counts values that are not zero until there are too many."""
    function, b = _function(kind, "denser", I64, 3)
    x, size, limit = function.args
    values = pointer(b, x, kind.scalar)
    count = b.alloca(I64)
    b.store(number(0), count)
    whole = b.and_(size, number(-LANES))
    with Loop(b, number(0), whole, number(LANES)) as first:
        fires = kind.fires(b, b.gep(values, [first]))
        b.store(b.add(b.load(count), b.zext(b.ctpop(fires), I64)), count)
        first.stop_if(b.icmp_signed(">", b.load(count), limit))
    with Loop(b, whole, size) as k:
        one = b.fcmp_unordered("!=", b.load(b.gep(values, [k])), ir.Constant(kind.scalar, 0.0))
        b.store(b.add(b.load(count), b.zext(one, I64)), count)
    b.ret(b.zext(b.icmp_signed(">", b.load(count), limit), I64))
    return function


def _function(kind: Kind, name: str, result: Any, count: int) -> tuple[ir.Function, Any]:
    """Returns a function of some 64-bit integers, and a builder at its beginning."""
    signature = ir.FunctionType(result, [I64] * count)
    function = ir.Function(kind.module, signature, f"flax_snn_{name}_{kind.dtype}")
    return function, ir.IRBuilder(function.append_basic_block())


def _over_lists(kind: Kind, name: str, inner: Callable[..., None], *, clears: bool) -> ir.Function:
    """Returns a function that compresses all rows, and then works on them panel by panel.

    Its ``stride`` is the distance between rows of ``x``, which may be part of a wider matrix.
    """
    function, b = _function(kind, f"{name}_block", ir.VoidType(), 7)
    x, stride_of_x, rows, features, matrix, width, out = function.args
    size = number(kind.bytes)
    panel = _panel(b, kind.bytes, features, width)
    entries = b.mul(features, width)
    packs = b.and_(
        b.icmp_signed(">=", b.mul(size, entries), number(PACKED_BYTES[name])),
        b.icmp_signed(">=", rows, number(PACKED_ROWS)),
    )
    sizes = [
        b.mul(b.add(rows, number(1)), number(8)),
        b.mul(b.add(b.mul(rows, features), number(LANES)), number(4)),
        b.mul(b.mul(rows, features), size),
        b.select(packs, b.mul(size, b.mul(features, panel)), number(1)),
    ]
    count = b.alloca(I64)
    memory = [b.call(kind.allocate, [each]) for each in sizes]
    starts, columns, values, packed = memory
    missing = ir.Constant(ir.IntType(1), 0)
    for each in memory:
        missing = b.or_(missing, b.icmp_unsigned("==", each, number(0)))
    with b.if_then(missing):
        for each in memory:
            b.call(kind.release, [each])  # of nothing does nothing
        _one_by_one(b, kind, function.args, clears=clears)
        b.ret_void()
    at = pointer(b, starts, I64)
    for place in (at, count):
        b.store(number(0), place)
    with Loop(b, number(0), rows) as row:
        row_of_x = b.add(x, b.mul(size, b.mul(row, stride_of_x)))
        before = b.load(count)
        first = b.add(columns, b.mul(number(4), before))
        found = kind.compress(b, row_of_x, features, first)
        kind.take(b, row_of_x, first, found, b.add(values, b.mul(size, before)))
        b.store(b.add(before, found), count)
        b.store(b.load(count), b.gep(at, [b.add(row, number(1))]))
    if clears:
        with b.if_then(b.not_(packs)):
            _clear(b, kind, out, entries)
    with Loop(b, number(0), width, panel) as first_column:
        here = minimum(b, panel, b.sub(width, first_column))
        offset = b.mul(size, first_column)
        whole = b.add(out if clears else matrix, offset)
        with b.if_then(packs):
            if clears:
                _clear(b, kind, packed, b.mul(features, panel))
            else:
                _copy_rows(b, kind, features, here, (packed, panel), (whole, width))
        by_column, stride = b.select(packs, packed, whole), b.select(packs, panel, width)
        with Loop(b, number(0), rows) as row:
            of_row = b.mul(size, b.mul(row, width))
            start = b.load(b.gep(at, [row]))
            found = b.sub(b.load(b.gep(at, [b.add(row, number(1))])), start)
            listed = b.add(columns, b.mul(number(4), start))
            factors = b.add(values, b.mul(size, start))
            by_row = b.add(b.add(matrix if clears else out, of_row), offset)
            inner(b, by_row, by_column, stride, here, listed, found, factors)
        if clears:
            with b.if_then(packs):
                _copy_rows(b, kind, features, here, (whole, width), (packed, panel))
    for each in memory:
        b.call(kind.release, [each])
    b.ret_void()
    return function


def _one_by_one(b: ir.IRBuilder, kind: Kind, arguments: Any, *, clears: bool) -> None:
    """Works on each entry as it is found, which needs no memory."""
    x, stride_of_x, rows, features, matrix, width, out = arguments
    size, column = number(kind.bytes), b.alloca(I32)
    _clear(b, kind, out, b.mul(features if clears else rows, width))
    with Loop(b, number(0), rows) as row:
        values = b.add(x, b.mul(size, b.mul(row, stride_of_x)))
        with Loop(b, number(0), features) as feature:
            value = b.gep(pointer(b, values, kind.scalar), [feature])
            fires = b.fcmp_unordered("!=", b.load(value), ir.Constant(kind.scalar, 0.0))
            with b.if_then(fires):
                b.store(b.trunc(feature, I32), column)
                of_row, of_feature = (b.mul(size, b.mul(k, width)) for k in (row, feature))
                source = b.add(matrix, of_row if clears else of_feature)
                target = out if clears else b.add(out, of_row)
                stride = width if clears else number(0)
                listed, factor = b.ptrtoint(column, I64), b.ptrtoint(value, I64)
                kind.add_to_rows(b, source, target, stride, width, listed, number(1), factor)


def _clear(b: ir.IRBuilder, kind: Kind, at: Any, count: Any) -> None:
    """Writes zeros to some values from an address on."""
    total = b.mul(number(kind.bytes), count)
    b.call(kind.fill, [pointer(b, at, I8), ir.Constant(I32, 0), total])


def _copy_rows(b: ir.IRBuilder, kind: Kind, rows: Any, columns: Any, to: Any, source: Any) -> None:
    """Copies rows of some columns between two matrices, each given as an address and a width."""
    size = number(kind.bytes)
    with Loop(b, number(0), rows) as row:
        ends = [b.add(at, b.mul(size, b.mul(row, width))) for at, width in (to, source)]
        b.call(kind.copy, [*(pointer(b, end, I8) for end in ends), b.mul(size, columns)])


def _panel(b: ir.IRBuilder, size: int, features: Any, width: Any) -> Any:
    """Returns the columns of a panel: a multiple of `PANEL_COLUMNS`, or all."""
    fit = b.udiv(number(PANEL_BYTES), b.mul(number(size), features))
    fit = b.and_(fit, number(-PANEL_COLUMNS))
    fit = b.select(b.icmp_signed("<", fit, number(PANEL_COLUMNS)), number(PANEL_COLUMNS), fit)
    return minimum(b, fit, width)
