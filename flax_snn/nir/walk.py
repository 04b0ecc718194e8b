"""A Flax network as a graph: its modules from input to output, each as the nodes that it is."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Literal

import flax.linen as nn
import jax
import numpy as np

from flax_snn.cells import LeakyIntegratorReadout, LIFCell, RecurrentLIFCell
from flax_snn.chain import Chain
from flax_snn.neurons import LIF, LeakyIntegrator
from flax_snn.nir import layers
from flax_snn.nir.emit import Emitted, emit
from flax_snn.nir.error import NIRError, fail
from flax_snn.nir.graph import GraphNetwork
from flax_snn.nir.ir import Graph, Node
from flax_snn.nir.layout import flat_order, to_first
from flax_snn.nir.loop import Loop
from flax_snn.nir.neuron import Method
from flax_snn.nir.shapes import output_shape
from flax_snn.nir.targets import Target
from flax_snn.rnn import RNN

Recurrence = Literal["flat", "nested"]

CELLS = (LIFCell, RecurrentLIFCell, LeakyIntegratorReadout)


@dataclasses.dataclass(frozen=True, eq=False)
class Value:
    """What flows along an edge.

    Attributes:
      sources: nodes that send it; several are summed.
      shape: its shape, channels first.
      order: order of a flat value that is not that of NIR.
    """

    sources: tuple[str, ...]
    shape: tuple[int, ...]
    order: np.ndarray | None = None

    @property
    def features(self) -> tuple[int, ...]:
        """Shape with the channels last, as Flax has it."""
        return (*self.shape[1:], *self.shape[:1])


@dataclasses.dataclass(eq=False)
class Walker:
    """Collects nodes and edges of a network.

    Attributes:
      dt: step in seconds for which time constants are written.
      method: method for which they are written.
      recurrence: form of recurrent populations.
      allow: what may be left to metadata.
      target: the framework that is to read the graph.
      nodes: nodes so far.
      edges: edges so far.
    """

    dt: float
    method: Method
    recurrence: Recurrence
    allow: Collection[str]
    target: Target
    nodes: dict[str, Node | Graph] = dataclasses.field(default_factory=dict)
    edges: list[tuple[str, str]] = dataclasses.field(default_factory=list)

    def add(
        self, name: str, kind: str, fields: dict[str, Any], value: Value, path: str, **more: Any
    ) -> Value:
        """Add a node behind a value; return what it sends."""
        node = Node(kind, fields, {"module": path} | more)
        name = self.free(name)
        shape = output_shape(node, name, value.sources[0], value.shape)
        self.nodes[name] = node
        self.edges += [(source, name) for source in value.sources]
        keeps = kind not in ("Affine", "Linear", "Flatten") and len(shape) == 1
        return Value((name,), shape, value.order if keeps else None)

    def free(self, name: str) -> str:
        """Return a name that no node has."""
        count, tried = 0, name
        while tried in self.nodes or tried in ("input", "output"):
            count += 1
            tried = f"{name}_{count}"
        return tried

    def walk(
        self, module: Any, variables: Mapping[str, Any], path: str, value: Value, name: str = ""
    ) -> Value:
        """Add the nodes of a module; return what it sends.

        Args:
          module: a layer over sequences.
          variables: its variables, by collection.
          path: where it stands in the variables of the network.
          value: what it receives.
          name: name of its node, where one is wanted.
        """
        kind = type(module)
        if kind is nn.Sequential:
            return self.row(module.layers, "layers", variables, path, value)
        if kind in (nn.RNN, RNN):
            _check_runner(module, path)
            return self.cell(
                module.cell,
                _below(variables, _name(module.cell, "cell")),
                _join(path, "cell"),
                value,
                name,
            )
        if kind in (LIF, LeakyIntegrator):
            if module.time_major:
                raise _refused(path, module, "time_major=True", "export the network batch-major")
            cell = (LIFCell if kind is LIF else LeakyIntegratorReadout)(
                dynamics=module.dynamics,
                learn=module.learn,
                individual=module.individual,
                feature_axes=len(value.shape),
                param_dtype=module.param_dtype,
                deterministic=module.deterministic,
                **({"surrogate": module.surrogate} if kind is LIF else {}),
            )
            return self.cell(cell, _below(variables, "cell"), _join(path, "cell"), value, name)
        if kind in CELLS or kind is Chain:
            return self.cell(module, variables, path or "cell", value, name)
        if kind is GraphNetwork:
            return self.graph(module, variables, value)
        return self.layer(module, variables, path, value, name)

    def row(
        self, modules: Sequence[Any], word: str, variables: Any, path: str, value: Value
    ) -> Value:
        seen: dict[int, str] = {}
        for k, module in enumerate(modules):
            child = seen.setdefault(id(module), _name(module, f"{word}_{k}"))
            where = _join(path, f"{word}_{k}")
            if word == "cells":
                value = self.cell(module, _below(variables, child), where, value)
            else:
                value = self.walk(module, _below(variables, child), where, value)
        return value

    def cell(self, cell: Any, variables: Any, path: str, value: Value, name: str = "") -> Value:
        if type(cell) is Chain:
            return self.row(cell.cells, "cells", variables, path, value)
        if type(cell) is Loop and len(cell.entries) == len(cell.exits) == 1:
            return next(iter(self.loop("", cell, variables, [value], path).values()))
        if type(cell) not in CELLS:
            known = ", ".join([c.__name__ for c in (*CELLS, Chain)])
            raise _refused(
                path, cell, f"cells {known}", "their subclasses may compute something else"
            )
        _check_dtype(cell, path)
        return self.population(cell, variables, path, value, name)

    def population(self, cell: Any, variables: Any, path: str, value: Value, name: str) -> Value:
        params = variables.get("params", {})
        where = f"{path} ({type(cell).__name__})"
        features = (cell.features,) if cell.features is not None else value.features
        order = None if cell.features is not None else value.order
        emitted = emit(
            cell.dynamics,
            _numbers(cell, variables, features, where),
            features,
            where,
            self.dt,
            self.method,
            self.allow,
        )
        emitted, factor = self.target.fit(emitted, where, self.dt, self.method)
        name = self.free(name or emitted.kind.lower())
        if cell.features is not None:
            value = self.dense(f"{name}_in", params, value, path, factor)
        elif factor is not None:
            self.rescale(value, to_first(factor, order), where)
        if emitted.lag:
            value = self.delay(f"{name}_lag", emitted.lag, value, path)
        if type(cell) is RecurrentLIFCell:
            return self.recurrent(name, cell, params, emitted, value, path, factor)
        return self.neuron(name, emitted, value, path, order)

    def neuron(
        self, name: str, emitted: Emitted, value: Value, path: str, order: Any = None
    ) -> Value:
        """Add a population, with the Threshold and Delay behind it."""
        value = dataclasses.replace(value, order=order)
        fields = {key: np.array(to_first(each, order)) for key, each in emitted.fields.items()}
        metadata = {
            key: _short(to_first(each, order)) if isinstance(each, np.ndarray) else each
            for key, each in emitted.metadata.items()
        }
        value = self.add(name, emitted.kind, fields, value, path, **metadata)
        if emitted.threshold is not None:
            theta = np.array(to_first(emitted.threshold, order))
            value = self.add(f"{name}_threshold", "Threshold", {"threshold": theta}, value, path)
        if emitted.emit_lag:
            value = self.delay(f"{name}_late", emitted.emit_lag, value, path)
        return value

    def recurrent(
        self,
        name: str,
        cell: Any,
        params: Any,
        emitted: Emitted,
        value: Value,
        path: str,
        factor: Any,
    ) -> Value:
        kernel = np.asarray(params["recurrent_kernel"]).T
        kernel = _scaled(kernel, factor)
        inner = Walker(self.dt, self.method, "flat", self.allow, self.target)
        walker = inner if self.recurrence == "nested" else self
        start = Value(("input",), value.shape) if walker is inner else value
        out = walker.neuron(name, emitted, start, path)
        back = walker.add(f"{name}_rec", "Linear", {"weight": kernel}, out, path)
        if emitted.recurrent_lag:
            back = walker.delay(f"{name}_rec_lag", emitted.recurrent_lag, back, path)
        walker.edges.append((back.sources[0], name))
        if walker is self:
            return out
        return self.nest(name, inner, out, value)

    def nest(self, name: str, inner: Walker, out: Value, value: Value) -> Value:
        """Add what another walker collected as a nested graph."""
        ends = {
            "input": Node("Input", {"shape": value.shape}),
            "output": Node("Output", {"shape": out.shape}),
        }
        edges = (*inner.edges, (out.sources[0], "output"))
        self.nodes[name] = Graph({**inner.nodes, **ends}, edges)
        self.edges += [(source, name) for source in value.sources]
        return Value((name,), out.shape)

    def rescale(self, value: Value, factor: np.ndarray, where: str) -> None:
        """Scale the weights in front of a population whose gain is another one in the file."""
        if (factor == 1.0).all():
            return
        name = value.sources[0]
        node = self.nodes.get(name)
        per_channel = factor.reshape(factor.shape[0], -1)
        same = (per_channel == per_channel[:, :1]).all()
        if (
            len(value.sources) != 1
            or not isinstance(node, Node)
            or "weight" not in node.fields
            or not same
        ):
            raise fail(
                where,
                f"weights in front of the neurons, to be scaled for {self.target.name}",
                "none",
                "put a layer with weights before them, or export without a target",
            )
        rows = per_channel[:, 0]
        fields = dict(node.fields)
        fields["weight"] = _scaled(fields["weight"], rows)
        if "bias" in fields:
            fields["bias"] = _scaled(fields["bias"], rows)
        self.nodes[name] = dataclasses.replace(node, fields=fields)

    def dense(self, name: str, params: Any, value: Value, path: str, factor: Any = None) -> Value:
        """Add a matrix."""
        if len(value.shape) != 1:
            raise fail(
                f"{path}",
                "flat features",
                f"{value.features}",
                "NIR has matrices for flat inputs only: put snn.nir.Flatten() before it",
            )
        weight = np.asarray(params["kernel"]).T
        if value.order is not None:
            weight = weight[:, np.argsort(value.order)]
        fields = {"weight": _scaled(weight, factor)}
        if "bias" in params:
            fields["bias"] = _scaled(np.asarray(params["bias"]), factor)
        return self.add(name, "Affine" if "bias" in params else "Linear", fields, value, path)

    def delay(self, name: str, steps: Any, value: Value, path: str) -> Value:
        delay = np.broadcast_to(np.asarray(steps, np.float64) * self.dt, value.shape)
        return self.add(name, "Delay", {"delay": np.array(delay)}, value, path)

    def layer(self, module: Any, variables: Any, path: str, value: Value, name: str) -> Value:
        params, kind = variables.get("params", {}), type(module)
        if kind is nn.Dense:
            _check_dtype(module, path)
            return self.dense(name or "dense", params, value, path)
        if kind is nn.Conv:
            _check_dtype(module, path)
            return self.conv(module, params, value, path, name or "conv")
        if kind is layers.Flatten:
            return self.flatten(module, value, path, name or "flatten")
        if kind in (layers.SumPool, layers.AvgPool):
            word = "SumPool2d" if kind is layers.SumPool else "AvgPool2d"
            return self.pool(word, module.window, module.strides, module.padding, value, path, name)
        if isinstance(module, functools.partial) and module.func is nn.avg_pool:
            return self.flax_pool(module, value, path, name)
        if kind is layers.Scale:
            scale = to_first(np.asarray(params["scale"]), value.order)
            return self.add(name or "scale", "Scale", {"scale": scale}, value, path)
        if kind is layers.Threshold:
            theta = np.asarray(variables["neuron"]["threshold"], np.float64)
            more = {"surrogate": repr(module.surrogate)}
            fields = {"threshold": np.array(to_first(theta, value.order))}
            return self.add(name or "threshold", "Threshold", fields, value, path, **more)
        if kind is layers.Delay:
            return self.late(module, value, path, name)
        raise _refused(
            path,
            module,
            "nn.Sequential, nn.Dense, nn.Conv, nn.RNN or snn.RNN over cells of flax_snn, snn.LIF,"
            " snn.LeakyIntegrator, a partial of nn.avg_pool, or a layer of snn.nir",
            "NIR has no node for it: build the network of these",
        )

    def late(self, module: layers.Delay, value: Value, path: str, name: str) -> Value:
        if not math.isclose(module.dt, self.dt, rel_tol=1e-9) and not self.target.dt:
            raise fail(f"{path} (Delay)", f"dt={self.dt} s, as all else", f"{module.dt} s")
        steps = np.broadcast_to(np.asarray(module.steps), (math.prod(value.shape),))
        return self.delay(
            name or "delay", to_first(steps.reshape(value.features), value.order), value, path
        )

    def flatten(self, module: layers.Flatten, value: Value, path: str, name: str) -> Value:
        if module.feature_axes not in (None, len(value.shape)):
            raise fail(f"{path} (Flatten)", f"feature_axes={len(value.shape)}", module.feature_axes)
        whole = not module.channels_first
        fields = {
            "input_type": value.shape,
            "start_dim": 0 if whole else module.start,
            "end_dim": -1 if whole else module.end,
        }
        more = {"order": "channels last"} if whole and len(value.shape) > 1 else {}
        out = self.add(name, "Flatten", fields, value, path, **more)
        return dataclasses.replace(out, order=flat_order(value.shape)) if more else out

    def pool(
        self, kind: str, window: Any, strides: Any, padding: Any, value: Value, path: str, name: str
    ) -> Value:
        fields = {
            "kernel_size": tuple(window),
            "stride": tuple(strides or window),
            "padding": tuple(padding),
        }
        return self.add(name or "pool", kind, fields, value, path)

    def flax_pool(
        self, module: functools.partial[Any], value: Value, path: str, name: str
    ) -> Value:
        given = dict(module.keywords)
        window = given.pop("window_shape", *module.args[:1])
        strides = given.pop("strides", None) or (1,) * len(window)
        padding = given.pop("padding", "VALID")
        if given or len(module.args) > 1 or padding != "VALID":
            raise fail(
                f"{path} (nn.avg_pool)",
                "window_shape and strides with padding='VALID'",
                f"{module.keywords}",
                "use snn.nir.AvgPool, whose padding counts",
            )
        return self.pool("AvgPool2d", window, strides, (0,) * len(window), value, path, name)

    def conv(self, module: nn.Conv, params: Any, value: Value, path: str, name: str) -> Value:
        where = f"{path} (Conv)"
        kernel = np.moveaxis(np.asarray(params["kernel"]), (-1, -2), (0, 1))
        axes = kernel.ndim - 2
        if axes not in (1, 2) or len(value.shape) != axes + 1:
            raise fail(where, f"{axes} spatial axes, 1 or 2", f"features {value.features}")
        if module.mask is not None or np.any(np.asarray(module.input_dilation or 1) != 1):
            raise fail(where, "no mask and no input dilation", "one", "NIR has neither")
        strides, dilation = (_each(x, axes) for x in (module.strides, module.kernel_dilation))
        reach = [d * (k - 1) + 1 for d, k in zip(dilation, kernel.shape[2:], strict=True)]
        padding = _padding(module.padding, value.shape[1:], strides, reach, where)
        bias = params.get("bias")
        fields = {
            "input_shape": value.shape[1:],
            "weight": kernel,
            "stride": strides,
            "padding": padding,
            "dilation": dilation,
            "groups": module.feature_group_count,
            "bias": np.zeros(kernel.shape[0], kernel.dtype) if bias is None else np.asarray(bias),
        }
        more = {"use_bias": False} if bias is None else {}
        return self.add(name, f"Conv{axes}d", fields, value, path, **more)

    def graph(self, network: GraphNetwork, variables: Any, value: Value) -> Value:
        ends: dict[Any, Value] = {("input", ""): value}
        for name, entries in network.schedule:
            module = network.layers[name]
            below = _below(variables, f"layers_{name}")
            came = [_summed([ends[s] for s in entry]) for entry in entries]
            inner = getattr(module, "cell", None)
            if type(inner) is Loop:
                path = f"layers_{name}/cell"
                ends |= self.loop(name, inner, _below(below, "cell"), came, path)
            else:
                ends[name, ""] = self.walk(module, below, f"layers_{name}", came[0], name)
        return _summed([ends[s] for s in network.output])

    def loop(self, stage: str, loop: Loop, variables: Any, came: list[Value]) -> dict[Any, Value]:
        """Add the nodes of a loop, then the edges between them."""
        entries = dict(zip(loop.entries, came, strict=True))

        def shape(name: str) -> tuple[int, ...]:
            last = loop.shapes[name]
            return (last[-1], *last[:-1])

        nothing = "input"
        for name, before, sources in loop.schedule:
            if before:
                continue
            # Shapes are checked against the first source; the edges follow.
            blank = Value(
                (nothing,),
                entries[sources[0][0]].shape if sources[0][0] in entries else shape(sources[0][0]),
            )
            below = _below(variables, f"layers_{name}")
            module = loop.layers[name]
            if name in loop.cells:
                self.cell(module, below, path, blank, name)
            else:
                self.layer(module, below, path, blank, name)
        for name, steps in loop.delays.items():
            each = to_first(np.asarray(steps).reshape(loop.shapes[name]))
            self.delay(name, each, Value((nothing,), shape(name)), path)
        inside = {*loop.layers, *loop.delays}
        self.edges = [(a, b) for a, b in self.edges if b not in inside]
        operations = [(n, s) for n, before, s in loop.schedule if not before]
        for name, sources in (*operations, *loop.feeds.items()):
            for source, _ in sources:
                value = entries.get(source, Value((source,), ()))
                self.edges += [(each, name) for each in value.sources]
        return {(stage, name): Value((name,), shape(name)) for name in loop.exits}


def _numbers(cell: Any, variables: Any, features: tuple[int, ...], where: str) -> dict[str, Any]:
    """Return the coefficients of a cell, learned and individual ones among them."""
    if cell.dynamics.rule.noisy and not cell.deterministic:
        raise fail(
            where, "neurons without membrane noise", "noise", "switch it off: deterministic=True"
        )
    if not cell.learn:
        numbers = vars(cell.dynamics.coefficients(dtype=cell.param_dtype))
        own = variables.get("neuron", {})
        return numbers | {name: np.asarray(own[name]) for name in cell.individual}
    size = features[-1] * max(cell.dynamics.rule.channels, 1)
    current = jax.ShapeDtypeStruct((1, *features[:-1], size), cell.param_dtype)
    found = vars(cell.apply(variables, current, method="coefficients"))
    return {k: np.asarray(v)[0] if np.ndim(v) else v for k, v in found.items() if v is not None}


def _summed(values: list[Value]) -> Value:
    first = values[0]
    return Value(tuple(s for v in values for s in v.sources), first.shape, first.order)


def _short(values: np.ndarray) -> Any:
    """Return one number where all are the same."""
    return float(values.flat[0]) if (values == values.flat[0]).all() else np.array(values)


def _scaled(weight: np.ndarray, factor: Any) -> np.ndarray:
    if factor is None:
        return weight
    rows = np.asarray(factor, np.float64).reshape((-1,) + (1,) * (weight.ndim - 1))
    return (weight * rows).astype(weight.dtype)


def _below(variables: Mapping[str, Any], name: str) -> dict[str, Any]:
    return {c: tree[name] for c, tree in variables.items() if name in tree}


def _join(path: str, name: str) -> str:
    return f"{path}/{name}" if path else name


def _name(module: Any, default: str) -> str:
    return getattr(module, "name", None) or default


def _each(value: Any, axes: int) -> tuple[int, ...]:
    if value is None:
        return (1,) * axes
    return (int(value),) * axes if isinstance(value, int) else tuple(int(v) for v in value)


def _padding(padding: Any, size: Any, strides: Any, reach: Any, where: str) -> Any:
    """Return the padding of a convolution as NIR has it."""
    if padding == "VALID":
        return "valid"
    if padding == "SAME" and all(s == 1 for s in strides):
        return "same"
    if padding == "SAME":
        total = [
            max((-(-n // s) - 1) * s + w - n, 0)
            for n, s, w in zip(size, strides, reach, strict=True)
        ]
        sides = [(t // 2, t - t // 2) for t in total]
    elif isinstance(padding, str):
        raise fail(f"{where}: padding", "'SAME', 'VALID' or numbers", repr(padding))
    else:
        each = (padding,) * len(size) if isinstance(padding, int) else padding
        sides = [(p, p) if isinstance(p, int) else tuple(p) for p in each]
    if any(low != high for low, high in sides):
        raise fail(
            f"{where}: padding",
            "the same padding on both sides",
            sides,
            "NIR has no other: pass padding=[(p, p), ...] to the layer",
        )
    return tuple(low for low, _ in sides)


def _check_runner(module: Any, path: str) -> None:
    for name in ("time_major", "reverse", "return_carry"):
        if getattr(module, name):
            raise _refused(path, module, f"{name}={getattr(module, name)!r}", "export it without")


def _check_dtype(module: Any, path: str) -> None:
    if module.dtype is not None and np.dtype(module.dtype) != np.dtype(module.param_dtype):
        raise _refused(
            path,
            module,
            f"dtype={np.dtype(module.dtype)}",
            "others compute in the dtype of the weights",
        )
    for name in (
        "dot_general_cls",
        "dot_general",
        "conv_general_dilated",
        "conv_general_dilated_cls",
    ):
        if getattr(module, name, None) is not None:
            raise _refused(path, module, f"{name}", "others multiply as usual: export it without")


def _refused(path: str, module: Any, what: str, remedy: str) -> NIRError:
    kind = getattr(type(module), "__name__", repr(module))
    return (
        NIRError(f"{path or 'network'}: cannot export {kind} with {what}; {remedy}")
        if "=" in what
        else fail(
            path or "network",
            what,
            kind if not callable(module) or isinstance(module, nn.Module) else repr(module),
            remedy,
        )
    )
