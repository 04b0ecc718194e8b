"""What the workers on Torch share: layers from numpy weights, the loop over time, node names."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
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
        """Return a trace (T, B, ...) for each module, in order."""
        return [np.stack(seen) for seen in self._seen]


def sanitized(name: str) -> str:
    """The name that nirtorch gives to a node in a module."""
    return name.replace(".", "_")


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
    modules = dict(model.named_modules())
    last = {name.rsplit(".", 1)[-1]: module for name, module in modules.items()}
    found = {}
    for name in neurons(graph):
        path = ".".join(sanitized(part) for part in name.split("."))
        for module in (modules.get(sanitized(name)), modules.get(path), last.get(sanitized(name))):
            if module is not None:
                found[name] = module
                break
    return found


def named(graph: nir.NIRGraph, outputs: Arrays, membranes: Arrays) -> Arrays:
    """Return ``spikes_NODE`` and ``v_NODE``; only spiking nodes have the former."""
    nodes = neurons(graph)
    spikes = {
        f"spikes_{name}": trace
        for name, trace in outputs.items()
        if type(nodes[name]).__name__ in SPIKING
    }
    return spikes | {f"v_{name}": trace for name, trace in membranes.items()}


def read(file: Path) -> nir.NIRGraph:
    return nir.read(str(file))


def write(file: Path, graph: nir.NIRGraph) -> None:
    """Write the file; a peer that leaves the shapes of convolutions open needs them inferred."""
    if any(getattr(node, "input_shape", 0) is None for node in graph.nodes.values()):
        graph.infer_types()
    nir.write(str(file), graph)


def inferred(modules: Iterable[torch.nn.Module]) -> dict[str, list[str]]:
    """Say in ``meta`` that ``write`` will infer shapes for these modules."""
    if not any(isinstance(module, torch.nn.Conv2d) for module in modules):
        return {}
    return {"workarounds": ["infer_types() before nir.write, which refuses input_shape=None"]}
