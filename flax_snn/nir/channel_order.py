"""The order of channels: first in NIR, last in Flax.

A feature map (C, H, W) becomes (H, W, C): the first axis moves to the end. A Flatten in Flax
returns the elements in the order (H, W, C), where NIR has (C, H, W). The vector may keep the order
of Flax if every node that reads it can be adapted: matrices by permuting their columns, neurons by
permuting their parameters.
"""

from __future__ import annotations

import math

import numpy as np

from flax_snn.nir.graph import Shape
from flax_snn.nir.shapes import flatten_axes
from flax_snn.nir.wiring import Wiring

Order = np.ndarray | None
"""Index of each element in the order of NIR; None if the elements are in that order."""


def last(shape: Shape) -> Shape:
    """Returns a shape with its first axis moved to the end."""
    return (*shape[1:], *shape[:1])


def to_last(array: np.ndarray, order: Order = None) -> np.ndarray:
    """Returns an array of features in the order of Flax, given the order of NIR."""
    if array.ndim > 1:
        return np.moveaxis(array, 0, -1)
    return array if order is None else array[order]


def to_first(array: np.ndarray, order: Order = None) -> np.ndarray:
    """Returns an array of features in the order of NIR: the inverse of `to_last`."""
    if array.ndim > 1:
        return np.moveaxis(array, -1, 0)
    return array if order is None else array[np.argsort(order)]


def flat_order(shape: Shape) -> np.ndarray:
    """Returns the `Order` of a map (C, *space) that was flattened with its channels last."""
    return np.moveaxis(np.arange(math.prod(shape)).reshape(shape), 0, -1).ravel()


def orders(wiring: Wiring, loops: set[str]) -> dict[str, np.ndarray]:
    """Returns the order of each node whose flat output is in the order of Flax.

    Args:
      wiring: the graph.
      loops: names of the nodes in loops, which compute in the order of NIR.
    """
    targets = wiring.targets()
    found: dict[str, np.ndarray] = {}

    def readers(name: str, keep: bool) -> list[str] | None:
        """Returns the nodes with the same order; None if a reader needs the order of NIR."""
        passed = [name]
        for target in targets.get(name, ()):
            if target == wiring.output:
                if not keep:
                    return None
                continue
            node = wiring.nodes[target]
            if target in loops or len(wiring.sources[target]) != 1:
                return None
            if node.type in ("Affine", "Linear"):
                continue
            if node.type not in ("Scale", "Threshold", "Delay") and not node.is_neuron:
                return None
            behind = readers(target, keep)
            if behind is None:
                return None
            passed += behind
        return passed

    for name, node in wiring.nodes.items():
        if node.type != "Flatten" or name in loops:
            continue
        shape = wiring.in_shape(name)
        if len(shape) < 2 or flatten_axes(node, len(shape)) != (0, len(shape) - 1):
            continue
        passed = readers(name, node.metadata.get("order") == "channels last")
        if passed is not None:
            found |= dict.fromkeys(passed, flat_order(shape))
    return found
