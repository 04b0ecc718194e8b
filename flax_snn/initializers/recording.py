"""The layers of neurons of a model and their membranes, recorded while the model runs.

The methods of cells are intercepted, in any Linen model that runs them: the currents that enter
`NeuronCell.integrate`, and what recurrent weights add, are sown beside the traces that the cell
itself sows. Their linear response is the membrane as it would be if it were never reset: after
resets, the membrane of a saturated layer is as small as that of a silent one. `initializers.lsuv`
scales weights by it, `diagnosis` reports it.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax.core import DenyList

from flax_snn import checks
from flax_snn.cells.chain import Chain
from flax_snn.cells.neuron_cell import NeuronCell
from flax_snn.cells.weights import Recurrence
from flax_snn.dynamics import Neuron
from flax_snn.initializers.normalisation import NORMALISING, Normalisations
from flax_snn.initializers.parameter_dependencies import sources_of_outputs
from flax_snn.time_loop import stepwise
from flax_snn.time_loop.layer import in_blocks
from flax_snn.typing import Array

_CURRENT, _RECURRENT_CURRENT = "current", "recurrent_current"

Traces = Mapping[str, Any]
"""The collection ``intermediates`` that a watched run leaves."""


_VALUES = ("params", "neuron")
"""Collections with values of neurons."""


@dataclasses.dataclass(frozen=True)
class NeuronLayer:
    """A layer of neurons in a model.

    Attributes:
      path: where its cell stands in the variables.
      cell: the cell, unbound.
      current: shape and dtype of the current of one step, ``(*B, M)``.
      time_axis: axis of the time steps in its traces; ``None`` where the model itself calls the
        cell step by step.
      driven_by: parameters that its currents are computed from while the layers below, and the
        recurrent spikes of the layer itself, stay the same: their positions in the flattened tree.
    """

    path: tuple[str, ...]
    cell: NeuronCell
    current: jax.ShapeDtypeStruct
    time_axis: int | None
    driven_by: frozenset[int] = frozenset()

    @property
    def name(self) -> str:
        """The path as text."""
        return _name_of(self.path, self.cell)

    @property
    def neurons(self) -> int:
        """Number of neurons, all feature axes together."""
        size = math.prod(self.current.shape[-self.cell.feature_axes :])
        return size // self.cell.dynamics.blocks


@dataclasses.dataclass(frozen=True)
class Watched:
    """A model and the way to call it.

    Attributes:
      model: any Linen model with cells of this package.
      rngs: random streams of the model, such as ``noise``.
      arguments: further arguments of the model's call.
      use_running_average: whether ``nn.BatchNorm`` takes its running statistics; None leaves it as
        the model has it.
      is_data: which steps of the inputs are data, ``(*B, T)``, or None for all.
      time_major: whether time is the first axis of the inputs.
    """

    model: nn.Module
    rngs: Mapping[str, Array] | None = None
    arguments: Mapping[str, Any] | None = None
    use_running_average: bool | None = None
    is_data: Array | None = None
    time_major: bool = False

    def run(
        self, variables: Mapping[str, Any], inputs: Array, *, cut: bool = False
    ) -> tuple[Recorder, Traces]:
        """Runs the model, and returns what it ran and the traces of its layers of neurons.

        Args:
          variables: variables of the model; none of them is changed.
          inputs: a batch.
          cut: let the neurons return zeros: traces then depend only on what stands between them.
        """
        given = {name: value for name, value in variables.items() if name != "intermediates"}
        statistics = Normalisations(self.use_running_average, self.is_data, self.time_major)
        recorder = Recorder(cut, statistics)
        with nn.intercept_methods(recorder), stepwise():
            _, state = self.model.apply(
                given,
                inputs,
                rngs=None if self.rngs is None else dict(self.rngs),
                mutable=DenyList("params"),
                **(self.arguments or {}),
            )
        return recorder, state.get("intermediates", {})

    def layers(self, variables: Mapping[str, Any], inputs: Any) -> list[NeuronLayer]:
        """Returns the layers of neurons in order of execution, without computing anything.

        Raises:
          TypeError: not a model.
          ValueError: no parameters; a model without layers of neurons, or whose traces are lost.
        """
        check_model(self.model, variables)
        found: list[NeuronLayer] = []

        def currents(params: Any, others: Any, inputs: Array) -> list[Any]:
            recorder, traces = self.run({"params": params, **others}, inputs, cut=True)
            found.extend(recorder.layers.values())
            sown = [_at(traces, layer.path) for layer in found]
            return [(trace.get(_CURRENT, ()), trace.get(_RECURRENT_CURRENT, ())) for trace in sown]

        others = {name: value for name, value in variables.items() if name != "params"}
        trace = jax.make_jaxpr(currents, return_shape=True)
        jaxpr, shapes = trace(variables["params"], others, inputs)
        if not found:
            raise ValueError(
                "expected a model with layers of neurons (LIFCell, ... run by snn.RNN, or snn.LIF,"
                f" snn.LeakyIntegrator), got {type(self.model).__name__}, which runs none"
            )
        for layer, (shape, _) in zip(found, shapes, strict=True):
            _check_traces(layer, shape)
        sources = [frozenset[int]()] * len(jaxpr.jaxpr.invars)
        for k in range(len(jax.tree.leaves(variables["params"]))):
            sources[k] = frozenset([k])
        behind = iter(sources_of_outputs(jaxpr.jaxpr, sources))
        return [
            dataclasses.replace(
                layer, driven_by=frozenset().union(*(next(behind) for _ in jax.tree.leaves(shape)))
            )
            for layer, shape in zip(found, shapes, strict=True)
        ]


def free_membrane_of(layer: NeuronLayer, variables: Mapping[str, Any], traces: Traces) -> Array:
    """Returns the membrane of a layer as its currents drive it if it is never reset.

    Args:
      layer: the layer.
      variables: variables of the model, for learned parameters of the neurons.
      traces: the traces of the run.

    Returns:
      The membrane in each slot of batch and time, ``(slots, *N)``; rest is 0 and threshold is 1,
      or, for leaky integrators, in units of the membrane.
    """
    cell, sown = layer.cell, _at(traces, layer.path)
    neuron, dtype = cell.dynamics, cell.dtype_of_state
    coefficients = _coefficients(layer, variables)
    distance = neuron.resting_distance(coefficients)
    distance = distance[None] if jnp.ndim(distance) else distance
    currents = _over_time(layer, sown[_CURRENT])
    recurrent_currents = [None] * len(currents)
    if _RECURRENT_CURRENT in sown:
        recurrent_currents = _over_time(layer, sown[_RECURRENT_CURRENT])
    membranes = []
    for current, recurrent in zip(currents, recurrent_currents, strict=True):
        driven = in_blocks(current.astype(dtype), neuron.blocks)
        free = neuron.free_membrane(coefficients, driven, recurrent)
        membranes.append(free / distance)
    return _slots(layer, membranes)


def includes_resets(layer: NeuronLayer, variables: Mapping[str, Any]) -> bool:
    """Returns whether the free membrane of a layer is that with resets, for want of a threshold."""
    neuron, coefficients = layer.cell.dynamics, _coefficients(layer, variables)
    linear = type(neuron).free_membrane is not Neuron.free_membrane
    return neuron.spikes and not linear and neuron.silenced(coefficients) is coefficients


def _coefficients(layer: NeuronLayer, variables: Mapping[str, Any]) -> Any:
    of_cell = {name: _at(tree, layer.path) for name, tree in variables.items() if name in _VALUES}
    current = jnp.zeros(layer.current.shape, layer.current.dtype)
    return layer.cell.apply(of_cell, current, method="coefficients")


def spikes_of(layer: NeuronLayer, traces: Traces) -> Array:
    """Returns the spikes of a layer in each slot of batch and time, ``(slots, *N)``."""
    return _slots(layer, _over_time(layer, _at(traces, layer.path)["spikes"]))


def membranes_of(layer: NeuronLayer, traces: Traces) -> Array:
    """Returns the membrane of a layer in each slot of batch and time, ``(slots, *N)``."""
    return _slots(layer, _over_time(layer, _at(traces, layer.path)["v"]))


def _over_time(layer: NeuronLayer, sown: tuple[Any, ...]) -> list[Any]:
    """Returns traces with time first: one for each run of the cell, or one of all its steps."""
    if layer.time_axis is None:
        return [jax.tree.map(lambda *steps: jnp.stack(steps), *sown)]
    axis = layer.time_axis
    return [jax.tree.map(lambda x: jnp.moveaxis(x, axis, 0), trace) for trace in sown]


def _slots(layer: NeuronLayer, arrays: list[Array]) -> Array:
    axes = layer.cell.feature_axes
    return jnp.concatenate([x.reshape(-1, *x.shape[-axes:]) for x in arrays])


class Recorder:
    """Interceptor that sows the currents of neurons, and notes what runs.

    Attributes:
      layers: the layers of neurons by path, in order of execution.
      normalisations: what normalising layers took their statistics from.
    """

    def __init__(self, cut: bool, normalisations: Normalisations) -> None:
        self.cut = cut
        self.normalisations = normalisations
        self.layers: dict[tuple[str, ...], NeuronLayer] = {}
        self._cells: dict[tuple[str, ...], nn.RNNCellBase] = {}
        self._time_axes: list[int] = []

    def not_covered(self) -> dict[str, str]:
        """Returns the names of recurrent cells that ran unrecorded, each with the reason."""
        return {
            _name_of(path, cell): _why_not_recorded(cell)
            for path, cell in self._cells.items()
            if not any(layer[: len(path)] == path for layer in self.layers)
        }

    def __call__(
        self,
        call: Callable[..., Any],
        args: Any,
        kwargs: Any,
        context: nn.module.InterceptorContext,
    ) -> Any:
        """Calls a method of a module, as Flax asks its interceptors to do."""
        module, method = context.module, context.method_name
        self._note_cell(module)
        if isinstance(module, NORMALISING) and method == "__call__":
            name, by_step = _name_of(module.path, module), bool(self._time_axes)
            return self.normalisations.call(call, module, name, by_step, *args, **kwargs)
        if isinstance(module, nn.RNN) and method == "__call__":
            self._time_axes.append(_time_axis(module, *args, **kwargs))
            try:
                return call(*args, **kwargs)
            finally:
                self._time_axes.pop()
        if isinstance(module, Recurrence) and method == "of":
            current = call(*args, **kwargs)
            module.sow("intermediates", _RECURRENT_CURRENT, current)
            return current
        if isinstance(module, NeuronCell) and method == "integrate":
            current = args[1] if len(args) > 1 else kwargs["current"]
            self._note(module, current)
            module.sow("intermediates", _CURRENT, current)
            result = call(*args, **kwargs)
            return jax.tree.map(jnp.zeros_like, result) if self.cut else result
        return call(*args, **kwargs)

    def _note_cell(self, module: nn.Module) -> None:
        """Notes a recurrent cell of any kind, or the one of a runner that may not call it."""
        for cell in (module, getattr(module, "cell", None)):
            if not isinstance(cell, nn.RNNCellBase) or isinstance(cell, Chain):
                continue
            if cell.scope is not None and cell.path not in self._cells:
                self._cells[cell.path] = cell.clone(parent=None)

    def _note(self, cell: NeuronCell, current: Array) -> None:
        if cell.path not in self.layers:
            self.layers[cell.path] = NeuronLayer(
                path=cell.path,
                cell=cell.clone(parent=None),
                current=jax.ShapeDtypeStruct(current.shape, current.dtype),
                time_axis=self._time_axes[-1] if self._time_axes else None,
            )


def _time_axis(
    runner: nn.RNN, inputs: Any, *, time_major: bool | None = None, **unused: Any
) -> int:
    first = runner.time_major if time_major is None else time_major
    return 0 if first else max(jnp.ndim(inputs) - runner.cell.num_feature_axes - 1, 0)


def _why_not_recorded(cell: nn.RNNCellBase) -> str:
    kind = type(cell).__name__
    if isinstance(cell, NeuronCell):
        return f"{kind} runs in continuous time, or by a step of its own"
    return f"{kind} is not a snn.NeuronCell"


def _name_of(path: tuple[str, ...], module: nn.Module) -> str:
    return "/".join(path) or type(module).__name__


def _at(tree: Mapping[str, Any], path: tuple[str, ...]) -> Mapping[str, Any]:
    for name in path:
        tree = tree.get(name, {})
    return tree


def check_model(model: Any, variables: Any) -> None:
    """Raises unless it is a Linen module with variables.

    Raises:
      TypeError: not a module.
      ValueError: no parameters.
    """
    checks.instance("model", model, nn.Module, what="a model (a flax.linen.Module)")
    if not isinstance(variables, Mapping) or "params" not in variables:
        came = sorted(variables) if isinstance(variables, Mapping) else type(variables).__name__
        what, remedy = "the variables of the model, {'params': ...}", "give what model.init returns"
        raise ValueError(checks.error_text("variables", what, came, remedy))


def check_inputs(inputs: Any) -> None:
    """Raises unless it is an array of finite numbers with axes of batch and time.

    Raises:
      TypeError: not an array of numbers.
      ValueError: too few axes, an empty axis, entries that are not finite.
    """
    dtype: Any = getattr(inputs, "dtype", None)
    if dtype is None or not any(jnp.issubdtype(dtype, kind) for kind in (jnp.number, jnp.bool_)):
        came = type(inputs).__name__ if dtype is None else dtype
        raise TypeError(checks.error_text("inputs", "an array of numbers", came))
    if inputs.ndim < 2 or inputs.size == 0:
        what = "a batch of sequences, such as (B, T, F), with no empty axis"
        raise ValueError(checks.error_text("inputs", what, f"shape {inputs.shape}"))
    if jnp.issubdtype(dtype, jnp.inexact) and not np.isfinite(np.asarray(inputs, np.float64)).all():
        remedy = "remove NaN and infinity from the data; padding is named by seq_lengths or mask"
        raise ValueError(checks.error_text("inputs", "finite numbers", "NaN or infinity", remedy))


def _check_traces(layer: NeuronLayer, sown: tuple[Any, ...]) -> None:
    expected, axis = layer.current.shape, layer.time_axis
    if not sown:
        raise ValueError(
            f"{layer.name}: its traces are lost in a loop that drops them, as the stock nn.RNN"
            " does: use snn.RNN, which has the same arguments and parameters"
        )
    for trace in sown:
        shape = trace.shape if axis is None else trace.shape[:axis] + trace.shape[axis + 1 :]
        if shape != expected or (axis is not None and trace.ndim == len(expected)):
            raise ValueError(
                f"{layer.name}: expected traces of its currents {expected} with time at axis"
                f" {axis}, got {trace.shape}: run the cell by snn.RNN, not in a loop of your own"
                " that stacks them otherwise"
            )
