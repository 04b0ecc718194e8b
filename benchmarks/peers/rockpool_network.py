"""Rockpool: ``LinearTorch`` and neurons in ``Sequential``, evolved without recording.

The neuron is ``LIFNeuronTorch``, its LIF without a synapse: u <- decay u + input, of gain 1; it
spikes floor(u) times if u >= 1, here held to once, and the threshold is subtracted in the same
step, with a gradient through the reset. ``"synapse"``, a decay, takes ``LIFTorch`` instead, whose
synaptic current decays before it is added, with decays as parameters, not time constants, which
it would convert at each step. Its surrogate has no slope: 1 where u >= 1/2. The readout is
``ExpSynTorch``: u <- decay (u + input).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch  # type: ignore[import-not-found]
from rockpool.nn.combinators import Sequential  # type: ignore[import-not-found]
from rockpool.nn.modules import (  # type: ignore[import-not-found]
    ExpSynTorch,
    LIFNeuronTorch,
    LIFTorch,
    LinearTorch,
)
from serve import Network, serve  # type: ignore[import-not-found]
from torch_network import network, tensors  # type: ignore[import-not-found]


def build(settings: dict[str, Any], arrays: dict[str, np.ndarray]) -> Network:
    kernels, x, labels = tensors(settings, arrays)
    x = x.transpose(0, 1).contiguous()  # it wants the batch first
    decay = torch.tensor(settings["decay"])
    tau, once = -1e-3 / torch.log(decay), torch.tensor(1.0)  # dt is 1 ms

    def neuron(width: int) -> Any:
        if "synapse" not in settings:
            return LIFNeuronTorch(width, tau_mem=tau, threshold=once, max_spikes_per_dt=once)
        decays = {"alpha": decay, "beta": torch.tensor(settings["synapse"])}
        return LIFTorch(width, "decays", **decays, threshold=once, max_spikes_per_dt=once)

    layers: list[Any] = []
    for kernel in kernels[:-1]:
        layers += [LinearTorch(tuple(kernel.shape), weight=kernel), neuron(kernel.shape[1])]
    last = kernels[-1]
    layers += [LinearTorch(tuple(last.shape), weight=last), ExpSynTorch(last.shape[1], tau=tau)]
    net = Sequential(*layers)
    for parameter in torch.nn.Module.parameters(net):
        parameter.requires_grad_(False)
    weights = [layer.weight.requires_grad_(True) for layer in layers[::2]]

    def run(count: int) -> torch.Tensor:
        if count == len(kernels):
            net.reset_state()
            return net(x, record=False)[0]
        z = x
        for layer in layers[: 2 * count]:
            z = layer.reset_state()(z)[0]
        return z

    return network(run, weights, labels, time_axis=1)


if __name__ == "__main__":
    serve(build, "rockpool", "torch", "numpy")
