"""NIR graphs stepped by a plain float64 loop, node by node, from the definition of the format.

Knows nothing of flax_snn: what a graph means, for tests of what is read and written. Channels
first, time first: ``(T, B, *features)``.
"""

from __future__ import annotations

import math
from typing import Any

import nir
import numpy as np

NEURONS = (nir.I, nir.IF, nir.LI, nir.LIF, nir.CubaLI, nir.CubaLIF)


def run(graph: nir.NIRGraph, x: np.ndarray, dt: float, method: str) -> dict[str, np.ndarray]:
    """Return what every node sends, ``(T, B, ...)``, the output under ``output``; ``margin`` is
    the smallest distance of a membrane from its threshold."""
    nodes, sources = flatten(graph)
    steps = {
        name: np.round(np.asarray(node.delay) / dt).astype(int)
        for name, node in nodes.items()
        if isinstance(node, nir.Delay)
    }
    late = {n for n, s in steps.items() if (s >= 1).all()}
    closing = closing_edges(nodes, sources, {n for n in late if n in ancestors(n, sources)})
    order = topological(nodes, sources, closing, late)
    state: dict[str, Any] = {}
    history: dict[str, list[np.ndarray]] = {name: [] for name in nodes}
    margin = [math.inf]
    # What closing edges carry before the first step: neurons have sent nothing.
    before = first_values(nodes, sources, order, x[0])
    for t in range(len(x)):
        now: dict[str, np.ndarray] = {}
        for name in late:
            now[name] = arrived(history, sources[name], steps[name], t, before[name], now)
        for name in order:
            if name in now:
                continue
            node = nodes[name]
            if isinstance(node, nir.Input):
                now[name] = x[t].astype(np.float64)
                continue
            total: Any = 0.0
            for source in sources[name]:
                if (source, name) in closing:
                    total = total + (history[source][t - 1] if t else before[source])
                else:
                    total = total + now[source]
            if name in steps:
                now[name] = total  # delays of 0 in a loop, or mixed outside of one
                history.setdefault(f"{name} in", []).append(total)
                past = history[f"{name} in"]
                now[name] = per_element(past, steps[name], t)
            elif isinstance(node, NEURONS):
                now[name] = neuron(node, name, total, state, dt, method, margin)
            else:
                now[name] = stateless(node, total)
        for name in nodes:
            history[name].append(now[name])
    out = {name: np.stack(values) for name, values in history.items() if name in nodes}
    (last,) = [name for name, node in nodes.items() if isinstance(node, nir.Output)]
    return {**out, "output": out[last], "margin": np.asarray(margin[0])}


def flatten(graph: nir.NIRGraph, prefix: str = "") -> tuple[dict[str, Any], dict[str, list[str]]]:
    """Nested graphs dissolved; their Inputs and Outputs become Outputs, which pass on a sum."""
    nodes: dict[str, Any] = {}
    sources: dict[str, list[str]] = {}
    ends: dict[str, tuple[str, str]] = {}
    for name, node in graph.nodes.items():
        full = prefix + name
        if isinstance(node, nir.NIRGraph):
            inner, inside = flatten(node, f"{full}.")
            nodes |= inner
            sources |= inside
            (first,) = [n for n, each in node.nodes.items() if isinstance(each, nir.Input)]
            (last,) = [n for n, each in node.nodes.items() if isinstance(each, nir.Output)]
            nodes[f"{full}.{first}"] = Wire()
            nodes[f"{full}.{last}"] = Wire()
            ends[name] = (f"{full}.{first}", f"{full}.{last}")
        else:
            nodes[full] = node
            ends[name] = (full, full)
    for name in nodes:
        sources.setdefault(name, [])
    for a, b in graph.edges:
        sources[ends[b][0]].append(ends[a][1])
    return nodes, sources


class Wire:
    """Sends the sum of what it receives."""


def ancestors(name: str, sources: dict[str, list[str]]) -> set[str]:
    """All nodes from which a node can be reached; itself, if it is in a loop."""
    seen: set[str] = set()
    work = list(sources[name])
    while work:
        source = work.pop()
        if source not in seen:
            seen.add(source)
            work += sources[source]
    return seen


