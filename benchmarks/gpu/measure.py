"""How a function is timed, and what its program takes in memory."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import jax


def measured(function: Callable[..., Any], *arguments: Any, least: float) -> dict[str, Any]:
    """Returns seconds of a call and bytes of the compiled program.

    Calls are queued one after the other and waited for together, so that what the host needs to
    start one is hidden where the device needs longer. The best of three queues counts.

    Args:
      function: what is jitted and called.
      *arguments: its arguments.
      least: seconds that a queue should take.
    """
    begin = time.perf_counter()
    compiled = jax.jit(function).lower(*arguments).compile()
    compile_seconds = time.perf_counter() - begin
    jax.block_until_ready(compiled(*arguments))

    def queue(count: int) -> float:
        begin = time.perf_counter()
        results = [compiled(*arguments) for _ in range(count)][-1]
        jax.block_until_ready(results)
        return (time.perf_counter() - begin) / count

    once = queue(1)
    # Results in flight take memory each: no more than a few where they are large.
    count = max(1, min(50, int(least / max(once, 1e-6))))
    seconds = min(queue(count) for _ in range(3))
    memory = compiled.memory_analysis()
    return {
        "seconds": seconds,
        "compile_seconds": compile_seconds,
        "temporary_bytes": getattr(memory, "temp_size_in_bytes", None),
        "argument_bytes": getattr(memory, "argument_size_in_bytes", None),
        "output_bytes": getattr(memory, "output_size_in_bytes", None),
    }
