"""What the kernels are built of: numbers, pointers and loops in the language of LLVM."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from llvmlite import ir

I8, I32, I64 = ir.IntType(8), ir.IntType(32), ir.IntType(64)


class Loop:
    """``for k in range(low, high, step)`` around what is built in the body of the ``with``.

    The context is the counter: an LLVM value, with `carried` values besides.

    Args:
      b: the builder.
      low: first value of the counter.
      high: the value before which it ends.
      step: what it grows by, 1 by default.
      carried: values that each pass hands to the next, before the first one.
    """

    def __init__(
        self,
        b: ir.IRBuilder,
        low: Any,
        high: Any,
        step: Any = None,
        carried: Sequence[Any] = (),
    ) -> None:
        self.b, self.low, self.high = b, low, high
        self.step = number(1) if step is None else step
        self.start = carried
        self.next: list[Any] = []
        self.stop: Any = None

    def __enter__(self) -> Any:
        b = self.b
        before = b.block
        self.test = b.append_basic_block()
        body = b.append_basic_block()
        self.end = b.append_basic_block()
        b.branch(self.test)
        b.position_at_end(self.test)
        self.k = b.phi(I64)
        self.k.add_incoming(self.low, before)
        self.results = [b.phi(value.type) for value in self.start]
        for phi, value in zip(self.results, self.start, strict=True):
            phi.add_incoming(value, before)
        b.cbranch(b.icmp_signed("<", self.k, self.high), body, self.end)
        b.position_at_end(body)
        return _counter(self.k, self)

    def __exit__(self, kind: Any, *error: Any) -> None:
        if kind is not None:
            return
        b = self.b
        grown = b.add(self.k, self.step)
        self.k.add_incoming(grown, b.block)
        for phi, value in zip(self.results, self.next, strict=True):
            phi.add_incoming(value, b.block)
        if self.stop is None:
            b.branch(self.test)
        else:
            b.cbranch(self.stop, self.end, self.test)
        b.position_at_end(self.end)


def _counter(k: Any, loop: Loop) -> Any:
    """Returns the counter of a loop with what its body may say about the loop."""

    def stop_if(condition: Any) -> None:
        loop.stop = condition

    def carry(values: list[Any]) -> None:
        loop.next = values

    k.stop_if, k.carry = stop_if, carry
    k.carried = k.results = loop.results
    return k


def number(value: int) -> Any:
    """Returns a 64-bit integer."""
    return ir.Constant(I64, value)


def pointer(b: ir.IRBuilder, address: Any, kind: Any) -> Any:
    """Returns an address as a pointer to values of a kind."""
    return b.inttoptr(address, kind.as_pointer())


def minimum(b: ir.IRBuilder, one: Any, other: Any) -> Any:
    """Returns the smaller of two signed integers."""
    return b.select(b.icmp_signed("<", one, other), one, other)


def splat(b: ir.IRBuilder, value: Any, vector: Any) -> Any:
    """Returns a vector whose values are all the same."""
    nothing = ir.Constant(vector, ir.Undefined)
    first = b.insert_element(nothing, value, ir.Constant(I32, 0))
    mask = ir.Constant(ir.VectorType(I32, vector.count), [0] * vector.count)
    return b.shuffle_vector(first, nothing, mask)


def external(module: ir.Module, name: str, result: Any, arguments: list[Any]) -> ir.Function:
    """Returns a function of the C library."""
    found = module.globals.get(name)
    return found or ir.Function(module, ir.FunctionType(result, arguments), name)
