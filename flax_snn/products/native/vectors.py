"""The inner loops over lists of entries that are not zero: one dtype, vectors of eight values."""

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
    number,
    pointer,
    splat,
)

LANES = 8
"""Values of a vector."""

ALLOCATE = "malloc"
"""Function of the C library that returns memory, or 0 where there is none."""

PANEL_COLUMNS = 8 * LANES
"""Columns whose sums are held in registers at once."""

SCALARS: dict[str, Any] = {"float32": ir.FloatType(), "float64": ir.DoubleType()}
BYTES = {"float32": 4, "float64": 8}


class Kind:
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
