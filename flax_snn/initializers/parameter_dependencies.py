"""Which parameters of a model a traced function computes its outputs from.

Follows the equations of a jaxpr from inputs to outputs, through loops and nested functions, and
computes nothing.
"""

from __future__ import annotations

from typing import Any

__all__ = ["sources_of_outputs"]


def sources_of_outputs(jaxpr: Any, sources: list[frozenset[int]]) -> list[frozenset[int]]:
    """Returns from which sources each output of a traced function is computed.

    Args:
      jaxpr: the function.
      sources: for each of its inputs, the numbers of the sources that it is computed from.
    """
    known = dict(zip(jaxpr.invars, sources, strict=True))

    def behind(var: Any) -> frozenset[int]:
        return frozenset() if hasattr(var, "val") else known.get(var, frozenset())  # val: a literal

    for equation in jaxpr.eqns:
        inputs = [behind(var) for var in equation.invars]
        inner = [getattr(value, "jaxpr", value) for value in equation.params.values()]
        bodies = [body for body in inner if len(getattr(body, "invars", ())) == len(inputs)]
        if equation.primitive.name == "scan":
            outputs = _sources_of_loop(equation, bodies[0], inputs)
        elif len(bodies) == 1:
            outputs = sources_of_outputs(bodies[0], inputs)
        else:
            outputs = [frozenset[int]().union(*inputs)] * len(equation.outvars)
        known |= zip(equation.outvars, outputs, strict=True)
    return [behind(var) for var in jaxpr.outvars]


def _sources_of_loop(loop: Any, body: Any, inputs: list[frozenset[int]]) -> list[frozenset[int]]:
    """Returns the sources of the outputs of a scan, whose carry collects them step by step."""

    def whole(outer: Any, inner: Any) -> int:
        """Returns how many variables the body sees as they are, not one step of them."""
        return sum(a.aval.ndim == b.aval.ndim for a, b in zip(outer, inner, strict=True))

    # Constants, carry and steps go in, carry and steps come out.
    carries = whole(loop.outvars, body.outvars)
    first = whole(loop.invars, body.invars) - carries
    while True:
        outputs = sources_of_outputs(body, inputs)
        start = inputs[first : first + carries]
        grown = [a | b for a, b in zip(start, outputs[:carries], strict=True)]
        if grown == start:
            return outputs
        inputs = [*inputs[:first], *grown, *inputs[first + carries :]]
