"""What a trained network costs, as NeuroBench counts it, on a few samples: part of the result."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from flax_snn import metrics
from train.data.parts import Part
from train.errors import ConfigError
from train.model import Model
from train.model.crossbars import streams

SAMPLES = 32
"""Samples on which operations are counted: enough for two digits, and counted in a moment."""

_FIGURES = (
    "samples",
    "footprint",
    "state_per_sample",
    "parameter_count",
    "connection_sparsity",
    "activation_sparsity",
    "effective_macs",
    "effective_acs",
    "dense",
    "membrane_updates",
)


def costs_of(model: Model, params: Any, part: Part) -> dict[str, Any]:
    """Returns what a network costs on the first samples of a part, as `metrics.workload` counts.

    Weights on crossbars are counted as the weights they are.

    Args:
      model: the network.
      params: its parameters, in the host's memory or on one device.
      part: the samples.

    Returns:
      Bytes of the ``footprint`` and of the ``state_per_sample``, ``parameter_count``, sparsities
      from 0 to 1, and per sample synaptic operations and membrane updates, with the number of
      ``samples`` they were counted on; what was ``not_counted``, where there is something. Of a
      network whose operations cannot be counted, such as one in continuous time, the footprint,
      and the reason as ``not_counted``.
    """
    some = part.take(slice(0, SAMPLES))
    constants = dict(getattr(model.runner, "constants", {}))
    variables = {"params": params, **constants}
    try:
        network, inputs = model.grid.on_grid(model.encode(jax.tree.map(jnp.asarray, some.inputs)))
        found = metrics.workload(
            network,
            variables,
            inputs,
            rngs=streams(jax.random.key(0)),
            seq_lengths=some.lengths,
        )
    except (ConfigError, TypeError, ValueError) as error:
        return {"footprint": metrics.footprint(variables), "not_counted": [_reason(error)]}
    left = {"not_counted": found["not_counted"]} if found["not_counted"] else {}
    return {name: found[name] for name in _FIGURES} | left


def _reason(error: Exception) -> str:
    if isinstance(error, ConfigError):
        return "operations: the network has no time steps"
    return f"operations: {(str(error).splitlines() or [''])[0][:300]}"
