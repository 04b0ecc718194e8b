"""Shapes of what the nodes of a graph send, channels first.

They are computed here because the inference of the library ``nir`` takes the height of a kernel
for its width, and ignores groups.
"""

from __future__ import annotations

import math

import numpy as np

from flax_snn.nir.error import fail
from flax_snn.nir.graph import Node, Shape

_SHAPE_FIELDS = {
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


_BATCH = (
    "shapes hold neither batch nor time; for files of Rockpool, which writes both, pass"
    " producer='rockpool-3.1.0'"
)


def fixed_shape(node: Node) -> Shape | None:
    """Returns the output shape of a node whose parameters determine it, else None."""
    if node.type in ("Input", "Output"):
        return node["shape"]
    if node.type in _SHAPE_FIELDS:
        return np.shape(node[_SHAPE_FIELDS[node.type]])
    if node.type in ("Affine", "Linear"):
        return (node["weight"].shape[0],)
    return None


def output_shape(node: Node, name: str, source: str, shape: Shape) -> Shape:
    """Returns the output shape of a node, given the shape that one of its sources sends.

    Args:
      node: the node.
      name: name of the node, for error messages.
      source: name of the source.
      shape: shape of what the source sends.

    Raises:
      NIRError: the node cannot receive this shape.
    """
    where, received = f"node {name!r} ({node.type})", f"shape {shape} from {source!r}"
    fixed = fixed_shape(node)
    if node.type in ("Affine", "Linear"):
        if len(shape) != 1:
            remedy = "put a Flatten with start_dim=0 before it"
            batch = shape[-1] == node["weight"].shape[1]
            raise fail(where, "a flat input", received, _BATCH if batch else remedy)
        if shape[0] != node["weight"].shape[1]:
            raise fail(
                where, f"{node['weight'].shape[1]} inputs, the columns of its weight", received
            )
        assert fixed is not None
        return fixed
    if fixed is not None:
        if fixed != shape:
            raise fail(where, f"shape {fixed}", received, _hint(node, fixed, shape))
        return fixed
    if node.type == "Flatten":
        return _flattened(node, where, shape, received)
    if node.type in ("Conv1d", "Conv2d"):
        return _convolved(node, where, shape, received)
    return _pooled(node, where, shape, received)


def _hint(node: Node, fixed: Shape, shape: Shape) -> str:
    if node.type in ("Input", "Output") and fixed[len(fixed) - len(shape) :] == shape:
        return _BATCH
    if math.prod(fixed) == math.prod(shape):
        return "put a Flatten between the two nodes"
    return "the population has another size than its input: check the edges"


def _flattened(node: Node, where: str, shape: Shape, received: str) -> Shape:
    if node["input_type"] is not None and node["input_type"] != shape:
        raise fail(where, f"its input_type {node['input_type']}", received)
    start, end = flatten_axes(node, len(shape))
    if not 0 <= start <= end < len(shape):
        raise fail(
            where,
            f"start_dim and end_dim within the {len(shape)} axes of {shape}",
            (node["start_dim"], node["end_dim"]),
            "axes are counted without the batch: to flatten all, write start_dim=0, end_dim=-1",
        )
    return (*shape[:start], math.prod(shape[start : end + 1]), *shape[end + 1 :])


def flatten_axes(node: Node, ndim: int) -> tuple[int, int]:
    """Returns the first and the last axis that a Flatten joins, counted from the front."""
    start, end = node["start_dim"], node["end_dim"]
    return start + ndim * (start < 0), end + ndim * (end < 0)


def _convolved(node: Node, where: str, shape: Shape, received: str) -> Shape:
    weight, axes = node["weight"], int(node.type[4])
    channels = weight.shape[1] * node["groups"]
    if len(shape) != axes + 1 or shape[0] != channels:
        raise fail(where, f"{axes} spatial axes after {channels} channels", received)
    if node["input_shape"] is not None and node["input_shape"] != shape[1:]:
        raise fail(where, f"its input_shape {node['input_shape']}", received)
    if node["padding"] == "same":
        return (weight.shape[0], *shape[1:])
    padding = (0,) * axes if node["padding"] == "valid" else node["padding"]
    reach = [d * (k - 1) + 1 for d, k in zip(node["dilation"], weight.shape[2:], strict=True)]
    return _windows(weight.shape[0], where, shape[1:], reach, node["stride"], padding)


def _pooled(node: Node, where: str, shape: Shape, received: str) -> Shape:
    if len(shape) != 3:
        raise fail(where, "an input (channels, height, width)", received)
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
