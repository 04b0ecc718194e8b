"""Time loops: one interface, several implementations."""

from flax_snn.time_loop.associative import associative, why_not_associative
from flax_snn.time_loop.chunks import plan
from flax_snn.time_loop.fused import fused
from flax_snn.time_loop.layer import Layer, LayerWeights
from flax_snn.time_loop.program import Program, Traces
from flax_snn.time_loop.scan import scan
from flax_snn.time_loop.stepwise import is_stepwise, stepwise

__all__ = [
    "Layer",
    "LayerWeights",
    "Program",
    "Traces",
    "associative",
    "fused",
    "is_stepwise",
    "plan",
    "scan",
    "stepwise",
    "why_not_associative",
]
