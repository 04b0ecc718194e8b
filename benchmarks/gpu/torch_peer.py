"""PyTorch on the same GPU: ``python -m benchmarks.gpu.torch_peer [--small]``, a line a row.

A plain loop over time, as most code has it, and SpikingJelly's fused neuron where it is installed.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from typing import Any

from benchmarks.gpu.sizes import LARGE, SMALL, Sizes


def main(small: bool) -> None:
    """Measures the layers of `Sizes.head`, each as often as is asked for there."""
    sizes = SMALL if small else LARGE
    try:
        import torch  # type: ignore[import-not-found]
    except ImportError as error:
        print(json.dumps({"name": "torch", "skipped": str(error)}), flush=True)
        return
    device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cpu" and not small:
        print(json.dumps({"name": "torch", "skipped": "torch sees no GPU"}), flush=True)
        return
    for steps, size in sizes.head:
        x = 4.0 * torch.rand(steps, size, device=device)
        makers: dict[str, Callable[[], Callable[[Any], Any]]] = {
            "torch loop": lambda: _plain(torch),
            "SpikingJelly triton": lambda: _spikingjelly("triton"),
            "SpikingJelly cupy": lambda: _spikingjelly("cupy"),
        }
        for name, make in makers.items():
            for backward in (False, True):
                row = {"name": name, "steps": steps, "size": size, "backward": backward}
                row |= {"torch": torch.__version__, "device": device}
                try:
                    row |= _measured(torch, make(), x, backward, sizes)
                except ImportError as error:
                    row["skipped"] = str(error)
                except Exception as error:  # noqa: BLE001  a peer that fails is a row that says so
                    row["error"] = f"{type(error).__name__}: {error}"[:300]
                print(json.dumps(row), flush=True)


def _plain(torch: Any) -> Callable[[Any], Any]:
    class Spike(torch.autograd.Function):  # type: ignore[misc]
        @staticmethod
        def forward(context: Any, v: Any) -> Any:
            context.save_for_backward(v)
            return (v > 0).to(v.dtype)

        @staticmethod
        def backward(context: Any, gradient: Any) -> Any:
            (v,) = context.saved_tensors
            return gradient / (1.0 + 10.0 * v.abs()) ** 2

    def run(x: Any) -> Any:
        v, outputs = torch.zeros_like(x[0]), []
        for current in x:
            v = 0.95 * v + 0.05 * current
            s = Spike.apply(v - 1.0)
            v = v * (1.0 - s.detach())
            outputs.append(s)
        return torch.stack(outputs)

    return run


def _spikingjelly(backend: str) -> Callable[[Any], Any]:
    from spikingjelly.activation_based import (  # type: ignore[import-not-found]
        functional,
        neuron,
    )

    node = neuron.LIFNode(tau=20.0, detach_reset=True, step_mode="m", backend=backend)

    def run(x: Any) -> Any:
        functional.reset_net(node)
        return node(x)

    return run


def _measured(
    torch: Any, run: Callable[[Any], Any], x: Any, backward: bool, sizes: Sizes
) -> dict[str, Any]:
    x = x.clone().requires_grad_(backward)

    def once() -> None:
        if backward:
            run(x).mean().backward()
        else:
            with torch.no_grad():
                run(x)

    def wait() -> None:
        if x.is_cuda:
            torch.cuda.synchronize()

    def queue(count: int) -> float:
        wait()
        begin = time.perf_counter()
        for _ in range(count):
            once()
        wait()
        return (time.perf_counter() - begin) / count

    once()
    count = max(1, min(50, int(sizes.seconds / max(queue(1), 1e-6))))
    row = {"seconds": min(queue(count) for _ in range(3))}
    if x.is_cuda:
        row["peak_bytes"] = torch.cuda.max_memory_allocated()
    return row


if __name__ == "__main__":
    main("--small" in sys.argv)
