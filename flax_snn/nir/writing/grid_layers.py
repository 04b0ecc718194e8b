"""Layers of the time grid as nodes: delayed weights, normalisation, dropout.

NIR has delays of the elements of a signal and none of synapses. So delays of axons stand before a
matrix, and delays of dendrites behind it. A normalisation layer is multiplied into the weights
before it, and dropout is nothing in a network that is evaluated.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from flax_snn.layers import (
    DelayedDense,
    DelayedDenseCell,
    MaxPool,
    SequenceDropout,
    SequenceDropoutCell,
    ThresholdNorm,
)
from flax_snn.layers.delay_taps import rounded_delays
from flax_snn.nir.channel_order import to_first
from flax_snn.nir.error import fail
from flax_snn.nir.graph import Node
from flax_snn.nir.writing.builder import (
    GraphBuilder,
    Signal,
    check_arithmetic,
    read_variable,
    scaled,
    unsupported,
)
from flax_snn.nir.writing.layers import Variables, add_delay, add_dense


def _delayed(
    builder: GraphBuilder, module: Any, variables: Variables, path: str, signal: Signal, name: str
) -> Signal:
    check_arithmetic(module, path)
    if getattr(module, "time_major", False):
        raise unsupported(path, module, " with time_major=True", "export it without this option")
    if not module.rounded:
        raise unsupported(
            path,
            module,
            " whose delays are spread over several steps",
            "NIR has delays of single steps: export layer.clone(rounded=True)",
        )
    if module.kind == "synapse":
        raise unsupported(
            path,
            module,
            " with a delay for each synapse",
            "NIR has delays of the elements of a signal: train with kind='axon' or 'dendrite'",
        )
    delay = read_variable(variables, "params", "delay", path)
    steps = np.asarray(rounded_delays(delay, module.max_delay))
    if module.kind == "axon":
        each = to_first(steps, signal.order)
        late = add_delay(builder, f"{name or 'dense'}_delay", each, path, signal)
        return add_dense(builder, name or "dense", variables, path, late)
    if "bias" in variables["params"] and np.any(variables["params"]["bias"]):
        raise unsupported(
            path,
            module,
            " with kind='dendrite' and a bias",
            "a Delay behind the weights would delay the bias as well: train with use_bias=False",
        )
    early = add_dense(builder, name or "dense", variables, path, signal)
    return add_delay(builder, f"{name or 'dense'}_delay", steps, path, early)


def _norm(
    builder: GraphBuilder,
    module: ThresholdNorm,
    variables: Variables,
    path: str,
    signal: Signal,
    name: str,
) -> Signal:
    del name
    where = f"{path} (ThresholdNorm)"
    if module.use_running_average is False:
        raise fail(
            where,
            "the statistics that training has collected",
            "use_running_average=False",
            "export layer.clone(use_running_average=True)",
        )
    source = signal.sources[0]
    node = builder.nodes.get(source)
    sent = [edge for edge in builder.edges if edge[0] == source]
    if (
        len(signal.sources) != 1
        or sent
        or not isinstance(node, Node)
        or node.type not in ("Affine", "Linear", "Conv1d", "Conv2d")
    ):
        raise fail(
            where,
            "weights right before the normalisation, for nothing else",
            getattr(node, "type", "none"),
            "NIR has no normalisation, and the factors go into these weights: move it behind them",
        )
    factor, offset = module.factor_and_offset(variables)
    weight = scaled(node["weight"], factor)
    bias = np.asarray(node.fields.get("bias", np.zeros(len(weight))), np.float64)
    fields = {
        **node.fields,
        "weight": weight,
        "bias": (bias * factor + offset).astype(weight.dtype),
    }
    metadata = {key: value for key, value in node.metadata.items() if key != "use_bias"}
    kind = "Affine" if node.type == "Linear" else node.type
    builder.nodes[source] = dataclasses.replace(node, type=kind, fields=fields, metadata=metadata)
    return signal


def _dropout(
    _: GraphBuilder, module: Any, __: Variables, path: str, signal: Signal, ___: str
) -> Signal:
    if not module.deterministic and module.rate:
        raise unsupported(
            path,
            module,
            " that drops features",
            "NIR has no random numbers: export layer.clone(deterministic=True)",
        )
    return signal


def _max_pool(
    _: GraphBuilder, module: Any, __: Variables, path: str, ___: Signal, ____: str
) -> Signal:
    raise unsupported(
        path,
        module,
        "",
        "NIR has sums and means over windows, and no maximum: train with snn.SumPool or AvgPool",
    )


GRID_WRITERS: dict[type, Any] = {
    DelayedDense: _delayed,
    DelayedDenseCell: _delayed,
    MaxPool: _max_pool,
    SequenceDropout: _dropout,
    SequenceDropoutCell: _dropout,
    ThresholdNorm: _norm,
}
"""What writes each kind of layer; of the cells, those that a chain may have."""
