"""Convolutions in the form that the type check of ``nir.read`` computes right.

``nir.read`` takes the height of a kernel for its width, and the input channels of one group for
all (`flax_snn.nir.file.nir_read`). A kernel that is filled with zeros until it is square and has
one group computes the same output from more weights.
"""

from __future__ import annotations

from typing import Any

import numpy as np


def ungrouped(fields: dict[str, Any]) -> dict[str, Any]:
    """Returns a convolution with one group that computes the same.

    Args:
      fields: fields of a Conv1d or Conv2d, with ``weight`` (out, in / groups, *kernel).
    """
    weight, groups = fields["weight"], fields["groups"]
    if groups == 1:
        return fields
    rows, columns = weight.shape[0] // groups, weight.shape[1]
    dense = np.zeros((weight.shape[0], columns * groups, *weight.shape[2:]), weight.dtype)
    for k in range(groups):
        block = slice(k * rows, (k + 1) * rows)
        dense[block, k * columns : (k + 1) * columns] = weight[block]
    return fields | {"weight": dense, "groups": 1}


def square(fields: dict[str, Any]) -> dict[str, Any]:
    """Returns a Conv2d with a square kernel that computes the same, if there is one.

    Zeros are added on both sides of the shorter axis, and its padding grows by as much. Where the
    sides of the kernel differ by an odd number, the output only keeps its size if the stride skips
    the additional row; otherwise the fields are returned as they are.

    Args:
      fields: fields of a Conv1d or Conv2d.
    """
    weight = fields["weight"]
    sides = weight.shape[2:]
    if len(set(sides)) == 1 or fields["padding"] == "same":
        return fields
    padding = (0,) * len(sides) if fields["padding"] == "valid" else fields["padding"]
    zeros, wider = [(0, 0), (0, 0)], []
    for axis, side in enumerate(sides):
        before = _zeros_before(fields, axis, padding[axis], max(sides) - side)
        if before is None:
            return fields
        zeros.append((before, max(sides) - side - before))
        wider.append(padding[axis] + before * fields["dilation"][axis])
    return fields | {"weight": np.pad(weight, zeros), "padding": tuple(wider)}


def _zeros_before(fields: dict[str, Any], axis: int, padding: int, missing: int) -> int | None:
    """Returns how many of the missing rows go in front, so that the output keeps its size.

    Returns None if no number does.
    """
    size, stride, dilation = (fields[n][axis] for n in ("input_shape", "stride", "dilation"))
    span = size + 2 * padding - dilation * (fields["weight"].shape[2 + axis] - 1) - 1
    for before in sorted(range(missing + 1), key=lambda n: abs(2 * n - missing)):
        if (span + dilation * (2 * before - missing)) // stride == span // stride:
            return before
    return None
