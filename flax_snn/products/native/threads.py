"""A function over blocks of rows, on threads of the operating system.

XLA runs a kernel that it calls on one thread, and within loops and branches one kernel after the
other. So a kernel that has enough to do starts threads itself, one for each block but the first,
which it works on meanwhile. A block whose thread cannot be started is worked on by the caller.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

from llvmlite import binding, ir

from flax_snn.products.native.builder import I8, I32, I64, Loop, external, minimum, number, pointer

WORK = 2**24
"""Multiplications of the dense product that are worth a thread."""

MOST = 64
"""Most threads."""

CREATE, JOIN = "pthread_create", "pthread_join"
"""Functions of the C library that start a thread and wait for its end."""


def available() -> bool:
    """Returns whether the C library has the threads of POSIX."""
    return all(_exists(name) for name in (CREATE, JOIN))


def _exists(name: str) -> bool:
    """Returns whether this process has a function; LLVM knows of it once it has compiled one."""
    if binding.address_of_symbol(name) is not None:
        return True
    try:
        return hasattr(ctypes.CDLL(None), name)
    except (OSError, TypeError):  # no handle of the process itself, as on Windows
        return False


def in_blocks(
    b: ir.IRBuilder,
    block: ir.Function,
    arguments: Callable[[ir.IRBuilder, Any, Any], list[Any]],
    length: Any,
    work: Any,
    threads: int,
) -> None:
    """Calls a function for blocks of a range, each on a thread of its own if that is worth it.

    Args:
      b: the builder.
      block: the function, of 64-bit integers.
      arguments: its arguments for a block, of the first entry and the one after the last.
      length: entries of the range.
      work: multiplications of the dense product.
      threads: threads to use at most.
    """
    module, count = block.module, len(block.args)
    if threads == 1 or not available():
        b.call(block, arguments(b, number(0), length))
        return
    most = minimum(b, number(min(threads, MOST)), b.sdiv(work, number(WORK)))
    most = minimum(b, most, length)
    blocks = b.select(b.icmp_signed("<", most, number(1)), number(1), most)
    with b.goto_entry_block():
        packed = b.alloca(I64, number(MOST * count))
        names = b.alloca(I64, number(MOST))
        started = b.alloca(I32, number(MOST))
    entry = _entry(module, block)
    bytes_at = I8.as_pointer()
    create = external(module, CREATE, I32, [I64.as_pointer(), bytes_at, entry.type, bytes_at])
    join = external(module, JOIN, I32, [I64, bytes_at.as_pointer()])
    nothing = ir.Constant(bytes_at, None)
    with Loop(b, number(0), blocks) as k:
        low = b.sdiv(b.mul(length, k), blocks)
        high = b.sdiv(b.mul(length, b.add(k, number(1))), blocks)
        mine = b.gep(packed, [b.mul(k, number(count))])
        for place, value in enumerate(arguments(b, low, high)):
            b.store(value, b.gep(mine, [number(place)]))
        b.store(ir.Constant(I32, 1), b.gep(started, [k]))
        with b.if_then(b.icmp_signed(">", k, number(0))):
            failed = b.call(create, [b.gep(names, [k]), nothing, entry, b.bitcast(mine, bytes_at)])
            b.store(failed, b.gep(started, [k]))
    with Loop(b, number(0), blocks) as k:
        mine = b.gep(packed, [b.mul(k, number(count))])
        with b.if_else(b.icmp_signed("==", b.load(b.gep(started, [k])), ir.Constant(I32, 0))) as (
            elsewhere,
            here,
        ):
            with elsewhere:
                b.call(join, [b.load(b.gep(names, [k])), ir.Constant(bytes_at.as_pointer(), None)])
            with here:
                b.call(entry, [b.bitcast(mine, bytes_at)])


def _entry(module: ir.Module, block: ir.Function) -> ir.Function:
    """Returns the function that a thread runs: it takes the arguments of a block from memory."""
    bytes_at = I8.as_pointer()
    entry = ir.Function(module, ir.FunctionType(bytes_at, [bytes_at]), f"{block.name}_entry")
    b = ir.IRBuilder(entry.append_basic_block())
    packed = pointer(b, b.ptrtoint(entry.args[0], I64), I64)
    b.call(block, [b.load(b.gep(packed, [number(k)])) for k in range(len(block.args))])
    b.ret(ir.Constant(bytes_at, None))
    return entry
