"""Norse: Linear over the whole sequence, then ``Lift(LIFBoxCell)``; at the end ``Lift(LIBoxCell)``.

The box neurons have no synaptic current. The update is u <- u + dt / tau (input - u), so an input
has gain 1 - decay; a spike is u > 1, and resets u to 0 in the same step, with a gradient through
the reset. Its default surrogate "super" ignores its slope in this release: 1 / (1 + |u - 1|)^2.
``"compiled": true`` takes ``torch.compile``, which its release notes recommend, for one step of the
whole network as a ``SequentialState``, the way its tests do.
"""

from __future__ import annotations

from typing import Any

import norse.torch as norse  # type: ignore[import-not-found]
import numpy as np
import torch  # type: ignore[import-not-found]
from serve import Network, serve  # type: ignore[import-not-found]
from torch_network import linear, network, tensors  # type: ignore[import-not-found]


def build(settings: dict[str, Any], arrays: dict[str, np.ndarray]) -> Network:
    kernels, x, labels = tensors(settings, arrays)
    rate = torch.tensor((1 - settings["decay"]) / 1e-3)  # dt is 1 ms
    alpha = torch.tensor(float(settings["slope"]))
    linears = [linear(kernel) for kernel in kernels]
    lif = norse.LIFBoxParameters(tau_mem_inv=rate, alpha=alpha)
    cells = [norse.LIFBoxCell(lif) for _ in kernels[:-1]]
    cells.append(norse.LIBoxCell(norse.LIBoxParameters(tau_mem_inv=rate)))
    kinds = [norse.LIFBoxFeedForwardState] * (len(kernels) - 1) + [norse.LIBoxState]
    # Its own initial states ask for gradients.
    zeros = [
        kind(torch.zeros(len(labels), w.shape[1])) for kind, w in zip(kinds, kernels, strict=True)
    ]
    lifted = [norse.Lift(cell) for cell in cells]

    def run(count: int) -> torch.Tensor:
        z = x
        for k in range(count):
            z, _ = lifted[k]((linears[k](z), zeros[k]))
        return z

    pairs = [part for pair in zip(linears, cells, strict=True) for part in pair]
    each = torch.compile(norse.SequentialState(*pairs))

    def run_compiled(count: int) -> torch.Tensor:
        if count < len(kernels):
            return run(count)
        outputs = []
        states: list[Any] = [part for state in zeros for part in (None, state)]
        for now in x:
            z, states = each(now, states)
            outputs.append(z)
        return torch.stack(outputs)

    chosen = run_compiled if settings.get("compiled") else run
    return network(chosen, [layer.weight for layer in linears], labels)


if __name__ == "__main__":
    serve(build, "norse", "torch", "numpy")
