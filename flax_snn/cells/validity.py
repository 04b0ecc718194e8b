"""What a cell is checked for when it is made."""

from __future__ import annotations

from typing import TYPE_CHECKING

import jax.numpy as jnp

from flax_snn.cells import neuron_values
from flax_snn.dynamics import check_neuron
from flax_snn.surrogate import Surrogate

if TYPE_CHECKING:
    from flax_snn.cells.neuron_cell import NeuronCell


def check_cell(cell: NeuronCell) -> None:
    """Raise where the configuration of a cell contradicts itself or its neuron.

    Raises:
      TypeError: a field of the wrong type.
      ValueError: a value outside its range.
    """
    name = type(cell).__name__
    if not isinstance(cell.dynamics, cell.neuron):
        raise TypeError(
            f"{name}: expected dynamics of type {cell.neuron.__name__}, got {cell.dynamics!r}"
        )
    surrogate = cell.surrogate
    if surrogate is not None and not isinstance(surrogate, Surrogate):
        raise TypeError(
            f"{name}: expected a Surrogate such as superspike(slope=10), called, got {surrogate!r}"
        )
    check_neuron(name, cell.dynamics, surrogate)
    if surrogate is not None and not cell.dynamics.spikes:
        raise ValueError(
            f"{name}: a surrogate is the derivative of a spike, and {type(cell.dynamics).__name__}"
            f" never spikes; got {surrogate!r}"
        )
    if cell.state_dtype is not None and not jnp.issubdtype(cell.state_dtype, jnp.floating):
        raise TypeError(
            f"{name}: state_dtype: expected a floating dtype, or None, got {cell.state_dtype!r}"
        )
    if cell.features is not None and (
        isinstance(cell.features, bool) or not isinstance(cell.features, int) or cell.features < 1
    ):
        raise ValueError(
            f"{name}: expected features to be a whole number > 0, or None for no input weights, got"
            f" {cell.features!r}"
        )
    if cell.feature_axes < 1 or (cell.features is not None and cell.feature_axes != 1):
        raise ValueError(
            f"{name}: expected feature_axes=1 with input weights and >= 1 without, got"
            f" {cell.feature_axes!r}"
        )
    if cell.use_bias and cell.features is None:
        raise ValueError(f"{name}: use_bias=True needs input weights, got features=None")
    neuron_values.check_learn(name, cell.dynamics, cell.learn)
    if cell.values is not None:
        neuron_values.check_values(name, cell.dynamics, cell.values)
    others = {"learn": cell.learn, "values": cell.values}
    neuron_values.check_individual(name, cell.dynamics, cell.individual, others)
