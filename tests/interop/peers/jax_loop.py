"""What the workers on JAX share: the loop over time, layer by layer, and axes in order.

They are channels last inside, (T, B, H, W, C), and channels first in the files.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import nir
import numpy as np
from serve import Arrays


def channels_last(x: np.ndarray) -> np.ndarray:
    return np.moveaxis(x, 2, -1) if x.ndim == 5 else x


def channels_first(y: np.ndarray) -> np.ndarray:
    return np.moveaxis(y, -1, 2) if y.ndim == 5 else y


def loop(
    step: Callable[[Any, Any, jax.Array], tuple[Any, jax.Array]],
    layers: Sequence[Any],
    states: Sequence[Any],
    x: np.ndarray,
) -> tuple[list[np.ndarray], list[Any]]:
    """Scan the layers over ``x``, channels first.

    Args:
      step: returns the new state and the output of a layer, its state and its input.
      layers: of the network in order.
      states: of the layers at first.
      x: (T, B, ...).

    Returns:
      The outputs of each layer, channels first, and the states after each step, as they are.
    """

    def body(states: Sequence[Any], x: jax.Array) -> tuple[list[Any], Any]:
        outputs, after = [], []
        for layer, state in zip(layers, states, strict=True):
            state, x = step(layer, state, x)
            outputs.append(x)
            after.append(state)
        return after, (outputs, after)

    _, (outputs, after) = jax.lax.scan(body, list(states), jax.numpy.asarray(channels_last(x)))
    return [channels_first(np.asarray(output)) for output in outputs], after


def chain(graph: nir.NIRGraph) -> list[str]:
    """Return the names of the nodes from the Input along the first edge of each."""
    after = {source: target for source, target in reversed(graph.edges)}
    name = next(name for name, node in graph.nodes.items() if isinstance(node, nir.Input))
    names: list[str] = []
    while name in after and name not in names:
        names.append(name)
        name = after[name]
    return names[1:]


def named(
    graph: nir.NIRGraph,
    keys: Sequence[str],
    outputs: Sequence[np.ndarray],
    membranes: Sequence[np.ndarray | None],
) -> Arrays:
    """Return ``spikes_NODE`` and ``v_NODE`` of layers that were made of the nodes ``keys``."""
    arrays: Arrays = {}
    for key, output, membrane in zip(keys, outputs, membranes, strict=True):
        if membrane is None:
            continue
        arrays[f"v_{key}"] = membrane
        following = [graph.nodes.get(target) for source, target in graph.edges if source == key]
        alone = isinstance(graph.nodes.get(key), nir.LI)
        if not alone or any(isinstance(node, nir.Threshold) for node in following):
            arrays[f"spikes_{key}"] = output
    return arrays
