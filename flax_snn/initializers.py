"""Start-up that is neither silent nor saturated: from rates, or from data.

`fluctuation_driven` knows the neuron and the expected rate of its inputs. `lsuv` (layer-sequential
unit variance) runs a batch: layer by layer in order of execution, the weights that drive a layer
of neurons are scaled until its membrane, as if it were never reset, has the wanted spread.

Reference: Mishkin & Matas, *All you need is a good init*, 2016; for spiking networks Rossbroich,
Gygax, Zenke, *Fluctuation-driven initialization for spiking neural network training*, 2022.
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

from flax_snn.dynamics.parameters import number
from flax_snn.fluctuation import fluctuation_driven
from flax_snn.lsuv import NeuronLayer, Watched, free_membrane_of
from flax_snn.typing import Array, Shaped

__all__ = ["LSUVReport", "LayerScaling", "fluctuation_driven", "lsuv"]

_EFFECT = 1e-3
"""Least change of log spread per change of log weights for which weights drive a layer."""


@dataclasses.dataclass(frozen=True)
class LayerScaling:
    """What `lsuv` did to one layer.

    Attributes:
      name: where its cell stands in the parameters.
      weights: paths of the parameters that were scaled; none where no weights drive the layer.
      factor: what they were multiplied by.
      before: spread of the free membrane, the layers below already scaled; in units of the
        distance from rest to threshold, of the membrane for leaky integrators.
      after: the same, at the end.
      reached: whether ``after`` is the target, within the tolerance.
    """

    name: str
    weights: tuple[str, ...]
    factor: float
    before: float
    after: float
    reached: bool

    def __str__(self) -> str:
        if not self.weights:
            return f"{self.name}: spread {self.before:.3g}, left as it is: no weights drive it"
        end = "" if self.reached else ", target not reached"
        return (
            f"{self.name}: spread {self.before:.3g} -> {self.after:.3g}{end},"
            f" {', '.join(self.weights)} x {self.factor:.4g}"
        )


@dataclasses.dataclass(frozen=True)
class LSUVReport:
    """What `lsuv` did; as text, one line per layer.

    Attributes:
      target: the spread that was asked for.
      layers: the layers in order of execution; readouts left out on request are missing.
    """

    target: float
    layers: tuple[LayerScaling, ...]

    def __str__(self) -> str:
        return "\n".join(map(str, self.layers))


def lsuv(
    model: nn.Module,
    variables: Mapping[str, Any],
    inputs: Shaped[Array | np.ndarray, "..."],
    *,
    target: float = 1.0,
    readouts: bool = True,
    tolerance: float = 0.02,
    max_iterations: int = 20,
    rngs: Mapping[str, Array] | None = None,
    arguments: Mapping[str, Any] | None = None,
) -> tuple[dict[str, Any], LSUVReport]:
    """Scale the weights of a model until a batch moves the membranes of all layers alike.

    The spread of a layer is the standard deviation of its free membrane (never reset) over batch,
    time and neurons, in units of the distance from rest to threshold. What drives a layer are all
    parameters but biases whose scale changes its spread while the layers below spike as they do:
    kernels of the cell (input and recurrent alike), of dense layers and convolutions in front of
    it, of summed branches, or the scale of a normalisation. They get one factor together, exact at
    once where the current is proportional to them, and iterated where it is not (recurrent
    weights, biases).

    >>> import flax_snn as snn, jax
    >>> net = snn.RNN(snn.Chain([snn.LIFCell(32), snn.LeakyIntegratorReadout(10)]))
    >>> x = (jax.random.uniform(jax.random.key(0), (8, 100, 20)) < 0.02).astype(float)
    >>> variables = net.init(jax.random.key(1), x)
    >>> variables, report = lsuv(net, variables, x)
    >>> [round(layer.after, 2) for layer in report.layers]
    [1.0, 1.0]

    Args:
      model: any Linen model whose cells of this package are run by `RNN`, `LIF`,
        `LeakyIntegrator` or `Stateful`, or called step by step.
      variables: its variables, with ``params``; they are left as they are.
      inputs: a batch as the model takes it; some 100 samples of the training data.
      target: spread to reach; 1, by default, lets neurons spike from fluctuations of their input.
      readouts: scale the weights of leaky integrators too, to ``target`` units of membrane.
      tolerance: relative deviation from the target that will do.
      max_iterations: most factors tried per layer.
      rngs: random streams of the model, such as ``noise``.
      arguments: further arguments of the model's call, such as ``{"train": False}``.

    Returns:
      New variables, and a report. Parameters keep their dtypes. A layer whose spread does not
      come within the tolerance keeps the nearest found, and the report says so.

    Raises:
      TypeError: not a model; inputs that are not numbers.
      ValueError: a model without layers of neurons, or whose traces are lost in ``nn.RNN``; inputs
        without a time axis, empty or not finite; a layer that receives no input, or too much for
        its dtype; a number outside its range.
    """
    if not 0.0 < number("tolerance", tolerance) < 1.0:
        raise ValueError(f"tolerance: expected 0 < tolerance < 1, got {tolerance!r}")
    if isinstance(max_iterations, bool) or max_iterations < 1:
        raise ValueError(f"max_iterations: expected at least 1, got {max_iterations!r}")
    target = number("target", target, positive=True)
    watched = Watched(model, rngs, arguments)
    layers = watched.layers(variables, inputs)
    weights = _Weights(variables["params"])
    measure = _measurement(watched, layers, weights, variables, jnp.asarray(inputs))

    done: list[tuple[int, LayerScaling]] = []
    for index, layer in enumerate(layers):
        if readouts or layer.cell.dynamics.spikes:
            scaling = _scale(layer, index, weights, measure, target, tolerance, max_iterations)
            done.append((index, scaling))

    spreads, _ = measure(weights.leaves, 0)
    reports = []
    for index, scaling in done:
        after = float(spreads[index])
        reached = abs(after / target - 1.0) <= tolerance
        reports.append(dataclasses.replace(scaling, after=after, reached=reached))
    return {**variables, "params": weights.tree(weights.leaves)}, LSUVReport(target, tuple(reports))


class _Weights:
    """Parameters as a list that is scaled entry by entry."""

    def __init__(self, params: Any) -> None:
        paths, self._structure = jax.tree_util.tree_flatten_with_path(params)
        self.leaves: list[Any] = [leaf for _, leaf in paths]
        keys = [[getattr(key, "key", None) for key in path] for path, _ in paths]
        self.names = ["/".join(str(key) for key in path if key is not None) for path in keys]
        self.scalable = [
            jnp.issubdtype(jnp.result_type(leaf), jnp.floating) and "bias" not in path
            for leaf, path in zip(self.leaves, keys, strict=True)
        ]

    def tree(self, leaves: list[Any]) -> Any:
        """Return parameters of the shape they were given in."""
        return jax.tree_util.tree_unflatten(self._structure, leaves)

    def scaled(self, factors: Mapping[int, float]) -> list[Any]:
        """Return the leaves, some multiplied by a factor, in their dtypes."""
        return [
            jnp.asarray(leaf) * jnp.asarray(factors[k], jnp.result_type(leaf))
            if k in factors
            else leaf
            for k, leaf in enumerate(self.leaves)
        ]


Measurement = Callable[[list[Any], int], tuple[np.ndarray, np.ndarray]]
"""Maps leaves and the index of a layer to the spreads of all layers, and the effect of each leaf
on that of this layer: the change of log spread per change of log weights."""


def _measurement(
    watched: Watched,
    layers: list[NeuronLayer],
    weights: _Weights,
    variables: Mapping[str, Any],
    inputs: Array,
) -> Measurement:
    rest = {name: value for name, value in variables.items() if name != "params"}

    def spread(
        logs: Array, leaves: list[Any], index: Array, rest: Any, inputs: Array
    ) -> tuple[Array, Array]:
        scaled = [
            leaf * jnp.exp(logs[k]).astype(leaf.dtype) if weights.scalable[k] else leaf
            for k, leaf in enumerate(leaves)
        ]
        unscaled = {"params": weights.tree(leaves)}
        _, traces = watched.run({"params": weights.tree(scaled), **rest}, inputs)
        membranes = [free_membrane_of(layer, unscaled, traces) for layer in layers]
        variances = jnp.stack([jnp.var(m).astype(jnp.float32) for m in membranes])
        # The layer is picked before the logarithm, whose slope is infinite at layers still silent.
        return 0.5 * jnp.log(variances[index]), jnp.sqrt(variances)

    differentiate = jax.jit(jax.value_and_grad(spread, has_aux=True))
    logs = jnp.zeros(len(weights.leaves), jnp.float32)

    def measure(leaves: list[Any], index: int) -> tuple[np.ndarray, np.ndarray]:
        arrays = [jnp.asarray(leaf) for leaf in leaves]
        (_, spreads), effects = differentiate(logs, arrays, jnp.asarray(index), rest, inputs)
        return np.asarray(spreads, np.float64), np.asarray(effects, np.float64)

    return measure


def _scale(
    layer: NeuronLayer,
    index: int,
    weights: _Weights,
    measure: Measurement,
    target: float,
    tolerance: float,
    max_iterations: int,
) -> LayerScaling:
    """Scale what drives a layer, in place, and return what was done.

    The logarithm of the spread is close to linear in that of the factor; where it is not, a
    bracket around the target is halved.
    """
    spreads, effects = measure(weights.leaves, index)
    before = found = _checked(layer, float(spreads[index]))
    # Neurons still silent show no effect of their recurrent weights, which keep their proportion.
    recurrent = "/".join([*layer.path, "recurrent_kernel"])
    driving = [
        k
        for k, (name, effect) in enumerate(zip(weights.names, effects, strict=True))
        if abs(effect) > _EFFECT or name == recurrent
    ]
    # Weights in a row, without neurons between, share the factor: two of them take its root.
    degree = max(1, round(float(sum(effects[k] for k in driving))))

    def leaves_at(log: float) -> list[Any]:
        return weights.scaled(dict.fromkeys(driving, math.exp(log / degree)))

    log, low, high = 0.0, -math.inf, math.inf
    best = (abs(math.log(found / target)), log)
    for _ in range(max_iterations if driving else 0):
        if abs(found / target - 1.0) <= 0.5 * tolerance:
            break
        low, high = (log, high) if found < target else (low, log)
        log -= math.log(found / target)
        if not low < log < high:
            log = 0.5 * (low + high)
        spreads, _ = measure(leaves_at(log), index)
        found = _checked(layer, float(spreads[index]))
        best = min(best, (abs(math.log(found / target)), log))
    weights.leaves = leaves_at(best[1])
    names = tuple(weights.names[k] for k in driving)
    return LayerScaling(
        layer.name, names, math.exp(best[1] / degree), before, after=before, reached=False
    )


def _checked(layer: NeuronLayer, spread: float) -> float:
    if not math.isfinite(spread):
        raise ValueError(
            f"lsuv: {layer.name}: expected a finite membrane, got one with NaN or infinity; look"
            " for NaN in the parameters, or start from smaller weights"
        )
    if spread <= 0.0:
        raise ValueError(
            f"lsuv: {layer.name}: expected input that moves its membrane, got none: the inputs or"
            " the weights in front of it are all 0, or the layers below are silent for this batch;"
            " give a larger batch, or ask for a larger target"
        )
    return spread
