"""Flax modules and their variables for single nodes and for cells."""

from __future__ import annotations

import dataclasses
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
import numpy as np

from flax_snn.cells import LeakyIntegratorReadout, LIFCell, RecurrentLIFCell
from flax_snn.nir import layers
from flax_snn.nir.channel_order import last, to_last
from flax_snn.nir.error import fail
from flax_snn.nir.graph import Node
from flax_snn.nir.metadata import surrogate_of
from flax_snn.nir.reading.grouping import NodeGroup
from flax_snn.nir.reading.neurons import ReadOptions, check_surrogate, population
from flax_snn.nir.rounding import without_rounding
from flax_snn.nir.shapes import flatten_axes
from flax_snn.nir.wiring import Wiring

Variables = dict[str, Any]


@dataclasses.dataclass(frozen=True, eq=False)
class BuiltModule:
    """A module and its variables, by collection."""

    module: nn.Module
    variables: Variables


@dataclasses.dataclass(frozen=True, eq=False)
class ModuleBuilder:
    """Makes modules of the nodes of a graph.

    Attributes:
      wiring: the graph.
      options: how the graph is read.
      steps: delay in steps of each Delay.
      orders: order of each node whose flat values are in the order of Flax.
      param_dtype: dtype of the variables.
    """

    wiring: Wiring
    options: ReadOptions
    steps: dict[str, np.ndarray]
    orders: dict[str, np.ndarray]
    param_dtype: Any

    def layer(self, name: str) -> BuiltModule:
        """Returns the module of a node outside cells; it takes sequences or single steps."""
        node = self.wiring.nodes[name]
        if node.type in ("Affine", "Linear"):
            params = self._dense(name)
            module: nn.Module = nn.Dense(
                node["weight"].shape[0], use_bias="bias" in params, param_dtype=self.param_dtype
            )
            return BuiltModule(module, {"params": params})
        if node.type in ("Conv1d", "Conv2d"):
            return self._conv(name, node)
        axes = len(self.wiring.in_shape(name))
        if node.type == "Flatten":
            return BuiltModule(self._flatten(name, node, axes), {})
        if node.type in ("SumPool2d", "AvgPool2d"):
            kind = layers.SumPool if node.type == "SumPool2d" else layers.AvgPool
            return BuiltModule(kind(node["kernel_size"], node["stride"], node["padding"]), {})
        shape = last(self.wiring.shapes[name])
        order = self.orders.get(name)
        if node.type == "Scale":
            scale = self._array(to_last(node["scale"], order), f"node {name!r} (Scale): scale")
            return BuiltModule(layers.Scale(shape, self.param_dtype), {"params": {"scale": scale}})
        if node.type == "Delay":
            each = to_last(self.steps[name], order).ravel()
            same = (each == each[0]).all()
            steps = int(each[0]) if same else tuple(int(n) for n in each)
            return BuiltModule(layers.Delay(steps, self.options.dt, axes), {})
        assert node.type == "Threshold"
        where = f"node {name!r} (Threshold)"
        theta = self._array(to_last(node["threshold"], order), f"{where}: threshold")
        surrogate = self.options.surrogate or surrogate_of(node.metadata.get("surrogate"), where)
        threshold = layers.Threshold(shape, param_dtype=self.param_dtype)
        if surrogate is not None:
            check_surrogate(surrogate, node["threshold"], where)
            threshold = threshold.clone(surrogate=surrogate)
        return BuiltModule(threshold, {"neuron": {"threshold": theta}})

    def cell(self, node_group: NodeGroup) -> BuiltModule:
        """Returns the cell of a group of nodes."""
        node, order = self.wiring.nodes[node_group.name], self.orders.get(node_group.name)
        threshold = (
            None if node_group.threshold is None else self.wiring.nodes[node_group.threshold]
        )
        made = population(
            self._without_emit(node, node_group),
            node_group.name,
            self.options,
            threshold=threshold,
            late_current=node_group.late_current,
            order=order,
            param_dtype=self.param_dtype,
        )
        params = {} if node_group.weight is None else self._dense(node_group.weight)
        arguments: dict[str, Any] = {
            "dynamics": made.dynamics,
            "individual": tuple(made.individual),
            "param_dtype": self.param_dtype,
        }
        if node_group.recurrent is not None:
            back = self.wiring.nodes[node_group.recurrent]
            where = f"node {node_group.recurrent!r} ({back.type})"
            params["recurrent_kernel"] = self._array(back["weight"].T, f"{where}: weight")
            if back.type == "Affine" and np.any(back["bias"]):
                zeros = np.zeros_like(back["bias"])
                front = self.wiring.nodes[str(node_group.weight)].fields.get("bias", zeros)
                # Each in the dtype of the network before the sum: whole numbers would wrap around.
                summed = self._array(front, f"{where}: bias") + self._array(
                    back["bias"], f"{where}: bias"
                )
                params["bias"] = self._array(np.asarray(summed), f"{where}: bias")
        if node_group.weight is not None:
            arguments |= {"features": params["kernel"].shape[1], "use_bias": "bias" in params}
        else:
            arguments["feature_axes"] = made.features
        kind = LIFCell if made.dynamics.spikes else LeakyIntegratorReadout
        module = (RecurrentLIFCell if node_group.recurrent is not None else kind)(**arguments)
        individual = {
            k: self._array(v, f"node {node_group.name!r}: {k}") for k, v in made.individual.items()
        }
        return BuiltModule(
            module, {k: v for k, v in (("params", params), ("neuron", individual)) if v}
        )

    def _without_emit(self, node: Node, node_group: NodeGroup) -> Node:
        """Returns a node whose metadata say that spikes are late only if it has a Delay."""
        metadata = {k: v for k, v in node.metadata.items() if k not in ("emit", "recurrent_lag")}
        if node_group.late_spikes:
            metadata |= {"emit": "old"} | (
                {"recurrent_lag": True} if node_group.late_feedback else {}
            )
        if self.options.producer.threshold_lag and node_group.threshold is not None:
            metadata["emit"] = "old"
        return dataclasses.replace(node, metadata=metadata)

    def _dense(self, name: str) -> dict[str, Any]:
        """Returns the kernel and the bias of an Affine or Linear."""
        node = self.wiring.nodes[name]
        where = f"node {name!r} ({node.type})"
        weight = node["weight"]
        order = self.orders.get(self.wiring.sources[name][0])
        params = {
            "kernel": self._array(
                (weight if order is None else weight[:, order]).T, f"{where}: weight"
            )
        }
        if node.type == "Affine":
            params["bias"] = self._array(node["bias"], f"{where}: bias")
        return params

    def _conv(self, name: str, node: Node) -> BuiltModule:
        where, padding = f"node {name!r} ({node.type})", node["padding"]
        weight = np.moveaxis(node["weight"], (0, 1), (-1, -2))
        use_bias = bool(node.metadata.get("use_bias", True)) or bool(np.any(node["bias"]))
        module = nn.Conv(
            weight.shape[-1],
            weight.shape[:-2],
            strides=node["stride"],
            padding=padding.upper() if isinstance(padding, str) else [(p, p) for p in padding],
            kernel_dilation=node["dilation"],
            feature_group_count=node["groups"],
            use_bias=use_bias,
            param_dtype=self.param_dtype,
        )
        params = {"kernel": self._array(weight, f"{where}: weight")}
        if use_bias:
            params["bias"] = self._array(node["bias"], f"{where}: bias")
        return BuiltModule(module, {"params": params})

    def _flatten(self, name: str, node: Node, axes: int) -> nn.Module:
        if name in self.orders:
            return layers.Flatten(axes)
        start, end = flatten_axes(node, axes)
        return layers.Flatten(axes, channels_first=True, start=start, end=end)

    def _array(self, value: np.ndarray, where: str) -> Any:
        """Returns an array in the dtype of the variables.

        Raises:
          NIRError: a value outside the range of the dtype, or a whole number that it cannot hold.
        """
        array = without_rounding(value, self.param_dtype, where)
        if not np.isfinite(array).all():
            raise fail(
                where,
                f"values within the range of {array.dtype}",
                f"{np.abs(value).max():g}",
                "pass a param_dtype with a wider range",
            )
        return jnp.asarray(array)


def joined(children: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Returns the variables of a module whose children have these variables."""
    found: dict[str, Any] = {}
    for name, variables in children.items():
        for collection, tree in variables.items():
            found.setdefault(collection, {})[name] = tree
    return found


def tree_names(names: list[str]) -> dict[str, str]:
    """Returns names for the variable tree, which may contain neither dots nor slashes."""
    plain = {name: name.replace(".", "_").replace("/", "_") for name in names}
    if len(set(plain.values())) < len(plain) or {"input"} & set(plain.values()):
        return {name: f"{k}_{plain[name]}" for k, name in enumerate(names)}
    return plain
