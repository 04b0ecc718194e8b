"""A network whose layers are not in a row: branches that split, and sums where they meet."""

from __future__ import annotations

import math
from collections.abc import Mapping

import flax.linen as nn
import jax.numpy as jnp
import numpy as np

from flax_snn.nir.loop import summed
from flax_snn.typing import Array, Shaped

__all__ = ["GraphNetwork"]

Source = tuple[str, str]
"""Name of a layer (or the input), and of one of its exits where it has several."""


class GraphNetwork(nn.Module):
    """Layers that are wired as a graph, over sequences ``(*B, T, *features)``.

    `from_nir` returns one where a graph is no row of layers. Its parameters are named after the
    nodes, ``layers_<node>``.

    Attributes:
      layers: the layers by name.
      schedule: names of layers in the order in which they run, with what is summed into each of
        their entries; a layer with several entries takes their flattened values behind each other.
      output: what is summed into the output.
      exits: for layers with several exits, or an exit of other shape than what the layer returns:
        names and shapes of the values that stand flattened behind each other in what it returns.
      feature_axes: trailing axes of the input that are features.
    """

    layers: Mapping[str, nn.Module]
    schedule: tuple[tuple[str, tuple[tuple[Source, ...], ...]], ...]
    output: tuple[Source, ...]
    exits: Mapping[str, tuple[tuple[str, tuple[int, ...]], ...]]
    feature_axes: int = 1

    def __call__(self, inputs: Shaped[Array | np.ndarray, "..."]) -> Array:
        """Run the network over a sequence.

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