def closing_edges(
    nodes: dict[str, Any], sources: dict[str, list[str]], late: set[str]
) -> set[tuple[str, str]]:
    targets: dict[str, list[str]] = {name: [] for name in nodes}
    for name, each in sources.items():
        for source in each:
            targets[source].append(name)
    found: set[tuple[str, str]] = set()
    done: set[str] = set()

    def visit(name: str, path: tuple[str, ...]) -> None:
        for target in sorted(targets[name]):
            if target in late:
                continue
            if target in (*path, name):
                found.add((name, target))
            elif target not in done:
                visit(target, (*path, name))
        done.add(name)

    roots = [name for name, node in nodes.items() if isinstance(node, nir.Input)]
    for root in (*roots, *sorted(late)):
        if root not in done:
            visit(root, ())
    return found


def topological(
    nodes: dict[str, Any],
    sources: dict[str, list[str]],
    closing: set[tuple[str, str]],
    late: set[str],
) -> list[str]:
    order: list[str] = [name for name in nodes if name in late]
    while len(order) < len(nodes):
        for name in nodes:
            ready = all(s in order for s in sources[name] if (s, name) not in closing)
            if name not in order and ready:
                order.append(name)
                break
        else:
            raise AssertionError("a loop that nothing closes")
    return order


def first_values(
    nodes: dict[str, Any], sources: dict[str, list[str]], order: list[str], x: np.ndarray
) -> dict[str, np.ndarray]:
    """What stateless nodes send when all neurons and inputs are silent."""
    found: dict[str, np.ndarray] = {}
    batch = len(x)
    for _ in range(len(nodes) + 1):
        for name in order:
            node = nodes[name]
            if isinstance(node, nir.Input):
                found[name] = np.zeros(x.shape)
            elif isinstance(node, NEURONS):
                found[name] = np.zeros((batch, *np.shape(node.r)))
            elif isinstance(node, nir.Delay):
                found[name] = np.zeros((batch, *np.shape(node.delay)))
            elif all(source in found for source in sources[name]):
                found[name] = stateless(node, sum(found[s] for s in sources[name]))
    return found


def arrived(
    history: dict[str, list[np.ndarray]],
    sources: list[str],
    steps: np.ndarray,
    t: int,
    zero: np.ndarray,
    now: dict[str, np.ndarray],
) -> np.ndarray:
    out = np.array(zero)
    for index in np.ndindex(steps.shape):
        at = t - steps[index]
        if at >= 0:
            out[(slice(None), *index)] = sum(history[s][at] for s in sources)[(slice(None), *index)]
    return out


def per_element(past: list[np.ndarray], steps: np.ndarray, t: int) -> np.ndarray:
    out = np.zeros_like(past[0])
    for index in np.ndindex(steps.shape):
        if t >= steps[index]:
            out[(slice(None), *index)] = past[t - steps[index]][(slice(None), *index)]
    return out


def neuron(
    node: Any,
    name: str,
    x: np.ndarray,
    state: dict[str, Any],
    dt: float,
    method: str,
    margin: list[float],
) -> np.ndarray:
    def decay(tau: Any) -> np.ndarray:
        tau = np.asarray(tau, np.float64)
        return 1 - dt / tau if method == "euler" else np.exp(-dt / tau)

    r = np.asarray(node.r, np.float64)
    if name not in state:
        start = np.asarray(getattr(node, "v_leak", np.zeros_like(r)), np.float64)
        state[name] = np.broadcast_to(start, x.shape).copy(), np.zeros(x.shape)
    v, i = state[name]
    if isinstance(node, nir.I | nir.IF):
        v = v + dt * r * x
    else:
        cuba = isinstance(node, nir.CubaLI | nir.CubaLIF)
        a = decay(node.tau_mem if cuba else node.tau)
        if cuba:
            b = decay(node.tau_syn)
            i = b * i + (1 - b) * np.asarray(node.w_in, np.float64) * x
        v = a * v + (1 - a) * (node.v_leak + r * (i if cuba else x))
    if isinstance(node, nir.I | nir.LI | nir.CubaLI):
        state[name] = v, i
        return v
    margin[0] = min(margin[0], float(np.abs(v - node.v_threshold).min()))
    z = (v > node.v_threshold).astype(np.float64)
    state[name] = np.where(z > 0, node.v_reset, v), i
    return z


