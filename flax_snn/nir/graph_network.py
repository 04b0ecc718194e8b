"""A network whose layers are not in a row: outputs that go to several layers, and sums."""

from __future__ import annotations

import math
from collections.abc import Mapping

import flax.linen as nn
import jax.numpy as jnp
import numpy as np

from flax_snn.nir.loop_cell import summed
from flax_snn.typing import Array, Shaped

__all__ = ["GraphNetwork"]

Source = tuple[str, str]
"""Name of a layer or the input, and of one of its exits if the layer has several, else \"\"."""


class GraphNetwork(nn.Module):
    """Layers that are connected as a graph, over sequences ``(*B, T, *features)``.

    `from_nir` returns one for a graph whose layers are not in a row. Its parameters are named after
    the nodes, ``layers_<node>``.

    Attributes:
      layers: the layers by name.
      schedule: names of the layers in the order in which they run, each with the sources whose sum
        enters it. A layer with several entries receives their flattened values, concatenated.
      output: the sources whose sum is the output.
      exits: for layers that return several values, flattened and concatenated: the name and the
        shape of each.
      feature_axes: number of trailing axes of the input that are features.
    """

    layers: Mapping[str, nn.Module]
    schedule: tuple[tuple[str, tuple[tuple[Source, ...], ...]], ...]
    output: tuple[Source, ...]
    exits: Mapping[str, tuple[tuple[str, tuple[int, ...]], ...]]
    feature_axes: int = 1

    def __call__(self, inputs: Shaped[Array | np.ndarray, "..."]) -> Array:
        """Runs the network over a sequence.

        Args:
          inputs: ``(*B, T, *features)``.

        Returns:
          The output of each step, ``(*B, T, *features)``.
        """
        inputs = jnp.asarray(inputs)
        lead = inputs.shape[: inputs.ndim - self.feature_axes]
        values: dict[Source, Array] = {("input", ""): inputs}
        for name, sources in self.schedule:
            layer = self.layers[name]
            entries = [summed(values, entry) for entry in sources]
            if name in self.exits:
                flat = [math.prod(entry.shape[len(lead) :]) for entry in entries]
                entries = [e.reshape((*lead, n)) for e, n in zip(entries, flat, strict=True)]
            out = layer(entries[0] if len(entries) == 1 else jnp.concatenate(entries, axis=-1))
            if name not in self.exits:
                values[name, ""] = out
                continue
            start = 0
            for exit_name, shape in self.exits[name]:
                size = math.prod(shape)
                values[name, exit_name] = out[..., start : start + size].reshape((*lead, *shape))
                start += size
        return summed(values, self.output)
