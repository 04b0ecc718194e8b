"""Loops under a mesh of devices whose axes are explicit: the compiler places what is inside.

`jax.make_mesh` makes explicit axes unless told otherwise: every array has its sharding in its type,
and every operation needs to know that of its result. Inside a loop that is left to the compiler, as
with automatic axes; at its door the shardings are those of the arrays that came in.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from flax_snn.typing import Array


def is_explicit(array: Array) -> bool:
    """Return whether the type of an array says how it lies on a mesh with explicit axes."""
    mesh = getattr(jax.typeof(array).sharding, "mesh", None)
    types = getattr(mesh, "axis_types", None) or ()
    return AxisType.Explicit in types


def placed_as(array: Array, inputs: Array) -> NamedSharding:
    """Return the sharding in the type of an array; on the mesh of the inputs if it has none."""
    sharding = jax.typeof(array).sharding
    mesh = jax.typeof(inputs).sharding.mesh
    spec = sharding.spec if sharding.mesh == mesh else PartitionSpec()
    return NamedSharding(mesh, spec)


def placed(inputs: Array, axes: dict[int, int], ndim: int) -> NamedSharding:
    """Return a sharding with some axes placed as those of the inputs.

    Args:
      inputs: array with a sharding in its type.
      axes: for an axis of the result the axis of the inputs that it lies like.
      ndim: number of axes of the result.
    """
    sharding = jax.typeof(inputs).sharding
    spec = [None] * ndim
    for axis, like in axes.items():
        spec[axis] = sharding.spec[like]
    return NamedSharding(sharding.mesh, PartitionSpec(*spec))


def automatic(run: Callable[..., Any], shardings: Any, inputs: Array, *arguments: Any) -> Any:
    """Run a function as if all axes of the mesh were automatic.

    Args:
      run: the function.
      shardings: of its results, a pytree like them.
      inputs: array that lies on the mesh; arguments that lie on none are copied to all of it.
      *arguments: arguments of the function.
    """
    arguments = jax.tree.map(
        lambda leaf: jax.sharding.reshard(leaf, placed_as(leaf, inputs)), arguments
    )
    return jax.sharding.auto_axes(run, out_sharding=shardings)(*arguments)


def unplaced(run: Callable[..., Any], *arguments: Any) -> Any:
    """Return the shapes of the results of a function of arrays that lie on no mesh."""
    shapes = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), arguments)
    return jax.eval_shape(run, *shapes)
