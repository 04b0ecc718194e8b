"""The protocol of a peer: one line of JSON in, one out. Needs Python and numpy alone.

A peer is a script that runs in an environment of its own and imports nothing of flax_snn. The
first line is the settings, with "file", an npz of ``x (B, T, F)`` uint8, ``labels (B,)`` and
``w0, w1, ...`` (in, out); the answer says what is ready. Then

    {"do": "step"}     one training step (loss and gradients); answers seconds, waited for
    {"do": "forward"}  one forward pass
    {"do": "report"}   loss, spikes per slot of each spiking layer, memory, versions

The loss is the cross-entropy of the mean of the readout over time.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import numpy as np


class Network:
    """What a peer offers.

    Attributes:
      step: runs loss and gradients and waits for both.
      forward: runs the forward pass and waits for it.
      loss: the loss of the first weights.
      activity: spikes per slot of each spiking layer.
      compile_seconds: seconds until the first step was there.
      temporary_bytes: temporary memory of a step by XLA's account; ``None`` without XLA.
    """

    def __init__(
        self,
        step: Callable[[], None],
        forward: Callable[[], None],
        loss: float,
        activity: list[float],
        compile_seconds: float,
        temporary_bytes: int | None = None,
    ) -> None:
        self.step, self.forward = step, forward
        self.report = {
            "loss": loss,
            "activity": activity,
            "compile_seconds": compile_seconds,
            "temporary_bytes": temporary_bytes,
        }


def serve(
    build: Callable[[dict[str, Any], dict[str, np.ndarray]], Network], *packages: str
) -> None:
    """Answer on standard output what standard input asks.

    Args:
      build: makes the network of settings and arrays.
      *packages: distributions whose versions are reported.
    """
    settings = json.loads(sys.stdin.readline())
    arrays = dict(np.load(settings["file"]))
    network = build(settings, arrays)
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        what = json.loads(line)["do"]
        if what == "report":
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
            found = {name: version(name) for name in packages}
            answer = network.report | {"peak_bytes": peak, "versions": found}
        else:
            begin = time.perf_counter()
            (network.step if what == "step" else network.forward)()
            answer = {"seconds": time.perf_counter() - begin}
        print(json.dumps(answer), flush=True)


def weights_of(arrays: dict[str, np.ndarray]) -> list[np.ndarray]:
    """Return w0, w1, ... in order."""
    return [arrays[name] for name in sorted(n for n in arrays if n.startswith("w"))]


def temporary_bytes(compiled: Any) -> int:
    """Return the temporary memory of a compiled JAX function, by XLA's own account."""
    return int(compiled.memory_analysis().temp_size_in_bytes)
