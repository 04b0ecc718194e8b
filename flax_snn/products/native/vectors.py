"""The inner loops over lists of entries that are not zero: one dtype, vectors of eight values."""

from __future__ import annotations

from collections.abc import Callable, Iterator
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

VOID = ir.VoidType()

Matrix = tuple[Any, Any]
"""Address of a matrix, and the distance of its rows in values."""


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

    def function(
        self, name: str, count: int, result: Any = VOID
    ) -> tuple[ir.Function, ir.IRBuilder]:
        """Returns a function of some 64-bit integers, and a builder at its beginning."""
        signature = ir.FunctionType(result, [I64] * count)
        function = ir.Function(self.module, signature, f"flax_snn_{name}_{self.dtype}")
        return function, ir.IRBuilder(function.append_basic_block())

    def compress(
        self, b: ir.IRBuilder, x: Matrix, rows: Any, features: Any, lists: tuple[Any, Any]
    ) -> None:
        """Lists the columns of each row that are not zero, one list behind the other.

        Without a branch: eight values make a byte, which names eight numbers in a table. Up to
        eight numbers more are written behind the last one.

        Args:
          b: the builder.
          x: the matrix.
          rows: its rows.
          features: its columns.
          lists: where to write ``rows + 1`` places at which lists begin and end, and the columns.
        """
        starts, columns = pointer(b, lists[0], I64), pointer(b, lists[1], I32)
        with b.goto_entry_block():
            count = b.alloca(I64)
        for place in (starts, count):
            b.store(number(0), place)
        whole = b.and_(features, number(-LANES))
        wide = ir.VectorType(I32, LANES)
        with Loop(b, number(0), rows) as k:
            row = self._row(b, x, k)
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
            b.store(b.load(count), b.gep(starts, [b.add(k, number(1))]))

    def take(self, b: ir.IRBuilder, x: Matrix, rows: Any, lists: tuple[Any, Any, Any]) -> None:
        """Writes the values of listed columns, behind each other, at the third of ``lists``."""
        values = pointer(b, lists[2], self.scalar)
        for row, k, column in self._entries(b, rows, lists[:2]):
            b.store(b.load(b.gep(self._row(b, x, row), [column])), b.gep(values, [k]))

    def flatten(self, b: ir.IRBuilder, x: Matrix, rows: Any, lists: tuple[Any, Any, Any]) -> None:
        """Makes columns in lists numbers of values from the first row on, and writes the values.

        Args:
          b: the builder.
          x: the matrix.
          rows: its rows.
          lists: what `compress` wrote, and where to write the values.
        """
        columns, values = pointer(b, lists[1], I32), pointer(b, lists[2], self.scalar)
        every = pointer(b, x[0], self.scalar)
        for row, k, column in self._entries(b, rows, lists[:2]):
            place = b.add(b.mul(row, x[1]), column)
            b.store(b.load(b.gep(every, [place])), b.gep(values, [k]))
            b.store(b.trunc(place, I32), b.gep(columns, [k]))

    def transpose(
        self,
        b: ir.IRBuilder,
        x: Matrix,
        rows: Any,
        features: Any,
        by_row: tuple[Any, Any],
        by_feature: tuple[Any, Any, Any],
    ) -> None:
        """Makes lists of rows for each feature of lists of features for each row, in order.

        Args:
          b: the builder.
          x: the matrix.
          rows: its rows.
          features: its columns.
          by_row: what `compress` wrote.
          by_feature: where to write ``features + 2`` places at which lists begin and end, the rows,
            and the values.
        """
        starts = pointer(b, by_feature[0], I64)
        listed, values = pointer(b, by_feature[1], I32), pointer(b, by_feature[2], self.scalar)
        one, two = number(1), number(2)
        size = b.mul(number(8), b.add(features, two))
        b.call(self.fill, [pointer(b, by_feature[0], I8), ir.Constant(I32, 0), size])
        # First the length of list c at c + 2, then its beginning at c + 1, which moves to its end.
        for _, _, column in self._entries(b, rows, by_row):
            counted = b.gep(starts, [b.add(column, two)])
            b.store(b.add(b.load(counted), one), counted)
        with Loop(b, number(0), features, carried=[number(0)]) as k:
            at = b.gep(starts, [b.add(k, one)])
            total = b.add(k.carried[0], b.load(at))
            b.store(total, at)
            k.carry([total])
        for row, _, column in self._entries(b, rows, by_row):
            end = b.gep(starts, [b.add(column, one)])
            place = b.load(end)
            b.store(b.trunc(row, I32), b.gep(listed, [place]))
            b.store(b.load(b.gep(self._row(b, x, row), [column])), b.gep(values, [place]))
            b.store(b.add(place, one), end)

    def sum_rows(
        self,
        b: ir.IRBuilder,
        out: Any,
        matrix: Any,
        stride: Any,
        width: Any,
        entries: tuple[Any, Any, Any],
        adds: Any = None,
    ) -> None:
        """Writes the sum of factors times ``matrix[c]`` over the listed c, ``width`` values.

        Args:
          b: the builder.
          out: where to.
          matrix: the matrix.
          stride: distance of its rows.
          width: columns to sum.
          entries: the list of rows, how many there are, and their factors.
          adds: whether the sum is added to what ``out`` holds; never by default.
        """
        columns, count, factors = entries
        matrix, factors, out = (pointer(b, p, self.scalar) for p in (matrix, factors, out))
        columns = pointer(b, columns, I32)

        def panel(first: Any, vectors: int) -> None:
            zero = self.zero if vectors else ir.Constant(self.scalar, 0.0)
            targets = [
                b.gep(out, [b.add(first, number(i * LANES))]) for i in range(max(vectors, 1))
            ]
            starts = [zero] * len(targets)
            if adds is not None:
                starts = [b.select(adds, self._read(b, at, vectors), zero) for at in targets]
            with Loop(b, number(0), count, carried=starts) as k:
                column = b.zext(b.load(b.gep(columns, [k])), I64)
                source = b.gep(matrix, [b.add(b.mul(column, stride), first)])
                value = b.load(b.gep(factors, [k]))
                factor = splat(b, value, self.vector) if vectors else value
                sums = []
                for i, part in enumerate(k.carried):
                    term = self._read(b, b.gep(source, [number(i * LANES)]), vectors)
                    sums.append(_times_plus(b, factor, term, part))
                k.carry(sums)
            for part, at in zip(k.results, targets, strict=True):
                self._write(b, part, at, vectors)

        _panels(b, width, panel)

    def _entries(
        self, b: ir.IRBuilder, rows: Any, lists: tuple[Any, Any]
    ) -> Iterator[tuple[Any, Any, Any]]:
        """Opens the loops over all entries of lists by row: yields its row, place and column."""
        starts, columns = pointer(b, lists[0], I64), pointer(b, lists[1], I32)
        with Loop(b, number(0), rows) as row:
            low = b.load(b.gep(starts, [row]))
            high = b.load(b.gep(starts, [b.add(row, number(1))]))
            with Loop(b, low, high) as k:
                yield row, k, b.zext(b.load(b.gep(columns, [k])), I64)

    def _row(self, b: ir.IRBuilder, x: Matrix, k: Any) -> Any:
        """Returns the address of a row."""
        address, stride = x
        return pointer(b, b.add(address, b.mul(number(self.bytes), b.mul(k, stride))), self.scalar)

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
    """Covers columns by panels of eight vectors, of four, of one, then by single columns."""
    wide, half, whole = (b.and_(width, number(-n * LANES)) for n in (8, 4, 1))
    parts = ((number(0), wide, 8), (wide, half, 4), (half, whole, 1), (whole, width, 0))
    for low, high, vectors in parts:
        with Loop(b, low, high, number(max(vectors * LANES, 1))) as first:
            emit(first, vectors)


def _times_plus(b: ir.IRBuilder, factor: Any, term: Any, total: Any) -> Any:
    return b.fadd(b.fmul(factor, term, flags=("contract",)), total, flags=("contract",))


def _places(byte: int) -> int:
    """Returns the places of the bits of a byte that are one, as eight bytes in a number."""
    places = [bit for bit in range(LANES) if byte >> bit & 1]
    return int.from_bytes(bytes(places).ljust(LANES, b"\0"), "little")
