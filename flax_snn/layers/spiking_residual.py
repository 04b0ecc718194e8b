"""Residual blocks of spiking networks: the spikes of a block joined with those that went in.

    add     a + x                  counts: 0, 1 or 2 for spikes
    and     a * x                  spikes that both have
    iand    (1 - a) * x            spikes that went in and the block did not make

with a = body(x). Each passes x on unchanged for some constant a (0 for ``add`` and ``iand``, 1 for
``and``), which is what makes deep networks trainable: Fang et al., *Deep residual learning in
spiking neural networks*, 2021 (spike-element-wise, SEW).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, cast

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from flax.linen.dtypes import promote_dtype

from flax_snn import checks
from flax_snn.products import as_floating
from flax_snn.representation import short_repr
from flax_snn.typing import Array, Shaped

__all__ = ["SpikingResidual"]

CONNECTIONS = ("add", "and", "iand")


class SpikingResidual(nn.Module):
    """A residual block over sequences: its spikes joined with those that went in.

    >>> import flax.linen as nn, flax_snn as snn, jax
    >>> body = nn.Sequential([nn.Conv(4, (3, 3)), snn.LIF()])
    >>> block = snn.SpikingResidual(body, connect="iand")
    >>> spikes = jax.numpy.ones((2, 10, 8, 8, 4))
    >>> block.init_with_output(jax.random.key(0), spikes)[0].shape
    (2, 10, 8, 8, 4)

    Attributes:
      body: the layers of the block, which end with neurons.
      connect: ``add`` (default, whose outputs are counts), ``and``, ``iand``.
      shortcut: layers that bring the input to the shape of the block, such as a convolution and
        neurons where the block has strides; none by default.
    """

    body: nn.Module
    connect: Literal["add", "and", "iand"] = "add"
    shortcut: nn.Module | None = None

    def __post_init__(self) -> None:
        """Checks the configuration when the block is made."""
        checks.choice("SpikingResidual: connect", self.connect, CONNECTIONS)
        remedy = "give layers over sequences, such as nn.Sequential([nn.Conv(...), snn.LIF()])"
        for name in ("body", "shortcut"):
            module = getattr(self, name)
            if module is not None or name == "body":
                what = f"SpikingResidual: {name}"
                checks.instance(what, module, nn.Module, what="a Flax module", remedy=remedy)
                if isinstance(module, nn.RNNCellBase):
                    raise TypeError(
                        checks.error_text(
                            what,
                            "layers over sequences",
                            type(module).__name__,
                            "wrap the cell: snn.RNN(cell)",
                        )
                    )
        super().__post_init__()

    __repr__ = short_repr

    def __call__(self, inputs: Shaped[Array | np.ndarray, "..."], *arguments: Any) -> Array:
        """Runs the block.

        Args:
          inputs: spikes ``(*B, T, *features)``.
          *arguments: further arguments of the body.

        Returns:
          The joined spikes, of the shape that the body returns.

        Raises:
          ValueError: body and shortcut return different shapes.
        """
        inputs = as_floating(inputs, jnp.float32)
        body, shortcut = cast(Callable[..., Any], self.body), self.shortcut
        made = body(inputs, *arguments)
        passed = inputs if shortcut is None else cast(Callable[..., Any], shortcut)(inputs)
        if made.shape != passed.shape:
            raise ValueError(
                f"SpikingResidual: expected spikes of shape {passed.shape} from the body, as the"
                f" shortcut has, got {made.shape}; give a shortcut with layers of the same strides"
                " and features"
            )
        made, passed = promote_dtype(made, passed)
        if self.connect == "add":
            return made + passed
        return made * passed if self.connect == "and" else (1 - made) * passed
