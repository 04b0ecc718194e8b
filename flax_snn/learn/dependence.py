"""What each result of a function depends on, read off the program that JAX traces."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
from jax.extend.core import Literal


def dependences(function: Callable[..., Any], *arguments: Any) -> list[set[int]]:
    """Returns for each result the numbers of the arguments that it may depend on.

    What one operation reads, all of its results depend on: an argument that is not reported changes
    nothing, while one that is reported may still change nothing.

    Args:
      function: a function of pytrees of arrays that returns a list of arrays.
      *arguments: its arguments, or their shapes and dtypes.

    Returns:
      One set for each result, of numbers of leaves of the arguments.
    """
    program = jax.make_jaxpr(function)(*arguments).jaxpr
    sources: dict[Any, set[int]] = {each: {k} for k, each in enumerate(program.invars)}

    def of(variable: Any) -> set[int]:
        return set() if isinstance(variable, Literal) else sources.get(variable, set())

    for operation in program.eqns:
        read = set().union(*(of(each) for each in operation.invars))
        for each in operation.outvars:
            sources[each] = read
    return [of(each) for each in program.outvars]
