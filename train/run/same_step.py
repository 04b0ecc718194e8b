"""Which layer of a network answers its inputs a step late, above another one."""

from __future__ import annotations

from typing import Any

from flax_snn.learn.same_step import answers_at_once


def late_layer(network: Any) -> str | None:
    """Returns what answers a step late above the first layer, or None if nothing does.

    Args:
      network: a runner over cells; layers that are no cells of neurons are not looked at.

    Returns:
      The kind of its neuron, and its number among the layers, in words.
    """
    cell = getattr(network, "cell", None)
    cells = getattr(cell, "cells", (cell,))
    for k, layer in enumerate(cells[1:], start=2):
        neuron = getattr(layer, "dynamics", None)
        if neuron is not None and not answers_at_once(neuron):
            return f"{type(neuron).__name__} in layer {k} of {len(cells)}"
    return None
