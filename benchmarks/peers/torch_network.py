"""What the peers on torch share: a step as autograd runs it, and the spikes of each layer."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch  # type: ignore[import-not-found]
from serve import Network, weights_of  # type: ignore[import-not-found]


def tensors(
    settings: dict[str, Any], arrays: dict[str, np.ndarray]
) -> tuple[list[torch.Tensor], torch.Tensor, torch.Tensor]:
    """Return kernels (in, out), inputs (T, B, F) and labels (B,)."""
    gain = settings.get("gain", 1.0)
    kernels = [torch.from_numpy(w).float() * gain for w in weights_of(arrays)]
    x = torch.from_numpy(arrays["x"]).float().transpose(0, 1).contiguous()
    return kernels, x, torch.from_numpy(arrays["labels"]).long()


def linear(kernel: torch.Tensor, kind: Callable[..., Any] = torch.nn.Linear, **options: Any) -> Any:
    """Return a linear layer without bias that has this kernel.

    Args:
      kernel: (in, out).
      kind: the peer's own layer, if it has one.
      **options: of that layer.
    """
    layer = kind(*kernel.shape, bias=False, **options)
    layer.weight = torch.nn.Parameter(kernel.T.contiguous())
    return layer


def network(
    run: Callable[[int], torch.Tensor],
    weights: list[torch.Tensor],
    labels: torch.Tensor,
    time_axis: int = 0,
) -> Network:
    """Return the network to serve.

    Args:
      run: runs the first so many pairs of linear layer and neuron; returns what the last emits.
      weights: whose gradients are wanted.
      labels: of the samples.
      time_axis: of what ``run`` returns.
    """

    def loss() -> torch.Tensor:
        return torch.nn.functional.cross_entropy(run(len(weights)).mean(time_axis), labels)

    def step() -> None:
        for weight in weights:
            weight.grad = None
        loss().backward()

    def forward() -> None:
        with torch.no_grad():
            loss()

    begin = time.perf_counter()
    step()
    seconds = time.perf_counter() - begin
    with torch.no_grad():
        activity = [float(run(k).mean()) for k in range(1, len(weights))]
        return Network(step, forward, float(loss()), activity, seconds)
