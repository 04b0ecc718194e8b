"""SpikingJelly: ``layer.Linear`` and ``LIFNode`` in multi-step mode, each over all steps in turn.

Its multi-step LIF has a backward pass of its own; a CPU always gets its Torch implementation. The
update is u <- u + (input - u) / tau, so an input has gain 1 - decay; a spike is u >= 1, and sets u
to 0 in the same step, without a gradient through the reset. The surrogate is its SoftSign,
alpha / 2 / (1 + alpha |u - 1|)^2. The readout is ``NonSpikingLIFNode``, of the same update.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch  # type: ignore[import-not-found]
from serve import Network, serve  # type: ignore[import-not-found]
from spikingjelly.activation_based import (  # type: ignore[import-not-found]
    functional,
    layer,
    neuron,
    surrogate,
)
from torch_network import linear, network, tensors  # type: ignore[import-not-found]


def build(settings: dict[str, Any], arrays: dict[str, np.ndarray]) -> Network:
    kernels, x, labels = tensors(settings, arrays)
    tau = 1 / (1 - settings["decay"])
    layers: list[Any] = []
    for kernel in kernels[:-1]:
        node = neuron.LIFNode(
            tau=tau,
            decay_input=True,
            v_threshold=1.0,
            v_reset=0.0,
            surrogate_function=surrogate.SoftSign(alpha=settings["slope"]),
            detach_reset=True,
            step_mode="m",
        )
        layers += [linear(kernel, layer.Linear, step_mode="m"), node]
    layers += [linear(kernels[-1], layer.Linear, step_mode="m"), neuron.NonSpikingLIFNode(tau)]
    net = torch.nn.Sequential(*layers)
    parts = [net[: 2 * k] for k in range(len(kernels) + 1)]

    def run(count: int) -> torch.Tensor:
        functional.reset_net(net)
        outputs = parts[count](x)
        return torch.stack(outputs) if isinstance(outputs, list) else outputs

    return network(run, [part.weight for part in net[::2]], labels)


if __name__ == "__main__":
    serve(build, "spikingjelly", "torch", "numpy")
