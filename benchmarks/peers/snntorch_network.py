"""snnTorch: Linear and ``snn.Leaky`` of all layers in each pass of a Python loop, as it documents.

Its neurons that take all steps at once (``StateLeaky``, ``LeakyParallel``) have no reset. The
update is u <- beta u + input - reset, input of gain 1, where reset is the threshold if the u of the
step before was above it, without a gradient; a spike is u > 1. The readout is a ``Leaky`` whose
reset is "none". ``"compiled": true`` takes ``torch.compile`` for a step of all layers.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import snntorch as snn  # type: ignore[import-not-found]
import torch  # type: ignore[import-not-found]
from serve import Network, serve  # type: ignore[import-not-found]
from snntorch import surrogate
from torch_network import linear, network, tensors  # type: ignore[import-not-found]


def build(settings: dict[str, Any], arrays: dict[str, np.ndarray]) -> Network:
    kernels, x, labels = tensors(settings, arrays)
    spike = surrogate.fast_sigmoid(slope=settings["slope"])
    linears = [linear(kernel) for kernel in kernels]
    resets = ["subtract"] * (len(kernels) - 1) + ["none"]
    neurons = [
        snn.Leaky(beta=settings["decay"], spike_grad=spike, reset_mechanism=reset)
        for reset in resets
    ]

    def advance(z: torch.Tensor, states: list[torch.Tensor]) -> tuple[torch.Tensor, Any]:
        new = []
        for layer, neuron, u in zip(linears, neurons, states, strict=False):
            z, u = neuron(layer(z), u)
            new.append(u)
        return z, new

    each = torch.compile(advance) if settings.get("compiled") else advance
    zeros = [torch.zeros(len(labels), kernel.shape[1]) for kernel in kernels]

    def run(count: int) -> torch.Tensor:
        states, outputs, whole = zeros[:count], [], count == len(kernels)
        for now in x:
            z, states = each(now, states) if whole else advance(now, states)
            outputs.append(states[-1] if whole else z)
        return torch.stack(outputs)

    return network(run, [layer.weight for layer in linears], labels)


if __name__ == "__main__":
    serve(build, "snntorch", "torch", "numpy")
