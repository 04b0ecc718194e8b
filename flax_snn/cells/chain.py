"""A cell made of cells: one step of a network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax

from flax_snn.cells.cell_check import check_has_state, check_is_cell
from flax_snn.representation import short_repr
from flax_snn.typing import Array, PRNGKey, Shape

__all__ = ["Chain"]


class Chain(nn.RNNCellBase):
    """Cells in a row: the output of one is the input of the next, in the same time step.

    A chain is a cell: it runs under ``nn.RNN``, ``snn.RNN`` and ``snn.Stateful``, and chains nest.
    Its parameters are named ``cells_0``, ``cells_1``, ...

    >>> import flax_snn as snn, jax
    >>> net = snn.RNN(snn.Chain([snn.RecurrentLIFCell(32), snn.LeakyIntegratorReadout(10)]))
    >>> v, variables = net.init_with_output(jax.random.key(0), jax.numpy.ones((4, 50, 20)))
    >>> v.shape
    (4, 50, 10)

    Attributes:
      cells: the cells, any ``nn.RNNCellBase`` whose output has ``features`` features.

    Raises:
      ValueError: no cells.
      TypeError: something that is not an RNN cell.
    """

    cells: Sequence[nn.RNNCellBase]

    def __new__(cls, *cells: Any, **_: Any) -> Chain:
        """Checks that the cells come as one sequence."""
        if len(cells) > 1:
            raise TypeError(
                f"Chain: expected one sequence of cells, got {len(cells)} arguments; give"
                " Chain((cell, ...))"
            )
        return super().__new__(cls)

    def __post_init__(self) -> None:
        """Checks the configuration when the chain is made, and makes a list of cells a tuple."""
        if isinstance(self.cells, nn.Module):
            raise TypeError(
                f"Chain: expected a sequence of cells, got one {type(self.cells).__name__}; give"
                " Chain((cell, ...))"
            )
        self.cells = tuple(self.cells)
        if not self.cells:
            raise ValueError("Chain: expected at least one cell, got none")
        for k, cell in enumerate(self.cells):
            if not isinstance(cell, nn.RNNCellBase):
                check_is_cell(f"Chain: number {k}", cell)
                raise TypeError(
                    f"Chain: expected cells (nn.RNNCellBase), got {type(cell).__name__} at {k}"
                )
        super().__post_init__()

    __repr__ = short_repr

    def __call__(
        self, carry: tuple[Any, ...], inputs: Array | None = None
    ) -> tuple[tuple[Any, ...], Array]:
        """Advances all cells by one time step.

        Args:
          carry: one carry per cell.
          inputs: input of the step, ``(*B, F)``.

        Returns:
          One carry per cell, and the output of the last.

        Raises:
          TypeError: called with an input alone, as a layer; a runner gives it the carries.
          ValueError: another number of carries than cells.
        """
        inputs = check_has_state(self, carry, inputs)
        check_carries(self, carry)
        carries = []
        for cell, state in zip(self.cells, carry, strict=True):
            state, inputs = cell(state, inputs)
            carries.append(state)
        return tuple(carries), inputs

    @nn.nowrap
    def initialize_carry(self, rng: PRNGKey, input_shape: Shape) -> tuple[Any, ...]:
        """Returns one carry per cell.

        Args:
          rng: key, split among the cells.
          input_shape: shape of the input of one step, ``(*B, F)``.

        Returns:
          One carry per cell.
        """
        carries = []
        for cell, key in zip(self.cells, jax.random.split(rng, len(self.cells)), strict=True):
            carries.append(cell.initialize_carry(key, input_shape))
            input_shape = output_shape(cell, input_shape)
        return tuple(carries)

    @property
    def num_feature_axes(self) -> int:
        """Trailing axes of one input that are features."""
        return self.cells[0].num_feature_axes


def check_carries(chain: Chain, carry: Any) -> None:
    """Checks that a carry holds one state per cell of the chain.

    Raises:
      ValueError: it does not.
    """
    if not isinstance(carry, tuple) or len(carry) != len(chain.cells):
        raise ValueError(
            f"Chain: expected a tuple of {len(chain.cells)} carries, one per cell, got"
            f" {type(carry).__name__}{f' of {len(carry)}' if isinstance(carry, tuple) else ''};"
            " make it with initialize_carry"
        )


def output_shape(cell: nn.RNNCellBase, input_shape: Shape) -> Shape:
    """Returns the shape of the output of one step of a cell, for an input of one step."""
    if isinstance(cell, Chain):
        for inner in cell.cells:
            input_shape = output_shape(inner, input_shape)
        return input_shape
    features = getattr(cell, "features", None)
    if features is not None:
        features = features if isinstance(features, Sequence) else (features,)
        return (*input_shape[: -len(features)], *features)
    blocks = getattr(getattr(cell, "dynamics", None), "blocks", 1)
    return (*input_shape[:-1], input_shape[-1] // blocks)
