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
    external,
    minimum,
    number,
    pointer,
    splat,
)
from flax_snn.products.native.threads import in_blocks

LANES = 8
"""Values of a vector."""

ALLOCATE = "malloc"
"""Function of the C library that returns memory, or 0 where there is none."""

PANEL_BYTES = 2**21
"""Most bytes of a kernel that a panel of its columns should have: products with kernels
of 2048 and 4096 rows took 0.5 to 0.7 of the time of panels of 2**19, others as long."""

PACKED_BYTES = {"product": 2**24, "kernel_gradient": 2**22}
"""Bytes of a kernel from which on a panel is copied into one piece while it is worked on: rows that
are far apart by a power of two share places of a cache."""

PACKED_ROWS = 256
"""Rows from which on that is worth it."""

PANEL_COLUMNS = 8 * LANES
"""Columns whose sums are held in registers at once."""

SCALARS: dict[str, Any] = {"float32": ir.FloatType(), "float64": ir.DoubleType()}
BYTES = {"float32": 4, "float64": 8}
NAMES = ("product", "kernel_gradient", "denser")


def add_loops(module: ir.Module, dtype: str, threads: int = 1) -> dict[str, ir.Function]:
    """Adds the functions for a dtype to a module, and returns them by name."""
    kind = _Kind(module, dtype)
    product = _over_lists(kind, "product", kind.sum_rows, clears=False)
    gradient = _over_lists(kind, "kernel_gradient", kind.add_to_rows, clears=True)
    return {
        "product": _product(kind, product, threads),
        "kernel_gradient": _gradient(kind, gradient, threads),
        "denser": _denser(kind),
    }


def _product(kind: _Kind, block: ir.Function, threads: int) -> ir.Function:
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


def _gradient(kind: _Kind, block: ir.Function, threads: int) -> ir.Function:
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


def _denser(kind: _Kind) -> ir.Function:
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


def _function(kind: _Kind, name: str, result: Any, count: int) -> tuple[ir.Function, Any]:
    """Returns a function of some 64-bit integers, and a builder at its beginning."""
    signature = ir.FunctionType(result, [I64] * count)
    function = ir.Function(kind.module, signature, f"flax_snn_{name}_{kind.dtype}")
    return function, ir.IRBuilder(function.append_basic_block())


def _over_lists(kind: _Kind, name: str, inner: Callable[..., None], *, clears: bool) -> ir.Function:
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


def _one_by_one(b: ir.IRBuilder, kind: _Kind, arguments: Any, *, clears: bool) -> None:
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


def _clear(b: ir.IRBuilder, kind: _Kind, at: Any, count: Any) -> None:
    """Writes zeros to some values from an address on."""
    total = b.mul(number(kind.bytes), count)
    b.call(kind.fill, [pointer(b, at, I8), ir.Constant(I32, 0), total])


def _copy_rows(b: ir.IRBuilder, kind: _Kind, rows: Any, columns: Any, to: Any, source: Any) -> None:
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


