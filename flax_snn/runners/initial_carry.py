"""The checks of a carry that a runner is given, beside that which its cell makes."""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax
import numpy as np

from flax_snn.cells import Chain, NeuronCell
from flax_snn.cells.carry_check import check_same
from flax_snn.cells.chain import check_carries, output_shape
from flax_snn.dynamics.promises import entry_without_batch
from flax_snn.runners.layer_run import is_chain, neuron_cells
from flax_snn.typing import Shape


def check_carry(name: str, cell: nn.RNNCellBase, carry: Any, step_shape: Shape) -> None:
    """Checks that a carry is one that the cell could have made.

    Of a cell of another library, or one that a transformation of Flax changed, the entries are
    compared and their shapes are not: ``nn.vmap`` adds axes that the cell does not know of.

    Args:
      name: name of the carry, for the error.
      cell: the cell.
      carry: the carry.
      step_shape: shape of the input of one step, ``(*B, *features)``.

    Raises:
      TypeError: other entries, or entries of another dtype.
      ValueError: entries of another shape; another number of carries than cells of a chain.
    """
    if isinstance(cell, Chain) and is_chain(cell):
        check_carries(cell, carry)
        for k, (inner, part) in enumerate(zip(cell.cells, carry, strict=True)):
            check_carry(f"{name}[{k}]", inner, part, step_shape)
            step_shape = output_shape(inner, step_shape)
        return

    def fresh() -> Any:
        return cell.initialize_carry(jax.random.key(0), step_shape)

    if isinstance(cell, NeuronCell) and cell.overridden() is None:
        check_same(name, carry, jax.eval_shape(fresh))
        return
    try:
        expected = jax.eval_shape(fresh)
    except Exception:  # whoever gives a carry need not have a cell that makes one
        return
    check_same(name, carry, expected, shapes=False, dtypes=False)


def check_selectable(cell: nn.RNNCellBase, carry: Any, batch: Shape) -> None:
    """Checks that the carry of each sequence can be that after a number of steps of its own.

    Raises:
      ValueError: an entry of the carry is one for all sequences.
    """
    shared = [
        jax.tree_util.keystr(path)
        for path, leaf in jax.tree_util.tree_leaves_with_path(carry)
        if np.shape(leaf)[: len(batch)] != batch
    ]
    for each in neuron_cells(cell):
        if isinstance(each, NeuronCell):
            shared.append(entry_without_batch(each.dynamics, each.recurrent) or "")
    shared = [name for name in shared if name]
    if shared:
        raise ValueError(
            "RNN: seq_lengths: expected a carry whose entries begin with the batch axes, of which"
            f" each sequence has its own after its last step, got the entry {shared[0]} without"
            " them; leave out seq_lengths, or return_carry"
        )
