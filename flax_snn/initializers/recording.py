"""What scaling layer by layer has to know: the layers of neurons of a model, and their membranes.

Cells are watched by intercepting their methods, in any Linen model that runs them: the currents
that enter `NeuronCell.integrate`, and what recurrent weights add, are sown beside the cell's own
traces. Their linear response is the membrane as it would be if it were never reset: after resets,
the membrane of a saturated layer is as small as that of a silent one. `initializers.lsuv` scales
weights by it, `diagnosis` reports it.
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

from flax_snn.cells.neuron_cell import NeuronCell
from flax_snn.cells.weights import Recurrence
from flax_snn.time_loop import stepwise
from flax_snn.time_loop.layer import in_blocks
from flax_snn.typing import Array

_CURRENT, _FED = "current", "recurrent_current"

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
      driven_by: parameters that its currents are computed from while the layers below, and its own
        recurrent spikes, are what they are: their positions in the flattened tree.
    """

    path: tuple[str, ...]
    cell: NeuronCell
    current: jax.ShapeDtypeStruct
    time_axis: int | None
    driven_by: frozenset[int] = frozenset()

    @property
    def name(self) -> str:
        """The path as text."""
        return "/".join(self.path) or type(self.cell).__name__

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
    """

    model: nn.Module
    rngs: Mapping[str, Array] | None = None
    arguments: Mapping[str, Any] | None = None

    def run(
        self, variables: Mapping[str, Any], inputs: Array, *, cut: bool = False
    ) -> tuple[list[NeuronLayer], Traces]:
        """Run the model; return its layers of neurons in order of execution, and their traces.

        With ``cut`` the neurons return zeros: traces then depend only on what stands between them.
        """
        given = {name: value for name, value in variables.items() if name != "intermediates"}
        recorder = _Recorder(cut)
        with nn.intercept_methods(recorder), stepwise():
            _, state = self.model.apply(
                given,
                inputs,
                rngs=None if self.rngs is None else dict(self.rngs),
                mutable=DenyList("params"),
                **(self.arguments or {}),
            )
        return list(recorder.layers.values()), state.get("intermediates", {})

    def layers(self, variables: Mapping[str, Any], inputs: Any) -> list[NeuronLayer]:
        """Return the layers of neurons in order of execution, without computing anything.

        Raises:
          TypeError: not a model, or inputs that are not an array of numbers.
          ValueError: inputs without a time axis, empty or not finite; no parameters; a model
            without layers of neurons, or whose traces are lost.
        """
        _check(self.model, variables, inputs)
        found: list[NeuronLayer] = []

        def currents(params: Any, others: Any, inputs: Array) -> list[Any]:
            layers, traces = self.run({"params": params, **others}, inputs, cut=True)
            found.extend(layers)
            sown = [_at(traces, layer.path) for layer in layers]
            return [(trace.get(_CURRENT, ()), trace.get(_FED, ())) for trace in sown]

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
        behind = iter(_sources(jaxpr.jaxpr, sources))
        return [
            dataclasses.replace(
                layer, driven_by=frozenset().union(*(next(behind) for _ in jax.tree.leaves(shape)))
            )
            for layer, shape in zip(found, shapes, strict=True)
        ]


def free_membrane_of(layer: NeuronLayer, variables: Mapping[str, Any], traces: Traces) -> Array:
    """Membrane of a layer as its currents drive it if it is never reset.

    Args:
      layer: the layer.
      variables: variables of the model, for learned parameters of the neurons.
      traces: what the watched run left.

    Returns:
      The membrane in each slot of batch and time, ``(slots, *N)``; rest is 0 and threshold is 1,
      or, for leaky integrators, in units of the membrane.
    """
    cell, sown = layer.cell, _at(traces, layer.path)
    neuron, dtype = cell.dynamics, cell.dtype_of_state
    own = {name: _at(tree, layer.path) for name, tree in variables.items() if name in _VALUES}
    current = jnp.zeros(layer.current.shape, layer.current.dtype)
    coefficients: Any = cell.apply(own, current, method="coefficients")
    distance = neuron.resting_distance(coefficients)
    distance = distance[None] if jnp.ndim(distance) else distance
    currents = _over_time(layer, sown[_CURRENT])
    fed = _over_time(layer, sown[_FED]) if _FED in sown else [None] * len(currents)
    membranes = []
    for current, recurrent in zip(currents, fed, strict=True):
        driven = in_blocks(current.astype(dtype), neuron.blocks)
        free = neuron.free_membrane(coefficients, driven, recurrent)
        membranes.append(free / distance)
    return _slots(layer, membranes)


def spikes_of(layer: NeuronLayer, traces: Traces) -> Array:
    """Spikes of a layer in each slot of batch and time, ``(slots, *N)``."""
    return _slots(layer, _over_time(layer, _at(traces, layer.path)["spikes"]))


def _over_time(layer: NeuronLayer, sown: tuple[Any, ...]) -> list[Any]:
    """Return traces with time first: one for each run of the cell, or one of all its steps."""
    if layer.time_axis is None:
        return [jax.tree.map(lambda *steps: jnp.stack(steps), *sown)]
    axis = layer.time_axis
    return [jax.tree.map(lambda x: jnp.moveaxis(x, axis, 0), trace) for trace in sown]


def _slots(layer: NeuronLayer, arrays: list[Array]) -> Array:
    axes = layer.cell.feature_axes
    return jnp.concatenate([x.reshape(-1, *x.shape[-axes:]) for x in arrays])


class _Recorder:
    """Interceptor that sows what drives the neurons, and notes the layers as they run."""

    def __init__(self, cut: bool) -> None:
        self.cut = cut
        self.layers: dict[tuple[str, ...], NeuronLayer] = {}
        self._time_axes: list[int] = []

    def __call__(
        self,
        call: Callable[..., Any],
        args: Any,
        kwargs: Any,
        context: nn.module.InterceptorContext,
    ) -> Any:
        module, method = context.module, context.method_name
        if isinstance(module, nn.RNN) and method == "__call__":
            self._time_axes.append(_time_axis(module, *args, **kwargs))
            try:
                return call(*args, **kwargs)
            finally:
                self._time_axes.pop()
        if isinstance(module, Recurrence) and method == "of":
            fed = call(*args, **kwargs)
            module.sow("intermediates", _FED, fed)
            return fed
        if isinstance(module, NeuronCell) and method == "integrate":
            current = args[1] if len(args) > 1 else kwargs["current"]
            self._note(module, current)
            module.sow("intermediates", _CURRENT, current)
            result = call(*args, **kwargs)
            return jax.tree.map(jnp.zeros_like, result) if self.cut else result
        return call(*args, **kwargs)

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


def _sources(jaxpr: Any, sources: list[frozenset[int]]) -> list[frozenset[int]]:
    """Return from which sources each output of a traced function is computed.

    Args:
      jaxpr: the function.
      sources: those of each of its inputs.
    """
    known = dict(zip(jaxpr.invars, sources, strict=True))

    def behind(var: Any) -> frozenset[int]:
        return frozenset() if hasattr(var, "val") else known.get(var, frozenset())  # val: a literal

    for equation in jaxpr.eqns:
        inputs = [behind(var) for var in equation.invars]
        inner = [getattr(value, "jaxpr", value) for value in equation.params.values()]
        bodies = [body for body in inner if len(getattr(body, "invars", ())) == len(inputs)]
        if equation.primitive.name == "scan":
            outputs = _sources_of_loop(equation, bodies[0], inputs)
        elif len(bodies) == 1:
            outputs = _sources(bodies[0], inputs)
        else:
            outputs = [frozenset[int]().union(*inputs)] * len(equation.outvars)
        known |= zip(equation.outvars, outputs, strict=True)
    return [behind(var) for var in jaxpr.outvars]


def _sources_of_loop(loop: Any, body: Any, inputs: list[frozenset[int]]) -> list[frozenset[int]]:
    """Return the sources of the outputs of a scan, whose carry gathers them step by step."""

    def whole(outer: Any, inner: Any) -> int:
        """Number of variables that the body sees as they are, not one step of them."""
        return sum(a.aval.ndim == b.aval.ndim for a, b in zip(outer, inner, strict=True))

    # Constants, carry and steps go in, carry and steps come out.
    carries = whole(loop.outvars, body.outvars)
    first = whole(loop.invars, body.invars) - carries
    while True:
        outputs = _sources(body, inputs)
        start = inputs[first : first + carries]
        grown = [a | b for a, b in zip(start, outputs[:carries], strict=True)]
        if grown == start:
            return outputs
        inputs = [*inputs[:first], *grown, *inputs[first + carries :]]


def _at(tree: Mapping[str, Any], path: tuple[str, ...]) -> Mapping[str, Any]:
    for name in path:
        tree = tree.get(name, {})
    return tree


def _check(model: Any, variables: Any, inputs: Any) -> None:
    if not isinstance(model, nn.Module):
        raise TypeError(f"expected a model (a flax.linen.Module), got {type(model).__name__}")
    if not isinstance(variables, Mapping) or "params" not in variables:
        raise ValueError(
            "expected the variables of the model, {'params': ...} as model.init returns them, got"
            f" {sorted(variables) if isinstance(variables, Mapping) else type(variables).__name__}"
        )
    dtype: Any = getattr(inputs, "dtype", None)
    if dtype is None or not any(jnp.issubdtype(dtype, kind) for kind in (jnp.number, jnp.bool_)):
        raise TypeError(
            "expected inputs as an array of numbers, got"
            f" {type(inputs).__name__ if dtype is None else dtype}"
        )
    if inputs.ndim < 2 or inputs.size == 0:
        raise ValueError(
            "expected a batch of sequences, such as (B, T, F), with no empty axis, got shape"
            f" {inputs.shape}"
        )
    if jnp.issubdtype(dtype, jnp.inexact) and not np.isfinite(np.asarray(inputs, np.float64)).all():
        raise ValueError("expected finite inputs, got NaN or infinity; mend the data first")


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
