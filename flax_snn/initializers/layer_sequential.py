"""Initial weights with which no layer is silent or saturated: from rates, or from data.

`fluctuation_driven` knows the neuron and the expected rate of its inputs. `lsuv` (layer-sequential
unit variance) runs a batch: layer by layer in order of execution, the weights that drive a layer
of neurons are scaled until its membrane, as if it were never reset, has the target spread.

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

from flax_snn import checks
from flax_snn.cells.fluctuation import fluctuation_driven
from flax_snn.initializers.normalisation import padding_notes
from flax_snn.initializers.recording import NeuronLayer, Recorder, Watched, free_membrane_of
from flax_snn.initializers.slot_weights import mean_and_spread, slot_weights, split_padding
from flax_snn.sequence_mask import SequenceLengths, StepMask
from flax_snn.typing import Array, Shaped

__all__ = ["LSUVReport", "LayerScaling", "fluctuation_driven", "lsuv"]

_NO_EFFECT = 1e-3  # change of log spread per log factor, below which scaling has no effect


@dataclasses.dataclass(frozen=True)
class LayerScaling:
    """The change that `lsuv` made to one layer.

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
    """The changes that `lsuv` made; as text, one line per layer.

    Attributes:
      target: the spread that was asked for.
      layers: the layers in order of execution; readouts left out on request are missing.
      padding_left_out: names of the normalising layers, such as ``nn.BatchNorm``, that were given
        the mask of a padded batch.
      padding_included: names of those whose statistics may include padding, since their inputs do
        not have the axes of the mask.
    """

    target: float
    layers: tuple[LayerScaling, ...]
    padding_left_out: tuple[str, ...] = ()
    padding_included: tuple[str, ...] = ()

    def __str__(self) -> str:
        notes = padding_notes(self.padding_left_out, self.padding_included)
        return "\n".join([*map(str, self.layers), *notes])


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
    use_running_average: bool | None = None,
    seq_lengths: SequenceLengths | None = None,
    mask: StepMask | None = None,
    time_major: bool = False,
) -> tuple[dict[str, Any], LSUVReport]:
    """Scale the weights of a model until a batch moves the membranes of all layers alike.

    The spread of a layer is the standard deviation of its free membrane (never reset) over batch,
    time and neurons, in units of the distance from rest to threshold. What drives a layer are all
    parameters, but biases and delays, from which its currents are computed without passing through
    neurons: kernels of the cell (input and recurrent alike), of dense layers and convolutions in
    front of it, of branches that are summed. They are scaled by one factor: exact at once where the
    current is proportional to them, iterated where it is not (recurrent weights, biases, weights in
    a row, normalisation).

    ``nn.BatchNorm`` in front of a layer undoes the scaling where it takes the statistics of the
    batch; with ``use_running_average=True`` the scaling acts as it will in evaluation. Its running
    statistics are returned as they were given.

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
      tolerance: largest relative deviation from the target.
      max_iterations: most factors tried per layer.
      rngs: random streams of the model, such as ``noise``.
      arguments: further arguments of the model's call, such as ``{"train": False}``.
      use_running_average: let each ``nn.BatchNorm`` take its running statistics (True) or those of
        the batch (False), whatever the model says; None (default): as the model says.
      seq_lengths: number of steps of each sample, ``(*B,)``; padding, as
        `flax_snn.sequence_mask` has it, moves no membrane. A model that takes lengths itself gets
        them by ``arguments``.
      mask: which steps are data, ``(*B, T)``, instead of lengths. The model runs through steps that
        it leaves out with input 0. Normalising layers that average over time, such as
        ``nn.BatchNorm``, leave padding out where their inputs have the axes of batch and time of
        `inputs`; the report names them, and those that cannot.
      time_major: time is the first axis of the inputs; it matters with lengths or a mask only.

    Returns:
      New variables, and a report. Parameters keep their dtypes. A layer whose spread does not
      come within the tolerance keeps the nearest found, and the report says so.

    Raises:
      TypeError: not a model; inputs that are not numbers.
      ValueError: a model without layers of neurons, or whose traces are lost in ``nn.RNN``; inputs
        without a time axis, empty or not finite; a layer that receives no input, or too much for
        its dtype; a number outside its range; lengths or a mask that do not fit or that leave no
        data.
    """
    checks.in_range("tolerance", tolerance, 0.0, 1.0, low_allowed=False, high_allowed=False)
    checks.whole_number("max_iterations", max_iterations)
    target = checks.positive("target", target)
    inputs, is_data = split_padding(inputs, seq_lengths, mask, time_major=time_major)
    watched = Watched(model, rngs, arguments, use_running_average, is_data, time_major)
    layers = watched.layers(variables, inputs)
    weights = _Weights(variables["params"])
    measure, seen = _measurement(watched, layers, weights, variables, jnp.asarray(inputs))

    done: list[tuple[int, LayerScaling]] = []
    for index, layer in enumerate(layers):
        if readouts or layer.cell.dynamics.spikes:
            scaling = _scale(layer, index, weights, measure, target, tolerance, max_iterations)
            done.append((index, scaling))

    spreads = measure(weights.leaves)
    reports = []
    for index, scaling in done:
        after = float(spreads[index])
        reached = abs(after / target - 1.0) <= tolerance
        reports.append(dataclasses.replace(scaling, after=after, reached=reached))
    statistics = seen[0].normalisations
    report = LSUVReport(
        target,
        tuple(reports),
        padding_left_out=tuple(statistics.padding_left_out),
        padding_included=tuple(statistics.padding_included),
    )
    return {**variables, "params": weights.tree(weights.leaves)}, report


