"""What the results of a function depend on, read off the program that JAX traces."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
from jax.extend.core import Literal


def dependences(function: Callable[..., Any], *arguments: Any) -> list[set[int]]:
    """Returns for each result the numbers of the arguments that it may depend on.

    What one operation reads, all of its results depend on: an argument that is not reported changes
    nothing and has no gradient, while one that is reported may still have none.

    Args:
      function: a function of pytrees of arrays that returns one.
      *arguments: its arguments, or their shapes and dtypes.

    Returns:
      One set for each leaf of the result, of numbers of leaves of the arguments.
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


def used(function: Callable[..., Any], *arguments: Any) -> list[bool]:
    """Returns for each array among the arguments whether a result may depend on it.

    Args:
      function: a function of pytrees of arrays that returns one.
      *arguments: its arguments, or their shapes and dtypes.

    Returns:
      One entry for each leaf of the arguments, in their order.
    """
    reached = set().union(*dependences(function, *arguments))
    return [number in reached for number in range(len(jax.tree.leaves(arguments)))]
