"""A model as layers of neurons: what online rules see of a runner over cells.

    model = snn.RNN(snn.Chain([snn.RecurrentLIFCell(128), snn.LeakyIntegratorReadout(10)]))

Rules work on the arrays of layers (kernels, coefficients); how these come from the parameters is
differentiated by JAX, once for each gradient, so that learned time constants and products of any
kind have their gradients, too.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from flax_snn import checks
from flax_snn.cells import Chain, NeuronCell
from flax_snn.dynamics.dependence import dependences
from flax_snn.learn.coupling import check_separate
from flax_snn.time_loop.layer import Layer, LayerWeights
from flax_snn.typing import Array, Shape


@dataclasses.dataclass(frozen=True)
class Network:
    """Layers of neurons, without their arrays.

    Attributes:
      layers: the layers, from input to output.
      names: what each is called in errors and tables, the path of its parameters.
      learned: for each layer and leaf of its coefficients whether it depends on parameters.
      recurrent: for each layer whether its neurons feed each other.
    """

    layers: tuple[Layer, ...]
    names: tuple[str, ...]
    learned: tuple[tuple[bool, ...], ...]
    recurrent: tuple[bool, ...]


Weights = tuple[LayerWeights, ...]


def read_network(
    name: str, model: nn.Module, variables: Any, inputs: jax.ShapeDtypeStruct
) -> tuple[Network, Weights, Callable[[Weights], Any], tuple[Any, ...]]:
    """Returns a model as layers, with their arrays.

    Args:
      name: name of the rule, for errors.
      model: a runner over a cell or a chain of cells.
      variables: its variables.
      inputs: shape and dtype of the inputs of one step, ``(B, F)``.

    Returns:
      The layers; their arrays; a function from gradients of the arrays to those of
      ``variables["params"]``; and the states of the layers before the first step.

    Raises:
      TypeError: another model; a cell that is no `NeuronCell`.
      ValueError: a cell that is more than its data; neurons that see each other within a step.
    """
    check_runner(name, model)
    _check_cells(name, model)
    params = variables["params"]
    rest = {key: value for key, value in variables.items() if key != "params"}

    def found(module: Any) -> tuple[Any, ...]:
        cells, x, layers, weights = cells_of(module.cell), inputs, [], []
        for cell in cells:
            check_data_only(name, cell)
            layer, arrays = cell.layer(x)
            currents = jax.eval_shape(layer.project, x, arrays).shape[-1]
            neurons = currents // layer.neuron.blocks
            x = jax.ShapeDtypeStruct((x.shape[0], neurons), layer.output_dtype)
            layers.append(layer)
            weights.append(arrays)
        return tuple(layers), tuple(weights), tuple(map(_path, cells))

    def arrays(params: Any) -> Weights:
        weights: Any = model.apply({"params": params, **rest}, method=found_weights)
        return weights

    def found_weights(module: Any) -> Weights:
        weights: Weights = found(module)[1]
        return weights

    everything: Any = model.apply(variables, method=found)
    layers, _, names = everything
    check_separate(name, layers)
    states: Any = model.apply(variables, method=lambda module: _states(module.cell, inputs.shape))
    weights, back = jax.vjp(arrays, params)
    moved = dependences(lambda p: jax.tree.leaves([w.coefficients for w in arrays(p)]), params)
    learned, at = [], 0
    for each in weights:
        count = len(jax.tree.leaves(each.coefficients))
        learned.append(tuple(bool(sources) for sources in moved[at : at + count]))
        at += count
    recurrent = tuple(each.recurrent_kernel is not None for each in weights)
    network = Network(layers, names, tuple(learned), recurrent)
    return network, weights, lambda gradient: back(gradient)[0], states


def check_runner(name: str, model: Any) -> None:
    """Checks that a model is a runner over cells, forwards in time.

    Raises:
      TypeError: something else.
      ValueError: a runner that goes back in time.
    """
    if not isinstance(model, nn.RNN):
        remedy = "such as snn.RNN(snn.Chain([snn.RecurrentLIFCell(128), ...]))"
        if isinstance(model, nn.RNNCellBase):
            remedy = f"give snn.RNN({type(model).__name__}(...))"
        elif isinstance(model, nn.Module):
            remedy += "; for networks of other modules there is snn.learn.ottt"
        what = "a runner over cells"
        raise TypeError(checks.error_text(f"{name}: model", what, type(model).__name__, remedy))
    if model.reverse:
        raise ValueError(
            f"{name}: model: expected a runner that goes forwards, since learning happens while"
            " time passes, got reverse=True"
        )


def _check_cells(name: str, model: Any) -> None:
    for cell in cells_of(model.cell):
        if not isinstance(cell, NeuronCell):
            raise TypeError(
                f"{name}: expected cells of neurons (snn.NeuronCell) or chains of them, whose state"
                f" and step are known, got {type(cell).__name__}; use jax.grad for others"
            )


def cells_of(cell: Any) -> list[Any]:
    """Returns the cells of a chain from input to output, those of nested chains among them."""
    if isinstance(cell, Chain) and type(cell).__call__ is Chain.__call__:
        return [inner for each in cell.cells for inner in cells_of(each)]
    return [cell]


def check_data_only(name: str, cell: Any) -> None:
    """Checks that a bound cell is no more than its data.

    Raises:
      ValueError: it is.
    """
    reason = cell.why_not_layer()
    if reason is not None:
        raise ValueError(
            f"{name}: expected a cell that is its weights and its neuron, but {reason}; the rule"
            " would not see it"
        )


def _states(cell: Any, shape: Shape) -> tuple[Any, ...]:
    """Returns the states of `cells_of` before the first step."""

    def flat(cell: Any, carry: Any) -> list[Any]:
        if isinstance(cell, Chain):
            pairs = zip(cell.cells, carry, strict=True)
            return [state for each, part in pairs for state in flat(each, part)]
        return [carry]

    return tuple(flat(cell, cell.initialize_carry(jax.random.key(0), shape)))


def _path(cell: Any) -> str:
    return "/".join(cell.scope.path)


def as_batch(
    name: str, model: Any, batch: Any, *, feature_axes: int | None = 1
) -> tuple[Array, Any]:
    """Returns inputs with the batch first, and targets.

    Args:
      name: name of the rule, for errors.
      model: the model; of a runner with ``time_major`` the inputs have time first.
      batch: a pair of inputs ``(B, T, F)`` and targets.
      feature_axes: number of feature axes; None for any.

    Raises:
      TypeError: no pair.
      ValueError: inputs without batch, time or features.
    """
    if not isinstance(batch, tuple | list) or len(batch) != 2:
        what = "a pair (inputs, targets)"
        raise TypeError(checks.error_text(f"{name}: batch", what, checks.shown(batch)))
    inputs, targets = batch
    time_major = bool(getattr(model, "time_major", False))
    order = "(T, B, F)" if time_major else "(B, T, F)"
    ndim = np.ndim(inputs)
    if ndim < 3 or (feature_axes is not None and ndim != 2 + feature_axes):
        came = f"shape {np.shape(inputs)}"
        remedy = "one batch axis and one time axis"
        raise ValueError(checks.error_text(f"{name}: inputs", order, came, remedy))
    if 0 in np.shape(inputs):
        what = "at least one sample, step and feature"
        raise ValueError(checks.error_text(f"{name}: inputs", what, f"shape {np.shape(inputs)}"))
    inputs = jnp.asarray(inputs)
    return (jnp.moveaxis(inputs, 0, 1) if time_major else inputs), targets
