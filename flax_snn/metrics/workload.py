"""What a network costs, in the terms of NeuroBench: memory, sparsity, synaptic operations.

Definitions as in neurobench 2.3; Yik et al., The neurobench framework for benchmarking neuromorphic
computing algorithms and systems, Nature Communications 16, 2025. With layers l, steps t, samples b:

    connection sparsity     SUM_l #{w == 0} / SUM_l #w, weights of connection layers without biases
    activation sparsity     1 - SUM_ltb #{a != 0} / SUM_ltb #a, spikes a of layers that spike
    synaptic operations     per sample, over all steps: pairs of an input and a weight that are not
                            zero; dense: all pairs
    membrane updates        per sample: #{v_t != v_(t-1)}, and all neurons in the first step
    neuron operations       membrane updates x operations of an update of this kind of neuron

Where all inputs of a layer in one step, of the whole batch, are -1, 0 or 1, its operations are
accumulations (ACs), else multiplications and accumulations (MACs).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from flax_snn import checks
from flax_snn.initializers.recording import NeuronLayer, Watched, check_model
from flax_snn.initializers.slot_weights import split_padding
from flax_snn.metrics.connections import (
    ConnectionCounter,
    Connections,
    Counts,
    not_counted,
)
from flax_snn.metrics.footprint import footprint, size_of, state_bytes
from flax_snn.metrics.inputs import known
from flax_snn.metrics.neurons import (
    NeuronCounts,
    activation_sparsity,
    data_of,
    neuron_counts,
    operations_of_update,
    ratio,
    traced_counts,
)
from flax_snn.sequence_mask import SequenceLengths, StepMask
from flax_snn.typing import Array, Shaped


def workload(
    model: nn.Module,
    variables: Mapping[str, Any],
    inputs: Shaped[Array | np.ndarray, "..."],
    *,
    rngs: Mapping[str, Array] | None = None,
    arguments: Mapping[str, Any] | None = None,
    use_running_average: bool | None = None,
    batch_size: int | None = None,
    seq_lengths: SequenceLengths | None = None,
    mask: StepMask | None = None,
    time_major: bool = False,
) -> dict[str, Any]:
    """Runs a model, and counts what it costs, as NeuroBench does.

    >>> import flax_snn as snn, jax
    >>> net = snn.RNN(snn.LIFCell(16))
    >>> x = (jax.random.uniform(jax.random.key(0), (8, 50, 10)) < 0.1).astype(float)
    >>> found = workload(net, net.init(jax.random.key(1), x), x)
    >>> found["dense"], found["effective_macs"], found["parameter_count"]
    (8000.0, 0.0, 160)
    >>> found["effective_acs"] == float(x.sum()) * 16 / 8
    True

    Connection layers are the input and recurrent weights of cells, layers with delays, and
    ``nn.Dense``, ``nn.DenseGeneral``, ``nn.Conv``, ``nn.ConvTranspose`` and ``nn.ConvLocal``, in
    any Linen model that ends up in `RNN`, or goes from step to step itself. A connection with a
    delay counts once for each input, whatever its taps; what a layer with weights on a crossbar
    does counts as the same layer without one, and its reads of devices are counted beside it.

    Args:
      model: any Linen model, run by `RNN`, `LIF`, ... or called step by step.
      variables: its variables, with ``params``; none of them is changed.
      inputs: samples as the model takes them, ``(B, T, ...)``, or ``(T, B, ...)`` with
        ``time_major``.
      rngs: random streams of the model, such as ``noise``.
      arguments: further arguments of the model's call.
      use_running_average: as in `diagnosis.diagnose`.
      batch_size: samples that run at the same time; all by default. Nothing depends on it but which
        operations are MACs and which ACs, as in NeuroBench; the entries ``..._by_sample``, which
        decide for each sample alone, do not.
      seq_lengths: number of steps of each sample, ``(B,)``; padding, as `flax_snn.sequence_mask`
        has it, counts in no figure. A model that takes lengths itself gets them by ``arguments``.
      mask: which steps are data, ``(B, T)``, instead of lengths. The model runs through steps that
        it leaves out with input 0.
      time_major: time is the first axis of the inputs.

    Returns:
      A dictionary of plain numbers.

      ``samples``, ``steps``: what was counted: N, and the steps with data of all samples.
      ``footprint``, ``state_per_sample``: bytes of parameters and other constants, and of the state
      of the neurons for one sample; NeuroBench adds the state of its last batch to the footprint.
      ``parameter_count``: number of parameters.
      ``connection_sparsity``, ``activation_sparsity``: from 0 to 1; None in a model without such
      layers. NeuroBench rounds the first to 4 decimals.
      ``effective_macs``, ``effective_acs``, ``dense``: synaptic operations per sample, over all
      its steps; ``effective_macs_by_sample``, ``effective_acs_by_sample``.
      ``device_reads``: the dense operations of layers whose product is one of their own, such as a
      crossbar.
      ``membrane_updates``: per sample; and so are ``neuron_operations`` and
      ``neuron_operations_dense``, which are None where NeuroBench has no number for a neuron.
      ``layers``: the same for each layer, by the name of its weights or of its cell.
      ``not_counted``: names of parameters, and of cells, that are in none of these figures.

    Raises:
      TypeError: no model; inputs that are not numbers; traced arrays.
      ValueError: no parameters, inputs of another rank, lengths or a mask that do not fit, a layer
        whose counts are lost in ``nn.RNN``, a layer that merges batch and time.
    """
    check_model(model, variables)
    checks.boolean("time_major", time_major)
    known("inputs", inputs)
    cleaned, is_data = split_padding(inputs, seq_lengths, mask, time_major=time_major)
    if is_data is not None and is_data.ndim != 2:
        what = "one axis of samples and one of steps"
        raise ValueError(checks.error_text("seq_lengths, mask", what, f"shape {is_data.shape}"))
    axis = 1 if time_major else 0
    samples = cleaned.shape[axis]
    size = samples if batch_size is None else checks.whole_number("batch_size", batch_size)
    total: _Total | None = None
    for first in range(0, samples, size):
        rows = slice(first, first + size)
        batch = cleaned[:, rows] if time_major else cleaned[rows]
        real = None if is_data is None else np.asarray(is_data)[rows]
        watched = Watched(
            model,
            rngs,
            arguments,
            use_running_average,
            None if real is None else jnp.asarray(real),
            time_major,
        )
        found = _counted(watched, variables, jnp.asarray(batch), real)
        total = found if total is None else total.plus(found)
    assert total is not None
    return _report(total, variables, samples)


class _Synapses(NamedTuple):
    """Operations of a layer, summed over samples and steps."""

    macs: int
    acs: int
    macs_by_sample: int
    acs_by_sample: int
    dense: int


class _Total(NamedTuple):
    """What was counted in some samples."""

    steps: int
    synapses: dict[str, _Synapses]
    neurons: dict[str, NeuronCounts]
    connections: dict[str, Connections]
    layers: dict[str, NeuronLayer]
    unknown: dict[str, str]

    def plus(self, other: _Total) -> _Total:
        """Returns the sums of both."""
        return self._replace(
            steps=self.steps + other.steps,
            synapses={
                k: _Synapses(*map(sum, zip(v, other.synapses[k], strict=True)))
                for k, v in self.synapses.items()
            },
            neurons={
                k: NeuronCounts(*map(sum, zip(v, other.neurons[k], strict=True)))
                for k, v in self.neurons.items()
            },
        )


def _counted(
    watched: Watched, variables: Mapping[str, Any], inputs: Array, is_data: np.ndarray | None
) -> _Total:
    """Runs a batch, and counts."""
    first = inputs.shape[:2]
    batch, steps = first[::-1] if watched.time_major else first
    counter = ConnectionCounter(batch, steps, watched.time_major)
    seen: list[Any] = []

    def measure(variables: Any, inputs: Array) -> Any:
        with nn.intercept_methods(counter):
            recorder, traces = watched.run(variables, inputs)
        seen.append(recorder)
        neurons = {
            layer.name: traced_counts(layer, traces, batch) for layer in recorder.layers.values()
        }
        return neurons, _only_counts(traces)

    neurons, traces = jax.device_get(jax.jit(measure)(dict(variables), inputs))
    (recorder,) = seen
    layers = {layer.name: layer for layer in recorder.layers.values()}
    return _Total(
        steps=batch * steps if is_data is None else int(is_data.sum()),
        synapses={
            name: _synapses(each, counter.counts(each, traces), is_data)
            for name, each in counter.found.items()
        },
        neurons={
            name: neuron_counts(layers[name], active, changed, is_data)
            for name, (active, changed) in neurons.items()
        },
        connections=counter.found,
        layers=layers,
        unknown=recorder.not_covered(),
    )


def _only_counts(traces: Any) -> Any:
    """Returns the traces of connections alone, so that no others are kept in memory."""
    if not isinstance(traces, Mapping):
        return traces
    return {
        name: _only_counts(each)
        for name, each in traces.items()
        if isinstance(each, Mapping) or name.endswith(("_pairs", "_ternary"))
    }


def _synapses(
    connections: Connections, calls: list[Counts], is_data: np.ndarray | None
) -> _Synapses:
    sums = np.zeros(5, np.int64)
    for pairs, ternary in calls:
        real = data_of(connections.name, pairs.shape, is_data)
        pairs = np.where(real, pairs, 0)
        accumulated = np.where((ternary | ~real).all(axis=0), pairs, 0).sum()
        alone = np.where(ternary, pairs, 0).sum()
        whole = pairs.sum()
        dense = int(real.sum()) * connections.dense
        sums += np.array([whole - accumulated, accumulated, whole - alone, alone, dense], np.int64)
    return _Synapses(*sums.tolist())


def _report(total: _Total, variables: Mapping[str, Any], samples: int) -> dict[str, Any]:
    params = variables["params"]
    zeros, weights, each = 0, 0, {}
    for name, connections in total.connections.items():
        array = connections.weights(params)
        zero = int(array.size - np.count_nonzero(array))
        zeros, weights = zeros + zero, weights + array.size
        each[name] = {
            "connection_sparsity": ratio(zero, array.size),
            **_operations_of([total.synapses[name]], samples),
        }
    costs: list[int | None] = []
    updates, slots = 0, 0
    for name, counts in total.neurons.items():
        layer = total.layers[name]
        cost = operations_of_update(layer)
        costs.append(cost)
        updates, slots = updates + (cost or 0) * counts.updates, slots + (cost or 0) * counts.slots
        each[name] = each.get(name, {}) | {
            "neurons": layer.neurons,
            "activation_sparsity": activation_sparsity([counts]),
            "membrane_updates": counts.updates / samples,
        }
    devices = [n for n, each_ in total.connections.items() if each_.device]
    return {
        "samples": samples,
        "steps": total.steps,
        "footprint": footprint(variables),
        "state_per_sample": sum(map(state_bytes, total.layers.values())),
        "parameter_count": sum(size_of(leaf) for leaf in jax.tree.leaves(nn.unbox(params))),
        "connection_sparsity": ratio(zeros, weights),
        "activation_sparsity": activation_sparsity(total.neurons.values()),
        **_operations_of(total.synapses.values(), samples),
        "device_reads": sum(total.synapses[name].dense for name in devices) / samples,
        "membrane_updates": sum(c.updates for c in total.neurons.values()) / samples,
        "neuron_operations": None if None in costs else updates / samples,
        "neuron_operations_dense": None if None in costs else slots / samples,
        "layers": each,
        "not_counted": [
            *not_counted(params, total.connections.values()),
            *(f"{name}: {reason}" for name, reason in total.unknown.items()),
        ],
    }


def _operations_of(layers: Any, samples: int) -> dict[str, float]:
    sums = [sum(column) for column in zip(*layers, strict=True)] or [0] * 5
    macs, acs, macs_by_sample, acs_by_sample, dense = (count / samples for count in sums)
    return {
        "effective_macs": macs,
        "effective_acs": acs,
        "effective_macs_by_sample": macs_by_sample,
        "effective_acs_by_sample": acs_by_sample,
        "dense": dense,
    }
