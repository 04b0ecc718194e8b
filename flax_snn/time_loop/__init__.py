"""Time loops: one protocol, a table of implementations."""

from flax_snn.time_loop.associative import Associative
from flax_snn.time_loop.fused import Fused
from flax_snn.time_loop.kernel import Kernel
from flax_snn.time_loop.layer import Layer, LayerWeights, in_blocks
from flax_snn.time_loop.loop import Result, Run, TimeLoop, Traces
from flax_snn.time_loop.noted import loops_noted, note_loop
from flax_snn.time_loop.scan import Scan, cell_scan
from flax_snn.time_loop.stepwise import is_stepwise, stepwise

LOOPS: dict[str, TimeLoop] = {
    "fused": Fused(),
    "associative": Associative(),
    "kernel": Kernel(),
    "scan": Scan(),
}
"""The time loops by name. ``auto`` takes the last one that can run a network and is worth it."""

__all__ = [
    "LOOPS",
    "Layer",
    "LayerWeights",
    "Result",
    "Run",
    "TimeLoop",
    "Traces",
    "cell_scan",
    "in_blocks",
    "is_stepwise",
    "loops_noted",
    "note_loop",
    "stepwise",
]


def __dir__() -> list[str]:
    return __all__