def stateless(node: Any, x: np.ndarray) -> np.ndarray:
    if isinstance(node, nir.Output | Wire):
        return x
    if isinstance(node, nir.Affine | nir.Linear):
        y = x @ np.asarray(node.weight, np.float64).T
        return y + node.bias if isinstance(node, nir.Affine) else y
    if isinstance(node, nir.Scale):
        return x * node.scale
    if isinstance(node, nir.Threshold):
        return (x > node.threshold).astype(np.float64)
    if isinstance(node, nir.Flatten):
        axes = x.ndim - 1
        start, end = (d + axes if d < 0 else d for d in (node.start_dim, node.end_dim))
        shape = x.shape[1:]
        return x.reshape((len(x), *shape[:start], -1, *shape[end + 1 :]))
    if isinstance(node, nir.Conv1d | nir.Conv2d):
        return convolution(node, x)
    assert isinstance(node, nir.SumPool2d | nir.AvgPool2d)
    size, stride, padding = (
        np.broadcast_to(np.asarray(v), (2,)) for v in (node.kernel_size, node.stride, node.padding)
    )
    total = windows(x, size, stride, np.ones(2, int), padding).sum(axis=(-1, -2))
    return total / size.prod() if isinstance(node, nir.AvgPool2d) else total


def convolution(node: Any, x: np.ndarray) -> np.ndarray:
    weight = np.asarray(node.weight, np.float64)
    axes = weight.ndim - 2
    stride, dilation = (
        np.broadcast_to(np.asarray(v), (axes,)) for v in (node.stride, node.dilation)
    )
    reach = dilation * (np.asarray(weight.shape[2:]) - 1)
    if isinstance(node.padding, str):
        total = reach if node.padding == "same" else 0 * reach
        sides = [(int(t) // 2, int(t) - int(t) // 2) for t in total]  # the surplus at the end
    else:
        sides = [(int(p), int(p)) for p in np.broadcast_to(np.asarray(node.padding), (axes,))]
    x = np.pad(x, [(0, 0), (0, 0), *sides])
    parts = []
    for group in range(node.groups):
        ins, outs = weight.shape[1], weight.shape[0] // node.groups
        part = x[:, group * ins : (group + 1) * ins]
        cut = windows(part, np.asarray(weight.shape[2:]), stride, dilation, 0 * stride)
        own = weight[group * outs : (group + 1) * outs]
        letters = "yz"[:axes]
        parts.append(np.einsum(f"bc{'hw'[:axes]}{letters},oc{letters}->bo{'hw'[:axes]}", cut, own))
    bias = np.asarray(node.bias, np.float64).reshape((-1,) + (1,) * axes)
    return np.concatenate(parts, axis=1) + bias


def windows(
    x: np.ndarray, size: np.ndarray, stride: np.ndarray, dilation: np.ndarray, padding: np.ndarray
) -> np.ndarray:
    """Cut ``(B, C, *space)`` into windows ``(B, C, *places, *size)``."""
    x = np.pad(x, [(0, 0), (0, 0), *((int(p), int(p)) for p in padding)])
    reach = dilation * (size - 1) + 1
    places = [(n - r) // s + 1 for n, r, s in zip(x.shape[2:], reach, stride, strict=True)]
    out = np.zeros((*x.shape[:2], *places, *size))
    for place in np.ndindex(*places):
        cut = tuple(
            slice(p * s, p * s + r, d)
            for p, s, r, d in zip(place, stride, reach, dilation, strict=True)
        )
        out[(slice(None), slice(None), *place)] = x[(slice(None), slice(None), *cut)]
    return out
