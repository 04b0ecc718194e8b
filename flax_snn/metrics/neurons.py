"""What layers of neurons do, counted while a model runs: spikes, and membranes that change."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from flax_snn import checks
from flax_snn.dynamics import LIFDynamics
from flax_snn.initializers.recording import NeuronLayer, membranes_of, spikes_of
from flax_snn.metrics.connections import lost
from flax_snn.typing import Array


class NeuronCounts(NamedTuple):
    """What a layer of neurons did, summed over samples and steps.

    Attributes:
      active: outputs that are not zero, of a layer that spikes.
      outputs: all its outputs; 0 for a layer that does not spike.
      updates: membranes that are not what they were in the step before.
      slots: neurons times steps with data.
    """

    active: int
    outputs: int
    updates: int
    slots: int


def traced_counts(layer: NeuronLayer, traces: Any, batch: int) -> tuple[Array | None, Array]:
    """Returns spikes and changed membranes of a layer in each run of it, ``(runs, S, B)``."""
    sown = _at(traces, layer).get("v", ())
    if not sown:
        raise ValueError(lost(layer.name))
    v = membranes_of(layer, traces)
    runs = 1 if layer.time_axis is None else len(sown)
    v = v.reshape(runs, -1, batch, layer.neurons)
    changed = jnp.sum(v[:, 1:] != v[:, :-1], axis=-1, dtype=jnp.int32)
    changed = jnp.concatenate([jnp.full((runs, 1, batch), v.shape[-1], jnp.int32), changed], axis=1)
    if not layer.cell.dynamics.spikes:
        return None, changed
    spikes = spikes_of(layer, traces).reshape(v.shape)
    return jnp.sum(spikes != 0, axis=-1, dtype=jnp.int32), changed


def _at(traces: Any, layer: NeuronLayer) -> Any:
    return functools.reduce(lambda tree, name: tree.get(name, {}), layer.path, traces)


def neuron_counts(
    layer: NeuronLayer,
    active: np.ndarray | None,
    changed: np.ndarray,
    is_data: np.ndarray | None,
) -> NeuronCounts:
    """Returns the sums of what `traced_counts` has found, over the steps that are data."""
    runs, steps, batch = changed.shape
    real = data_of(layer.name, (batch, steps), is_data).T
    size = layer.neurons
    first = np.argmax(real, axis=0)
    updates = np.where(np.arange(steps)[:, None] == first, size, changed)
    sums = [np.where(real, x, 0).sum(dtype=np.int64) for x in (active, updates) if x is not None]
    slots = runs * int(real.sum()) * size
    if active is None:
        return NeuronCounts(0, 0, int(sums[0]), slots)
    return NeuronCounts(int(sums[0]), slots, int(sums[1]), slots)


def data_of(name: str, shape: tuple[int, ...], is_data: np.ndarray | None) -> np.ndarray:
    """Returns which samples and steps of a call are data, ``(B, S)``."""
    if is_data is None:
        return np.ones(shape, np.bool_)
    if shape[1] == 1 and is_data.shape[1] > 1:  # behind a reduction over time
        return np.asarray(is_data.any(axis=1, keepdims=True))
    if shape != is_data.shape:
        what = f"{name} to run over samples and steps {is_data.shape}, as the lengths say"
        remedy = "layers that change the number of steps have no lengths"
        raise ValueError(checks.error_text("seq_lengths, mask", what, shape, remedy))
    return is_data


_UPDATE = {
    (0, "soft"): 4,
    (0, "hard"): 4,
    (1, "soft"): 6,
    (1, "hard"): 8,
    (2, "soft"): 18,
    (2, "hard"): 24,
}
"""Operations of an update in NeuroBench, by synaptic currents and reset: Leaky, Synaptic, Alpha."""


def operations_of_update(layer: NeuronLayer) -> int | None:
    """Returns the operations of one membrane update; None where NeuroBench has no number."""
    dynamics = layer.cell.dynamics
    if type(dynamics) is not LIFDynamics or layer.cell.recurrent:
        return None
    return _UPDATE.get((dynamics.rule.all_channels, dynamics.rule.reset))


def activation_sparsity(layers: Iterable[NeuronCounts]) -> float | None:
    """Returns the share of outputs that are zero; None where no layer spikes."""
    sums = [(each.active, each.outputs) for each in layers]
    share = ratio(sum(a for a, _ in sums), sum(n for _, n in sums))
    return None if share is None else 1.0 - share


def ratio(part: int, whole: int) -> float | None:
    """Returns a share; None of nothing."""
    return part / whole if whole else None
