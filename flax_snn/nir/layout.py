"""Channels first, as NIR has them, and channels last, as Flax has them.

A feature map (C, H, W) becomes (H, W, C): the first axis goes to the end. A vector that a Flatten
made of such a map may stay in the order of Flax, (H, W, C), as long as all that reads it can be
told so: matrices by the order of their columns, neurons by the order of their parameters.
"""

from __future__ import annotations

import math

import numpy as np

from flax_snn.nir.ir import Shape
from flax_snn.nir.shapes import flatten_axes
from flax_snn.nir.wiring import Wiring

Order = np.ndarray | None
"""Index of each element of a flattened map in the order of NIR; ``None``: it is that order."""


def last(shape: Shape) -> Shape:
    """Return a shape with its first axis behind the others."""
    return (*shape[1:], *shape[:1])


def to_last(array: np.ndarray, order: Order = None) -> np.ndarray:
    """Return values of features, channels first, in the order of Flax."""
    if array.ndim > 1:
        return np.moveaxis(array, 0, -1)
    return array if order is None else array[order]


def to_first(array: np.ndarray, order: Order = None) -> np.ndarray:
    """Undo `to_last`."""
    if array.ndim > 1:
        return np.moveaxis(array, -1, 0)
    return array if order is None else array[np.argsort(order)]


def flat_order(shape: Shape) -> np.ndarray:
    """Return the order of a flattened map (C, *space) when its channels are behind."""
    return np.moveaxis(np.arange(math.prod(shape)).reshape(shape), 0, -1).ravel()


def orders(wiring: Wiring, loops: set[str]) -> dict[str, np.ndarray]:
    """Return the nodes whose flat values stay in the order of Flax.

    Args:
      wiring: the graph.
      loops: nodes in loops, which have the order of NIR.
    """
    targets = wiring.targets()
    found: dict[str, np.ndarray] = {}

    def readers(name: str, keep: bool) -> list[str] | None:
        """Return nodes with the values of this one; ``None`` if some reader needs the order."""
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
