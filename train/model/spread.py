"""Functions of samples that do not look at each other, on a batch that is spread over devices."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
from jax.sharding import Mesh, PartitionSpec


def each_alone(function: Callable[..., Any], mesh: Mesh | None) -> Callable[..., Any]:
    """Returns a function that each device calls with its own samples.

    XLA divides a computation on its own, but for one that sorts, searches and scatters it collects
    the samples of all devices first.

    Args:
      function: of whatever all samples share, and of a tree of arrays with the samples as their
        first axis; it returns a tree of such arrays.
      mesh: mesh over whose axis ``data`` samples are spread; None, or an axis of one device, leaves
        the function as it is.
    """
    if mesh is None or mesh.shape["data"] == 1:
        return function
    shared, spread = PartitionSpec(), PartitionSpec("data")
    # Not checked: loops inside begin with constants, which vary over the devices later on.
    return jax.shard_map(
        function, mesh=mesh, in_specs=(shared, spread), out_specs=spread, check_vma=False
    )
