"""The checks of numbers, choices, types and shapes that the whole library shares.

Every check takes the name of an argument and its value, returns the value, and raises one form of
error, which says what was expected, what came and what to do about it:

    NAME: expected WHAT, got VALUE; REMEDY

A name may say where the argument belongs, as in ``"Device: g_max"``. A value of the wrong type is
a TypeError, and a value outside its range is a ValueError. Nothing is rounded, clipped or cast on
the way, except that a number comes back as a Python ``float`` or ``int``.
"""

from __future__ import annotations

from flax_snn.checks.arrays import (
    finite_array,
    floating,
    integers,
    known_values,
    rank,
    real_array,
    shape,
)
from flax_snn.checks.sentences import error_text, shown
from flax_snn.checks.values import (
    argument_names,
    boolean,
    choice,
    fields,
    in_range,
    index,
    instance,
    is_whole_number,
    non_negative,
    number,
    positive,
    whole_number,
)

__all__ = [
    "argument_names",
    "boolean",
    "choice",
    "error_text",
    "fields",
    "finite_array",
    "floating",
    "in_range",
    "index",
    "instance",
    "integers",
    "is_whole_number",
    "known_values",
    "non_negative",
    "number",
    "positive",
    "rank",
    "real_array",
    "shape",
    "shown",
    "whole_number",
]


def __dir__() -> list[str]:
    return __all__
