"""Meshes of explicit axes, on which the type of an array says how it is spread.

Loops inside run with these axes automatic: XLA decides there, and no operation has to be told.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
from jax.sharding import NamedSharding, PartitionSpec


def placement(arrays: Any) -> Any:
    """Returns how arrays, or what `jax.eval_shape` returns for them, are spread."""

    def sharding_of(leaf: Any) -> Any:
        found = leaf.sharding if isinstance(leaf, jax.ShapeDtypeStruct) else None
        return jax.typeof(leaf).sharding if found is None else found

    return jax.tree.map(sharding_of, arrays)


def automatic(function: Callable[..., Any], placed: Any, *arguments: Any) -> Any:
    """Calls a function with the axes of a mesh automatic, and spread its results as told.

    Args:
      function: the function; its arguments and results are pytrees of arrays.
      placed: sharding of each of its results; None where there is no explicit axis: then this is
        a call like any other.
      *arguments: its arguments.

    Returns:
      What it returns.
    """
    if placed is None:
        return function(*arguments)
    shardings, structure = jax.tree.flatten(placed)
    mesh = next(s.mesh for s in shardings if s.mesh.explicit_axes)
    everywhere = NamedSharding(mesh, PartitionSpec())
    shardings = [s if s.mesh.explicit_axes else everywhere for s in shardings]

    def flat(*arguments: Any) -> list[Any]:
        return jax.tree.leaves(function(*arguments))

    inside = jax.sharding.auto_axes(flat, axes=mesh.explicit_axes, out_sharding=shardings)
    return jax.tree.unflatten(structure, jax.jit(inside)(*arguments))
