"""What the workers on Torch share: layers from numpy weights, the loop over time, node names."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import nir
import numpy as np
import torch
from serve import Arrays

# The networks are small.
torch.set_num_threads(1)

# Types of nodes, by name.
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


def _neurons(graph: nir.NIRGraph, name: str = "", path: str = "") -> dict[str, tuple[str, str]]:
    """Return the type of each node with a membrane and the path of its module.

    A nested node is named after its graph, a dot, and its own name.
    """
    found: dict[str, tuple[str, str]] = {}
    for key, node in graph.nodes.items():
        kind, module = type(node).__name__, path + sanitized(key)
        if isinstance(node, nir.NIRGraph):
            found |= _neurons(node, f"{name}{key}.", f"{module}.")
        elif kind in MEMBRANES:
            found[name + key] = kind, module
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
    for name, (_, path) in _neurons(graph).items():
        path = path if path in modules else last.get(path.rsplit(".", 1)[-1], "")
        if path:
            found[name] = modules[path]
    return found


def named(graph: nir.NIRGraph, outputs: Arrays, membranes: Arrays) -> Arrays:
    """Return ``spikes_NODE`` of spiking nodes and ``v_NODE``, without empty traces."""
    nodes = _neurons(graph)
    spikes = {
        f"spikes_{name}": trace for name, trace in outputs.items() if nodes[name][0] in SPIKING
    }
    traces = spikes | {f"v_{name}": trace for name, trace in membranes.items()}
    return {name: trace for name, trace in traces.items() if trace.size}