_NOT_WEIGHTS = frozenset(("bias", "delay", "recurrent_delay", "log_sigma", "log_recurrent_sigma"))
"""Parameters in front of a layer that are no weights: what they mean is no size of the current."""


class _Weights:
    """Parameters as a list that is scaled entry by entry."""

    def __init__(self, params: Any) -> None:
        paths, self._structure = jax.tree_util.tree_flatten_with_path(params)
        self.leaves: list[Any] = [leaf for _, leaf in paths]
        keys = [[getattr(key, "key", None) for key in path] for path, _ in paths]
        self.names = ["/".join(str(key) for key in path if key is not None) for path in keys]
        self.scalable = [
            jnp.issubdtype(jnp.result_type(leaf), jnp.floating) and _NOT_WEIGHTS.isdisjoint(path)
            for leaf, path in zip(self.leaves, keys, strict=True)
        ]

    def tree(self, leaves: list[Any]) -> Any:
        """Returns the parameters as a tree of the structure that they were given in."""
        return jax.tree_util.tree_unflatten(self._structure, leaves)

    def scaled(self, factors: Mapping[int, float]) -> list[Any]:
        """Returns the leaves, some of them multiplied by a factor, in their dtypes."""
        return [
            jnp.asarray(leaf) * jnp.asarray(factors[k], jnp.result_type(leaf))
            if k in factors
            else leaf
            for k, leaf in enumerate(self.leaves)
        ]


Measurement = Callable[[list[Any]], np.ndarray]
"""Maps the leaves of the parameters to the spreads of all layers."""


def _measurement(
    watched: Watched,
    layers: list[NeuronLayer],
    weights: _Weights,
    variables: Mapping[str, Any],
    inputs: Array,
) -> tuple[Measurement, list[Recorder]]:
    """Returns the function from leaves of the parameters to the spread of each layer.

    The list beside it holds what ran, from the first call on.
    """
    seen: list[Recorder] = []
    others = {name: value for name, value in variables.items() if name != "params"}

    @jax.jit
    def spreads(leaves: list[Any], others: Any, inputs: Array) -> Array:
        given = {"params": weights.tree(leaves), **others}
        recorder, traces = watched.run(given, inputs)
        seen.append(recorder)
        each = []
        for layer in layers:
            membrane = free_membrane_of(layer, given, traces)
            spread = mean_and_spread(membrane, slot_weights(layer, len(membrane), watched.is_data))[
                1
            ]
            each.append(spread.astype(jnp.float32))
        return jnp.stack(each)

    return lambda leaves: np.asarray(spreads(leaves, others, inputs), np.float64), seen


def _scale(
    layer: NeuronLayer,
    index: int,
    weights: _Weights,
    measure: Measurement,
    target: float,
    tolerance: float,
    max_iterations: int,
) -> LayerScaling:
    """Scales the weights that drive a layer, in place, and returns what was done.

    Looks for the logarithm of the factor by secants, from the slope 1 of a current that is
    proportional to the weights, between the factors known to be too small and too large.
    """
    driving = [k for k in sorted(layer.driven_by) if weights.scalable[k]]
    log, low, high, slope = 0.0, -math.inf, math.inf, 1.0
    before = _checked(layer, measure(weights.leaves)[index])
    excess = math.log(before / target)
    best = (abs(excess), log)
    for _ in range(max_iterations if driving else 0):
        if abs(math.expm1(excess)) <= 0.5 * tolerance or abs(slope) < _NO_EFFECT:
            break
        low, high = (log, high) if excess < 0.0 else (low, log)
        last, log = (log, excess), log - excess / slope
        if not low < log < high:
            log = 0.5 * (low + high)
        leaves = weights.scaled(dict.fromkeys(driving, math.exp(log)))
        excess = math.log(_checked(layer, measure(leaves)[index]) / target)
        best = min(best, (abs(excess), log))
        slope = (excess - last[1]) / (log - last[0])
    factor = math.exp(best[1])
    weights.leaves = weights.scaled(dict.fromkeys(driving, factor))
    names = tuple(weights.names[k] for k in driving)
    return LayerScaling(layer.name, names, factor, before, after=before, reached=False)


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
