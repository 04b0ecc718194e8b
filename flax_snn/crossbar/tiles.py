"""How a matrix is cut into tiles: as few as fit, as equal as possible.

A value per tile is kept as ``(row tiles, outputs)``: one row for each cut of the inputs, repeated
over the columns of a tile.
"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np

from flax_snn.typing import Array, Float

_OPERATIONS: dict[str, Any] = {"max": jnp.max, "mean": jnp.mean}


def splits(size: int, limit: int) -> list[slice]:
    """Returns the cuts of an axis: ``ceil(size / limit)`` of them, longer ones first."""
    count = -(-size // limit)
    ends = np.cumsum([len(part) for part in np.array_split(np.arange(size), count)])
    return [slice(int(b), int(e)) for b, e in zip([0, *ends[:-1]], ends, strict=True)]


def of_rows(matrix: Float[Array, "n m"], rows: int, reduce: str) -> Float[Array, "R m"]:
    """Returns ``max`` or ``mean`` over the inputs of each tile, for each output."""
    op = _OPERATIONS[reduce]
    return jnp.stack([op(matrix[part], axis=0) for part in splits(matrix.shape[0], rows)])


def of_tiles(
    matrix: Float[Array, "n m"], limit: tuple[int, int], reduce: str
) -> Float[Array, "R m"]:
    """Returns ``max`` or ``mean`` over each tile, repeated over its columns."""
    op = _OPERATIONS[reduce]
    lines = of_rows(matrix, limit[0], reduce)
    rows = [
        jnp.broadcast_to(op(lines[:, part], axis=1, keepdims=True), lines[:, part].shape)
        for part in splits(matrix.shape[1], limit[1])
    ]
    return jnp.concatenate(rows, axis=1)


def spread(values: Float[Array, "R m"], size: int, rows: int) -> Float[Array, "n m"]:
    """Returns values per tile and output as values per input and output."""
    lengths = [part.stop - part.start for part in splits(size, rows)]
    if len(lengths) == 1:
        return jnp.broadcast_to(values, (size, values.shape[1]))
    return jnp.repeat(values, np.array(lengths), axis=0, total_repeat_length=size)
