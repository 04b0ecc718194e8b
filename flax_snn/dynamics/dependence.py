"""Which arguments of a function its results depend on, read off the program that JAX traces."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
from jax.extend.core import Var


def used(function: Callable[..., Any], *arguments: Any) -> list[bool]:
    """Returns for each array among the arguments whether a result may depend on it.

    What one operation reads, all of its results depend on: an argument that is reported as not used
    changes nothing and has no gradient, while one that is reported as used may still have none.

    Args:
      function: a function of pytrees of arrays that returns one.
      *arguments: its arguments, or their shapes and dtypes.

    Returns:
      One entry for each leaf of the arguments, in their order.
    """
    program = jax.make_jaxpr(function)(*arguments).jaxpr
    wanted = {each for each in program.outvars if isinstance(each, Var)}
    for operation in reversed(program.eqns):
        if not wanted.isdisjoint(operation.outvars):
            wanted.update(each for each in operation.invars if isinstance(each, Var))
    return [each in wanted for each in program.invars]
