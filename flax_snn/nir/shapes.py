"""Shapes along the edges, channels first.

They are computed here: nir's own inference takes the height of a kernel for its width as well, and
ignores groups.
"""

from __future__ import annotations

import math

import numpy as np

from flax_snn.nir.error import fail
from flax_snn.nir.ir import Node, Shape

_OWN = {
    "Scale": "scale",
    "Delay": "delay",
    "Threshold": "threshold",
    "I": "r",
    "IF": "r",
    "LI": "r",
    "LIF": "r",
    "CubaLI": "r",
    "CubaLIF": "r",
}


_BATCH = "shapes hold neither batch nor time; Rockpool writes them: producer='rockpool-3.1.0'"


def own_shape(node: Node) -> Shape | None:
    """Return the output shape that a node has whatever feeds it; ``None`` if it depends on that."""
    if node.type in ("Input", "Output"):
        return node["shape"]
    if node.type in _OWN:
        return np.shape(node[_OWN[node.type]])
    if node.type in ("Affine", "Linear"):
        return (node["weight"].shape[0],)
    return None


def output_shape(node: Node, name: str, source: str, shape: Shape) -> Shape:
    """Return the output shape of a node for what one of its sources sends.

    Args:
      node: the node.
      name: its name, for errors.
      source: name of the source.
      shape: shape of what comes from there.

    Raises:
      NIRError: it does not fit.
    """
    where, came = f"node {name!r} ({node.type})", f"shape {shape} from {source!r}"
    own = own_shape(node)
    if node.type in ("Affine", "Linear"):
        if len(shape) != 1:
            remedy = "put a Flatten with start_dim=0 before it"
            batch = shape[-1] == node["weight"].shape[1]
            raise fail(where, "a flat input", came, _BATCH if batch else remedy)
        if shape[0] != node["weight"].shape[1]:
            raise fail(where, f"{node['weight'].shape[1]} inputs, the columns of its weight", came)
        assert own is not None
        return own
    if own is not None:
        if own != shape:
            raise fail(where, f"shape {own}", came, _hint(node, own, shape))
        return own
    if node.type == "Flatten":
        return _flattened(node, where, shape, came)
    if node.type in ("Conv1d", "Conv2d"):
        return _convolved(node, where, shape, came)
    return _pooled(node, where, shape, came)


def _hint(node: Node, own: Shape, shape: Shape) -> str:
    if node.type in ("Input", "Output") and own[len(own) - len(shape) :] == shape:
        return _BATCH
    if math.prod(own) == math.prod(shape):
        return "put a Flatten between them"
    return "the population and its input do not belong together"


def _flattened(node: Node, where: str, shape: Shape, came: str) -> Shape:
    if node["input_type"] is not None and node["input_type"] != shape:
        raise fail(where, f"its input_type {node['input_type']}", came)
    start, end = flatten_axes(node, len(shape))
    if not 0 <= start <= end < len(shape):
        raise fail(
            where,
            f"start_dim and end_dim within the {len(shape)} axes of {shape}",
            (node["start_dim"], node["end_dim"]),
            "axes count without the batch: full flattening is start_dim=0, end_dim=-1",
        )
    return (*shape[:start], math.prod(shape[start : end + 1]), *shape[end + 1 :])


def flatten_axes(node: Node, ndim: int) -> tuple[int, int]:
    """Return first and last axis that a Flatten joins, counted from the front."""
    start, end = node["start_dim"], node["end_dim"]
    return start + ndim * (start < 0), end + ndim * (end < 0)


def _convolved(node: Node, where: str, shape: Shape, came: str) -> Shape:
    weight, axes = node["weight"], int(node.type[4])
    channels = weight.shape[1] * node["groups"]
    if len(shape) != axes + 1 or shape[0] != channels:
        raise fail(where, f"{axes} spatial axes behind {channels} channels", came)
    if node["input_shape"] is not None and node["input_shape"] != shape[1:]:
        raise fail(where, f"its input_shape {node['input_shape']}", came)
    if node["padding"] == "same":
        return (weight.shape[0], *shape[1:])
    padding = (0,) * axes if node["padding"] == "valid" else node["padding"]
    reach = [d * (k - 1) + 1 for d, k in zip(node["dilation"], weight.shape[2:], strict=True)]
    return _windows(weight.shape[0], where, shape[1:], reach, node["stride"], padding)


def _pooled(node: Node, where: str, shape: Shape, came: str) -> Shape:
    if len(shape) != 3:
        raise fail(where, "an input (channels, height, width)", came)
    return _windows(
        shape[0], where, shape[1:], node["kernel_size"], node["stride"], node["padding"]
    )


def _windows(
    channels: int,
    where: str,
    size: Shape,
    window: Shape | list[int],
    stride: Shape,
    padding: Shape,
) -> Shape:
    out = tuple(
        (n + 2 * p - w) // s + 1 for n, w, s, p in zip(size, window, stride, padding, strict=True)
    )
    if min(out) < 1:
        raise fail(where, f"an input of at least {tuple(window)} after padding", f"{size}")
    return (channels, *out)
