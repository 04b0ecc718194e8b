"""Modules and variables of the nodes and cells of a graph."""

from __future__ import annotations

import dataclasses
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
import numpy as np

from flax_snn.cells import LeakyIntegratorReadout, LIFCell, RecurrentLIFCell
from flax_snn.nir import layers
from flax_snn.nir.error import fail
from flax_snn.nir.ir import Node
from flax_snn.nir.layout import last, to_last
from flax_snn.nir.metadata import surrogate_of
from flax_snn.nir.neuron import Stepping, population
from flax_snn.nir.shapes import flatten_axes
from flax_snn.nir.units import Unit
from flax_snn.nir.wiring import Wiring

Variables = dict[str, Any]


@dataclasses.dataclass(frozen=True, eq=False)
class Part:
    """A module with its variables, by collection."""

    module: nn.Module
    variables: Variables


@dataclasses.dataclass(frozen=True, eq=False)
class Builder:
    """Makes parts of a wiring.

    Attributes:
      wiring: the graph.
      stepping: how it is stepped.
      steps: steps of each Delay.
      orders: nodes whose flat values are in the order of Flax.
      param_dtype: dtype of the variables.
    """

    wiring: Wiring
    stepping: Stepping
    steps: dict[str, np.ndarray]
    orders: dict[str, np.ndarray]
    param_dtype: Any

    def layer(self, name: str) -> Part:
        """Return the module of a node that is no part of a cell, over sequences or one step."""
        node = self.wiring.nodes[name]
        if node.type in ("Affine", "Linear"):
            params = self._dense(name)
            module: nn.Module = nn.Dense(
                node["weight"].shape[0], use_bias="bias" in params, param_dtype=self.param_dtype
            )
            return Part(module, {"params": params})
        if node.type in ("Conv1d", "Conv2d"):
            return self._conv(name, node)
        axes = len(self.wiring.in_shape(name))
        if node.type == "Flatten":
            return Part(self._flatten(name, node, axes), {})
        if node.type in ("SumPool2d", "AvgPool2d"):
            kind = layers.SumPool if node.type == "SumPool2d" else layers.AvgPool
            return Part(kind(node["kernel_size"], node["stride"], node["padding"]), {})
        shape = last(self.wiring.shapes[name])
        order = self.orders.get(name)
        if node.type == "Scale":
            scale = self._array(to_last(node["scale"], order), f"node {name!r} (Scale): scale")
            return Part(layers.Scale(shape, self.param_dtype), {"params": {"scale": scale}})
        if node.type == "Delay":
            each = to_last(self.steps[name], order).ravel()
            same = (each == each[0]).all()
            steps = int(each[0]) if same else tuple(int(n) for n in each)
            return Part(layers.Delay(steps, self.stepping.dt, axes), {})
        assert node.type == "Threshold"
        where = f"node {name!r} (Threshold)"
        theta = self._array(to_last(node["threshold"], order), f"{where}: threshold")
        surrogate = self.stepping.surrogate or surrogate_of(node.metadata.get("surrogate"), where)
        threshold = layers.Threshold(shape, param_dtype=self.param_dtype)
        if surrogate is not None:
            threshold = threshold.clone(surrogate=surrogate)
        return Part(threshold, {"neuron": {"threshold": theta}})

    def cell(self, unit: Unit) -> Part:
        """Return the cell of a unit."""
        node, order = self.wiring.nodes[unit.name], self.orders.get(unit.name)
        threshold = None if unit.threshold is None else self.wiring.nodes[unit.threshold]
        made = population(
            self._without_emit(node, unit),
            unit.name,
            self.stepping,
            threshold=threshold,
            old=unit.old,
            order=order,
            param_dtype=self.param_dtype,
        )
        params = {} if unit.weight is None else self._dense(unit.weight)
        arguments: dict[str, Any] = {
            "dynamics": made.dynamics,
            "individual": tuple(made.individual),
            "param_dtype": self.param_dtype,
        }
        if unit.recurrent is not None:
            back = self.wiring.nodes[unit.recurrent]
            where = f"node {unit.recurrent!r} ({back.type})"
            params["recurrent_kernel"] = self._array(back["weight"].T, f"{where}: weight")
            if back.type == "Affine" and np.any(back["bias"]):
                zeros = np.zeros_like(back["bias"])
                front = self.wiring.nodes[str(unit.weight)].fields.get("bias", zeros)
                params["bias"] = self._array(front + back["bias"], f"{where}: bias")
        if unit.weight is not None:
            arguments |= {"features": params["kernel"].shape[1], "use_bias": "bias" in params}
        else:
            arguments["feature_axes"] = made.features
        kind = LIFCell if made.dynamics.spikes else LeakyIntegratorReadout
        module = (RecurrentLIFCell if unit.recurrent is not None else kind)(**arguments)
        own = {k: self._array(v, f"node {unit.name!r}: {k}") for k, v in made.individual.items()}
        return Part(module, {k: v for k, v in (("params", params), ("neuron", own)) if v})

    def _without_emit(self, node: Node, unit: Unit) -> Node:
        """Return the node as its cell has it: late spikes need the Delay that stands for them."""
        metadata = {k: v for k, v in node.metadata.items() if k not in ("emit", "recurrent_lag")}
        if unit.emit_old:
            metadata |= {"emit": "old"} | ({"recurrent_lag": True} if unit.lag else {})
        if self.stepping.producer.threshold_lag and unit.threshold is not None:
            metadata["emit"] = "old"
        return dataclasses.replace(node, metadata=metadata)

    def _dense(self, name: str) -> dict[str, Any]:
        """Return kernel and bias of a matrix."""
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

    def _conv(self, name: str, node: Node) -> Part:
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
        return Part(module, {"params": params})

    def _flatten(self, name: str, node: Node, axes: int) -> nn.Module:
        if name in self.orders:
            return layers.Flatten(axes)
        start, end = flatten_axes(node, axes)
        return layers.Flatten(axes, channels_first=True, start=start, end=end)

    def _array(self, value: np.ndarray, where: str) -> Any:
        """Return values in the dtype of the variables.

        Raises:
          NIRError: they do not fit into it.
        """
        with np.errstate(over="ignore"):
            array = np.asarray(value).astype(self.param_dtype)
        if not np.isfinite(array).all():
            raise fail(
                where,
                f"values within the range of {array.dtype}",
                f"{np.abs(value).max():g}",
                "pass a wider param_dtype",
            )
        return jnp.asarray(array)


def joined(children: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Return the variables of children, collection by collection."""
    found: dict[str, Any] = {}
    for name, variables in children.items():
        for collection, tree in variables.items():
            found.setdefault(collection, {})[name] = tree
    return found


def tree_names(names: list[str]) -> dict[str, str]:
    """Return names for the variable tree: dots stand for nesting in NIR, not here."""
    plain = {name: name.replace(".", "_").replace("/", "_") for name in names}
    if len(set(plain.values())) < len(plain) or {"input"} & set(plain.values()):
        return {name: f"{k}_{plain[name]}" for k, name in enumerate(names)}
    return plain
