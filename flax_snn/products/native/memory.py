"""Memory of the native loops: pieces of it, zeros, and how much of a matrix stays in a cache."""

from __future__ import annotations

from typing import Any

from llvmlite import ir

from flax_snn.products.native.builder import I8, I32, minimum, number, pointer
from flax_snn.products.native.vectors import PANEL_COLUMNS, Kind

PANEL_BYTES = 2**19
"""Most bytes of a matrix that a panel of its columns should have, so that it stays in a near cache.
Products of 640 to 4096 rows took as long with a quarter, and up to 1.3 times with four times."""


def allocated(b: ir.IRBuilder, kind: Kind, sizes: list[Any]) -> tuple[list[Any], Any]:
    """Returns pieces of memory of so many bytes, and whether one of them could not be had."""
    memory = [b.call(kind.allocate, [size]) for size in sizes]
    missing = ir.Constant(ir.IntType(1), 0)
    for piece in memory:
        missing = b.or_(missing, b.icmp_unsigned("==", piece, number(0)))
    return memory, missing


def released(b: ir.IRBuilder, kind: Kind, memory: list[Any]) -> None:
    """Gives pieces of memory back; those that could not be had are left out by the C library."""
    for piece in memory:
        b.call(kind.release, [piece])


def clear(b: ir.IRBuilder, kind: Kind, at: Any, count: Any) -> None:
    """Writes zeros to some values from an address on."""
    total = b.mul(number(kind.bytes), count)
    b.call(kind.fill, [pointer(b, at, I8), ir.Constant(I32, 0), total])


def panel_columns(b: ir.IRBuilder, size: int, rows: Any, width: Any) -> Any:
    """Returns the columns of a panel of so many rows: a multiple of `PANEL_COLUMNS`, or all."""
    rows = b.select(b.icmp_signed("<", rows, number(1)), number(1), rows)
    fit = b.udiv(number(PANEL_BYTES), b.mul(number(size), rows))
    fit = b.and_(fit, number(-PANEL_COLUMNS))
    fit = b.select(b.icmp_signed("<", fit, number(PANEL_COLUMNS)), number(PANEL_COLUMNS), fit)
    return minimum(b, fit, width)
