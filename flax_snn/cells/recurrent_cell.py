"""Cells whose neurons feed each other."""

from __future__ import annotations

import flax.linen as nn
import jax
from jax.nn.initializers import Initializer

from flax_snn.cells import weights
from flax_snn.cells.neuron_cell import NeuronCell

__all__ = ["RecurrentNeuronCell"]


class RecurrentNeuronCell(NeuronCell):
    """A layer of neurons of any kind that feed each other.

        current = inputs @ kernel (+ bias) + spikes @ recurrent_kernel

    Which spikes are fed back, those of the step before or of this one, the dynamics say. The
    recurrent kernel is (pre, post).

    Attributes:
      recurrent_kernel_init: initialiser of the recurrent weights; by default normal, scaled such
        that neurons active in 10 % of the steps move each other by 0.3 thresholds.

    The other attributes are those of `NeuronCell`.
    """

    recurrent_kernel_init: Initializer | None = None

    def setup(self) -> None:
        """Creates the submodules with parameters; they share the scope of the cell."""
        super().setup()
        make = self.dot_general_cls
        self.recurrent_dot_general = jax.lax.dot_general if make is None else make()
        self.recurrent_weights = weights.Recurrence(
            blocks=self.dynamics.recurrent_blocks,
            kernel_init=self.recurrent_kernel_init or weights.recurrent_init(self.dynamics),
            dtype=self.dtype,
            param_dtype=self.param_dtype,
            dot_general=self.recurrent_dot_general,
        )
        nn.share_scope(self, self.recurrent_weights)

    @nn.nowrap
    def feedback(self) -> weights.Recurrence:
        """Returns the recurrent projection."""
        return self.recurrent_weights

    @property
    def recurrent(self) -> bool:
        """Whether the neurons feed each other."""
        return True