class _Kind:
    """The inner loops for one dtype, written into the function that a builder is at."""

    def __init__(self, module: ir.Module, dtype: str) -> None:
        self.module, self.dtype, self.bytes = module, dtype, BYTES[dtype]
        self.scalar = SCALARS[dtype]
        self.vector = ir.VectorType(self.scalar, LANES)
        self.zero = ir.Constant(self.vector, [0.0] * LANES)
        self.allocate = external(module, ALLOCATE, I64, [I64])
        self.release = external(module, "free", ir.VoidType(), [I64])
        bytes_at = I8.as_pointer()
        self.copy = external(module, "memcpy", I64, [bytes_at, bytes_at, I64])
        self.fill = external(module, "memset", I64, [I8.as_pointer(), I32, I64])
        words = [_places(byte) for byte in range(256)]
        table = ir.ArrayType(I64, 256)
        self.table = ir.GlobalVariable(module, table, f"flax_snn_places_{dtype}")
        self.table.initializer = ir.Constant(table, words)
        self.table.global_constant = True
        self.table.linkage = "internal"

    def compress(self, b: ir.IRBuilder, row: Any, features: Any, columns: Any) -> Any:
        """Writes the columns of a row that are not zero; returns how many there are.

        Without a branch: eight values make a byte, which names eight numbers in a table. Up to
        eight numbers more are written behind the last one.
        """
        row, columns = pointer(b, row, self.scalar), pointer(b, columns, I32)
        with b.goto_entry_block():
            count = b.alloca(I64)
        b.store(number(0), count)
        whole = b.and_(features, number(-LANES))
        wide = ir.VectorType(I32, LANES)
        with Loop(b, number(0), whole, number(LANES)) as first:
            byte = self.fires(b, b.gep(row, [first]))
            word = b.load(b.gep(self.table, [number(0), b.zext(byte, I64)]))
            places = b.zext(b.bitcast(word, ir.VectorType(I8, LANES)), wide)
            found = b.add(places, splat(b, b.trunc(first, I32), wide))
            at = b.load(count)
            target = b.bitcast(b.gep(columns, [at]), wide.as_pointer())
            b.store(found, target, align=4)
            b.store(b.add(at, b.zext(b.ctpop(byte), I64)), count)
        with Loop(b, whole, features) as column:
            value = b.load(b.gep(row, [column]))
            fires = b.fcmp_unordered("!=", value, ir.Constant(self.scalar, 0.0))
            at = b.load(count)
            b.store(b.trunc(column, I32), b.gep(columns, [at]))
            b.store(b.add(at, b.zext(fires, I64)), count)
        return b.load(count)

    def take(self, b: ir.IRBuilder, row: Any, columns: Any, count: Any, values: Any) -> None:
        """Writes the values of a row in the listed columns."""
        row, values = (pointer(b, p, self.scalar) for p in (row, values))
        columns = pointer(b, columns, I32)
        with Loop(b, number(0), count) as k:
            value = b.load(b.gep(row, [b.zext(b.load(b.gep(columns, [k])), I64)]))
            b.store(value, b.gep(values, [k]))

    def sum_rows(
        self,
        b: ir.IRBuilder,
        out: Any,
        kernel: Any,
        stride: Any,
        width: Any,
        columns: Any,
        count: Any,
        factors: Any,
    ) -> None:
        """Writes the sum of factors times ``kernel[c]`` over the listed c, ``width`` values."""
        kernel, factors, out = (pointer(b, p, self.scalar) for p in (kernel, factors, out))
        columns = pointer(b, columns, I32)

        def panel(first: Any, vectors: int) -> None:
            start = self.zero if vectors else ir.Constant(self.scalar, 0.0)
            with Loop(b, number(0), count, carried=[start] * max(vectors, 1)) as k:
                column = b.zext(b.load(b.gep(columns, [k])), I64)
                source = b.gep(kernel, [b.add(b.mul(column, stride), first)])
                value = b.load(b.gep(factors, [k]))
                factor = splat(b, value, self.vector) if vectors else value
                sums = []
                for i, part in enumerate(k.carried):
                    term = self._read(b, b.gep(source, [number(i * LANES)]), vectors)
                    sums.append(_times_plus(b, factor, term, part))
                k.carry(sums)
            for i, part in enumerate(k.results):
                self._write(b, part, b.gep(out, [b.add(first, number(i * LANES))]), vectors)

        _panels(b, width, panel)

    def add_to_rows(
        self,
        b: ir.IRBuilder,
        source: Any,
        out: Any,
        stride: Any,
        width: Any,
        columns: Any,
        count: Any,
        factors: Any,
    ) -> None:
        """Adds factors times ``source`` to ``out[c]`` for the listed c, ``width`` values."""
        source, factors, out = (pointer(b, p, self.scalar) for p in (source, factors, out))
        columns = pointer(b, columns, I32)

        def panel(first: Any, vectors: int) -> None:
            start = b.gep(source, [first])
            offsets = [number(i * LANES) for i in range(max(vectors, 1))]
            terms = [self._read(b, b.gep(start, [offset]), vectors) for offset in offsets]
            with Loop(b, number(0), count) as k:
                column = b.zext(b.load(b.gep(columns, [k])), I64)
                target = b.gep(out, [b.add(b.mul(column, stride), first)])
                value = b.load(b.gep(factors, [k]))
                factor = splat(b, value, self.vector) if vectors else value
                for offset, term in zip(offsets, terms, strict=True):
                    at = b.gep(target, [offset])
                    before = self._read(b, at, vectors)
                    self._write(b, _times_plus(b, factor, term, before), at, vectors)

        _panels(b, width, panel)

    def fires(self, b: ir.IRBuilder, at: Any) -> Any:
        """Returns a byte whose bits say which of eight values are not zero."""
        return b.bitcast(b.fcmp_unordered("!=", self._load(b, at), self.zero), I8)

    def _load(self, b: ir.IRBuilder, at: Any) -> Any:
        return b.load(b.bitcast(at, self.vector.as_pointer()), align=self.bytes)

    def _read(self, b: ir.IRBuilder, at: Any, vectors: int) -> Any:
        return self._load(b, at) if vectors else b.load(at)

    def _write(self, b: ir.IRBuilder, value: Any, at: Any, vectors: int) -> None:
        if vectors:
            b.store(value, b.bitcast(at, self.vector.as_pointer()), align=self.bytes)
        else:
            b.store(value, at)


def _panels(b: ir.IRBuilder, width: Any, emit: Callable[[Any, int], None]) -> None:
    """Covers columns by panels of eight vectors, then of one vector, then by single columns."""
    wide = b.and_(width, number(-PANEL_COLUMNS))
    whole = b.and_(width, number(-LANES))
    for low, high, vectors in ((number(0), wide, 8), (wide, whole, 1), (whole, width, 0)):
        with Loop(b, low, high, number(max(vectors * LANES, 1))) as first:
            emit(first, vectors)


def _times_plus(b: ir.IRBuilder, factor: Any, term: Any, total: Any) -> Any:
    return b.fadd(b.fmul(factor, term, flags=("contract",)), total, flags=("contract",))


def _places(byte: int) -> int:
    """Returns the places of the bits of a byte that are one, as eight bytes in a number."""
    places = [bit for bit in range(LANES) if byte >> bit & 1]
    return int.from_bytes(bytes(places).ljust(LANES, b"\0"), "little")
