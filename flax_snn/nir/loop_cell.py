"""A loop of a graph as a cell: nodes that feed each other and are advanced by one step together.

The edge that closes a loop carries the value of the previous step. Before the first step, the
output of neurons is 0, and stateless nodes send what they compute from 0 (an Affine its bias).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from flax_snn.typing import Array, PRNGKey, Shape

__all__ = ["Loop"]

StepValue = tuple[str, bool]
"""Name of a node or entry, and whether its value of the previous step is meant."""

Operation = tuple[str, bool, tuple[StepValue, ...]]
"""A node, whether it is computed for the previous step, and the values whose sum it receives."""


class Loop(nn.RNNCellBase):
    """Nodes that feed each other, as one cell.

    The input is the concatenation of the flattened values of all entries, the output that of all
    exits.

    Attributes:
      layers: modules for one step by name: cells, which have a state, and layers without one.
      cells: names of the modules that are cells.
      shapes: shape of the value of each layer, delay and entry, channels last.
      delays: delay in steps of each element of each delay, at least 1.
      schedule: operations of a step, in the order in which they are computed.
      feeds: for each delay, the values whose sum it receives.
      entries: names of the values that come from outside the loop.
      exits: names of the values that leave the loop.
      features: number of output values.
      param_dtype: dtype of the states and of the values that are stored for later steps.
    """

    layers: Mapping[str, nn.Module]
    cells: tuple[str, ...]
    shapes: Mapping[str, tuple[int, ...]]
    delays: Mapping[str, tuple[int, ...]]
    schedule: tuple[Operation, ...]
    feeds: Mapping[str, tuple[StepValue, ...]]
    entries: tuple[str, ...]
    exits: tuple[str, ...]
    features: int
    param_dtype: Any = jnp.float32

    def __call__(self, carry: dict[str, Any], inputs: Array) -> tuple[dict[str, Any], Array]:
        """Advances all nodes by one step.

        Args:
          carry: states of cells, buffers of delays, values that the next step needs.
          inputs: values of the entries ``(*B, M)``.

        Returns:
          The carry after the step, and the values of the exits ``(*B, features)``.
        """
        batch = inputs.shape[:-1]
        values: dict[StepValue, Array] = {}
        start = 0
        for name in self.entries:
            size = math.prod(self.shapes[name])
            part = inputs[..., start : start + size]
            values[name, False] = part.reshape((*batch, *self.shapes[name]))
            start += size
        for name, value in carry["before"].items():
            values[name, True] = value
        for name, steps in self.delays.items():
            values[name, False] = _arrived(carry["delays"][name], steps).reshape(
                (*batch, *self.shapes[name])
            )
        states = dict(carry["cells"])
        for name, before, sources in self.schedule:
            total = summed(values, sources)
            if name in states:
                states[name], value = self.layers[name](states[name], total)
            else:
                value = self.layers[name](total)
            values[name, before] = value
        buffers = {
            name: _pushed(carry["delays"][name], summed(values, sources))
            for name, sources in self.feeds.items()
        }
        previous = {name: values[name, False].astype(self.param_dtype) for name in carry["before"]}
        out = [
            values[name, False].reshape((*batch, math.prod(self.shapes[name])))
            for name in self.exits
        ]
        return (
            {"cells": states, "delays": buffers, "before": previous},
            jnp.concatenate(out, axis=-1),
        )

    @nn.nowrap
    def initialize_carry(self, rng: PRNGKey | None, input_shape: Shape) -> Any:
        """Returns the state before the first step: cells in their initial state, empty delays.

        Args:
          rng: random key for the initial states of the cells.
          input_shape: shape of the input of one step, ``(*B, M)``.

        Returns:
          The carry.
        """
        batch, zeros = input_shape[:-1], jnp.zeros
        layers: Any = self.layers
        key = jax.random.key(0) if rng is None else rng
        return {
            "cells": {
                name: layers[name].initialize_carry(key, (*batch, *self.shapes[name]))
                for name in self.cells
            },
            "delays": {
                name: zeros((*batch, max(steps), len(steps)), self.param_dtype)
                for name, steps in self.delays.items()
            },
            "before": {
                name: zeros((*batch, *self.shapes[name]), self.param_dtype)
                for name in self.remembered()
            },
        }

    @nn.nowrap
    def remembered(self) -> tuple[str, ...]:
        """Returns the names whose values of the previous step are stored, not computed again."""
        again = {name for name, before, _ in self.schedule if before}
        sources = [s for _, _, each in self.schedule for s in each]
        sources += [s for each in self.feeds.values() for s in each]
        return tuple(sorted({name for name, before in sources if before} - again))

    @property
    def num_feature_axes(self) -> int:
        """Number of trailing axes of one input that are features: 1, the concatenated values."""
        return 1


def summed(values: Mapping[tuple[str, Any], Array], sources: tuple[Any, ...]) -> Array:
    """Returns the sum of the values of several sources."""
    total = values[sources[0]]
    for source in sources[1:]:
        total = total + values[source]
    return total


def _arrived(buffer: Array, steps: tuple[int, ...]) -> Array:
    """Returns what a delay sends now; ``buffer[..., k, :]`` was received k + 1 steps ago."""
    if len(set(steps)) == 1:
        return buffer[..., steps[0] - 1, :]
    index = jnp.asarray(steps).reshape((1,) * (buffer.ndim - 1) + (-1,)) - 1
    index = jnp.broadcast_to(index, (*buffer.shape[:-2], 1, buffer.shape[-1]))
    return jnp.take_along_axis(buffer, index, axis=-2)[..., 0, :]


def _pushed(buffer: Array, value: Array) -> Array:
    new = value.reshape((*buffer.shape[:-2], 1, buffer.shape[-1])).astype(buffer.dtype)
    return jnp.concatenate([new, buffer[..., :-1, :]], axis=-2)
