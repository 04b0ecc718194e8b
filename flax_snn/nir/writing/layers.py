"""Layers without a state, written as nodes."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import numpy as np

from flax_snn.nir import layers
from flax_snn.nir.channel_order import flat_order, to_first
from flax_snn.nir.error import fail
from flax_snn.nir.writing.builder import (
    GraphBuilder,
    Signal,
    check_arithmetic,
    read_variable,
    scaled,
    unsupported,
)
from flax_snn.nir.writing.convolutions import square, ungrouped

Variables = Mapping[str, Any]
Sizes = tuple[int, ...]


def add_layer(
    builder: GraphBuilder,
    module: Any,
    variables: Variables,
    path: str,
    signal: Signal,
    name: str = "",
) -> Signal:
    """Adds the node of a layer, and returns the signal that it sends.

    Args:
      builder: the graph to which the node is added.
      module: the layer.
      variables: variables of the layer, by collection.
      path: path of the layer in the variables of the network.
      signal: what the layer receives.
      name: name of the node; by default that of the node type.

    Raises:
      NIRError: NIR has no node for the layer.
    """
    kind = type(module)
    if kind is nn.Dense:
        check_arithmetic(module, path)
        return add_dense(builder, name or "dense", variables, path, signal)
    if isinstance(module, functools.partial) and module.func is nn.avg_pool:
        return _flax_pool(builder, module, path, signal, name or "pool")
    if kind not in _WRITERS:
        raise unsupported(
            path,
            module,
            "",
            "NIR has no node for it. Networks that can be exported consist of nn.Sequential,"
            " nn.Dense, nn.Conv, nn.RNN or snn.RNN over cells of flax_snn, snn.LIF,"
            " snn.LeakyIntegrator, partials of nn.avg_pool, and the layers of snn.nir",
        )
    return _WRITERS[kind](builder, module, variables, path, signal, name)


def add_dense(
    builder: GraphBuilder,
    name: str,
    variables: Variables,
    path: str,
    signal: Signal,
    factor: np.ndarray | None = None,
) -> Signal:
    """Adds the node of a matrix, and returns the signal that it sends.

    Args:
      builder: the graph to which the node is added.
      name: name of the node.
      variables: ``kernel`` (in, out) and optionally ``bias``, in the collection ``params``.
      path: path of the module in the variables of the network.
      signal: what the node receives.
      factor: factor for each row of the matrix and the bias; ``None`` for 1.

    Raises:
      NIRError: the signal is not flat.
    """
    if len(signal.shape) != 1:
        raise fail(
            path,
            "flat features",
            f"{signal.features}",
            "NIR has matrices for flat inputs only: put snn.nir.Flatten() before it (input_shape is"
            " that of one step, without batch and time)",
        )
    weight = read_variable(variables, "params", "kernel", path).T
    params = variables["params"]
    if signal.order is not None:
        weight = weight[:, np.argsort(signal.order)]
    fields = {"weight": scaled(weight, factor)}
    if "bias" in params:
        fields["bias"] = scaled(np.asarray(params["bias"]), factor)
    if "bias" not in fields and builder.options.target.affine:
        fields["bias"] = np.zeros(len(weight), weight.dtype)
    return builder.add(name, "Affine" if "bias" in fields else "Linear", fields, signal, path)


def add_delay(builder: GraphBuilder, name: str, steps: Any, path: str, signal: Signal) -> Signal:
    """Adds a Delay, given its steps as one number or one per element."""
    delay = np.asarray(steps, np.float64) * builder.options.dt
    fields = {"delay": np.array(np.broadcast_to(delay, signal.shape))}
    return builder.add(name, "Delay", fields, signal, path)


def _delay(
    builder: GraphBuilder, module: layers.Delay, _: Variables, path: str, signal: Signal, name: str
) -> Signal:
    options = builder.options
    if options.target.dt is None and not math.isclose(module.dt, options.dt, rel_tol=1e-9):
        raise fail(f"{path} (Delay)", f"dt={options.dt} s, as the neurons have", f"{module.dt} s")
    steps = np.broadcast_to(np.asarray(module.steps), (math.prod(signal.shape),))
    each = to_first(steps.reshape(signal.features), signal.order)
    return add_delay(builder, name or "delay", each, path, signal)


def _flatten(
    builder: GraphBuilder,
    module: layers.Flatten,
    _: Variables,
    path: str,
    signal: Signal,
    name: str,
) -> Signal:
    if module.feature_axes not in (None, len(signal.shape)):
        raise fail(f"{path} (Flatten)", f"feature_axes={len(signal.shape)}", module.feature_axes)
    behind = not module.channels_first and len(signal.shape) > 1
    fields = {
        "input_type": signal.shape,
        # Counted from the end, so that importers that count the batch axis read it right, too.
        "start_dim": module.start if module.channels_first else -len(signal.shape),
        "end_dim": module.end if module.channels_first else -1,
    }
    more = {"order": "channels last"} if behind else {}
    out = builder.add(name or "flatten", "Flatten", fields, signal, path, **more)
    return dataclasses.replace(out, order=flat_order(signal.shape)) if behind else out


def _pool(
    builder: GraphBuilder,
    module: layers.SumPool,
    _: Variables,
    path: str,
    signal: Signal,
    name: str,
) -> Signal:
    fields = {
        "kernel_size": tuple(module.window),
        "stride": tuple(module.strides or module.window),
        "padding": tuple(module.padding),
    }
    kind = "AvgPool2d" if type(module) is layers.AvgPool else "SumPool2d"
    return builder.add(name or "pool", kind, fields, signal, path)


def _flax_pool(
    builder: GraphBuilder, module: functools.partial[Any], path: str, signal: Signal, name: str
) -> Signal:
    given = dict(module.keywords)
    window = given.pop("window_shape", None)
    strides = given.pop("strides", None)
    if given.pop("padding", "VALID") != "VALID" or given or module.args or window is None:
        raise fail(
            f"{path} (nn.avg_pool)",
            "window_shape and strides by name, with padding='VALID'",
            f"{module.args} {module.keywords}",
            "use snn.nir.AvgPool, which includes the padding in the mean as NIR does",
        )
    pool = layers.AvgPool(tuple(window), tuple(strides or (1,) * len(window)))
    return _pool(builder, pool, {}, path, signal, name)


def _scale(
    builder: GraphBuilder,
    _: layers.Scale,
    variables: Variables,
    path: str,
    signal: Signal,
    name: str,
) -> Signal:
    scale = to_first(read_variable(variables, "params", "scale", path), signal.order)
    return builder.add(name or "scale", "Scale", {"scale": np.array(scale)}, signal, path)


def _threshold(
    builder: GraphBuilder,
    module: layers.Threshold,
    variables: Variables,
    path: str,
    signal: Signal,
    name: str,
) -> Signal:
    theta = read_variable(variables, "neuron", "threshold", path).astype(np.float64)
    fields = {"threshold": np.array(to_first(theta, signal.order))}
    more = {"surrogate": repr(module.surrogate)}
    return builder.add(name or "threshold", "Threshold", fields, signal, path, **more)


def _conv(
    builder: GraphBuilder,
    module: nn.Conv,
    variables: Variables,
    path: str,
    signal: Signal,
    name: str,
) -> Signal:
    check_arithmetic(module, path)
    where = f"{path} (Conv)"
    kernel = np.moveaxis(read_variable(variables, "params", "kernel", path), (-1, -2), (0, 1))
    axes = kernel.ndim - 2
    if axes not in (1, 2) or len(signal.shape) != axes + 1:
        raise fail(where, f"{axes} spatial axes, 1 or 2", f"features {signal.features}")
    if module.mask is not None or np.any(np.asarray(module.input_dilation or 1) != 1):
        raise fail(
            where,
            "no mask and no input dilation",
            "one",
            "NIR has neither: export the layer without",
        )
    strides, dilation = (_per_axis(x, axes) for x in (module.strides, module.kernel_dilation))
    bias = variables["params"].get("bias")
    fields = {
        "input_shape": signal.shape[1:],
        "weight": kernel,
        "stride": strides,
        "padding": _padding(module.padding, signal.shape[1:], kernel, strides, dilation, where),
        "dilation": dilation,
        "groups": module.feature_group_count,
        "bias": np.zeros(kernel.shape[0], kernel.dtype) if bias is None else np.asarray(bias),
    }
    if builder.options.for_nir_read:
        fields = square(ungrouped(fields))
    more = {"use_bias": False} if bias is None else {}
    return builder.add(name or "conv", f"Conv{axes}d", fields, signal, path, **more)


def _per_axis(value: Any, axes: int) -> tuple[int, ...]:
    if value is None:
        return (1,) * axes
    return (int(value),) * axes if isinstance(value, int) else tuple(int(v) for v in value)


def _padding(
    padding: Any,
    size: Sizes,
    kernel: np.ndarray,
    strides: Sizes,
    dilation: Sizes,
    where: str,
) -> Any:
    """Returns the padding of a convolution as NIR has it: "valid", "same" or a size per axis."""
    reach = [d * (k - 1) + 1 for d, k in zip(dilation, kernel.shape[2:], strict=True)]
    if padding == "VALID":
        return "valid"
    if padding == "SAME" and all(s == 1 for s in strides):
        return "same"
    if padding == "SAME":
        each = zip(size, strides, reach, strict=True)
        total = [max((-(-n // s) - 1) * s + w - n, 0) for n, s, w in each]
        sides = [(t // 2, t - t // 2) for t in total]
    elif isinstance(padding, str):
        raise fail(f"{where}: padding", "'SAME', 'VALID' or numbers", repr(padding))
    else:
        given = (padding,) * len(size) if isinstance(padding, int) else padding
        sides = [(p, p) if isinstance(p, int) else tuple(p) for p in given]
    if any(low != high for low, high in sides):
        raise fail(
            f"{where}: padding",
            "the same padding on both sides",
            sides,
            "NIR has no other padding: pass padding=[(p, p), ...] to the layer",
        )
    before = tuple(low for low, _ in sides)
    keeps_size = all(
        s == 1 and 2 * p == w - 1 for s, p, w in zip(strides, before, reach, strict=True)
    )
    # With other paddings, nir.read computes a wrong output of kernels that are not square.
    return "same" if keeps_size and len(set(kernel.shape[2:])) > 1 else before


_WRITERS: dict[type, Any] = {
    nn.Conv: _conv,
    layers.Flatten: _flatten,
    layers.SumPool: _pool,
    layers.AvgPool: _pool,
    layers.Scale: _scale,
    layers.Threshold: _threshold,
    layers.Delay: _delay,
}
