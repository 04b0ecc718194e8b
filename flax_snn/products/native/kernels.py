"""Loops over the entries of a matrix that are not zero, as vector code for LLVM.

A matrix of spikes is compressed into lists of the places where it is not zero, and of the values
there, so that it is read once. The product has a list of features for each row, and adds up the
rows of the kernel that it names, in registers; the gradient of the kernel has a list of rows for
each feature, and adds up the rows of the cotangents that it names. Wide matrices are worked on in
panels of columns that stay in cache, and large panels are copied into one piece before. Products
are cut into blocks of rows, gradients into blocks of features, each for a thread
(`flax_snn.products.native.threads`).

Functions are built with `flax_snn.products.native.builder`; a function for one dtype takes
addresses and sizes as 64-bit integers:

    product(x, rows, features, kernel, width, out)
    kernel_gradient(x, rows, features, d_out, width, d_kernel)
    denser(x, size, limit) -> 1 if more than ``limit`` of the values are not zero, else 0

Where there is no memory for the lists, entries are worked on one by one.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir

from flax_snn.products.native.builder import I8, I32, I64, Loop, minimum, number, pointer
from flax_snn.products.native.memory import allocated, clear, panel_columns, released
from flax_snn.products.native.threads import in_blocks
from flax_snn.products.native.vectors import LANES, Kind

PACKED_BYTES = 2**20
"""Bytes of a matrix from which on a panel is copied into one piece before it is worked on. Rows
that are far apart lie on as many pages of memory, more than a processor keeps the addresses of, and
those that are a power of two apart share places of a cache."""

PACKED_LISTS = 256
"""Lists from which on that is worth it."""

ROWS = 2**10
"""Most rows that a gradient adds up at once: a panel of their cotangents stays in a near cache."""


def add_loops(module: ir.Module, dtype: str, threads: int = 1) -> dict[str, ir.Function]:
    """Adds the functions for a dtype to a module, and returns them by name."""
    kind = Kind(module, dtype)
    product = _over_lists(kind, "product")
    gradient = _in_rows(kind, _over_lists(kind, "kernel_gradient"))
    return {
        "product": _product(kind, product, threads),
        "kernel_gradient": _gradient(kind, gradient, threads),
        "denser": _denser(kind),
    }


def _product(kind: Kind, block: ir.Function, threads: int) -> ir.Function:
    """Returns the product, in blocks of rows."""
    function, b = kind.function("product", 6)
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
    function, b = kind.function("kernel_gradient", 6)
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
    function, b = kind.function("denser", 3, I64)
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


def _in_rows(kind: Kind, block: ir.Function) -> ir.Function:
    """Returns the gradient of some features, which adds up blocks of `ROWS` rows."""
    function, b = kind.function("kernel_gradient_rows", 7)
    x, stride_of_x, rows, features, d_out, width, out = function.args
    size = number(kind.bytes)
    with b.if_then(b.icmp_signed("==", rows, number(0))):
        clear(b, kind, out, b.mul(features, width))
    with Loop(b, number(0), rows, number(ROWS)) as low:
        here = minimum(b, number(ROWS), b.sub(rows, low))
        of_x = b.add(x, b.mul(size, b.mul(low, stride_of_x)))
        of_d_out = b.add(d_out, b.mul(size, b.mul(low, width)))
        b.call(block, [of_x, stride_of_x, here, features, of_d_out, width, out, low])
    b.ret_void()
    return function


def _over_lists(kind: Kind, name: str) -> ir.Function:
    """Returns a function that makes all lists, and then works on them panel by panel.

    The product has a list for each row, the gradient one for each feature. ``stride_of_x`` is the
    distance between rows of ``x``, which may be part of a wider matrix. The gradient takes one
    argument more, which is not 0 if it adds to ``out``.
    """
    by_feature = name == "kernel_gradient"
    function, b = kind.function(f"{name}_block", 7 + by_feature)
    x, stride_of_x, rows, features, matrix, width, out = function.args[:7]
    adds = b.icmp_signed("!=", function.args[7], number(0)) if by_feature else None
    size, cells = number(kind.bytes), b.mul(rows, features)
    lists, summed = (features, rows) if by_feature else (rows, features)
    panel = panel_columns(b, kind.bytes, summed, width)
    packs = b.and_(
        b.icmp_signed(">=", b.mul(size, b.mul(summed, width)), number(PACKED_BYTES)),
        b.and_(b.icmp_signed(">=", lists, number(PACKED_LISTS)), b.icmp_signed("<", panel, width)),
    )
    sizes = [
        b.mul(b.add(rows, number(1)), number(8)),
        b.mul(b.add(cells, number(LANES)), number(4)),
        b.mul(cells, size),
        b.select(packs, b.mul(size, b.mul(summed, panel)), number(1)),
    ]
    if by_feature:
        sizes += [b.mul(b.add(features, number(2)), number(8)), b.mul(cells, number(4))]
    memory, missing = allocated(b, kind, sizes)
    with b.if_then(missing):
        released(b, kind, memory)
        _one_by_one(b, kind, function.args[:7], adds)
        b.ret_void()
    starts, places, values, packed = memory[:4]
    kind.compress(b, (x, stride_of_x), rows, features, (starts, places))
    if by_feature:
        by_row, (starts, places) = (starts, places), memory[4:]
        kind.transpose(b, (x, stride_of_x), rows, features, by_row, (starts, places, values))
    else:
        kind.take(b, (x, stride_of_x), rows, (starts, places, values))
    at = pointer(b, starts, I64)
    with Loop(b, number(0), width, panel) as first_column:
        here = minimum(b, panel, b.sub(width, first_column))
        offset = b.mul(size, first_column)
        whole = b.add(matrix, offset)
        with b.if_then(packs):
            _copy_rows(b, kind, summed, here, (packed, panel), (whole, width))
        source, stride = b.select(packs, packed, whole), b.select(packs, panel, width)
        with Loop(b, number(0), lists) as each:
            start = b.load(b.gep(at, [each]))
            found = b.sub(b.load(b.gep(at, [b.add(each, number(1))])), start)
            listed = b.add(places, b.mul(number(4), start))
            factors = b.add(values, b.mul(size, start))
            target = b.add(b.add(out, b.mul(size, b.mul(each, width))), offset)
            kind.sum_rows(b, target, source, stride, here, (listed, found, factors), adds)
    released(b, kind, memory)
    b.ret_void()
    return function


def _one_by_one(b: ir.IRBuilder, kind: Kind, arguments: Any, adds: Any) -> None:
    """Works on each entry as it is found, which needs no memory.

    Args:
      b: the builder.
      kind: the dtype.
      arguments: those of the function without its last one.
      adds: whether the gradient adds to what is there; None for the product.
    """
    x, stride_of_x, rows, features, matrix, width, out = arguments
    size, place = number(kind.bytes), b.alloca(I32)
    b.store(ir.Constant(I32, 0), place)
    if adds is None:
        clear(b, kind, out, b.mul(rows, width))
    else:
        with b.if_then(b.not_(adds)):
            clear(b, kind, out, b.mul(features, width))
    always = ir.Constant(ir.IntType(1), 1)
    with Loop(b, number(0), rows) as row:
        values = b.add(x, b.mul(size, b.mul(row, stride_of_x)))
        with Loop(b, number(0), features) as feature:
            value = b.gep(pointer(b, values, kind.scalar), [feature])
            fires = b.fcmp_unordered("!=", b.load(value), ir.Constant(kind.scalar, 0.0))
            with b.if_then(fires):
                of_row, of_feature = (b.mul(size, b.mul(k, width)) for k in (row, feature))
                source, target = (of_feature, of_row) if adds is None else (of_row, of_feature)
                source, target = b.add(matrix, source), b.add(out, target)
                listed = (b.ptrtoint(place, I64), number(1), b.ptrtoint(value, I64))
                kind.sum_rows(b, target, source, width, width, listed, always)


def _copy_rows(b: ir.IRBuilder, kind: Kind, rows: Any, columns: Any, to: Any, source: Any) -> None:
    """Copies rows of some columns between two matrices, each given as an address and a width."""
    size = number(kind.bytes)
    with Loop(b, number(0), rows) as row:
        ends = [b.add(at, b.mul(size, b.mul(row, width))) for at, width in (to, source)]
        b.call(kind.copy, [*(pointer(b, end, I8) for end in ends), b.mul(size, columns)])
