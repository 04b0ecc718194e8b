"""Layers without a state as nodes."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import numpy as np

from flax_snn.nir import layers
from flax_snn.nir.draft import Draft, Value, cannot, check_arithmetic, scaled, taken
from flax_snn.nir.error import fail
from flax_snn.nir.layout import flat_order, to_first

Variables = Mapping[str, Any]


def add_layer(
    draft: Draft, module: Any, variables: Variables, path: str, value: Value, name: str = ""
) -> Value:
    """Add the node of a layer; return what it sends.

    Args:
      draft: the graph so far.
      module: the layer.
      variables: its variables, by collection.
      path: where it stands in the variables of the network.
      value: what it receives.
      name: name of its node, where one is wanted.

    Raises:
      NIRError: it has no counterpart in NIR.
    """
    kind = type(module)
    if kind is nn.Dense:
        check_arithmetic(module, path)
        return add_dense(draft, name or "dense", variables, path, value)
    if isinstance(module, functools.partial) and module.func is nn.avg_pool:
        return _flax_pool(draft, module, path, value, name or "pool")
    if kind not in _WRITERS:
        raise cannot(
            path,
            module,
            "",
            "NIR has no node for it: build the network of nn.Sequential, nn.Dense, nn.Conv,"
            " nn.RNN or snn.RNN over cells of flax_snn, snn.LIF, snn.LeakyIntegrator, a partial"
            " of nn.avg_pool, and layers of snn.nir",
        )
    return _WRITERS[kind](draft, module, variables, path, value, name)


def add_dense(
    draft: Draft,
    name: str,
    variables: Variables,
    path: str,
    value: Value,
    factor: np.ndarray | None = None,
) -> Value:
    """Add a matrix.

    Args:
      draft: the graph so far.
      name: name of its node.
      variables: ``kernel`` (in, out) and maybe ``bias`` in ``params``.
      path: where its module stands.
      value: what it receives.
      factor: what its rows are scaled by.

    Raises:
      NIRError: the input is not flat.
    """
    if len(value.shape) != 1:
        raise fail(
            path,
            "flat features",
            f"{value.features}",
            "NIR has matrices for flat inputs only: put snn.nir.Flatten() before it (input_shape is"
            " that of one step, without batch and time)",
        )
    weight = taken(variables, "params", "kernel", path).T
    params = variables["params"]
    if value.order is not None:
        weight = weight[:, np.argsort(value.order)]
    fields = {"weight": scaled(weight, factor)}
    if "bias" in params:
        fields["bias"] = scaled(np.asarray(params["bias"]), factor)
    if "bias" not in fields and draft.terms.target.affine:
        fields["bias"] = np.zeros(len(weight), weight.dtype)
    return draft.add(name, "Affine" if "bias" in fields else "Linear", fields, value, path)


def add_delay(draft: Draft, name: str, steps: Any, path: str, value: Value) -> Value:
    """Add a Delay of whole steps, one number or one per element."""
    delay = np.asarray(steps, np.float64) * draft.terms.dt
    fields = {"delay": np.array(np.broadcast_to(delay, value.shape))}
    return draft.add(name, "Delay", fields, value, path)


def _delay(
    draft: Draft, module: layers.Delay, _: Variables, path: str, value: Value, name: str
) -> Value:
    terms = draft.terms
    if terms.target.dt is None and not math.isclose(module.dt, terms.dt, rel_tol=1e-9):
        raise fail(f"{path} (Delay)", f"dt={terms.dt} s, as all else", f"{module.dt} s")
    steps = np.broadcast_to(np.asarray(module.steps), (math.prod(value.shape),))
    each = to_first(steps.reshape(value.features), value.order)
    return add_delay(draft, name or "delay", each, path, value)


def _flatten(
    draft: Draft, module: layers.Flatten, _: Variables, path: str, value: Value, name: str
) -> Value:
    if module.feature_axes not in (None, len(value.shape)):
        raise fail(f"{path} (Flatten)", f"feature_axes={len(value.shape)}", module.feature_axes)
    behind = not module.channels_first and len(value.shape) > 1
    fields = {
        "input_type": value.shape,
        # Counted from the end: importers that count the batch read it right, too.
        "start_dim": module.start if module.channels_first else -len(value.shape),
        "end_dim": module.end if module.channels_first else -1,
    }
    more = {"order": "channels last"} if behind else {}
    out = draft.add(name or "flatten", "Flatten", fields, value, path, **more)
    return dataclasses.replace(out, order=flat_order(value.shape)) if behind else out


def _pool(
    draft: Draft, module: layers.SumPool, _: Variables, path: str, value: Value, name: str
) -> Value:
    fields = {
        "kernel_size": tuple(module.window),
        "stride": tuple(module.strides or module.window),
        "padding": tuple(module.padding),
    }
    kind = "AvgPool2d" if type(module) is layers.AvgPool else "SumPool2d"
    return draft.add(name or "pool", kind, fields, value, path)


def _flax_pool(
    draft: Draft, module: functools.partial[Any], path: str, value: Value, name: str
) -> Value:
    given = dict(module.keywords)
    window = given.pop("window_shape", None)
    strides = given.pop("strides", None)
    if given.pop("padding", "VALID") != "VALID" or given or module.args or window is None:
        raise fail(
            f"{path} (nn.avg_pool)",
            "window_shape and strides by name, with padding='VALID'",
            f"{module.args} {module.keywords}",
            "use snn.nir.AvgPool, whose padding counts",
        )
    pool = layers.AvgPool(tuple(window), tuple(strides or (1,) * len(window)))
    return _pool(draft, pool, {}, path, value, name)


def _scale(
    draft: Draft, _: layers.Scale, variables: Variables, path: str, value: Value, name: str
) -> Value:
    scale = to_first(taken(variables, "params", "scale", path), value.order)
    return draft.add(name or "scale", "Scale", {"scale": np.array(scale)}, value, path)


def _threshold(
    draft: Draft, module: layers.Threshold, variables: Variables, path: str, value: Value, name: str
) -> Value:
    theta = taken(variables, "neuron", "threshold", path).astype(np.float64)
    fields = {"threshold": np.array(to_first(theta, value.order))}
    more = {"surrogate": repr(module.surrogate)}
    return draft.add(name or "threshold", "Threshold", fields, value, path, **more)


def _conv(
    draft: Draft, module: nn.Conv, variables: Variables, path: str, value: Value, name: str
) -> Value:
    check_arithmetic(module, path)
    where = f"{path} (Conv)"
    kernel = np.moveaxis(taken(variables, "params", "kernel", path), (-1, -2), (0, 1))
    axes = kernel.ndim - 2
    if axes not in (1, 2) or len(value.shape) != axes + 1:
        raise fail(where, f"{axes} spatial axes, 1 or 2", f"features {value.features}")
    if module.mask is not None or np.any(np.asarray(module.input_dilation or 1) != 1):
        raise fail(where, "no mask and no input dilation", "one", "NIR has neither")
    strides, dilation = (_each(x, axes) for x in (module.strides, module.kernel_dilation))
    reach = [d * (k - 1) + 1 for d, k in zip(dilation, kernel.shape[2:], strict=True)]
    bias = variables["params"].get("bias")
    fields = {
        "input_shape": value.shape[1:],
        "weight": kernel,
        "stride": strides,
        "padding": _padding(module.padding, value.shape[1:], strides, reach, where),
        "dilation": dilation,
        "groups": module.feature_group_count,
        "bias": np.zeros(kernel.shape[0], kernel.dtype) if bias is None else np.asarray(bias),
    }
    more = {"use_bias": False} if bias is None else {}
    return draft.add(name or "conv", f"Conv{axes}d", fields, value, path, **more)


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
            "NIR has no other: pass padding=[(p, p), ...] to the layer",
        )
    return tuple(low for low, _ in sides)


_WRITERS: dict[type, Any] = {
    nn.Conv: _conv,
    layers.Flatten: _flatten,
    layers.SumPool: _pool,
    layers.AvgPool: _pool,
    layers.Scale: _scale,
    layers.Threshold: _threshold,
    layers.Delay: _delay,
}
