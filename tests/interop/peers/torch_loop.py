"""What the workers on Torch share: layers from numpy weights, the loop over time, node names."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import nir
import numpy as np
import torch
from serve import Arrays

# By name, since old releases of nir lack some.
SPIKING = {"IF", "LIF", "CubaLIF"}
MEMBRANES = SPIKING | {"I", "LI", "CubaLI"}


def linear(
    weight: np.ndarray, bias: np.ndarray | None = None, kind: type = torch.nn.Linear
) -> torch.nn.Module:
    layer = kind(weight.shape[1], weight.shape[0], bias=bias is not None)
    return _filled(layer, weight, bias)


def conv2d(
    weight: np.ndarray, bias: np.ndarray, kind: type = torch.nn.Conv2d, **options: Any
) -> torch.nn.Module:
    layer = kind(weight.shape[1], weight.shape[0], weight.shape[2:], **options)
    return _filled(layer, weight, bias)


def _filled(layer: torch.nn.Module, weight: np.ndarray, bias: np.ndarray | None) -> torch.nn.Module:
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(weight))
        if bias is not None:
            layer.bias.copy_(torch.from_numpy(bias))
    return layer


def loop(step: Callable[[torch.Tensor], torch.Tensor], x: np.ndarray) -> np.ndarray:
    """Call ``step`` at each time; return its outputs, (T, B, ...)."""
    with torch.no_grad():
        return np.stack([step(now).numpy() for now in torch.from_numpy(x).float()])


class Recorder:
    """Keeps what ``look`` sees in a module, each time that the module has been called."""

    def __init__(
        self, modules: Iterable[torch.nn.Module], look: Callable[[torch.nn.Module, Any], Any]
    ) -> None:
        self._seen: list[list[np.ndarray]] = []
        for module in modules:
            seen: list[np.ndarray] = []
            self._seen.append(seen)
            module.register_forward_hook(
                lambda module, _, output, seen=seen: seen.append(
                    look(module, output).detach().clone().numpy()
                )
            )

    def traces(self) -> list[np.ndarray]:
        """Return a trace (T, B, ...) for each module, in order; empty if it was never called."""
        return [np.stack(seen) if seen else np.empty(0) for seen in self._seen]


def sanitized(name: str) -> str:
    """The name that nirtorch gives to a node in a module."""
    return name.replace(".", "_")


def _paths(graph: nir.NIRGraph, name: str = "", path: str = "") -> dict[str, str]:
    """Return the name of each node with a membrane and where nirtorch puts its module."""
    found: dict[str, str] = {}
    for key, node in graph.nodes.items():
        if isinstance(node, nir.NIRGraph):
            found |= _paths(node, f"{name}{key}.", f"{path}{sanitized(key)}.")
        elif type(node).__name__ in MEMBRANES:
            found[name + key] = path + sanitized(key)
    return found


def neurons(graph: nir.NIRGraph, prefix: str = "") -> dict[str, nir.NIRNode]:
    """Return the nodes that have a membrane, by name; a nested name is joined by a dot."""
    found: dict[str, nir.NIRNode] = {}
    for name, node in graph.nodes.items():
        if isinstance(node, nir.NIRGraph):
            found |= neurons(node, f"{prefix}{name}.")
        elif type(node).__name__ in MEMBRANES:
            found[prefix + name] = node
    return found


def modules_of(graph: nir.NIRGraph, model: torch.nn.Module) -> dict[str, torch.nn.Module]:
    """Return the modules that an importer by nirtorch made of the nodes with a membrane.

    Names are those of the file. An importer may nest nodes: ``1.lif`` is found at ``1.1_lif``.
    """
    modules = {
        name: module
        for name, module in model.named_modules()
        if not isinstance(module, torch.fx.GraphModule | torch.nn.ModuleDict)
    }
    last = {name.rsplit(".", 1)[-1]: name for name in modules}
    found = {}
    for name, path in _paths(graph).items():
        path = path if path in modules else last.get(path.rsplit(".", 1)[-1], "")
        if path:
            found[name] = modules[path]
    return found


def named(graph: nir.NIRGraph, outputs: Arrays, membranes: Arrays) -> Arrays:
    """Return ``spikes_NODE`` of spiking nodes and ``v_NODE``, without empty traces."""
    nodes = neurons(graph)
    spikes = {
        f"spikes_{name}": trace
        for name, trace in outputs.items()
        if type(nodes[name]).__name__ in SPIKING
    }
    traces = spikes | {f"v_{name}": trace for name, trace in membranes.items()}
    return {name: trace for name, trace in traces.items() if trace.size}
