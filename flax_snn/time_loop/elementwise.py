"""Whether the step of a layer is elementwise: no neuron sees another one within a step.

Read off the program that JAX traces, of the step and of its derivative, so that no neuron has to
say it and none can say it wrongly.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import jax
from jax.extend.core import ClosedJaxpr, Jaxpr

_CALLS = frozenset(
    "jit pjit closed_call core_call custom_jvp_call custom_vjp_call custom_lin checkpoint".split()
)
_ELEMENTWISE = frozenset(
    "abs add add_any and atan2 broadcast_in_dim cbrt ceil clamp convert_element_type copy copy_p"
    " cos cosh div eq erf erf_inv erfc exp exp2 expm1 floor ge gt integer_pow is_finite le log"
    " log1p logistic lt max min mul ne neg not or pow rem round rsqrt select_n sign sin sinh"
    " sqrt square stop_gradient sub tan tanh xor".split()
)


def why_not_elementwise(function: Callable[..., Any], size: int, *arguments: Any) -> str | None:
    """Returns why a function is not elementwise, or None if it is.

    Args:
      function: a function of pytrees of arrays ``(size,)`` and of numbers.
      size: entries of the arrays; a size that no other array of the function has.
      *arguments: its arguments, or their shapes and dtypes.
    """
    try:
        program = jax.make_jaxpr(function)(*arguments)
    except (TypeError, ValueError, IndexError) as error:
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        return f"its step cannot be traced on a row of neurons: {first}"
    for constant in program.consts:
        if jax.numpy.ndim(constant) > 0:
            return f"its step holds a constant array of shape {jax.numpy.shape(constant)}"
    for name, shape in _operations(program.jaxpr):
        if name not in _ELEMENTWISE:
            return f"its step has the operation '{name}', which is not known to be elementwise"
        if shape not in ((), (size,)):
            return f"its step makes an array of shape {shape} of rows of shape {(size,)}"
    return None


def _operations(program: Jaxpr) -> Iterator[tuple[str, Any]]:
    """Yields name and shape of result of each operation, those of called programs among them."""
    for operation in program.eqns:
        name = operation.primitive.name
        if name in _CALLS:
            for value in operation.params.values():
                if isinstance(value, ClosedJaxpr):
                    yield from _operations(value.jaxpr)
                elif isinstance(value, Jaxpr):
                    yield from _operations(value)
            continue
        for variable in operation.outvars:
            aval: Any = variable.aval
            yield name, aval.shape
